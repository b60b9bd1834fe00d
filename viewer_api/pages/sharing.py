"""Sharing at ``/shared``: refer a study, consult about it, see who sees what, take it back; and ``/emergency``.

All that names a study or a patient is sent by POST.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, Conflict, InvalidItem, InvalidQuery, NotFound, NotPermitted, Unavailable
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.records import Level, Query
from archive.sharing.break_glass import Broken, Emergency
from archive.sharing.sharings import Grant, Members, Shared, Terms
from config.clock import VIETNAM
from config.peers import UNKNOWN_FACILITY
from viewer_api.audited import searched
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.language import language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.pages.study_rows import Row, facility_name, row
from viewer_api.pages.study_search import clean
from viewer_api.problems import problem_of
from viewer_api.same_origin import SameOrigin
from viewer_api.views import scope_of

router = APIRouter(include_in_schema=False)
_READERS: Final = [needs(Right.SHARE, Right.GRANTS)]
_SHARE: Final = [needs(Right.SHARE)]
_GLASS: Final = [needs(Right.BREAK_GLASS)]
_STUDY: Final = 0x0020000D
_DAYS: Final = (1, 3, 7, 14, 30, 90, 365)
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands in the form, so that it need not be typed again."""

    way: str = "referral"
    to: tuple[str, ...] = ()
    title: str = ""
    purpose: str = ""
    days: int = 30
    may_copy: bool = False
    whole_patient: bool = False


@router.get("/shared", dependencies=_READERS)
def shared(request: Request, archive: ArchiveDep) -> Response:
    """What is shared, and what waits to be taken note of."""
    return _listed(request, archive)


@router.post("/shared/new", dependencies=_SHARE)
def new(request: Request, archive: ArchiveDep, study: Annotated[str, Form()] = "") -> Response:
    """The form for a study."""
    return _form(request, archive, clean(study), Asked())


@router.post("/shared/made", dependencies=_SHARE)
def made(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    study: Annotated[str, Form()] = "",
    way: Annotated[str, Form()] = "referral",
    to: Annotated[list[str] | None, Form()] = None,
    title: Annotated[str, Form()] = "",
    purpose: Annotated[str, Form()] = "",
    days: Annotated[str, Form()] = "30",
    may_copy: Annotated[str, Form()] = "",
    whole_patient: Annotated[str, Form()] = "",
) -> Response:
    """Share it, then show what is shared."""
    number = int(days) if days.isascii() and days.isdigit() and len(days) < 5 else 0
    asked = Asked(way, tuple(to or ()), clean(title), clean(purpose), number, bool(may_copy), bool(whole_patient))
    caller, terms = known_caller(request), Terms(asked.purpose, asked.days, asked.may_copy)
    try:
        if asked.way == "consultation":
            archive.sharings.consult(caller, asked.title, Members(asked.to), [clean(study)], terms)
        elif len(asked.to) == 1:
            archive.sharings.refer(caller, clean(study), asked.to[0], terms, whole_patient=asked.whole_patient)
        else:
            raise InvalidItem.of({"facilities": "a referral is to one facility"})
    except ArchiveError as error:
        return _form(request, archive, clean(study), asked, error)
    return _back()


@router.post("/shared/end", dependencies=_READERS)
def end(request: Request, archive: ArchiveDep, _: SameOrigin, number: Annotated[int, Form(ge=1)]) -> Response:
    """End a referral or consultation."""
    return _act(request, archive, lambda: archive.sharings.close(known_caller(request), number))


@router.post("/shared/withdraw", dependencies=_READERS)
def withdraw(request: Request, archive: ArchiveDep, _: SameOrigin, number: Annotated[int, Form(ge=1)]) -> Response:
    """Take one grant back."""
    return _act(request, archive, lambda: archive.sharings.withdraw(known_caller(request), number))


@router.post("/shared/acknowledge", dependencies=[needs(Right.GRANTS)])
def acknowledge(request: Request, archive: ArchiveDep, _: SameOrigin, number: Annotated[int, Form(ge=1)]) -> Response:
    """Take note of a notice."""
    return _act(request, archive, lambda: archive.break_glass.acknowledge(known_caller(request), number))


@router.get("/emergency", dependencies=_GLASS)
def emergency(request: Request, archive: ArchiveDep) -> Response:
    """The form for breaking glass."""
    return _emergency(request, archive)


@router.post("/emergency", dependencies=_GLASS)
def break_glass(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    patient_id: Annotated[str, Form()] = "",
    birth_date: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
    issuer: Annotated[str, Form()] = "",
) -> Response:
    """Break it, and show what may be seen."""
    given = {"patient_id": clean(patient_id), "birth_date": clean(birth_date), "reason": clean(reason)}
    try:
        try:
            born = date.fromisoformat(given["birth_date"])
        except ValueError:
            raise NotFound("no such patient") from None
        wanted = Emergency(given["patient_id"], born, given["reason"], clean(issuer))
        broken = archive.break_glass.open(known_caller(request), wanted)
    except ArchiveError as error:
        return _emergency(request, archive, given=given, error=error)
    return _emergency(request, archive, broken=broken)


