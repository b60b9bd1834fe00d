"""Who did what: the audit trail for programs. Requests are bodies, so that no number of a patient is in an address."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from archive.audit.events import Action, AuditEvent, Detail
from archive.audit.search import MOST, AuditEntry, AuditSearch
from archive.core import Archive
from archive.people.roles import Right
from config.clock import VIETNAM
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.streaming import stream

router = APIRouter(prefix="/audit", tags=["Audit trail"], dependencies=[needs(Right.AUDIT)])

_TEXT: Final = r"^[^\x00]*$"
CSV: Final = "text/csv; charset=utf-8"
_COLUMNS: Final = (
    *("reference", "recorded_at", "action", "outcome", "kind", "name", "home", "address", "foreign"),
    *("patient_id", "studies", "owners", "purpose", "what", "instances"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Asked(BaseModel):
    """What to look for; what is left out does not matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patient_id: str = Field(default="", max_length=64, pattern=_TEXT)
    study: str = Field(default="", max_length=64, pattern=_TEXT)
    accession_number: str = Field(default="", max_length=64, pattern=_TEXT)
    name: str = Field(default="", max_length=128, pattern=_TEXT)
    address: str = Field(default="", max_length=64, pattern=_TEXT)
    actions: tuple[Action, ...] = ()
    outcome: str = Field(default="", pattern="^(success|denied|failed)?$")
    first: datetime | None = None
    last: datetime | None = None
    lookup: str = Field(default="", max_length=64, pattern=_TEXT)
    before: tuple[datetime, int, int] | None = None
    limit: int = Field(default=200, ge=1, le=MOST)

    def search(self) -> AuditSearch:
        """The same for the archive."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        for name in ("first", "last"):
            if values[name] is not None and values[name].tzinfo is None:
                values[name] = values[name].replace(tzinfo=VIETNAM)
        return AuditSearch(**{**values, "actions": tuple(action.value for action in self.actions)})


@router.post("/search", summary="Records that fit, the latest first", response_class=Response)
def search(request: Request, archive: ArchiveDep, asked: Annotated[Asked, Body()]) -> Response:
    """A page of them; `next` is what to give as `before` for the following one."""
    wanted = asked.search()
    found = read(request, archive, wanted)
    last = found[-1] if len(found) == wanted.limit else None
    body = {
        "records": [shown(entry) for entry in found],
        "next": None if last is None else [last.recorded_at, last.segment, last.number],
    }
    return Response(orjson.dumps(body), headers={"Cache-Control": "no-store"}, media_type="application/json")


@router.post("/export", summary="All records that fit, as CSV", response_class=Response)
def export(request: Request, archive: ArchiveDep, asked: Annotated[Asked, Body()]) -> Response:
    """For a patient who asks in writing, or for whoever reviews the log."""
    return exported(request, archive, asked.search())


@router.get("/review", summary="What is conspicuous in the last days")
def review(request: Request, archive: ArchiveDep, days: Annotated[int, Query(ge=1, le=366)] = 30) -> dict[str, Any]:
    """Failed sign-ins, refusals, many patients within an hour, emergency access."""
    note(request, archive, AuditSearch(), "log reviewed", days=days)
    return asdict(archive.trail.review(days, known_caller(request).rights[Right.AUDIT]))


def read(request: Request, archive: Archive, wanted: AuditSearch, what: str = "audit searched") -> list[AuditEntry]:
    """The records that the caller may read; that they were read is on record. Raises `IndexUnavailable`."""
    found = archive.trail.search(wanted, known_caller(request).rights[Right.AUDIT])
    note(request, archive, wanted, what, records=len(found))
    return found


def exported(request: Request, archive: Archive, wanted: AuditSearch) -> Response:
    """All of them as a file. That they are given is on record before the first is."""
    note(request, archive, wanted, "audit exported")
    entries = archive.trail.all(replace(wanted, before=None), known_caller(request).rights[Right.AUDIT])
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"}
    return stream(_csv(entries), CSV, headers=headers)


def note(request: Request, archive: Archive, wanted: AuditSearch, what: str, **more: Detail) -> None:
    """Put on record that the trail is read. Raises `IndexUnavailable`: then it is not given."""
    detail: dict[str, Detail] = {"what": what, **wanted.told(), **more}
    archive.audit.record(AuditEvent(Action.AUDIT, who(request), patient_id=wanted.patient_id, detail=detail))


def lookup_code(entries: Iterable[AuditEntry], moment: datetime) -> str:
    """What a printed page is known by: made of what it says and of when it was printed."""
    digest = hashlib.sha256(moment.isoformat().encode())
    for entry in entries:
        digest.update(orjson.dumps(shown(entry)))
    text = digest.hexdigest()[:12].upper()
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"


def shown(entry: AuditEntry) -> dict[str, Any]:
    """A record as JSON."""
    return {**asdict(entry), "reference": entry.reference, "foreign": entry.foreign}


def _csv(entries: Iterator[AuditEntry]) -> Generator[bytes, None, None]:
    # A mark by which Excel knows that it is UTF-8.
    yield "\ufeff".encode() + _line(_COLUMNS)
    for entry in entries:
        values = shown(entry)
        values |= {name: entry.detail.get(name, "") for name in ("what", "instances")}
        values["recorded_at"] = entry.recorded_at.astimezone(VIETNAM).isoformat(timespec="seconds")
        yield _line([_cell(values[name]) for name in _COLUMNS])


def _cell(value: Any) -> str:
    text = " ".join(value) if isinstance(value, list) else str(value)
    # A spreadsheet must not take what somebody typed for a formula.
    return "'" + text if text.startswith(_FORMULA) else text


def _line(values: Iterable[str]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(values)
    return buffer.getvalue().encode()
