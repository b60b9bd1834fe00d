"""Reads the audit trail: who did what, to whom, when, from where.

Whoever may ask for some facilities gets what was done to the studies of these, by anybody, and what their own people
did; of the latter, what concerns patients of others only without the patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, and_, literal, or_, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY

from archive.audit.models import AuditRecord
from archive.audit.review import Review, review
from archive.database import fetch
from archive.models import CText, Patient, Study
from archive.people.caller import Where
from config.audit import AuditSettings

MOST: Final = 1000
_LISTS: Final = ARRAY(CText)


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """What to look for; what is empty does not matter. All that is given must fit."""

    patient_id: str = ""
    study: str = ""
    """Study Instance UID."""
    accession_number: str = ""
    name: str = ""
    """Sign-in name or AE title, or the beginning of one and ``*``."""
    address: str = ""
    actions: tuple[str, ...] = ()
    outcome: str = ""
    first: datetime | None = None
    last: datetime | None = None
    """Before that."""
    lookup: str = ""
    """The code on a printed page."""
    before: tuple[datetime, int, int] | None = None
    """Go on behind this one: moment, segment and number."""
    limit: int = 200

    def told(self) -> dict[str, str | int | list[str]]:
        """The same for the record that tells of the search."""
        texts = {name: getattr(self, name) for name in ("study", "accession_number", "name", "address", "outcome")}
        moments = {name: getattr(self, name) for name in ("first", "last")}
        found: dict[str, str | int | list[str]] = {name: value for name, value in texts.items() if value}
        found |= {name: value.isoformat() for name, value in moments.items() if value is not None}
        return found | ({"actions": list(self.actions)} if self.actions else {})


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A record, as it is shown."""

    segment: int
    number: int
    recorded_at: datetime
    action: str
    outcome: str
    kind: str
    name: str
    address: str
    home: list[str]
    studies: list[str]
    owners: list[str]
    patient_id: str
    purpose: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """By which the record is called when people talk about it."""
        return f"{self.segment}-{self.number}"

    @property
    def foreign(self) -> bool:
        """Whether it was done by somebody of another facility than the one that owns the study."""
        return bool(self.owners) and bool(self.home) and not set(self.home) & set(self.owners)


_COLUMNS: Final = (
    AuditRecord.segment_id,
    AuditRecord.sequence,
    AuditRecord.recorded_at,
    AuditRecord.action,
    AuditRecord.outcome,
    AuditRecord.kind,
    AuditRecord.name,
    AuditRecord.address,
    AuditRecord.home,
    AuditRecord.studies,
    AuditRecord.owners,
    AuditRecord.patient_id,
    AuditRecord.purpose,
    AuditRecord.detail,
)
_PLACE: Final = (AuditRecord.recorded_at, AuditRecord.segment_id, AuditRecord.sequence)


class AuditReader:
    """Answers questions about the trail. Who asks is put on record by the caller of these."""

    def __init__(self, engine: Engine, settings: AuditSettings) -> None:
        self._engine = engine
        self._settings = settings

    def review(self, days: int, facilities: Where = None) -> Review:
        """What is conspicuous in the last days. Raises `IndexUnavailable`."""
        return review(self._engine, self._settings, days, facilities)

    def search(self, wanted: AuditSearch, facilities: Where = None) -> list[AuditEntry]:
        """The records that fit, the latest first. Raises `IndexUnavailable`, `InvalidQuery`."""
        conditions = [*self._conditions(wanted), *within(facilities)]
        statement = select(*_COLUMNS).where(*conditions).order_by(*(column.desc() for column in _PLACE))
        rows = fetch(self._engine, statement.limit(min(wanted.limit, MOST)))
        return [_shown(AuditEntry(*list[Any](row)), facilities) for row in rows]

    def all(self, wanted: AuditSearch, facilities: Where = None) -> Iterator[AuditEntry]:
        """All records that fit, page by page; see `search`."""
        while page := self.search(replace(wanted, limit=MOST), facilities):
            yield from page
            last = page[-1]
            wanted = replace(wanted, before=(last.recorded_at, last.segment, last.number))

    def _conditions(self, wanted: AuditSearch) -> Iterator[ColumnElement[bool]]:
        if wanted.patient_id:
            of_patient = select(Study.study_instance_uid).join(Patient, Study.patient_id == Patient.id)
            uids = self._uids(of_patient.where(Patient.patient_id == wanted.patient_id))
            yield or_(AuditRecord.patient_id == wanted.patient_id, _about(uids))
        if wanted.study:
            yield _about([wanted.study])
        if wanted.accession_number:
            of_order = select(Study.study_instance_uid).where(Study.accession_number == wanted.accession_number)
            yield _about(self._uids(of_order))
        if wanted.name:
            yield _named(wanted.name)
        if wanted.address:
            yield AuditRecord.address == wanted.address
        if wanted.actions:
            yield AuditRecord.action.in_(wanted.actions)
        if wanted.outcome:
            yield AuditRecord.outcome == wanted.outcome
        if wanted.lookup:
            yield and_(AuditRecord.action == "audit", AuditRecord.detail["lookup"].astext == wanted.lookup)
        yield from _period(wanted)

    def _uids(self, statement: Any) -> list[str]:
        return [str(uid) for (uid,) in fetch(self._engine, statement)]


def _period(wanted: AuditSearch) -> Iterator[ColumnElement[bool]]:
    if wanted.first is not None:
        yield AuditRecord.recorded_at >= wanted.first.astimezone(UTC)
    if wanted.last is not None:
        yield AuditRecord.recorded_at < wanted.last.astimezone(UTC)
    if wanted.before is not None:
        yield tuple_(*_PLACE) < tuple_(*(literal(value) for value in wanted.before))


def _named(name: str) -> ColumnElement[bool]:
    if name.endswith("*"):
        return AuditRecord.name.startswith(name.rstrip("*"), autoescape=True)
    return AuditRecord.name == name


def _about(uids: Sequence[str]) -> ColumnElement[bool]:
    return _overlap(AuditRecord.studies, uids)


def _overlap(column: Any, values: Sequence[str]) -> ColumnElement[bool]:
    found: ColumnElement[bool] = column.op("&&")(literal(list(values), _LISTS))
    return found


def within(facilities: Where) -> Iterator[ColumnElement[bool]]:
    """What whoever may ask for these facilities may read."""
    if facilities is not None:
        codes = sorted(facilities)
        yield or_(_overlap(AuditRecord.owners, codes), _overlap(AuditRecord.home, codes))


def _shown(entry: AuditEntry, facilities: Where) -> AuditEntry:
    if facilities is None or not (entry.studies or entry.patient_id) or set(entry.owners) & facilities:
        return entry
    return replace(entry, patient_id="", studies=[], detail={"what": str(entry.detail.get("what", ""))})
