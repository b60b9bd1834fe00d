"""The study list at ``/``: find a study, open it in the viewer.

The form is sent by POST, so that no name or number of a patient stands in an address, a log or the history of the
browser. Addresses hold study UIDs only.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import FileResponse, RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, InvalidQuery, NotFound, TooManyMatches, Unavailable
from archive.people.roles import Right
from archive.records import SearchResult
from viewer_api.audited import searched
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN, SIGNED_IN, known_caller, needs
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import STATIC, fingerprints, first_place, page
from viewer_api.pages.study_rows import Row, facility_name, row
from viewer_api.pages.study_search import MODALITIES, PAGE_SIZE, RANGES, BadDates, Search, clean, page_number
from viewer_api.problems import problem_of
from viewer_api.views import scope_of, view_suffix

router = APIRouter(include_in_schema=False)
_READERS: Final = [needs(Right.VIEW)]

_STATIC_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NOTHING: Final = SearchResult(matches=[], total=0, truncated=False, owners=[])


@router.get("/", dependencies=[SIGNED_IN])
def study_list(request: Request, archive: ArchiveDep) -> Response:
    """The newest studies. Whoever may see none, such as an administrator, is led to what there is for them."""
    if not known_caller(request).may(Right.VIEW):
        return RedirectResponse(first_place(request), HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    return _answer(request, archive, Search())


@router.post("/", dependencies=_READERS)
def search(
    request: Request,
    archive: ArchiveDep,
    name: Annotated[str, Form()] = "",
    patient_id: Annotated[str, Form()] = "",
    accession: Annotated[str, Form()] = "",
    first: Annotated[str, Form()] = "",
    last: Annotated[str, Form()] = "",
    modality: Annotated[list[str] | None, Form()] = None,
    range_: Annotated[str, Form(alias="range")] = "",
    page_: Annotated[str, Form(alias="page")] = "1",
) -> Response:
    """The studies that match the form."""
    wanted = Search(
        name=clean(name),
        patient_id=clean(patient_id),
        accession=clean(accession),
        first=clean(first),
        last=clean(last),
        modalities=tuple(code for code in MODALITIES if code in (modality or ())),
        page=page_number(page_),
    )
    if range_ in RANGES:
        wanted = wanted.within(RANGES[range_])
    return _answer(request, archive, wanted)


@router.get("/static/{name}", dependencies=[OPEN])
def static(name: str) -> Response:
    """Style and script of the pages. Their addresses change with their content."""
    if name not in fingerprints():
        raise NotFound("no such file")
    file = STATIC / name
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(file, headers=headers, media_type=_STATIC_TYPES[file.suffix])


@router.get("/favicon.ico", dependencies=[OPEN])
def favicon() -> Response:
    """Browsers ask for it whatever the page says."""
    return static("icon.svg")


def _answer(request: Request, archive: Archive, wanted: Search) -> Response:
    text = texts(language_of(request))
    status, message, result = HTTPStatus.OK, "", _NOTHING
    try:
        query = wanted.query()
        result = archive.search(query, scope_of(request))
        searched(request, archive, query, len(result.matches))
    except BadDates:
        status, message = HTTPStatus.BAD_REQUEST, text("error_dates")
    except ArchiveError as error:
        status, message = problem_of(error).status, _sentence(error, text)
    rows = [
        row(match, facility_name(archive, code), text)
        for match, code in zip(result.matches, result.owners, strict=True)
    ]
    return page(
        request,
        "study_list.html",
        status,
        search=wanted,
        rows=rows,
        reported=_reported(request, archive, rows),
        elsewhere=_elsewhere(request, archive, rows),
        message=message,
        modalities=MODALITIES,
        ranges=RANGES,
        suffix=view_suffix(request),
        may_deliver=known_caller(request).may(Right.DELIVER),
        may_share=known_caller(request).may(Right.SHARE),
        **_paging(wanted, result),
    )


def _reported(request: Request, archive: Archive, rows: Sequence[Row]) -> dict[str, str]:
    """Which of them have a report; nothing where that cannot be told now, for the list is of use without it."""
    try:
        return archive.reports.reading.statuses(known_caller(request), [each.study for each in rows])
    except Unavailable:
        return {}


def _elsewhere(request: Request, archive: Archive, rows: Sequence[Row]) -> dict[str, int]:
    """How many more studies of the same person there are under other numbers; nothing where that cannot be told now."""
    try:
        return archive.reviews.elsewhere(scope_of(request), [each.study for each in rows])
    except Unavailable:
        return {}


def _paging(wanted: Search, result: SearchResult) -> dict[str, Any]:
    first = (wanted.page - 1) * PAGE_SIZE
    pages = max(1, -(-result.total // PAGE_SIZE))
    return {
        "first": first + 1,
        "last": first + len(result.matches),
        "total": result.total,
        "more": result.more,
        "pages": pages,
    }


def _sentence(error: ArchiveError, text: Texts) -> str:
    for kind, key in (
        (InvalidQuery, "error_query"),
        (TooManyMatches, "error_too_many"),
        (Unavailable, "error_unavailable"),
    ):
        if isinstance(error, kind):
            return text(key)
    raise error
