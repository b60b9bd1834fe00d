"""Rows of worklist items, as everything that reads or changes them shares it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    column,
    func,
    or_,
    select,
    table,
    true,
    update,
)

from archive.models import CText, Facility
from archive.records import DicomJSON, Scope
from archive.worklist import matching
from archive.worklist.attributes import STEP_ATTRIBUTE
from archive.worklist.models import WorklistItem as Item
from archive.worklist.order import FACILITY, STATUS, flat
from config.peers import UNKNOWN_FACILITY

_COUNTED = table(
    "counted_study",
    column("study_instance_uid", CText),
    column("facility_id", BigInteger),
    column("instance_count", BigInteger),
)
"""Studies of which a caller may learn how many images there are: their own, and those of nobody (row security)."""


@dataclass(frozen=True, slots=True)
class WorklistEntry:
    """An item as it is kept. `attributes` are as a modality gets them, with the status."""

    id: int
    facility: str
    status: str
    closed_by: str | None
    source: str
    version: int
    study_instance_uid: str
    created_at: datetime
    updated_at: datetime
    attributes: DicomJSON
    image_count: int = 0
    """Instances of its study that have arrived."""

    def order(self) -> dict[str, Any]:
        """What `Items.put` takes, by DICOM keywords."""
        return {FACILITY: self.facility, **flat(self.attributes), STATUS: self.status}


def owned(scope: Scope) -> ColumnElement[bool]:
    if scope.facilities is None:
        return true()
    return Item.facility_id.in_(select(Facility.id).where(Facility.code.in_(sorted(scope.facilities))))


def own_or_nobodys(owner: Any, facility: Any) -> ColumnElement[bool]:
    """What a facility sent, and what came without saying from which."""
    nobody = select(Facility.id).where(Facility.code == UNKNOWN_FACILITY.code).scalar_subquery()
    return or_(owner == facility, owner == nobody)


def for_station(station: str) -> ColumnElement[bool]:
    """Items for this station, and those for any."""
    return or_(func.cardinality(Item.station_ae_titles) == 0, Item.station_ae_titles.contains([station]))


def entries(scope: Scope) -> Select[Any]:
    images = select(func.coalesce(func.sum(_COUNTED.c.instance_count), 0)).where(
        _COUNTED.c.study_instance_uid == Item.study_instance_uid,
        # An order can name any study; what others have of it is not told.
        own_or_nobodys(_COUNTED.c.facility_id, Item.facility_id),
    )
    return (
        select(*Item.__table__.c, Facility.code, images.scalar_subquery().label("image_count"))
        .join(Facility, Facility.id == Item.facility_id)
        .where(owned(scope))
    )


def entry(row: Row[Any]) -> WorklistEntry:
    return WorklistEntry(
        id=row.id,
        facility=row.code,
        status=row.status,
        closed_by=row.closed_by,
        source=row.source,
        version=row.version,
        study_instance_uid=row.study_instance_uid,
        created_at=row.created_at,
        updated_at=row.updated_at,
        attributes=shown(row.attributes, row.status),
        image_count=int(row.image_count),
    )


def shown(attributes: DicomJSON, status: str, station: str = "") -> DicomJSON:
    """The attributes with the status, and with a station where one is to stand in for any."""
    [step] = attributes[STEP_ATTRIBUTE.key]["Value"]
    step = {**step, f"{matching.STATUS:08X}": {"vr": "CS", "Value": [status]}}
    if station:
        step.setdefault(f"{matching.STATION:08X}", {"vr": "AE", "Value": [station]})
    return {**attributes, STEP_ATTRIBUTE.key: {"vr": "SQ", "Value": [step]}}


def set_status(connection: Connection, identifiers: Sequence[int], status: str, closed_by: str | None) -> None:
    if identifiers:
        changed = update(Item).where(Item.id.in_(identifiers))
        connection.execute(
            changed.values(
                status=status, closed_by=closed_by, version=Item.version + 1, updated_at=func.clock_timestamp()
            )
        )
