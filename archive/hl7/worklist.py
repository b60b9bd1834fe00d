"""Changes of the worklist that messages ask for, each within the transaction that notes the message as done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from archive.errors import Conflict, InvalidItem
from archive.hl7.faults import DATA_TYPE, INTERNAL, LOCKED, NOWHERE, UNKNOWN_KEY, Fault, Location, Refused, refuse
from archive.hl7.models import HL7Order
from archive.hl7.orders import OrderChange
from archive.models import Facility
from archive.worklist.attributes import FLAT
from archive.worklist.items import Items
from archive.worklist.models import WorklistItem as Item
from archive.worklist.order import CLOSED, FACILITY, STATUS
from archive.worklist.rows import set_status
from archive.worklist.values import Bad, dicom_element
from config.hl7 import HL7Sender

_NEEDED: Final = frozenset(
    ("PatientID", "PatientName", "Modality", "AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID",
     "StudyInstanceUID", "RequestedProcedureDescription")
)  # fmt: skip
"""What an item cannot do without, or what would name another one: it is refused, where all else is left out."""
_REOPENING: Final = frozenset(("NW", "", "RL", "OE", "OR", "RO", "S12"))
SOURCE: Final = "hl7"


@dataclass(slots=True)
class Done:
    """What a message has changed."""

    items: list[int] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    about: list[str] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    patient_id: str = ""
    what: list[str] = field(default_factory=list)
    """In words, for the log: what was done."""


def digest(*parts: str) -> str:
    """The name of an order or patient in the log, which tells nothing of it."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def order_name(sender: HL7Sender, change: OrderChange) -> str:
    """The name of the order that a change is about."""
    accession, procedure = (str(change.values.get(name, "")) for name in ("AccessionNumber", "RequestedProcedureID"))
    return digest("order", sender.facility, accession, procedure or accession)


def sound(
    values: Mapping[str, Any], where: Mapping[str, Location], origin: Location = NOWHERE
) -> tuple[dict[str, Any], list[Fault]]:
    """The values that DICOM can hold, and what was left out. Raises `Refused` if an item cannot do without one."""
    kept: dict[str, Any] = {}
    wrong: list[Fault] = []
    left_out: list[Fault] = []
    for keyword, value in values.items():
        try:
            dicom_element(FLAT[keyword], value)
        except Bad as error:
            place = where.get(keyword, origin)
            if keyword in _NEEDED:
                wrong.append(Fault(DATA_TYPE, f"{error.args[1]} ({keyword})", place))
            else:
                left_out.append(Fault(DATA_TYPE, f"{error.args[1]}; left out ({keyword})", place))
        else:
            kept[keyword] = value
    if wrong:
        raise Refused(*wrong)
    return kept, left_out


def apply_order(connection: Connection, items: Items, sender: HL7Sender, change: OrderChange, done: Done) -> None:
    """Do what one order of a message asks for. Raises `Refused`."""
    done.notes += change.notes
    if change.action == "put":
        _put(connection, items, sender, change, done)
        return
    found = _items(connection, sender, change)
    if not found:
        if change.action == "release":
            _put(connection, items, sender, change, done)
            return
        text = "there is no such order of this facility on the worklist"
        raise refuse(UNKNOWN_KEY, text, change.where.get("AccessionNumber", change.origin))
    for row in found:
        status = _next(change, row.status)
        if status != row.status:
            set_status(connection, [row.id], status, "api" if status in CLOSED else None)
            _note_order(connection, sender, change, row.id, status)
        done.items.append(row.id)
    done.what.append(f"{change.action} of {len(found)} items")


