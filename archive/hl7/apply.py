"""What each kind of message does, within one transaction: all of it or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection

from archive.audit.events import Action, AuditEvent, Detail
from archive.audit.trail import Trail
from archive.errors import Conflict, InvalidItem, NotFound
from archive.hl7 import orders, patients, results
from archive.hl7.faults import (
    REQUIRED_FIELD_MISSING,
    TABLE_VALUE,
    UNKNOWN_KEY,
    UNSUPPORTED_EVENT,
    UNSUPPORTED_MESSAGE,
    UNSUPPORTED_PROCESSING,
    UNSUPPORTED_VERSION,
    Fault,
    Location,
    refuse,
)
from archive.hl7.message import Message
from archive.hl7.worklist import Done, apply_order, digest, order_name, sound
from archive.identity.identities import Identities
from archive.identity.numbers import read
from archive.identity.records import Facts, Number
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reports.reports import Reports
from archive.worklist.items import Items
from config.hl7 import HL7Sender, MessageGroup
from config.logs import fields

log = logging.getLogger(__name__)

Superseded = Callable[[str], bool]
"""Whether a later message has changed the order or patient of this name."""
_ORDERS: Final = frozenset((("ORM", "O01"), ("OMG", "O19"), ("OMI", "O23")))


def group_of(message: Message) -> MessageGroup:
    """Which kind of message it is. Raises `Refused` for those that are not taken."""
    kind, event = message.kind
    if (kind, event) in _ORDERS or (kind in ("ORM", "OMG", "OMI") and not event):
        return "orders"
    if kind == "SIU":
        if event in orders.APPOINTMENTS:
            return "schedule"
    elif kind == "ADT":
        if event in patients.EVENTS:
            return "patients" if patients.EVENTS[event] == "update" else "merges"
    elif kind == "ORU" and event in ("R01", ""):
        return "results"
    where = Location("MSH", 1, 9)
    if kind in ("SIU", "ADT", "ORM", "OMG", "OMI", "ORU"):
        raise refuse(UNSUPPORTED_EVENT, "is an event that is not taken", where)
    raise refuse(UNSUPPORTED_MESSAGE, "is a message type that is not taken", where)


def check(message: Message, sender: HL7Sender) -> MessageGroup:
    """Whether the sender may send this. Raises `Refused`."""
    header = message.header
    if not message.control_id:
        raise refuse(REQUIRED_FIELD_MISSING, "is missing: the control ID", header.where(10))
    if len(message.control_id) > 199:
        raise refuse(TABLE_VALUE, "has more than 199 characters", header.where(10))
    if (header.raw(11).split(message.delimiters.component)[0].strip().upper() or "P") not in sender.processing_ids:
        raise refuse(UNSUPPORTED_PROCESSING, "is not taken from this sender", header.where(11))
    version = header.raw(12).strip()
    if version and not version.startswith("2"):
        raise refuse(UNSUPPORTED_VERSION, "is no version 2 of HL7", header.where(12))
    group = group_of(message)
    if group not in sender.messages:
        raise refuse(UNSUPPORTED_MESSAGE, "is not taken from this sender (hl7.senders.messages)", header.where(9))
    return group


class Applier:
    """Does what messages ask for."""

    def __init__(
        self, items: Items, identities: Identities, reports: Reports, trail: Trail, issuers: Mapping[str, str]
    ) -> None:
        """`issuers` are those of patient IDs, by the code of the facility."""
        self._items = items
        self._identities = identities
        self._reports = reports
        self._trail = trail
        self._issuers = issuers

    def apply(
        self, connection: Connection, message: Message, sender: HL7Sender, address: str, superseded: Superseded
    ) -> Done:
        """Do it, and put it on record before it takes effect. Raises `Refused`, `Unavailable`."""
        group = check(message, sender)
        done = Done()
        if group == "orders":
            self._orders(connection, orders.order_changes(message, sender), sender, done, superseded)
        elif group == "schedule":
            self._orders(connection, orders.appointment_changes(message, sender), sender, done, superseded)
        elif group in ("patients", "merges"):
            for change in patients.patient_changes(message, sender):
                self._patient(connection, change, sender, address, done, superseded)
        else:
            self._results(connection, message, sender, address, done, superseded)
        self._record(message, sender, address, done)
        return done

    def _orders(
        self,
        connection: Connection,
        changes: list[orders.OrderChange],
        sender: HL7Sender,
        done: Done,
        superseded: Superseded,
    ) -> None:
        names = [order_name(sender, change) for change in changes]
        later = {name for name in set(names) if superseded(name)}
        done.about += sorted({*names})
        for name, change in zip(names, changes, strict=True):
            if name in later:
                _passed_over(done, change.origin)
            else:
                apply_order(connection, self._items, sender, change, done)

    def _patient(
        self,
        connection: Connection,
        change: patients.PatientChange,
        sender: HL7Sender,
        address: str,
        done: Done,
        superseded: Superseded,
    ) -> None:
        identity = change.patient.identity
        name = digest("patient", sender.facility, identity.patient_id)
        done.about.append(name)
        done.patient_id = identity.patient_id
        done.notes += change.patient.notes
        if superseded(name):
            _passed_over(done, Location("PID"))
            return
        given, left_out = sound(change.patient.values, change.patient.where)
        done.notes += left_out
        removed = change.patient.deleted
        found = self._items.change_patient(connection, sender.facility, identity.patient_id, given, removed)
        if change.kind == "merge" and change.prior is not None:
            prior = change.prior.patient_id
            found += self._items.change_patient(connection, sender.facility, prior, given, removed)
        done.items += found
        self._identify(change, sender, address)
        done.what.append(f"{change.kind} of a patient, {len(found)} items")

    def _results(
        self,
        connection: Connection,
        message: Message,
        sender: HL7Sender,
        address: str,
        done: Done,
        superseded: Superseded,
    ) -> None:
        identity = patients.read_identity(message.need("PID"), 3, sender, fallback=2)
        done.patient_id = identity.patient_id
        where = frozenset({sender.facility})
        rights = dict.fromkeys((Right.VIEW, Right.REPORT), where)
        by = Caller(Kind.PEER, f"HL7 {sender.name}", rights, address=address, home=where)
        for result in results.results(message, sender, identity.patient_id):
            name = digest("result", sender.facility, result.study or result.accession)
            done.about.append(name)
            done.notes += result.notes
            if superseded(name):
                _passed_over(done, result.origin)
                continue
            number, _ = results.file(connection, self._reports, by, sender, result)
            done.reports.append(number)
            done.what.append(f"report {result.status}")

    def _identify(self, change: patients.PatientChange, sender: HL7Sender, address: str) -> None:
        """Tell who is who. Said twice it changes nothing, so it may be done before a crash and again behind it."""
        where = frozenset({sender.facility})
        by = Caller(Kind.PEER, f"HL7 {sender.name}", {Right.IDENTITY: where}, address=address, home=where)
        issuer = self._issuers[sender.facility]
        own = Number(issuer, change.patient.identity.patient_id)
        try:
            self._identities.update(by, own, _facts(change.patient))
            if change.prior is None:
                return
            other = Number(issuer, change.prior.patient_id)
            reason = f"HL7 ADT, {change.kind}"
            if change.kind == "unlink":
                self._identities.separate_numbers(by, own, other, reason)
                return
            try:
                self._identities.merge_numbers(by, other, own, reason)
            except Conflict:
                log.info("patients of a message are one already", extra=fields(sender=sender.name))
        except (InvalidItem, NotFound, Conflict) as error:
            raise refuse(UNKNOWN_KEY, str(error), Location("PID", 1, 3)) from None

    def _record(self, message: Message, sender: HL7Sender, address: str, done: Done) -> None:
        caller = Caller(Kind.PEER, f"HL7 {sender.name}", address=address, home=frozenset({sender.facility}))
        detail: dict[str, Detail] = {"what": f"HL7 {'^'.join(message.kind)}", "items": [*map(str, done.items)]}
        self._trail.record(AuditEvent(Action.ORDER, caller, patient_id=done.patient_id, detail=detail))


def _facts(patient: patients.Patient) -> Facts:
    """What a message says of a patient, as it is compared."""
    values, identity = patient.values, patient.identity
    numbers = (read(identity.citizen_id, label=patients.CITIZEN), read(identity.insurance, label=patients.INSURANCE))
    return Facts(
        name=str(values.get("PatientName", "")),
        birth=str(values.get("PatientBirthDate", "")),
        sex=str(values.get("PatientSex", "")),
        phone=str((values.get("PatientTelephoneNumbers") or [""])[0]),
        identifiers=tuple(number for number in numbers if number is not None),
    )


def _passed_over(done: Done, where: Location) -> None:
    done.notes.append(Fault(TABLE_VALUE, "a later message has changed this: it is left as it is", where))
