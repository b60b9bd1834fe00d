"""Which worklist items a performed step does, and what becomes of them (PS3.4 F.7.2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from archive.models import Facility
from archive.records import DicomJSON, Scope
from archive.worklist.models import PerformedStep, PerformedStepItem
from archive.worklist.models import WorklistItem as Item
from archive.worklist.performed import IN_PROGRESS, Facts, ScheduledStep, facts, scheduled_steps
from archive.worklist.rows import owned, set_status
from config import clock

_LATEST_ORDER: Final = 30
"""Days after the beginning of a step in which its order may still come."""


def link_items(connection: Connection, step: int, attributes: DicomJSON, scope: Scope) -> None:
    """Link a step that has no items yet to those that it says it does; an unscheduled one to none."""
    if connection.execute(select(PerformedStepItem.item_id).where(PerformedStepItem.step_id == step).limit(1)).all():
        return
    found: set[int] = set()
    for each in scheduled_steps(attributes):
        found.update(_items(connection, each, facts(attributes), scope))
    _link(connection, [(step, item) for item in sorted(found)])


def link_steps(connection: Connection, item: int) -> None:
    """Link a new item to the steps that were begun before its order came, as in an emergency."""
    row = connection.execute(select(*Item.__table__.c, Facility.code).join(Facility).where(Item.id == item)).one()
    taken = select(1).where(PerformedStepItem.step_id == PerformedStep.id)
    begun = (
        select(PerformedStep.id)
        .where(
            PerformedStep.facility_id == row.facility_id,
            PerformedStep.start_date >= clock.today() - timedelta(days=_LATEST_ORDER),
            PerformedStep.modality == row.modality,
            or_(
                PerformedStep.study_instance_uids.contains([row.study_instance_uid]),
                and_(
                    PerformedStep.accession_number != "",
                    PerformedStep.accession_number == row.accession_number,
                    PerformedStep.patient_id == row.patient_id,
                ),
            ),
            ~taken.exists(),
        )
        .order_by(PerformedStep.id)
    )
    steps = connection.execute(begun).scalars().all()
    _link(connection, [(step, item) for step in steps])
    for step in steps:
        update_items(connection, step)


def update_items(connection: Connection, step: int) -> None:
    """Give the items of a step the status that all of their steps make.

    Begun while any is in progress; else completed if any was completed; else discontinued, to be scheduled anew.
    """
    mine = select(PerformedStepItem.item_id).where(PerformedStepItem.step_id == step)
    # Locked in one order, so that two steps of the same items wait for each other and neither for ever.
    rows = connection.execute(select(Item.id, Item.status).where(Item.id.in_(mine)).order_by(Item.id).with_for_update())
    for item in rows.all():
        steps = select(PerformedStepItem.step_id).where(PerformedStepItem.item_id == item.id)
        states = set(connection.execute(select(PerformedStep.state).where(PerformedStep.id.in_(steps))).scalars())
        ended = "COMPLETED" if "COMPLETED" in states else "DISCONTINUED"
        status = "STARTED" if IN_PROGRESS in states else ended
        if status != item.status:
            set_status(connection, [item.id], status, None if status == "STARTED" else "mpps")


def _items(connection: Connection, said: ScheduledStep, of: Facts, scope: Scope) -> list[int]:
    """The items that one item of the Scheduled Step Attributes Sequence means: the first of these ways that finds any.

    By study and step ID; by study and modality; by accession number, patient, and step ID or modality.
    """
    of_study = Item.study_instance_uid == said.study_instance_uid
    of_order = and_(Item.accession_number == said.accession_number, Item.patient_id == of.patient_id)
    of_step = Item.scheduled_procedure_step_id == said.scheduled_procedure_step_id
    of_modality = Item.modality == of.modality
    ways = [and_(of_study, of_step)] if said.scheduled_procedure_step_id else []
    ways.append(and_(of_study, of_modality))
    if said.accession_number:
        if said.scheduled_procedure_step_id:
            ways.append(and_(of_order, of_step))
        ways.append(and_(of_order, of_modality))
    mine: Select[Any] = select(Item.id).where(owned(scope))
    for way in ways:
        found = list(connection.execute(mine.where(way)).scalars())
        if found:
            return found
    return []


def _link(connection: Connection, pairs: Sequence[tuple[int, int]]) -> None:
    if pairs:
        rows = [{"step_id": step, "item_id": item} for step, item in pairs]
        connection.execute(upsert(PerformedStepItem).on_conflict_do_nothing(), rows)
