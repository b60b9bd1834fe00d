"""Links for patients at ``/links``: give one for a study, print its slip, see which were opened, end one."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

import segno
from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.delivery.link_records import FACTORS, LinkEntry, MadeLink, NewLink
from archive.errors import ArchiveError, InvalidQuery, NotFound
from archive.people.roles import Right
from archive.records import Level, Query
from config.clock import VIETNAM
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.pages.study_rows import Row, facility_name, row, spoken_name
from viewer_api.pages.study_search import clean, page_number
from viewer_api.problems import problem_of
from viewer_api.routes.links import address_of_link
from viewer_api.same_origin import SameOrigin

router = APIRouter(prefix="/links", include_in_schema=False, dependencies=[needs(Right.DELIVER, Right.GRANTS)])
PAGE_SIZE: Final = 100
_STUDY: Final = 0x0020000D
_DAYS: Final = (7, 30, 90, 365)


@dataclass(frozen=True, slots=True)
class Line:
    """A link as text, not yet escaped."""

    id: int
    name: str
    patient_id: str
    facility: str
    made_by: str
    created: str
    expires: str
    factor: str
    opened: str
    state: str
    can_end: bool


@router.get("")
def links(request: Request, archive: ArchiveDep) -> Response:
    """The latest links of one's facility."""
    return _listed(request, archive)


@router.post("/new")
def new(request: Request, archive: ArchiveDep, study: Annotated[str, Form()] = "") -> Response:
    """The form for a study. By POST, as all that names a study."""
    return _form(request, archive, clean(study))


@router.post("/made")
def made(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    study: Annotated[str, Form()] = "",
    factor: Annotated[str, Form()] = "birth_date",
    days: Annotated[str, Form()] = "",
    may_copy: Annotated[str, Form()] = "",
    phone: Annotated[str, Form()] = "",
) -> Response:
    """Make the link, and show its slip, once."""
    text, study = texts(language_of(request)), clean(study)
    try:
        if factor not in FACTORS:
            raise InvalidQuery("no such factor")
        to = clean(phone) if factor == "phone" else ""
        wanted = NewLink((study,), factor, page_number(days), bool(may_copy), phone=to)  # type: ignore[arg-type]
        found = archive.links.create(known_caller(request), wanted)
    except ArchiveError as error:
        return _form(request, archive, study, _sentence(error, text), problem_of(error).status)
    address = address_of_link(request, found.token)
    return page(
        request,
        "link_slip.html",
        address=address,
        code=found.code,
        factor=factor,
        row=_row(request, archive, study, text),
        expires=_moment(found, text),
        picture=segno.make(address, error="m").svg_inline(scale=6, border=3, dark="#000", light="#fff"),
    )


@router.post("/withdraw")
def withdraw(request: Request, archive: ArchiveDep, _: SameOrigin, link: Annotated[str, Form()] = "") -> Response:
    """End a link."""
    if not (link.isascii() and link.isdecimal() and len(link) < 19):
        raise NotFound("no such link")
    archive.links.withdraw(known_caller(request), int(link))
    return RedirectResponse("/links", HTTPStatus.SEE_OTHER)


def _listed(request: Request, archive: Archive) -> Response:
    text = texts(language_of(request))
    found = archive.links.listed(known_caller(request), limit=PAGE_SIZE)
    return page(request, "links.html", lines=[_line(archive, each, text) for each in found])


def _form(
    request: Request, archive: Archive, study: str, message: str = "", status: HTTPStatus = HTTPStatus.OK
) -> Response:
    text = texts(language_of(request))
    settings = archive.settings.links
    days = sorted({*(day for day in _DAYS if day <= settings.most_days), settings.days})
    return page(
        request,
        "link_form.html",
        status,
        row=_row(request, archive, study, text),
        message=message,
        days=days,
        usual=settings.days,
        copies=settings.copies,
        by_phone=bool(settings.messages.url),
        may_copy=known_caller(request).may(Right.COPY),
    )


def _row(request: Request, archive: Archive, study: str, text: Texts) -> Row:
    """The study as the list shows it. Raises `NotFound`."""
    found = archive.search(Query(Level.STUDY, {_STUDY: study}), known_caller(request).scope()) if study else None
    if found is None or len(found.matches) != 1:
        raise NotFound("no such study")
    return row(found.matches[0], facility_name(archive, found.owners[0]), text)


def _line(archive: Archive, entry: LinkEntry, text: Texts) -> Line:
    opened = text("link_opened_times", count=entry.times_opened) if entry.times_opened else text("link_not_opened")
    return Line(
        entry.id,
        spoken_name(entry.patient_name.partition("=")[0]) or text("no_name"),
        entry.patient_id,
        facility_name(archive, entry.facility),
        entry.made_by,
        _shown(entry.created_at, text),
        _shown(entry.expires_at, text),
        text(f"link_factor_{entry.factor}"),
        opened,
        entry.state,
        entry.state in ("open", "locked"),
    )


def _moment(found: MadeLink, text: Texts) -> str:
    return _shown(found.expires_at, text)


def _shown(moment: Any, text: Texts) -> str:
    local = moment.astimezone(VIETNAM)
    return str(local.strftime("%d/%m/%Y %H:%M" if text.language == "vi" else "%Y-%m-%d %H:%M"))


def _sentence(error: ArchiveError, text: Texts) -> str:
    if isinstance(error, InvalidQuery) and "birth date" in str(error):
        return text("link_no_birth_date")
    if isinstance(error, InvalidQuery) and str(error).startswith("phone:"):
        return text("link_bad_phone")
    if problem_of(error).status == HTTPStatus.FORBIDDEN:
        return text("link_not_permitted")
    raise error
