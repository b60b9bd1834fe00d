"""The study list at ``/``: find a study, open it in the viewer.

The form is sent by POST, so that no name or number of a patient stands in an address, a log or the history of the
browser. Addresses hold study UIDs only.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import FileResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, InvalidQuery, NotFound, TooManyMatches, Unavailable
from archive.records import SearchResult
from viewer_api.deps import ArchiveDep
from viewer_api.pages.language import LANGUAGES, Texts, language_of, remember, texts
from viewer_api.pages.study_rows import row
from viewer_api.pages.study_search import MODALITIES, PAGE_SIZE, RANGES, BadDates, Search, clean, page_number
from viewer_api.problems import problem_of
from viewer_api.views import scope_of

router = APIRouter(include_in_schema=False)

_HERE: Final = Path(__file__).parent
_STATIC: Final = _HERE / "static"
_STATIC_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
_NOTHING: Final = SearchResult(matches=[], total=0, truncated=False, owners=[])


@router.get("/")
def study_list(request: Request, archive: ArchiveDep) -> Response:
    """The newest studies."""
    return _answer(request, archive, Search())


@router.post("/")
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
    page: Annotated[str, Form()] = "1",
) -> Response:
    """The studies that match the form."""
    wanted = Search(
        name=clean(name),
        patient_id=clean(patient_id),
        accession=clean(accession),
        first=clean(first),
        last=clean(last),
        modalities=tuple(code for code in MODALITIES if code in (modality or ())),
        page=page_number(page),
    )
    if range_ in RANGES:
        wanted = wanted.within(RANGES[range_])
    return _answer(request, archive, wanted)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Style and script of the pages. Their addresses change with their content."""
    if name not in _fingerprints():
        raise NotFound("no such file")
    file = _STATIC / name
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(file, headers=headers, media_type=_STATIC_TYPES[file.suffix])


@router.get("/favicon.ico")
def favicon() -> Response:
    """Browsers ask for it whatever the page says."""
    return static("icon.svg")


def _answer(request: Request, archive: Archive, wanted: Search) -> Response:
    text = texts(language_of(request))
    status, message, result = HTTPStatus.OK, "", _NOTHING
    try:
        result = archive.search(wanted.query(), scope_of(request))
    except BadDates:
        status, message = HTTPStatus.BAD_REQUEST, text("error_dates")
    except ArchiveError as error:
        status, message = problem_of(error).status, _sentence(error, text)
    found = zip(result.matches, result.owners, strict=True)
    page = _template().render(
        t=text,
        search=wanted,
        rows=[row(match, _facility(archive, code), text) for match, code in found],
        message=message,
        modalities=MODALITIES,
        ranges=RANGES,
        other_language=next(language for language in LANGUAGES if language != text.language),
        asset=_asset,
        **_paging(wanted, result),
    )
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": _POLICY, "Content-Language": text.language}
    response = Response(page, status_code=status, headers=headers, media_type="text/html; charset=utf-8")
    remember(response, request)
    return response


def _facility(archive: Archive, code: str) -> str:
    """The name of a facility; its code, if it was taken out of the settings."""
    facility = archive.peers.facilities.get(code)
    return facility.name if facility else code


def _paging(wanted: Search, result: SearchResult) -> dict[str, Any]:
    first = (wanted.page - 1) * PAGE_SIZE
    pages = max(1, -(-result.total // PAGE_SIZE))
    return {
        "first": first + 1,
        "last": first + len(result.matches),
        "total": result.total,
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


def _asset(name: str) -> str:
    return f"/static/{name}?v={_fingerprints()[name]}"


@lru_cache(maxsize=1)
def _fingerprints() -> dict[str, str]:
    """The files that are given out, and a short digest of each."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in sorted(_STATIC.iterdir())}


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("study_list.html")
