"""Persons at ``/persons``: which patients may be one, who somebody is, and all that was done about it.

Numbers of patients are sent by POST; addresses hold numbers of persons, which tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, Conflict, InvalidItem, InvalidQuery, NotFound, NotPermitted, Unavailable
from archive.identity.records import Facts, Number
from archive.identity.review import Pair, Side
from archive.identity.score import probability
from archive.people.roles import Right
from archive.records import Level, Query
from config.clock import VIETNAM
from config.peers import UNKNOWN_FACILITY
from viewer_api.audited import searched, who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.pages.study_rows import facility_name, row, shown_date
from viewer_api.pages.study_search import clean, page_number
from viewer_api.problems import problem_of
from viewer_api.routes.identity import seen
from viewer_api.same_origin import SameOrigin
from viewer_api.views import scope_of

router = APIRouter(include_in_schema=False)
_DECIDE: Final = [needs(Right.IDENTITY)]
_PAGE: Final = 20
_STUDY: Final = 0x0020000D
_MOST_STUDIES: Final = 100
_FIELDS: Final = ("name", "birth", "sex", "phone", "citizen", "insurance", "passport", "identity_card")


@router.get("/persons", dependencies=_DECIDE)
def review(request: Request, archive: ArchiveDep, page: str = "1") -> Response:
    """Pairs that may be the same person, side by side."""
    return _review(request, archive, page_number(page))


@router.post("/persons/decide", dependencies=_DECIDE)
def decide(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    one: Annotated[int, Form(ge=1)],
    other: Annotated[int, Form(ge=1)],
    reason: Annotated[str, Form()] = "",
    same: Annotated[str, Form()] = "",
) -> Response:
    """They are one person, or they are not."""
    caller, why = who(request), clean(reason)
    try:
        if same == "yes":
            archive.identities.merge(caller, max(one, other), min(one, other), why, how="review")
        else:
            archive.identities.not_same(caller, one, other, why)
    except ArchiveError as error:
        return _review(request, archive, 1, error)
    return RedirectResponse("/persons", HTTPStatus.SEE_OTHER)


@router.post("/persons/find", dependencies=_DECIDE)
def find(
    request: Request,
    archive: ArchiveDep,
    issuer: Annotated[str, Form()] = "",
    number: Annotated[str, Form()] = "",
) -> Response:
    """Lead to the person who has a number."""
    person = archive.identities.person_of_number(Number(clean(issuer), clean(number)))
    if person is None:
        return _review(request, archive, 1, NotFound("no such number"))
    return RedirectResponse(f"/persons/{person}", HTTPStatus.SEE_OTHER)


@router.get("/persons/{person}", dependencies=_DECIDE)
def person(request: Request, archive: ArchiveDep, person: int) -> Response:
    """All patients of a person, and what was done to it."""
    return _person(request, archive, person)


@router.post("/persons/{person}/merge", dependencies=_DECIDE)
def merge(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    person: int,
    issuer: Annotated[str, Form()] = "",
    number: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Whoever has this number is this person, too."""

    def work() -> None:
        source = archive.identities.person_of_number(Number(clean(issuer), clean(number)))
        if source is None:
            raise NotFound("no such number")
        archive.identities.merge(who(request), source, person, clean(reason))

    return _act(request, archive, person, work)


