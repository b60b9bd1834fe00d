"""Performed procedure steps in the database, linked to worklist items and compared with what has arrived.

Each N-CREATE and N-SET is one transaction: the step, the trace of the change and the states of the items that it does
become durable together, before Success is answered.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    column,
    delete,
    func,
    insert,
    select,
    table,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from archive.database import in_transaction
from archive.errors import InvalidUID
from archive.models import CText, Facility
from archive.reading import Reader
from archive.records import EVERYTHING, DicomJSON, Scope
from archive.standard.uids import is_uid
from archive.worklist import performed
from archive.worklist.errors import DuplicateStep, NoSuchStep, StepIsFinal
from archive.worklist.links import link_items, update_items
from archive.worklist.models import PerformedSeries, PerformedStep, PerformedStepChange, PerformedStepItem
from archive.worklist.rows import own_or_nobodys

_COUNTED = table("counted_instance", column("sop_instance_uid", CText), column("facility_id", BigInteger))
"""Instances of which a caller may learn that they have arrived: what they sent, and what came from nobody."""


@dataclass(frozen=True, slots=True)
class StepSource:
    """Who reports a step."""

    facility: str
    calling_ae_title: str
    address: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class StepSearch:
    """What a list of steps is limited to; None and empty mean no limit."""

    first: date | None = None
    last: date | None = None
    state: str = ""
    modality: str = ""
    facility: str = ""
    accession_number: str = ""
    study_instance_uid: str = ""
    item: int | None = None
    """The worklist item that they do."""
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class SeriesArrival:
    """A series that a step names: how many instances it announces, and which of them are not there."""

    series_instance_uid: str
    announced: int
    missing: list[str]


@dataclass(frozen=True, slots=True)
class StepEntry:
    """A performed step as it is kept."""

    sop_instance_uid: str
    facility: str
    state: str
    version: int
    study_instance_uids: list[str]
    calling_ae_title: str
    created_at: datetime
    updated_at: datetime
    attributes: DicomJSON
    items: list[int]
    """The worklist items that it does."""
    series: list[SeriesArrival]

    @property
    def announced(self) -> int:
        return sum(each.announced for each in self.series)

    @property
    def missing(self) -> int:
        """Instances that it announces and that have not arrived."""
        return sum(len(each.missing) for each in self.series)


class Steps:
    """The performed procedure steps of all facilities."""

    def __init__(self, engine: Engine, reader: Reader) -> None:
        self._engine = engine
        self._reader = reader

    def create(self, sop_instance_uid: str, attributes: DicomJSON, source: StepSource) -> str:
        """Take an N-CREATE; give the SOP Instance UID, a new one if none is given (PS3.7 10.1.5.1.4).

        The same request sent again, as long as nothing was set since, is a success without effect: the modality had
        no answer. Raises `InvalidUID`, `MissingAttribute`, `MissingValue`, `InvalidValue`, `DuplicateStep`,
        `IndexUnavailable`.
        """
        uid = sop_instance_uid or f"2.25.{uuid.uuid4().int}"
        if not is_uid(uid):
            raise InvalidUID("the SOP Instance UID of the step is not a UID")
        performed.check_create(attributes)

        def work(connection: Connection) -> None:
            owner = connection.execute(select(Facility.id).where(Facility.code == source.facility)).scalar_one()
            step = _insert(connection, uid, owner, attributes, source)
            if step is None:
                _check_same(connection, uid, owner, performed.digest(attributes))
                return
            _record(connection, step, 1, attributes, attributes, source)
            link_items(connection, step, attributes, source.scope)
            update_items(connection, step)

        in_transaction(self._engine, work)
        return uid

    def set(self, sop_instance_uid: str, given: DicomJSON, source: StepSource) -> list[str]:
        """Take an N-SET; give the keywords of what it may not change and would have.

        The last request sent again is a success without effect. Raises `NoSuchStep`, `StepIsFinal`, `MissingValue`,
        `InvalidValue`, `IndexUnavailable`.
        """

        def work(connection: Connection) -> list[str]:
            mine = select(*PerformedStep.__table__.c).where(PerformedStep.sop_instance_uid == sop_instance_uid)
            found = connection.execute(mine.where(_visible(source.scope)).with_for_update(of=PerformedStep))
            before = found.one_or_none()
            if before is None:
                raise NoSuchStep("no such performed procedure step")
            if before.version > 1 and _digest(connection, before.id, before.version) == performed.digest(given):
                return []
            if before.state in performed.FINAL:
                raise StepIsFinal("Performed Procedure Step Object may no longer be updated")
            after, refused = performed.update(before.attributes, given)
            changed = update(PerformedStep).where(PerformedStep.id == before.id)
            columns = {**asdict(performed.facts(after)), "attributes": after, "version": before.version + 1}
            connection.execute(changed.values(**columns, updated_at=func.clock_timestamp()))
            # Once more, for an order that came in the same moment as the step was begun.
            link_items(connection, before.id, after, source.scope)
            _record(connection, before.id, before.version + 1, given, after, source)
            update_items(connection, before.id)
            return refused

        return in_transaction(self._engine, work)

    def get(self, sop_instance_uid: str, scope: Scope = EVERYTHING) -> StepEntry:
        """One step. Raises `NoSuchStep`, `IndexUnavailable`."""
        rows = self._reader.fetch(scope, _entries(scope).where(PerformedStep.sop_instance_uid == sop_instance_uid))
        if not rows:
            raise NoSuchStep("no such performed procedure step")
        return self._entries(rows, scope)[0]

    def search(self, wanted: StepSearch, scope: Scope = EVERYTHING) -> tuple[list[StepEntry], int]:
        """A page of steps, the newest first, and how many there are in all. Raises `IndexUnavailable`."""
        limits = _conditions(wanted)
        page = (
            _entries(scope)
            .where(*limits)
            .order_by(PerformedStep.start_date.desc(), PerformedStep.start_time.desc(), PerformedStep.id.desc())
        )
        rows = self._reader.fetch(scope, page.limit(wanted.limit).offset(wanted.offset))
        counted = select(func.count()).select_from(PerformedStep).where(_visible(scope), *limits)
        return self._entries(rows, scope), self._reader.fetch(scope, counted)[0][0]

    def missing_of(self, items: list[int], scope: Scope = EVERYTHING) -> dict[int, int]:
        """Of each of these worklist items, how many announced instances have not arrived. Raises `IndexUnavailable`."""
        if not items:
            return {}
        links = select(PerformedStepItem.step_id, PerformedStepItem.item_id)
        rows = self._reader.fetch(scope, links.where(PerformedStepItem.item_id.in_(items)))
        arrivals = self._arrivals(list({row.step_id for row in rows}), scope)
        found: dict[int, int] = {}
        for row in rows:
            lost = sum(len(each.missing) for each in arrivals.get(row.step_id, ()))
            found[row.item_id] = found.get(row.item_id, 0) + lost
        return found

    def _entries(self, rows: Any, scope: Scope) -> list[StepEntry]:
        series = self._arrivals([row.id for row in rows], scope)
        return [
            StepEntry(
                sop_instance_uid=row.sop_instance_uid,
                facility=row.code,
                state=row.state,
                version=row.version,
                study_instance_uids=row.study_instance_uids,
                calling_ae_title=row.calling_ae_title,
                created_at=row.created_at,
                updated_at=row.updated_at,
                attributes=row.attributes,
                items=list(row.items),
                series=series.get(row.id, []),
            )
            for row in rows
        ]

    def _arrivals(self, steps: list[int], scope: Scope) -> dict[int, list[SeriesArrival]]:
        """What each of the steps announces, and what of it is not there."""
        uid = func.unnest(PerformedSeries.sop_instance_uids).column_valued("uid")
        # A step can name any instance; whether others have sent it is not told.
        there = (
            select(1)
            .select_from(_COUNTED)
            .where(
                _COUNTED.c.sop_instance_uid == uid, own_or_nobodys(_COUNTED.c.facility_id, PerformedStep.facility_id)
            )
        )
        missing = func.array(select(uid).where(~there.exists()).scalar_subquery())
        statement = (
            select(
                PerformedSeries.step_id,
                PerformedSeries.series_instance_uid,
                func.cardinality(PerformedSeries.sop_instance_uids).label("announced"),
                missing.label("missing"),
            )
            .join(PerformedStep, PerformedStep.id == PerformedSeries.step_id)
            .where(PerformedSeries.step_id.in_(steps))
            .order_by(PerformedSeries.id)
        )
        found: dict[int, list[SeriesArrival]] = {}
        for row in self._reader.fetch(scope, statement) if steps else ():
            arrival = SeriesArrival(row.series_instance_uid, row.announced, list(row.missing))
            found.setdefault(row.step_id, []).append(arrival)
        return found


def _insert(connection: Connection, uid: str, owner: int, attributes: DicomJSON, source: StepSource) -> int | None:
    """Add the step; None if the UID is taken."""
    columns = {
        **asdict(performed.facts(attributes)),
        "sop_instance_uid": uid,
        "facility_id": owner,
        "attributes": attributes,
        "calling_ae_title": source.calling_ae_title,
        "address": source.address,
    }
    statement = upsert(PerformedStep).values(**columns).on_conflict_do_nothing().returning(PerformedStep.id)
    return connection.execute(statement).scalar()


def _check_same(connection: Connection, uid: str, owner: int, digest: bytes) -> None:
    """Raise `DuplicateStep` unless the request that made the step is sent again."""
    columns = (PerformedStep.id, PerformedStep.version, PerformedStep.facility_id)
    row = connection.execute(select(*columns).where(PerformedStep.sop_instance_uid == uid)).one()
    if row.facility_id != owner or row.version != 1 or _digest(connection, row.id, 1) != digest:
        raise DuplicateStep("a performed procedure step with this SOP Instance UID exists")


def _digest(connection: Connection, step: int, version: int) -> bytes:
    change = PerformedStepChange
    found: bytes = connection.execute(
        select(change.digest).where(change.step_id == step, change.version == version)
    ).scalar_one()
    return found


def _record(
    connection: Connection, step: int, version: int, given: DicomJSON, after: DicomJSON, source: StepSource
) -> None:
    """Keep what was sent, and the series as they are now."""
    connection.execute(
        insert(PerformedStepChange).values(
            step_id=step,
            version=version,
            calling_ae_title=source.calling_ae_title,
            address=source.address,
            attributes=given,
            digest=performed.digest(given),
        )
    )
    connection.execute(delete(PerformedSeries).where(PerformedSeries.step_id == step))
    rows = [
        {"step_id": step, "series_instance_uid": uid, "sop_instance_uids": instances}
        for uid, instances in performed.series(after).items()
    ]
    if rows:
        connection.execute(insert(PerformedSeries), rows)


def _visible(scope: Scope) -> ColumnElement[bool]:
    if scope.facilities is None:
        return PerformedStep.facility_id.is_not(None)
    return PerformedStep.facility_id.in_(select(Facility.id).where(Facility.code.in_(sorted(scope.facilities))))


def _entries(scope: Scope) -> Select[Any]:
    items = select(PerformedStepItem.item_id).where(PerformedStepItem.step_id == PerformedStep.id)
    return (
        select(
            *PerformedStep.__table__.c,
            Facility.code,
            func.array(items.order_by(PerformedStepItem.item_id).scalar_subquery()).label("items"),
        )
        .join(Facility, Facility.id == PerformedStep.facility_id)
        .where(_visible(scope))
    )


def _conditions(wanted: StepSearch) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for compared, value in (
        (PerformedStep.state, wanted.state),
        (PerformedStep.modality, wanted.modality),
        (PerformedStep.accession_number, wanted.accession_number),
    ):
        if value:
            found.append(compared == value)
    if wanted.first is not None:
        found.append(PerformedStep.start_date >= wanted.first)
    if wanted.last is not None:
        found.append(PerformedStep.start_date <= wanted.last)
    if wanted.facility:
        found.append(PerformedStep.facility_id.in_(select(Facility.id).where(Facility.code == wanted.facility)))
    if wanted.study_instance_uid:
        found.append(PerformedStep.study_instance_uids.contains([wanted.study_instance_uid]))
    if wanted.item is not None:
        mine = select(PerformedStepItem.step_id).where(PerformedStepItem.item_id == wanted.item)
        found.append(PerformedStep.id.in_(mine))
    return found
