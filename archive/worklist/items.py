"""Worklist items in the database: put in by programs, asked for by modalities, found for what arrives.

Whatever changes an item is one transaction, and its version counts up; the same order sent again changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from archive.database import Stop, in_transaction
from archive.errors import Conflict, InvalidItem, NotFound, Outdated
from archive.models import Facility
from archive.reading import Reader
from archive.records import EVERYTHING, DicomJSON, Scope
from archive.worklist import matching
from archive.worklist.arrivals import close_by_images, delete_old, item_of
from archive.worklist.links import link_steps
from archive.worklist.listing import ItemSearch, conditions, query
from archive.worklist.models import WorklistItem as Item
from archive.worklist.order import CLOSED, FACILITY, OPEN, Order, OrderKey, flat, read_key, read_order, read_status
from archive.worklist.rows import WorklistEntry, entries, entry, owned, set_status
from config import clock
from config.peers import PeerBook
from config.services import WorklistSettings

_LOCKS: Final = 0x574C
"""Class of the advisory locks on orders."""


class Items:
    """The worklist of all facilities."""

    def __init__(self, engine: Engine, reader: Reader, peers: PeerBook, settings: WorklistSettings) -> None:
        self._engine = engine
        self._reader = reader
        self._peers = peers
        self._settings = settings

    # -- by programs -------------------------------------------------------------------------------------------------

    def put(self, given: Mapping[str, Any], *, source: str) -> tuple[WorklistEntry, bool]:
        """Add an order, or bring the same one up to date; give it and whether it is new.

        The same order is the one of this facility with the same AccessionNumber, RequestedProcedureID and
        ScheduledProcedureStepID. Raises `InvalidItem`, `Conflict`, `IndexUnavailable`.
        """
        identifier, new = in_transaction(self._engine, lambda connection: self.put_in(connection, given, source=source))
        return self.get(identifier), new

    def put_in(
        self, connection: Connection, given: Mapping[str, Any], *, source: str, partly: bool = False
    ) -> tuple[int, bool]:
        """The same in a transaction of the caller; gives the number of the item and whether it is new.

        Where `partly`, fields that are not given stay as they are.
        """
        facility = self._facility(given)
        key = read_key(given)
        owner = _facility_id(connection, facility)
        _lock(connection, owner, key)
        found = connection.execute(
            select(*Item.__table__.c).where(Item.facility_id == owner, *_same(key)).with_for_update()
        )
        before = found.one_or_none()
        if partly and before is not None:
            given = {**flat(before.attributes), **given}
        order = read_order(_completed(connection, owner, key, given, before), self._issuer(facility))
        status = read_status(given)
        if before is None:
            made = _insert(connection, owner, order, status or "SCHEDULED", source)
            link_steps(connection, made)
            return made, True
        if before.status not in ("SCHEDULED", "ARRIVED", "CANCELLED") and before.patient_id != order.patient_id:
            raise Conflict("PatientID: this order was begun for another patient; a new one needs a new number")
        _update(connection, before, order, status or before.status)
        return before.id, False

    def change(
        self, identifier: int, given: Mapping[str, Any], *, partly: bool, version: int | None = None
    ) -> WorklistEntry:
        """Replace an item, or where `partly` only the fields that are given (null takes one away, RFC 7396).

        Raises `InvalidItem`, `NotFound`, `Outdated` when it no longer has that version, `Conflict`.
        """

        def work(connection: Connection) -> None:
            before = _locked(connection, identifier, version)
            code = connection.execute(select(Facility.code).where(Facility.id == before.facility_id)).scalar_one()
            old = {FACILITY: code, **flat(before.attributes)}
            new = {**old, **given} if partly else {**_kept(old), **given}
            if self._facility(new) != code:
                raise InvalidItem.of({FACILITY: "cannot be changed"})
            order = read_order(new, self._issuer(code))
            _update(connection, before, order, read_status(given) or before.status)

        try:
            in_transaction(self._engine, work)
        except IntegrityError as error:
            raise Conflict("another item has this AccessionNumber, RequestedProcedureID and step ID") from error
        return self.get(identifier)

    def change_patient(
        self,
        connection: Connection,
        facility: str,
        patient_id: str,
        given: Mapping[str, Any],
        removed: Collection[str] = (),
    ) -> list[int]:
        """Write this of a patient into the items of a facility that are not over, in a transaction of the caller.

        Gives the numbers of the items. Raises `InvalidItem`.
        """
        mine = (Item.facility_id == _facility_id(connection, facility), Item.patient_id == patient_id)
        wanted = select(*Item.__table__.c).where(*mine, Item.status.in_(OPEN)).order_by(Item.id).with_for_update()
        found = connection.execute(wanted).all()
        for before in found:
            kept = {name: value for name, value in flat(before.attributes).items() if name not in removed}
            _update(connection, before, read_order({**kept, **given}, self._issuer(facility)), before.status)
        return [row.id for row in found]

    def cancel(self, identifier: int, *, version: int | None = None) -> WorklistEntry:
        """Take an item off the list; it stays findable. Raises `NotFound`, `Outdated`, `Conflict` if it was begun."""

        def work(connection: Connection) -> None:
            before = _locked(connection, identifier, version)
            if before.status in ("STARTED", "COMPLETED"):
                raise Conflict(f"the step is {before.status} and cannot be cancelled")
            if before.status != "CANCELLED":
                set_status(connection, [before.id], "CANCELLED", "api")

        in_transaction(self._engine, work)
        return self.get(identifier)

    def get(self, identifier: int, scope: Scope = EVERYTHING) -> WorklistEntry:
        """One item. Raises `NotFound`, `IndexUnavailable`."""
        wanted = entries(scope).where(Item.id == identifier)
        rows = self._reader.fetch(scope, wanted) if identifier < 1 << 63 else []
        if not rows:
            raise NotFound("no such worklist item")
        return entry(rows[0])

    def search(self, wanted: ItemSearch, scope: Scope = EVERYTHING) -> tuple[list[WorklistEntry], int]:
        """A page of items in order of their start, and how many there are in all. Raises `IndexUnavailable`."""
        limits = conditions(wanted)
        page = entries(scope).where(*limits).order_by(Item.start_date, Item.start_time, Item.id)
        rows = self._reader.fetch(scope, page.limit(wanted.limit).offset(wanted.offset))
        counted = select(func.count()).select_from(Item).where(owned(scope), *limits)
        return [entry(row) for row in rows], self._reader.fetch(scope, counted)[0][0]

    def counts(self, wanted: ItemSearch, scope: Scope = EVERYTHING) -> dict[str, int]:
        """How many items of each status a search finds, whatever status it asks for. Raises `IndexUnavailable`."""
        limits = conditions(replace(wanted, statuses=()))
        counted = select(Item.status, func.count()).where(owned(scope), *limits).group_by(Item.status)
        return dict(tuple(row) for row in self._reader.fetch(scope, counted))

    # -- by modalities -----------------------------------------------------------------------------------------------

    def query(
        self,
        asked: matching.Keys,
        scope: Scope,
        *,
        station: str,
        own_station_only: bool,
        cap: int,
        stop: Stop | None = None,
    ) -> Iterator[DicomJSON]:
        """The answers to a worklist query, in order of start (PS3.4 K.4.1.1).

        `station` is the AE title that asks; it stands in for the station of items that are for any. `stop` is asked
        during long work whether to give up, which raises `Withdrawn`. Raises `TooManyMatches` behind the last that may
        be given, `InvalidQuery`, `IndexUnavailable`.
        """
        return query(
            self._reader,
            self._settings,
            asked,
            scope,
            station=station,
            own_station_only=own_station_only,
            cap=cap,
            stop=stop,
        )

    # -- by what arrives ---------------------------------------------------------------------------------------------

    def item_of(
        self,
        facility: str,
        *,
        study_instance_uid: str,
        patient_id: str = "",
        modality: str = "",
        station: str = "",
        study_date: date | None = None,
    ) -> WorklistEntry | None:
        """The item that an arriving object belongs to, None if there is none or it cannot be told.

        By its StudyInstanceUID; else by patient, modality, date and station, where all items that fit are of one
        order. Cancelled items do not count. Raises `IndexUnavailable`.
        """
        return item_of(
            self._engine,
            facility,
            study_instance_uid=study_instance_uid,
            patient_id=patient_id,
            modality=modality,
            station=station,
            study_date=study_date,
        )

    def close_by_images(self) -> int:
        """Complete items whose images are in; see `archive.worklist.arrivals`. Gives their number."""
        return close_by_images(self._engine, self._settings)

    def delete_old(self) -> int:
        """Delete items that were due long ago; see `archive.worklist.arrivals`. Gives their number."""
        return delete_old(self._engine, self._settings)

    # -- parts -------------------------------------------------------------------------------------------------------

    def _facility(self, given: Mapping[str, Any]) -> str:
        code = given.get(FACILITY)
        if not isinstance(code, str) or not code:
            raise InvalidItem.of({FACILITY: "is missing: the code of the hospital"})
        if code not in self._peers.facilities:
            raise InvalidItem.of({FACILITY: "is not a facility of this archive"})
        return code

    def _issuer(self, facility: str) -> str:
        return self._peers.facility(facility).issuer


def _facility_id(connection: Connection, code: str) -> int:
    found: int = connection.execute(select(Facility.id).where(Facility.code == code)).scalar_one()
    return found


def _lock(connection: Connection, owner: int, key: OrderKey) -> None:
    """One at a time for each requested procedure, so that its steps get one study."""
    name = f"{owner}\x1f{key.accession_number}\x1f{key.requested_procedure_id}"
    connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, func.hashtext(name))))


def _same(key: OrderKey) -> tuple[ColumnElement[bool], ...]:
    return (
        Item.accession_number == key.accession_number,
        Item.requested_procedure_id == key.requested_procedure_id,
        Item.scheduled_procedure_step_id == key.scheduled_procedure_step_id,
    )


def _completed(
    connection: Connection, owner: int, key: OrderKey, given: Mapping[str, Any], before: Row[Any] | None
) -> dict[str, Any]:
    """The order with what it leaves to us: its study and when it is due; both stay as they were."""
    found = dict(given)
    if not found.get("StudyInstanceUID"):
        found["StudyInstanceUID"] = _study_of(connection, owner, key)
    if not found.get("ScheduledProcedureStepStartDate"):
        start = datetime.combine(before.start_date, before.start_time) if before is not None else clock.now()
        found["ScheduledProcedureStepStartDate"] = f"{start:%Y%m%d}"
        if not found.get("ScheduledProcedureStepStartTime"):
            found["ScheduledProcedureStepStartTime"] = f"{start:%H%M%S}"
    return found


def _study_of(connection: Connection, owner: int, key: OrderKey) -> str:
    """The study of the requested procedure, which all its steps share; a new UID for a new one (PS3.5 B.2)."""
    mine = select(Item.study_instance_uid).where(
        Item.facility_id == owner,
        Item.accession_number == key.accession_number,
        Item.requested_procedure_id == key.requested_procedure_id,
    )
    same_step = (Item.scheduled_procedure_step_id == key.scheduled_procedure_step_id).desc()
    found = connection.execute(mine.order_by(same_step, Item.id).limit(1)).scalar()
    return found or f"2.25.{uuid.uuid4().int}"


def _kept(old: Mapping[str, Any]) -> dict[str, Any]:
    """What a replacement keeps of the item unless it says otherwise: what names it, and where it belongs."""
    names = (FACILITY, "AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID", "StudyInstanceUID")
    start = ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime")
    return {name: old[name] for name in (*names, *start) if name in old}


def _columns(order: Order) -> dict[str, Any]:
    return {
        "accession_number": order.key.accession_number,
        "requested_procedure_id": order.key.requested_procedure_id,
        "scheduled_procedure_step_id": order.key.scheduled_procedure_step_id,
        "study_instance_uid": order.study_instance_uid,
        "patient_id": order.patient_id,
        "issuer": order.issuer,
        "name": order.name,
        "name_fold": order.name_fold,
        "birth_date": order.birth_date,
        "sex": order.sex,
        "modality": order.modality,
        "station_ae_titles": order.station_ae_titles,
        "start_date": order.start_date,
        "start_time": order.start_time,
        "attributes": order.attributes,
    }


def _insert(connection: Connection, owner: int, order: Order, status: str, source: str) -> int:
    columns = _columns(order) | {"facility_id": owner, "status": status, "source": source}
    if status in CLOSED:
        columns["closed_by"] = "api"
    made: int = connection.execute(insert(Item).values(**columns).returning(Item.id)).scalar_one()
    return made


def _update(connection: Connection, before: Row[Any], order: Order, status: str) -> None:
    columns = _columns(order) | {"status": status}
    if status != before.status:
        columns["closed_by"] = "api" if status in CLOSED else None
    if all(getattr(before, name) == value for name, value in columns.items()):
        return
    changed = update(Item).where(Item.id == before.id)
    connection.execute(changed.values(version=Item.version + 1, updated_at=func.clock_timestamp(), **columns))


def _locked(connection: Connection, identifier: int, version: int | None) -> Row[Any]:
    row = None
    if identifier < 1 << 63:
        row = connection.execute(select(*Item.__table__.c).where(Item.id == identifier).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("no such worklist item")
    if version is not None and row.version != version:
        raise Outdated(f"the item has version {row.version} by now")
    return row