@router.post("/persons/{person}/separate", dependencies=_DECIDE)
def separate(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    person: int,
    record: Annotated[int, Form(ge=1)],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """One patient is somebody else."""
    return _act(request, archive, person, lambda: archive.identities.separate(who(request), record, clean(reason)))


@router.post("/persons/{person}/undo", dependencies=_DECIDE)
def undo(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    person: int,
    event: Annotated[int, Form(ge=1)],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Take a decision back."""
    return _act(request, archive, person, lambda: archive.identities.unmerge(who(request), event, clean(reason)))


@router.post("/persons/temporary", dependencies=_DECIDE)
def temporary(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    facility: Annotated[str, Form()] = "",
    mother: Annotated[str, Form()] = "",
    order: Annotated[int, Form(ge=1, le=9)] = 1,
    name: Annotated[str, Form()] = "",
    sex: Annotated[str, Form()] = "",
    birth_date: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Response:
    """A number for a newborn, if a mother is named, else for somebody unknown."""
    facts = Facts(clean(name), clean(birth_date), sex if sex in ("M", "F") else "")
    try:
        facilities = archive.peers.facilities
        if facility not in facilities:
            raise InvalidItem.of({"facility": "is needed"})
        of_mother = Number(facilities[facility].issuer, clean(mother)) if clean(mother) else None
        _temporary, done = archive.identities.temporary(
            who(request),
            facility,
            "unknown" if of_mother is None else "newborn",
            facts,
            mother=of_mother,
            order=order,
            reason=clean(reason),
        )
    except ArchiveError as error:
        return _review(request, archive, 1, error)
    return RedirectResponse(f"/persons/{done.person}", HTTPStatus.SEE_OTHER)


@router.post("/studies-of-person", dependencies=[needs(Right.VIEW)])
def studies_of_person(request: Request, archive: ArchiveDep, study: Annotated[str, Form()] = "") -> Response:
    """All studies of the person whose study this is, of every hospital, that the reader may see."""
    text, rows, status, message = texts(language_of(request)), [], HTTPStatus.OK, ""
    try:
        scope = scope_of(request)
        uids = archive.reviews.studies_of(scope, clean(study))[:_MOST_STUDIES]
        query = Query(Level.STUDY, {_STUDY: "\\".join(uids)}, limit=_MOST_STUDIES)
        result = archive.search(query, scope)
        searched(request, archive, query, len(result.matches))
        found = zip(result.matches, result.owners, strict=True)
        rows = [row(match, facility_name(archive, code), text) for match, code in found]
    except (NotFound, InvalidQuery, Unavailable) as error:
        status, message = problem_of(error).status, text(_key(error))
    return page(request, "person_studies.html", status, rows=rows, message=message)


# -- parts -----------------------------------------------------------------------------------------------------------


def _act(request: Request, archive: Archive, person: int, work: Callable[[], object]) -> Response:
    try:
        work()
    except ArchiveError as error:
        return _person(request, archive, person, error)
    return RedirectResponse(f"/persons/{person}", HTTPStatus.SEE_OTHER)


def _review(request: Request, archive: Archive, number: int, error: ArchiveError | None = None) -> Response:
    text, caller = texts(language_of(request)), who(request)
    pairs: list[Pair] = []
    more = False
    try:
        pairs = archive.reviews.open(caller, limit=_PAGE + 1, offset=(number - 1) * _PAGE)
        more = len(pairs) > _PAGE
        pairs = pairs[:_PAGE]
        seen(request, archive, [side for pair in pairs for side in (pair.one, pair.other)], "review of persons")
    except Unavailable as unavailable:
        error, pairs = unavailable, []
    where = known_caller(request).rights.get(Right.IDENTITY)
    facilities = [
        each
        for code, each in archive.peers.facilities.items()
        if code != UNKNOWN_FACILITY.code and (where is None or code in where)
    ]
    return page(
        request,
        "persons.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        message="" if error is None else text(_key(error)),
        pairs=[(pair, _percent(pair), _compared(pair, text)) for pair in pairs],
        number=number,
        more=more,
        facilities=facilities,
        **_showing(request, archive, text),
    )


def _person(request: Request, archive: Archive, person: int, error: ArchiveError | None = None) -> Response:
    text = texts(language_of(request))
    sides: list[Side] = []
    events: list[Any] = []
    try:
        sides = archive.reviews.person(who(request), person)
        seen(request, archive, sides, "person")
        events = archive.identities.events_of(sides[0].person)
    except (NotFound, NotPermitted, Unavailable) as problem:
        error = problem
    return page(
        request,
        "person.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        message="" if error is None else text(_key(error)),
        person=person,
        sides=sides,
        events=events,
        time=lambda at: at.astimezone(VIETNAM).strftime(
            "%d/%m/%Y %H:%M" if text.language == "vi" else "%Y-%m-%d %H:%M"
        ),
        **_showing(request, archive, text),
    )


def _showing(request: Request, archive: Archive, text: Texts) -> dict[str, Any]:
    """What both pages write records with."""
    return {
        "date": lambda day: "" if day is None else shown_date(f"{day:%Y%m%d}", text.language),
        "facility": lambda code: facility_name(archive, code),
        "may_view": known_caller(request).may(Right.VIEW),
        "sexes": lambda sex: text.get(f"sex_{sex}") or sex,
    }


def _percent(pair: Pair) -> str:
    likely = probability(pair.likelihood)
    return "> 99%" if likely > 0.99 else f"{likely:.0%}"


def _compared(pair: Pair, text: Texts) -> list[tuple[str, str, str]]:
    """Each field that was compared: its name, how it compares, and a class for the colour."""
    rows: list[tuple[str, str, str]] = []
    for name in (*_FIELDS, "facility"):
        if name in pair.evidence:
            level, bits = pair.evidence[name]
            colour = "same" if level == "same" else "odd" if bits < 0 else "close"
            rows.append((name, text(f"person_level_{level}"), "quiet" if level == "missing" else colour))
    return rows


def _key(error: ArchiveError) -> str:
    """The sentence for an error."""
    for kind, key in (
        (Unavailable, "error_unavailable"),
        (NotPermitted, "person_not_allowed"),
        (NotFound, "person_nobody"),
        (Conflict, "person_conflict"),
        (InvalidItem, "person_incomplete"),
        (InvalidQuery, "error_query"),
    ):
        if isinstance(error, kind):
            return key
    raise error
