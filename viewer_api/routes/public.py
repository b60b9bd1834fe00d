"""Figures for anybody (docs/indicators.md, "Figures for anybody"): off unless the settings say so, and always the same.

Nobody is asked who they are, and nothing can be chosen but the table: so what is held back cannot be found out by
asking otherwise. One address is answered so often in a minute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from archive.core import Archive
from archive.errors import NotFound
from archive.figures.files import as_csv, described
from archive.figures.public import TOLD, Table
from archive.figures.question import By
from config import clock
from viewer_api.addresses import address_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN
from viewer_api.pages.dashboard_numbers import Numbers
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.sign_in.throttle import Throttle

router = APIRouter(tags=["Figures"], dependencies=[OPEN])

TRIES: Final = 60
SECONDS: Final = 60.0
_CACHED: Final = "public, max-age=3600"
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "The archive tells nothing to anybody, or there is no such table"},
    429: {"description": "Too many requests of this address"},
}


@router.get(
    "/public/figures",
    summary="Counts for anybody",
    name="public_figures",
    response_class=Response,
    responses={**_RESPONSES, 200: {"description": "All tables", "content": {"application/json": {}}}},
)
def public_figures(request: Request, archive: ArchiveDep) -> Response:
    """A fixed set of tables of periods that are over; small counts are held back."""
    tables = _tables(request, archive)
    body = {"tables": [{"name": each.told.name, "title": _title(each), **_said(each)} for each in tables]}
    return _answered(request, orjson.dumps(body), "application/json")


@router.get(
    "/public/figures/{table}.csv",
    summary="One table for anybody, as CSV",
    name="public_figures_file",
    response_class=Response,
    responses={**_RESPONSES, 200: {"description": "The table", "content": {"text/csv": {}}}},
)
def public_table(request: Request, archive: ArchiveDep, table: str) -> Response:
    """One of the tables, as it stands in ``/public/figures``."""
    found = next((each for each in _tables(request, archive) if each.told.name == table), None)
    if found is None:
        raise NotFound(f"there is no such table; there are {', '.join(each.name for each in TOLD)}")
    # Of the answer, not of the request: the same file until the tables are made anew.
    names = archive.settings.facility_names
    content = as_csv(found.question, found.answer, found.answer.as_of, language_of(request), names)
    headers = {"Content-Disposition": f'attachment; filename="{table}.csv"'}
    return _answered(request, content, "text/csv; charset=utf-8", headers)


@router.get("/public", include_in_schema=False)
def public_page(request: Request, archive: ArchiveDep) -> Response:
    """The same as a page."""
    text = texts(language_of(request))
    tables = _tables(request, archive)
    numbers = Numbers(text)
    shown = [
        (each, _headings(each, text), [_row(each, row, text, numbers) for row in each.answer.rows]) for each in tables
    ]
    return page(request, "public.html", tables=shown, small=archive.settings.figures.small)


def _tables(request: Request, archive: Archive) -> Sequence[Table]:
    """Raises `NotFound` where nothing is public, and answers 429 to who asks too often."""
    if not archive.settings.figures.public:
        raise NotFound("this archive tells nothing to who is not signed in")
    throttle: Throttle = request.app.state.public_throttle
    address = address_of(request)
    if throttle.is_shut(address):
        raise HTTPException(
            HTTPStatus.TOO_MANY_REQUESTS, "too many requests; please wait a minute", {"Retry-After": str(int(SECONDS))}
        )
    throttle.failed(address)
    return archive.figures.public.tables(clock.now())


def _answered(request: Request, content: bytes, media_type: str, headers: dict[str, str] | None = None) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    given = {"ETag": tag, "Cache-Control": _CACHED, "Access-Control-Allow-Origin": "*", **(headers or {})}
    if tag in [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=given)
    return Response(content, headers=given, media_type=media_type)


def _title(table: Table) -> dict[str, str]:
    return {"vi": table.told.vi, "en": table.told.en}


def _said(table: Table) -> dict[str, Any]:
    said = described(table.question, table.answer)
    return {name: said[name] for name in ("columns", "rows", "as_of", "suppressed")}


def _headings(table: Table, text: Texts) -> list[str]:
    return [each["vi" if text.language == "vi" else "en"] for each in _said(table)["columns"]]


def _row(table: Table, row: Sequence[Any], text: Texts, numbers: Numbers) -> list[str]:
    by = table.question.by
    told = [_named(name, value, text) for name, value in zip(by, row, strict=False)]
    minutes = [measure.value.startswith("order_to") for measure in table.question.measures]
    values = zip(minutes, row[len(by) :], strict=True)
    return [*told, *(numbers.minutes(value) if of_time else numbers.count(value) for of_time, value in values)]


def _named(name: By, value: Any, text: Texts) -> str:
    if not value:
        return text("dash_unknown")
    if name is By.CARE_LEVEL:
        return text.get(f"dash_level_{value}") or str(value)
    if name is By.MONTH:
        return f"{value[5:]}/{value[:4]}"
    if name is By.QUARTER:
        return text("public_quarter", number=value[6:], year=value[:4])
    return str(value)
