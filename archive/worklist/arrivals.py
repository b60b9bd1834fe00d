"""Worklist items and what arrives: which item an object belongs to, and items that nobody closes.

Many modalities know no MPPS; their images are then all that tells that a step was done.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, and_, delete, func, or_, select

from archive.database import fetch, in_transaction
from archive.models import Patient, Study
from archive.records import Scope
from archive.worklist.models import PerformedStepItem
from archive.worklist.models import WorklistItem as Item
from archive.worklist.rows import WorklistEntry, entries, entry, for_station, set_status
from config import clock
from config.services import WorklistSettings

_AT_ONCE: Final = 1000
"""Items that one transaction closes or deletes."""


def item_of(
    engine: Engine,
    facility: str,
    *,
    study_instance_uid: str,
    patient_id: str,
    modality: str,
    station: str,
    study_date: date | None,
) -> WorklistEntry | None:
    """See `archive.worklist.items.Items.item_of`."""
    mine = entries(Scope(frozenset({facility}))).where(Item.status != "CANCELLED")
    by_study = mine.where(Item.study_instance_uid == study_instance_uid)
    rows = fetch(engine, by_study.order_by((Item.modality == modality).desc(), Item.id).limit(1))
    if rows or not (patient_id and modality and study_date is not None):
        return entry(rows[0]) if rows else None
    guess = mine.where(
        Item.patient_id == patient_id, Item.modality == modality, Item.start_date == study_date, for_station(station)
    )
    rows = fetch(engine, guess.order_by(Item.id).limit(_AT_ONCE))
    orders = {(row.accession_number, row.requested_procedure_id) for row in rows}
    return entry(rows[0]) if len(orders) == 1 else None


def close_by_images(engine: Engine, settings: WorklistSettings) -> int:
    """Complete items whose images are all in, as far as can be told, and which no MPPS tells about; give their number.

    That is so when the images of the item's modality in its study, or in a study of its accession number and patient,
    have been there for `close_after_images` seconds without a new one.
    """
    if not settings.close_by_images:
        return 0
    of_order = and_(
        Item.accession_number != "",
        Study.accession_number == Item.accession_number,
        Study.facility_id == Item.facility_id,
        select(1).where(Patient.id == Study.patient_id, Patient.patient_id == Item.patient_id).exists(),
    )
    quiet = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, settings.close_after_images)
    arrived = select(1).where(
        or_(Study.study_instance_uid == Item.study_instance_uid, of_order),
        Study.instance_count > 0,
        Item.modality == func.any(Study.modalities_in_study),
        Study.updated_at < quiet,
    )
    told = select(1).where(PerformedStepItem.item_id == Item.id)
    done = (
        select(Item.id)
        .where(Item.status.in_(("SCHEDULED", "ARRIVED", "READY")), arrived.exists(), ~told.exists())
        .order_by(Item.id)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True, of=Item)
    )

    def work(connection: Connection) -> int:
        found = list(connection.execute(done).scalars())
        set_status(connection, found, "COMPLETED", "images")
        return len(found)

    return in_transaction(engine, work)


def delete_old(engine: Engine, settings: WorklistSettings) -> int:
    """Delete items that were due more than `keep_days` days ago; give their number."""
    if not settings.keep_days:
        return 0
    horizon = clock.today() - timedelta(days=settings.keep_days)
    old = select(Item.id).where(Item.start_date < horizon).limit(_AT_ONCE).with_for_update(skip_locked=True)

    def work(connection: Connection) -> int:
        return connection.execute(delete(Item).where(Item.id.in_(old.scalar_subquery()))).rowcount

    total = 0
    while deleted := in_transaction(engine, work):
        total += deleted
    return total
