"""Orders and appointments as changes of the worklist (HL7 v2.5.1 chapters 4 and 10; IHE RAD-2, RAD-4, RAD-48)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from archive.hl7 import values
from archive.hl7.faults import (
    DATA_TYPE,
    NOWHERE,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE,
    TABLE_VALUE,
    Fault,
    Location,
    refuse,
)
from archive.hl7.message import Message, Place, Segment
from archive.hl7.patients import Patient, read_patient
from config.hl7 import MODALITIES, ORDER_PLACES, PRIORITIES, HL7Sender

Action = Literal["put", "cancel", "stop", "release", "status"]
"""``put``: this is how it is. ``cancel``: it will not be done. ``stop``: do not go on with it. ``release``: it is to be
done after all. ``status``: how far it is."""
CONTROLS: Final[Mapping[str, Action]] = {
    "NW": "put", "SN": "put", "XO": "put", "XX": "put", "RP": "cancel", "RO": "put", "RU": "cancel", "XR": "put",
    "PA": "put", "CH": "put", "CA": "cancel", "OC": "cancel", "CR": "cancel", "DC": "stop", "OD": "stop", "DR": "stop",
    "HD": "cancel", "OH": "cancel", "HR": "cancel", "RL": "release", "OE": "release", "OR": "release",
    "SC": "status", "SR": "status", "": "put",
}  # fmt: skip
"""ORC-1 (HL7 table 0119), and what it does. An order on hold is off the list until it is released."""
STATUSES: Final[Mapping[str, str]] = {
    "SC": "SCHEDULED", "IP": "ARRIVED", "A": "STARTED", "CM": "COMPLETED", "CA": "CANCELLED", "DC": "DISCONTINUED",
    "HD": "CANCELLED",
}  # fmt: skip
"""ORC-5 (HL7 table 0038), and the status of the worklist item."""
APPOINTMENTS: Final[Mapping[str, Action]] = {
    "S12": "put", "S13": "put", "S14": "put", "S15": "cancel", "S16": "stop", "S17": "cancel", "S26": "cancel",
}  # fmt: skip
"""Events of SIU."""
DICOM_MODALITIES: Final = frozenset(
    ("AR", "AU", "BDUS", "BI", "BMD", "CR", "CT", "DG", "DMS", "DX", "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "GM",
     "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "LEN", "LS", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPV",
     "OSS", "OT", "PT", "PX", "RESP", "RF", "RG", "RTIMAGE", "SM", "SR", "TG", "US", "VA", "XA", "XC")
)  # fmt: skip
"""Of PS3.3 C.7.3.1.1.1, those that acquire."""
_OF_ORDER: Final = frozenset(("NTE", "TQ1", "IPC", "OBX", "ZDS", "AIS", "AIG", "AIL"))
"""Segments that say nothing of an order before which they stand."""
_IDENTIFYING: Final = ("AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID", "StudyInstanceUID")
_NUMBERS: Final = ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest", "AdmissionID")
_NAMES: Final = ("RequestingPhysician", "ReferringPhysicianName")
_CODES: Final = ("RequestedProcedureCodeSequence", "ScheduledProtocolCodeSequence")
_TEXTS: Final = {
    "ScheduledStationName": 16,
    "ScheduledProcedureStepLocation": 16,
    "RequestedProcedureDescription": 64,
    "RequestingService": 64,
    "ReasonForTheRequestedProcedure": 64,
    "AdmittingDiagnosesDescription": 64,
    "PatientTransportArrangements": 64,
    "CurrentPatientLocation": 64,
}
"""Texts of one line, and how many characters they may have (PS3.5 6.2); longer ones are shortened."""
_PARAGRAPHS: Final = ("RequestedProcedureComments", "AdditionalPatientHistory")


@dataclass(slots=True)
class OrderChange:
    """What one order group does. `values` are the attributes of the item by keyword, `where` says where each was."""

    action: Action
    control: str
    values: dict[str, Any] = field(default_factory=dict)
    where: dict[str, Location] = field(default_factory=dict)
    notes: list[Fault] = field(default_factory=list)
    status: str = ""
    service: str = ""
    """OBR-4.1: the code of what is ordered."""
    partly: bool = False
    """What is not said stays as it is: appointments, which tell of an order what it needs in the calendar."""
    origin: Location = NOWHERE

    @property
    def placer(self) -> str:
        return str(self.values.get(_NUMBERS[0], ""))

    @property
    def filler(self) -> str:
        return str(self.values.get(_NUMBERS[1], ""))


@dataclass(frozen=True, slots=True)
class _Group:
    """The segments of one order, and those of the whole message behind them."""

    message: Message
    sender: HL7Sender
    segments: Sequence[Segment]

    def first(self, name: str) -> Segment | None:
        """One of this order, or one that stands before all orders."""
        for segment in self.segments:
            if segment.name == name:
                return segment
        for segment in self.message.segments:
            if segment.name in ("ORC", "OBR"):
                break
            if segment.name == name:
                return segment if name not in _OF_ORDER else None
        return None

    def all(self, name: str) -> list[Segment]:
        return [each for each in self.segments if each.name == name]

    def given(self, keyword: str, *, whole: bool = False) -> Iterator[tuple[Segment, Place, str]]:
        """Where this attribute has a value, in the order in which the sender is asked for it, and the value.

        Of a field without a component it is the first one, or where `whole` all of them.
        """
        for text in self.sender.places(keyword):
            place = Place.read(text)
            segment = self.first(place.segment)
            component = place.component or (0 if whole else 1)
            if segment is not None and (value := segment.value(place.field, component, place.subcomponent or 1)):
                yield segment, place, value


def order_changes(message: Message, sender: HL7Sender) -> list[OrderChange]:
    """What ORM, OMG or OMI does, group by group. Raises `Refused`."""
    groups = list(_groups(message, sender))
    if not groups:
        raise refuse(SEGMENT_SEQUENCE, "is missing: the order", Location("ORC"))
    found: list[OrderChange] = []
    patient: Patient | None = None
    for group in groups:
        control, where = _control(group)
        if (action := CONTROLS.get(control)) is None:
            raise refuse(TABLE_VALUE, f"is none of {', '.join(sorted(filter(None, CONTROLS)))}", where)
        if control == "PA" and len(groups) > 1:
            continue  # the children are what is done
        change = OrderChange(action, control, origin=where)
        if action == "status":
            _status(group, change)
        if action in ("put", "release") and patient is None:
            patient = read_patient(message.need("PID"), message, sender)
        found += _steps(group, change, patient)
    return _apart(found)


def appointment_changes(message: Message, sender: HL7Sender) -> list[OrderChange]:
    """What SIU does, service by service. Raises `Refused`."""
    action = APPOINTMENTS[message.kind[1]]
    schedule = message.need("SCH")
    services = list(message.all("AIS"))
    rest = [each for each in message.segments if each.name != "AIS"]
    groups = [_Group(message, sender, [*rest, service]) for service in services] or [_Group(message, sender, rest)]
    patient = read_patient(message.need("PID"), message, sender) if action == "put" else None
    found: list[OrderChange] = []
    for group in groups:
        change = OrderChange(action, message.kind[1], partly=True, origin=schedule.where())
        found += _steps(group, change, patient)
    return _apart(found)


def _groups(message: Message, sender: HL7Sender) -> Iterator[_Group]:
    """The orders: each begins with ORC, and with each further OBR behind it."""
    current: list[Segment] = []
    for segment in message.segments:
        further = segment.name == "OBR" and any(each.name == "OBR" for each in current)
        if segment.name == "ORC" or further:
            if any(each.name in ("ORC", "OBR") for each in current):
                yield _Group(message, sender, current)
            shared = [each for each in current if each.name in ("ORC", "TQ1")] if further else []
            current = [*shared, segment]
        elif current or segment.name == "OBR":
            current.append(segment)
    if current:
        yield _Group(message, sender, current)


def _control(group: _Group) -> tuple[str, Location]:
    order = group.first("ORC")
    if order is None:
        return "", group.segments[0].where()
    return order.value(1).upper(), order.where(1)


def _status(group: _Group, change: OrderChange) -> None:
    order = group.first("ORC")
    code = order.value(5).upper() if order is not None else ""
    where = order.where(5) if order is not None else change.origin
    if not code:
        raise refuse(REQUIRED_FIELD_MISSING, "is missing: the status", where)
    if code not in STATUSES:
        raise refuse(TABLE_VALUE, f"is none of {', '.join(sorted(STATUSES))}", where)
    change.status = STATUSES[code]


def _steps(group: _Group, change: OrderChange, patient: Patient | None) -> Iterator[OrderChange]:
    """One change for each step: IPC segments are steps of the order."""
    steps: Sequence[Segment | None] = group.all("IPC") or [None]
    rest = [each for each in group.segments if each.name != "IPC"]
    for step in steps:
        mine = _Group(group.message, group.sender, rest if step is None else [*rest, step])
        yield _read(mine, OrderChange(change.action, change.control, status=change.status, partly=change.partly,
                                      origin=change.origin), patient)  # fmt: skip


def _read(group: _Group, change: OrderChange, patient: Patient | None) -> OrderChange:
    for keyword in (*_IDENTIFYING, *_NUMBERS):
        for segment, place, value in group.given(keyword):
            change.values[keyword] = values.clean(value)
            change.where[keyword] = segment.where(place.field, place.component)
            break
    if not (change.values.get("AccessionNumber") or change.values.get("RequestedProcedureID")):
        places = ", ".join(group.sender.places("AccessionNumber"))
        raise refuse(REQUIRED_FIELD_MISSING, f"has no number of the order in any of {places}", change.origin)
    service = group.first("OBR") or group.first("AIS")
    if service is not None:
        change.service = values.clean(service.value({"OBR": 4, "AIS": 3}[service.name]))
    if change.action in ("put", "release"):
        assert patient is not None
        change.values |= patient.values
        change.where |= patient.where
        change.notes += patient.notes
        _describe(group, change)
        _place(group, change)
    return change


def _describe(group: _Group, change: OrderChange) -> None:
    for keyword in _NAMES:
        for segment, place, _ in group.given(keyword, whole=True):
            if name := values.xcn(segment, place.field):
                _keep(change, keyword, name, segment.where(place.field))
                break
    for keyword in _CODES:
        for segment, place, _ in group.given(keyword):
            if item := values.code(segment, place.field):
                _keep(change, keyword, item, segment.where(place.field))
                break
            change.notes.append(
                Fault(DATA_TYPE, "the code has more than 16 characters and is left out", segment.where(place.field))
            )
    for keyword, longest in _TEXTS.items():
        for segment, place, value in group.given(keyword, whole=True):
            text = values.clean(value)
            if len(text) > longest:
                fault = Fault(DATA_TYPE, f"is shortened to {longest} characters", segment.where(place.field))
                change.notes.append(fault)
            _keep(change, keyword, text[:longest].strip(), segment.where(place.field, place.component))
            break
    for keyword in _PARAGRAPHS:
        for segment, place, value in group.given(keyword):
            several = group.all(segment.name) if segment.name == "NTE" else [segment]
            lines = [each.value(place.field, place.component or 1) for each in several] or [value]
            _keep(change, keyword, values.paragraphs("\n".join(lines))[:10240], segment.where(place.field))
            break


def _place(group: _Group, change: OrderChange) -> None:
    _modality(group, change)
    for segment, place, value in group.given("ScheduledStationAETitle"):
        own = "ScheduledStationAETitle" in group.sender.fields or place.segment == "IPC"
        if station := group.sender.stations.get(value) or (value if own else ""):
            _keep(change, "ScheduledStationAETitle", station, segment.where(place.field))
            break
    for segment, place, value in group.given("ScheduledProcedureStepStart"):
        if (moment := values.point_of_time(value)) is None:
            change.notes.append(Fault(DATA_TYPE, "is no date and time, left out", segment.where(place.field)))
            continue
        _keep(change, "ScheduledProcedureStepStartDate", f"{moment:%Y%m%d}", segment.where(place.field))
        _keep(change, "ScheduledProcedureStepStartTime", f"{moment:%H%M%S}", segment.where(place.field))
        break
    priorities = {**PRIORITIES, **group.sender.priorities}
    for segment, place, value in group.given("RequestedProcedurePriority"):
        if priority := priorities.get(value) or priorities.get(value.upper()):
            _keep(change, "RequestedProcedurePriority", priority, segment.where(place.field))
        else:
            change.notes.append(
                Fault(TABLE_VALUE, "is no priority that is known, left out", segment.where(place.field))
            )
        break


def _modality(group: _Group, change: OrderChange) -> None:
    """The modality, from the first place whose value is one or is in the table of the sender."""
    seen: Location | None = None
    own = "Modality" in group.sender.fields
    for segment, place, value in group.given("Modality"):
        where = segment.where(place.field, place.component)
        names_it = own or place.segment == "IPC" or (place.segment, place.field) == ("OBR", 24)
        if found := mapped(value, group.sender.modalities) or (_usual(value) if names_it else None):
            _keep(change, "Modality", found, where)
            return
        seen = where if names_it or seen is None else seen
    if not change.partly:
        text = "is no modality that is known: add it to hl7.senders.modalities"
        places = ", ".join(group.sender.places("Modality"))
        if seen is None:
            raise refuse(REQUIRED_FIELD_MISSING, f"has no modality in any of {places}", change.origin)
        raise refuse(TABLE_VALUE, text, seen)


def mapped(value: str, table: Mapping[str, str]) -> str | None:
    """What a table says of a value; keys that end in ``*`` stand for all that begin so, the longest first."""
    if value in table:
        return table[value]
    begins = [key for key in table if key.endswith("*") and value.startswith(key[:-1])]
    return table[max(begins, key=len)] if begins else None


def _usual(value: str) -> str | None:
    code = value.upper()
    return MODALITIES.get(code) or (code if code in DICOM_MODALITIES else None)


def _keep(change: OrderChange, keyword: str, value: Any, where: Location) -> None:
    if value:
        change.values[keyword] = value
        change.where[keyword] = where


def _apart(changes: list[OrderChange]) -> list[OrderChange]:
    """Give steps of one order that the message does not tell apart the codes of their services as step IDs."""

    def key(change: OrderChange) -> tuple[str, ...]:
        return tuple(str(change.values.get(keyword, "")) for keyword in _IDENTIFYING[:3])

    keys = [key(change) for change in changes]
    for change in changes:
        if keys.count(key(change)) < 2 or change.action not in ("put", "release"):
            continue
        if not re.fullmatch(r"[^\\]{1,16}", change.service):
            raise refuse(
                REQUIRED_FIELD_MISSING, "several orders have the same number, and no step ID tells them apart",
                change.origin,
            )  # fmt: skip
        change.values["ScheduledProcedureStepID"] = change.service
    puts = [key(change) for change in changes if change.action in ("put", "release")]
    if len(set(puts)) < len(puts):
        raise refuse(DATA_TYPE, "two orders of the message have the same number and step", changes[-1].origin)
    return changes


assert {*_IDENTIFYING, *_NUMBERS, *_NAMES, *_CODES, *_TEXTS, *_PARAGRAPHS, "Modality", "ScheduledStationAETitle",
        "ScheduledProcedureStepStart", "RequestedProcedurePriority"} == {*ORDER_PLACES}  # fmt: skip
