"""Reports that are made by themselves when a period has ended, and kept; and made again when somebody asks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, cast

from sqlalchemy import Connection, Engine, text

from archive.background import Background
from archive.database import change, fetch, in_transaction
from archive.errors import InvalidQuery, NotFound
from archive.figures.periods import begins, shifted
from archive.figures.question import Answer, Question
from archive.figures.report import Report, ReportPeriod, as_html, as_pdf, as_xlsx, compose
from config import clock
from config.figures import FigureReports
from config.logs import fields

log = logging.getLogger(__name__)

Form = Literal["xlsx", "html", "pdf"]
MEDIA: Final[dict[Form, str]] = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
}
PERIODS: Final = ("month", "quarter", "year")
INTERVAL: Final = 600.0
"""Seconds between two looks whether a report is due."""
EARLIEST: Final = 2000
_LOCK: Final = (5426, 1)
_LISTED: Final = text("""
SELECT id, period, begins_at, made_at, made_by, title FROM figure_report
 ORDER BY begins_at DESC, period, id DESC LIMIT :most
""")
_ONE: Final = {
    form: text(f"SELECT {form} AS content, period, begins_at, title FROM figure_report WHERE id = :id")
    for form in MEDIA
}
_MADE: Final = text("SELECT 1 FROM figure_report WHERE period = :period AND begins_at = :begins LIMIT 1")
_KEEP: Final = text("""
INSERT INTO figure_report (period, begins_at, made_by, title, xlsx, html, pdf)
VALUES (:period, :begins, :by, :title, :xlsx, :html, :pdf) RETURNING id
""")
_FIRST: Final = text("SELECT min(day) AS day FROM study_sum WHERE cube = 2")
_READY: Final = text("SELECT 1 FROM figure_cursor WHERE swept_at IS NOT NULL")
_NAMES: Final = text("SELECT code, name FROM facility")


@dataclass(frozen=True, slots=True)
class Listed:
    """A report that is kept."""

    id: int
    period: ReportPeriod
    begins_at: datetime
    made_at: datetime
    made_by: str
    title: str


class FigureReportsKept:
    """All of them. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, ask: Callable[[Question], Answer], settings: FigureReports) -> None:
        self._engine = engine
        self._ask = ask
        self._settings = settings

    def listed(self, most: int = 200) -> list[Listed]:
        """The latest periods first, and of each the latest report."""
        return [Listed(**row._mapping) for row in fetch(self._engine, _LISTED, {"most": most})]

    def content(self, number: int, form: Form) -> tuple[str, bytes]:
        """Name and content of a file. Raises `NotFound`."""
        rows = fetch(self._engine, _ONE[form], {"id": number})
        if not rows:
            raise NotFound("no such report")
        return file_name(rows[0].period, rows[0].begins_at, form), bytes(rows[0].content)

    def compose(self, period: str, begins_at: datetime, facilities: frozenset[str] | None = None) -> Report:
        """The report of a period as it is now, of some facilities or the province. Raises `InvalidQuery`."""
        if period not in PERIODS:
            raise InvalidQuery(f"a report is of a {', '.join(PERIODS)}")
        wanted = cast(ReportPeriod, period)
        if begins(wanted, begins_at) != begins_at or begins_at.year < EARLIEST or begins_at > clock.now():
            raise InvalidQuery("a report begins with the first day of a month, quarter or year that has begun")
        names = {row.code: row.name for row in fetch(self._engine, _NAMES)}
        return compose(self._ask, wanted, begins_at, datetime.now(clock.VIETNAM), names, facilities)

    def make(self, period: str, begins_at: datetime, by: str = "") -> int:
        """Make a report of the province and keep it; give its number. Raises `InvalidQuery`."""
        report = self.compose(period, begins_at)
        return int(change(self._engine, _KEEP, _row(period, begins_at, by, report))[0].id)

    def make_due(self, now: datetime | None = None) -> int:
        """Make what is due and was not made yet; give how many. Safe in several processes."""
        made = 0
        for period in self._settings.every:
            for begins_at in self._due(period, now or clock.now()):
                made += self._make_once(period, begins_at)
        return made

    def step(self) -> float:
        """For a thread: make what is due; give the seconds until the next look."""
        if made := self.make_due():
            log.info("reports of figures were made", extra=fields(reports=made))
        return INTERVAL

    def maker(self) -> Background:
        """A thread that makes what is due."""
        return Background("reports of figures", self.step)

    def _due(self, period: ReportPeriod, now: datetime) -> list[datetime]:
        """Periods that have ended and have something in them, the oldest first; a year's worth at most."""
        first = fetch(self._engine, _FIRST)[0].day
        if first is None or not fetch(self._engine, _READY):
            return []
        last = shifted(period, begins(period, now - timedelta(days=self._settings.after_days)), -1)
        most = {"month": 12, "quarter": 4, "year": 1}[period]
        oldest = begins(period, datetime(first.year, first.month, first.day))
        candidates = (shifted(period, last, -number) for number in reversed(range(most)))
        return [each for each in candidates if each >= oldest]

    def _make_once(self, period: ReportPeriod, begins_at: datetime) -> int:
        given = {"period": period, "begins": begins_at}
        if fetch(self._engine, _MADE, given):
            return 0
        row = _row(period, begins_at, "", self.compose(period, begins_at))

        def work(connection: Connection) -> int:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:space, :number)"),
                dict(zip(("space", "number"), _LOCK, strict=True)),
            )
            if connection.execute(_MADE, given).first():
                return 0
            connection.execute(_KEEP, row)
            return 1

        return in_transaction(self._engine, work)


def written(report: Report, form: Form) -> bytes:
    """A report as a file."""
    if form == "html":
        return as_html(report).encode()
    return as_xlsx(report) if form == "xlsx" else as_pdf(report)


def file_name(period: str, begins_at: datetime, form: Form) -> str:
    """What its file is called."""
    number = {"year": "", "quarter": f"-Q{(begins_at.month + 2) // 3}", "month": f"-{begins_at.month:02}"}[period]
    return f"bao-cao-{begins_at.year}{number}.{form}"


def _row(period: str, begins_at: datetime, by: str, report: Report) -> dict[str, object]:
    files: dict[str, object] = {form: written(report, form) for form in MEDIA}
    return {"period": period, "begins": begins_at, "by": by, "title": report.title, **files}
