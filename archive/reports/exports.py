"""Signed reports to be taken away: one, or all of a facility and day; for insurers and for health records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final, Literal

import orjson
from sqlalchemy import Engine, text

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import fetch
from archive.errors import InvalidQuery, NotFound
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.reports import health_record, insurance
from archive.reports import statements as sql
from archive.reports.canonical import canonical, digest
from archive.reports.changing import version_of
from archive.reports.insurance import Fault
from archive.reports.models import Report
from archive.reports.records import Entry
from archive.reports.reports import Reports
from config.clock import VIETNAM

Kind = Literal["xml4", "hosobenhan"]
Form = Literal["xml", "json"]
MOST: Final = 20_000
_GIVEN_OUT: Final = text(f"""
SELECT version.id AS row, report.number AS report, {", ".join(f"version.{name}" for name in sql.COLUMNS)}
  FROM report_version AS version JOIN report ON report.id = version.report_id
 WHERE version.digest IS NOT NULL AND version.id > :after ORDER BY version.id LIMIT 1000
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Export:
    """A file, and what is missing in the reports that it is made of."""

    content: bytes
    media_type: str
    reports: int
    faults: list[Fault]


class Exports:
    """Makes them. All methods raise `NotPermitted`, `IndexUnavailable`."""

    def __init__(self, engine: Engine, reports: Reports, trail: Trail) -> None:
        self._engine = engine
        self._reports = reports
        self._trail = trail

    def one(self, caller: Caller, number: str, kind: Kind, form: Form) -> Export:
        """One signed report. Raises `NotFound`."""
        found = self._signed(caller, lambda entries: entries.where(Report.number == number))
        if not found:
            raise NotFound("no such signed report, or its study may not be copied")
        return self._export(caller, found, kind, form, {"report": number})

    def day(self, caller: Caller, facility: str, day: date, kind: Kind, form: Form) -> Export:
        """All that a facility signed on a day, in the order of signing; at most `MOST`. Raises `InvalidQuery`."""
        caller.require(Right.COPY, facility)
        if not 1900 <= day.year <= 2200:
            raise InvalidQuery("the day is none on which anything was signed")
        first = datetime.combine(day, time(), VIETNAM)
        found = self._signed(
            caller,
            lambda entries: (
                entries.where(
                    sql.WRITER.code == facility,
                    sql.CURRENT.signed_at >= first,
                    sql.CURRENT.signed_at < first + timedelta(days=1),
                )
                .order_by(sql.CURRENT.signed_at, Report.id)
                .limit(MOST)
            ),
        )
        return self._export(caller, found, kind, form, {"facility": facility, "day": day.isoformat()})

    def verify(self) -> tuple[int, list[tuple[str, int]]]:
        """How many versions were given out, and which of them are not any more what they were then."""
        checked, after = 0, 0
        changed: list[tuple[str, int]] = []
        while rows := fetch(self._engine, _GIVEN_OUT, {"after": after}):
            checked, after = checked + len(rows), rows[-1].row
            for row in rows:
                version = version_of(row)
                if digest(canonical(row.report, version, version.subject or {})) != version.digest:
                    changed.append((row.report, row.number))
        return checked, changed

    def _signed(self, caller: Caller, narrow: Callable[[Any], Any]) -> list[Entry]:
        scope = caller.scope(right=Right.COPY)
        signed = Report.status.in_(("final", "amended"))
        return self._reports.entries(scope, [], lambda entries: narrow(entries.where(signed)))

    def _export(self, caller: Caller, found: Sequence[Entry], kind: Kind, form: Form, about: dict[str, str]) -> Export:
        studies = tuple(dict.fromkeys(each.study for each in found))
        detail: dict[str, Any] = {"what": f"reports as {kind}", "count": len(found), **about}
        self._trail.record(AuditEvent(Action.EXPORT, caller, studies=studies, detail=detail))
        templates = [self._reports.templates.of(each.facility).get(_template(each)) for each in found]
        rows = [insurance.rows_of(each, template) for each, template in zip(found, templates, strict=True)]
        faults = [fault for each in rows for fault in each.faults]
        if kind == "hosobenhan":
            records = [health_record.record(each, template) for each, template in zip(found, templates, strict=True)]
            content = health_record.as_xml(records) if form == "xml" else orjson.dumps(health_record.as_json(records))
        elif form == "xml":
            content = insurance.as_xml(rows)
        else:
            told = [{"report": each.report, "field": each.field, "detail": each.detail} for each in faults]
            listed = [row for each in rows for row in each.rows]
            content = orjson.dumps({"XML4": listed, "faults": told})
        return Export(content, f"application/{form}", len(found), faults)


def _template(entry: Entry) -> str:
    return entry.version.template if entry.version is not None else ""