# -- parts -----------------------------------------------------------------------------------------------------------


def _page(request: Request, template: str, status: int, **values: Any) -> Response:
    response = page(request, template, status, **values)
    # With "no-referrer", a form would not say that it comes from our own page.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _back() -> Response:
    return RedirectResponse("/shared", HTTPStatus.SEE_OTHER)


def _act(request: Request, archive: Archive, work: Callable[[], object]) -> Response:
    try:
        work()
    except (NotFound, NotPermitted, Unavailable) as error:
        return _listed(request, archive, error)
    return _back()


def _listed(request: Request, archive: Archive, error: ArchiveError | None = None) -> Response:
    text, caller = texts(language_of(request)), known_caller(request)
    decisions: list[Shared] = []
    grants: list[Grant] = []
    notices: list[Any] = []
    rows: dict[str, Row] = {}
    try:
        decisions = archive.sharings.decisions(caller, limit=_MOST)
        grants = [each for each in archive.sharings.grants(caller, ended=False, limit=_MOST) if each.to_link is None]
        rows = _rows(request, archive, [each.study for each in grants])
        notices = archive.break_glass.notices(caller, limit=_MOST) if caller.may(Right.GRANTS) else []
    except Unavailable as unavailable:
        error = unavailable
    return _page(
        request,
        "shared.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        message="" if error is None else text(_key(error)),
        decisions=[(each, _may_end(caller, each)) for each in decisions],
        grants=grants,
        rows=rows,
        notices=notices,
        name=lambda code: _facility(archive, code),
        time=lambda at: _time(at, text.language),
    )


def _form(request: Request, archive: Archive, study: str, asked: Asked, error: ArchiveError | None = None) -> Response:
    text = texts(language_of(request))
    found, owner = _row(request, archive, study)
    if found is None:
        error = error or NotFound("no such study")
    longest = archive.settings.sharing.longest_days
    return _page(
        request,
        "share_form.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        row=found,
        asked=asked,
        message="" if error is None else text(_key(error)),
        days=[each for each in _DAYS if each <= longest],
        facilities=[
            each for code, each in archive.peers.facilities.items() if code not in (UNKNOWN_FACILITY.code, owner)
        ],
    )


def _emergency(
    request: Request,
    archive: Archive,
    *,
    given: dict[str, str] | None = None,
    broken: Broken | None = None,
    error: ArchiveError | None = None,
) -> Response:
    text = texts(language_of(request))
    rows = [_row(request, archive, study)[0] for study in broken.studies] if broken else []
    return _page(
        request,
        "emergency.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        given=given or {"patient_id": "", "birth_date": "", "reason": ""},
        message="" if error is None else text(_emergency_key(error)),
        opened=broken is not None,
        rows=[each for each in rows if each is not None],
        until=_time(broken.expires_at, text.language) if broken else "",
        hours=f"{archive.settings.sharing.break_glass_hours:g}",
    )


def _row(request: Request, archive: Archive, study: str) -> tuple[Row | None, str]:
    """The study as the study list shows it, and its owner; None if there is none for the caller."""
    try:
        result = archive.search(Query(Level.STUDY, {_STUDY: study}), scope_of(request)) if study else None
    except InvalidQuery:
        result = None
    if result is None or not result.matches:
        return None, ""
    owner = result.owners[0]
    return row(result.matches[0], _facility(archive, owner), texts(language_of(request))), owner


def _rows(request: Request, archive: Archive, studies: Sequence[str]) -> dict[str, Row]:
    """Those of these studies that the caller may see, as the study list shows them."""
    if not studies or not known_caller(request).may(Right.VIEW):
        return {}
    query = Query(Level.STUDY, {_STUDY: "\\".join(dict.fromkeys(studies))}, limit=_MOST)
    result, text = archive.search(query, scope_of(request)), texts(language_of(request))
    searched(request, archive, query, len(result.matches))
    found = (
        row(match, _facility(archive, code), text) for match, code in zip(result.matches, result.owners, strict=True)
    )
    return {each.study: each for each in found}


def _may_end(caller: Caller, each: Shared) -> bool:
    return each.kind != "break_glass" and any(caller.may(right, each.facility) for right in (Right.SHARE, Right.GRANTS))


def _key(error: ArchiveError) -> str:
    """The sentence for an error. Fields are named by the browser; what is left is told as one."""
    if isinstance(error, Unavailable):
        return "error_unavailable"
    return "share_not_allowed" if isinstance(error, NotFound | NotPermitted) else "share_incomplete"


def _emergency_key(error: ArchiveError) -> str:
    for kind, key in (
        (NotFound, "emergency_nobody"),
        (Conflict, "emergency_several"),
        (InvalidItem, "emergency_reason"),
    ):
        if isinstance(error, kind):
            return key
    return "error_unavailable" if isinstance(error, Unavailable) else "emergency_not_allowed"


def _facility(archive: Archive, code: str | None) -> str:
    return facility_name(archive, code or "")


def _time(at: datetime, language: str) -> str:
    return at.astimezone(VIETNAM).strftime("%d/%m/%Y %H:%M" if language == "vi" else "%Y-%m-%d %H:%M")