def _next(change: OrderChange, status: str) -> str:
    """The status of an item after a change. Raises `Refused` where it is too late."""
    late = change.where.get("AccessionNumber", change.origin)
    if change.action == "cancel":
        if status in ("STARTED", "COMPLETED"):
            raise refuse(LOCKED, f"the step is {status} and cannot be cancelled", late)
        return status if status == "DISCONTINUED" else "CANCELLED"
    if change.action == "stop":
        if status == "COMPLETED":
            raise refuse(LOCKED, "the step is COMPLETED and cannot be discontinued", late)
        return "DISCONTINUED" if status in ("STARTED", "DISCONTINUED") else "CANCELLED"
    if change.action == "release":
        return "SCHEDULED" if status == "CANCELLED" else status
    begun = status in ("STARTED", "COMPLETED", "DISCONTINUED")
    return status if begun and change.status in ("SCHEDULED", "ARRIVED", "CANCELLED") else change.status


def _put(connection: Connection, items: Items, sender: HL7Sender, change: OrderChange, done: Done) -> None:
    values, left_out = sound(change.values, change.where, change.origin)
    done.notes += left_out
    before = _items(connection, sender, change)
    if "ScheduledProcedureStepID" not in values and len(before) == 1:
        values["ScheduledProcedureStepID"] = before[0].scheduled_procedure_step_id
    if change.control in _REOPENING and any(row.status == "CANCELLED" for row in before):
        values[STATUS] = "SCHEDULED"
    try:
        item, new = items.put_in(
            connection, {**values, FACILITY: sender.facility}, source=SOURCE, partly=change.partly
        )  # fmt: skip
    except InvalidItem as error:
        raise Refused(*_faults(error, change)) from None
    except Conflict as error:
        raise refuse(LOCKED, str(error), change.where.get("PatientID", change.origin)) from None
    status = connection.execute(select(Item.status).where(Item.id == item)).scalar_one()
    _note_order(connection, sender, change, item, status)
    done.items.append(item)
    done.patient_id = str(values.get("PatientID", done.patient_id))
    done.what.append("new item" if new else "changed item")


def _faults(error: InvalidItem, change: OrderChange) -> list[Fault]:
    """The faults of an order at their places in the message."""
    found = []
    for name, text in error.faults.items():
        keyword = name.partition("[")[0].partition(".")[0]
        found.append(Fault(DATA_TYPE, f"{name} {text}", change.where.get(keyword, change.origin)))
    return found or [Fault(INTERNAL, str(error), change.origin)]


def _items(connection: Connection, sender: HL7Sender, change: OrderChange) -> Sequence[Any]:
    """The items that an order means: all its steps, unless it names one, locked."""
    accession, procedure, step = (
        str(change.values.get(name, ""))
        for name in ("AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID")
    )
    owner = select(Facility.id).where(Facility.code == sender.facility).scalar_subquery()
    wanted = select(Item.id, Item.status, Item.scheduled_procedure_step_id).where(Item.facility_id == owner)
    if accession:
        wanted = wanted.where(Item.accession_number == accession)
    if procedure:
        wanted = wanted.where(Item.requested_procedure_id == procedure)
    if step:
        wanted = wanted.where(Item.scheduled_procedure_step_id == step)
    found = connection.execute(wanted.order_by(Item.id).with_for_update()).all()
    own = [row for row in found if row.scheduled_procedure_step_id == change.service]
    return own or found


def _note_order(connection: Connection, sender: HL7Sender, change: OrderChange, item: int, status: str) -> None:
    """Remember what the sender calls it. What it has said itself, it need not be told."""
    values = {"sender": sender.name, "placer": change.placer, "filler": change.filler, "told": status}
    values["over"] = status in CLOSED  # type: ignore[assignment]
    given = insert(HL7Order).values(item_id=item, **values)
    kept = {
        **values,
        "placer": func.coalesce(func.nullif(given.excluded.placer, ""), HL7Order.placer),
        "filler": func.coalesce(func.nullif(given.excluded.filler, ""), HL7Order.filler),
    }
    connection.execute(given.on_conflict_do_update(index_elements=[HL7Order.item_id], set_=kept))
