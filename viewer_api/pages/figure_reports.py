"""The page at ``/index/reports``: reports of months, quarters and years, as they were made, and made now.

Kept reports are of the whole province and for who may count all of it; who may count a facility has a report of that
made at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from archive.audit.events import Action, AuditEvent
from archive.core import Archive
from archive.errors import InvalidQuery, NotFound
from archive.figures.periods import begins, shifted
from archive.figures.periods import title as period_title
from archive.figures.report import ReportPeriod
from archive.figures.reports import MEDIA, PERIODS, file_name, written
from archive.figures.reports import Form as FileForm
from archive.people.caller import Caller
from archive.people.roles import Right
from config import clock
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.rendering import page

router = APIRouter(include_in_schema=False, prefix="/index/reports", dependencies=[needs(Right.STATISTICS)])

_OFFERED: Final[dict[ReportPeriod, int]] = {"quarter": 8, "month": 12, "year": 3}
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Of a report as a page: a file of its own, with its style in it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A kept report as text."""

    id: int
    title: str
    made_at: str
    made_by: str


@router.get("")
def reports(request: Request, archive: ArchiveDep) -> Response:
    """All kept reports, and a form for others."""
    kept = archive.figures.reports.listed() if _everywhere(request) else []
    lines = [
        Line(each.id, each.title, each.made_at.astimezone(clock.VIETNAM).strftime("%d/%m/%Y %H:%M"), each.made_by)
        for each in kept
    ]
    return page(request, "figure_reports.html", lines=lines, offered=_offered(), keeps=_everywhere(request))


@router.post("")
def make(request: Request, archive: ArchiveDep, period: Annotated[str, Form()]) -> Response:
    """Make a report of the province anew and keep it beside the earlier ones."""
    if not _everywhere(request):
        raise NotFound("reports of the province are kept, others are made when they are asked for")
    caller = _note(request, archive, period, "figure report made")
    archive.figures.reports.make(*_period(period), caller.name)
    return RedirectResponse("/index/reports", HTTPStatus.SEE_OTHER)


@router.get("/now")
def now(
    request: Request, archive: ArchiveDep, period: Annotated[str, Query()], form: Annotated[str, Query(alias="format")]
) -> Response:
    """A report of the facilities that the caller may count, as things are now."""
    wanted, (kind, begins_at) = _form(form), _period(period)
    caller = _note(request, archive, period, "figure report")
    report = archive.figures.reports.compose(kind, begins_at, caller.rights[Right.STATISTICS])
    return _file(file_name(kind, begins_at, wanted), written(report, wanted), wanted)


@router.get("/{number}.{form}")
def kept_report(request: Request, archive: ArchiveDep, number: int, form: str) -> Response:
    """A report as it was made."""
    if not _everywhere(request):
        raise NotFound("no such report")
    wanted = _form(form)
    name, content = archive.figures.reports.content(number, wanted)
    _note(request, archive, str(number), "figure report")
    return _file(name, content, wanted)


def _everywhere(request: Request) -> bool:
    return known_caller(request).may_everywhere(Right.STATISTICS)


def _form(given: str) -> FileForm:
    for form in MEDIA:
        if given == form:
            return form
    raise NotFound("no such form of a report")


def _period(given: str) -> tuple[str, datetime]:
    kind, _, day = given.partition(":")
    try:
        begins_at = datetime.fromisoformat(day)
    except ValueError:
        raise InvalidQuery("a period is named like quarter:2026-07-01") from None
    if kind not in PERIODS or begins_at.tzinfo is not None:
        raise InvalidQuery("a period is named like quarter:2026-07-01")
    return kind, begins_at


def _offered() -> list[tuple[str, str]]:
    """Periods that can be chosen: their names in the form, and for people."""
    found = []
    for kind, count in _OFFERED.items():
        current = begins(kind, clock.now())
        for number in range(count):
            start = shifted(kind, current, -number)
            found.append((f"{kind}:{start:%Y-%m-%d}", period_title(kind, start).capitalize()))
    # What has ended comes first: the last quarter.
    return [found[1], found[0], *found[2:]]


def _file(name: str, content: bytes, form: FileForm) -> Response:
    shown = "inline" if form == "html" else "attachment"
    headers = {
        "Content-Disposition": f'{shown}; filename="{quote(name)}"',
        "Cache-Control": "no-store",
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, headers=headers, media_type=MEDIA[form])


def _note(request: Request, archive: Archive, period: str, what: str) -> Caller:
    caller = who(request)
    archive.audit.record(AuditEvent(Action.EXPORT, caller, detail={"what": what, "period": period[:64]}))
    return caller
