"""Who a message is about (PID, PV1, IN1, AL1), and what ADT messages tell of patients (HL7 v2.5.1 chapter 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from archive.hl7 import values
from archive.hl7.faults import (
    DATA_TYPE,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE,
    TABLE_VALUE,
    Fault,
    Location,
    refuse,
)
from archive.hl7.message import NULL, Message, Place, Segment
from config.hl7 import IDENTIFIERS, HL7Sender

Kind = Literal["update", "merge", "link", "unlink"]
EVENTS: Final[Mapping[str, Kind]] = {
    "A01": "update", "A02": "update", "A03": "update", "A04": "update", "A05": "update", "A06": "update",
    "A07": "update", "A08": "update", "A28": "update", "A31": "update",
    "A18": "merge", "A34": "merge", "A36": "merge", "A39": "merge", "A40": "merge", "A47": "merge",
    "A24": "link", "A37": "unlink",
}  # fmt: skip
"""Events of ADT, and what they do."""
CITIZEN: Final = "CCCD"
INSURANCE: Final = "BHYT"
_LONGEST: Final = {"PatientAddress": 64, "EthnicGroup": 16, "Allergies": 64}
_CITIZEN_ID: Final = re.compile(r"\d{12}")
_INSURANCE: Final = re.compile(r"[A-Z]{2}[A-Z0-9]{13}|\d{10}")


@dataclass(frozen=True, slots=True)
class Identity:
    """The identifiers of a patient."""

    patient_id: str
    citizen_id: str = ""
    insurance: str = ""


@dataclass(slots=True)
class Patient:
    """What a message says of a patient. `values` are attributes by keyword, `where` says from where each came."""

    identity: Identity
    values: dict[str, Any] = field(default_factory=dict)
    where: dict[str, Location] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    """Attributes that the sender says have no value any more."""
    notes: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PatientChange:
    """What an ADT message does. `prior` are the identifiers that are given up, or the other one of a link."""

    kind: Kind
    patient: Patient
    prior: Identity | None = None


def patient_changes(message: Message, sender: HL7Sender) -> list[PatientChange]:
    """What an ADT message does, in its order. Raises `Refused`."""
    kind = EVENTS[message.kind[1]]
    if kind == "update":
        return [PatientChange(kind, read_patient(message.need("PID"), message, sender))]
    if kind in ("link", "unlink"):
        both = list(message.all("PID"))
        if len(both) != 2:
            raise refuse(SEGMENT_SEQUENCE, "there must be two, of the patients that are the same or are not", _PID)
        first, second = (read_patient(each, message, sender) for each in both)
        return [PatientChange(kind, first, second.identity)]
    return _merges(message, sender)


_PID: Final = Location("PID")


def _merges(message: Message, sender: HL7Sender) -> list[PatientChange]:
    """Each MRG is about the PID before it."""
    found = []
    current: Segment | None = None
    for segment in message.segments:
        if segment.name == "PID":
            current = segment
        elif segment.name == "MRG":
            if current is None:
                raise refuse(SEGMENT_SEQUENCE, "stands before the PID of who remains", segment.where())
            prior = read_identity(segment, 1, sender, fallback=4)
            patient = read_patient(current, message, sender)
            if prior.patient_id == patient.identity.patient_id:
                raise refuse(DATA_TYPE, "is the patient who remains", segment.where(1))
            found.append(PatientChange("merge", patient, prior))
    if not found:
        raise refuse(SEGMENT_SEQUENCE, "is missing: who is given up", Location("MRG"))
    return found


def read_identity(segment: Segment, number: int, sender: HL7Sender, *, fallback: int = 0) -> Identity:
    """Identifiers of PID-3 or MRG-1. Raises `Refused` without a patient ID of the sender."""
    found: dict[str, str] = {}
    for each in segment.repetitions(number):
        value, authority, kind = (values.clean(segment.get(number, part, of=each)) for part in (1, 4, 5))
        if not value or value == NULL:
            continue
        own = sender.identifiers
        what = own.get(kind) or own.get(authority) or IDENTIFIERS.get(kind.upper(), "ignore")
        found.setdefault(what, value)
    identifier = found.get("patient_id") or (values.clean(segment.value(fallback)) if fallback else "")
    if not identifier:
        text = "has no patient ID: none of its type codes says so (hl7.senders.identifiers)"
        raise refuse(REQUIRED_FIELD_MISSING, text if segment.raw(number) else "is missing", segment.where(number))
    if len(identifier) > 64:
        raise refuse(DATA_TYPE, f"has {len(identifier)} characters, more than 64", segment.where(number))
    return Identity(identifier, found.get("citizen_id", ""), found.get("insurance", ""))


def read_patient(segment: Segment, message: Message, sender: HL7Sender) -> Patient:
    """What PID and the segments that go with it say. Raises `Refused`."""
    found = Patient(read_identity(segment, 3, sender, fallback=2))
    found.where["PatientID"] = segment.where(3)
    _names(segment, message, sender, found)
    _birth_and_sex(segment, message, sender, found)
    _others(segment, message, sender, found)
    _identifiers(segment, message, found)
    found.values["PatientID"] = found.identity.patient_id
    return found


def _at(keyword: str, segment: Segment, message: Message, sender: HL7Sender) -> tuple[Segment, Place] | None:
    """Segment and place where the sender writes this attribute, None if nothing is there."""
    for text in sender.places(keyword):
        place = Place.read(text)
        where = segment if place.segment == segment.name else message.first(place.segment)
        if where is None or not where.raw(place.field):
            continue
        if not place.component or where.get(place.field, place.component):
            return where, place
    return None


def _names(segment: Segment, message: Message, sender: HL7Sender, found: Patient) -> None:
    for keyword in ("PatientName", "PatientMotherBirthName"):
        if (at := _at(keyword, segment, message, sender)) is None:
            continue
        where, place = at
        found.where[keyword] = where.where(place.field)
        if name := values.xpn(where, place.field):
            found.values[keyword] = name
        elif where.get(place.field) == NULL:
            found.deleted.add(keyword)


def _birth_and_sex(segment: Segment, message: Message, sender: HL7Sender, found: Patient) -> None:
    for keyword in ("PatientBirthDate", "PatientSex"):
        if (at := _at(keyword, segment, message, sender)) is None:
            continue
        where, place = at
        text = where.get(place.field, place.component or 1)
        found.where[keyword] = location = where.where(place.field)
        if text == NULL:
            found.deleted.add(keyword)
        elif keyword == "PatientBirthDate":
            if date := values.birth_date(text):
                found.values[keyword] = date
            else:
                found.notes.append(Fault(DATA_TYPE, "is no whole date and is left out", location))
        elif (sex := values.SEXES.get(text.upper())) is None:
            found.notes.append(Fault(TABLE_VALUE, "is none of M, F, O, A, N, U and is left out", location))
        elif sex:
            found.values[keyword] = sex


def _others(segment: Segment, message: Message, sender: HL7Sender, found: Patient) -> None:
    for keyword in ("PatientAddress", "PatientTelephoneNumbers", "EthnicGroup", "Allergies"):
        if (at := _at(keyword, segment, message, sender)) is None:
            continue
        where, place = at
        found.where[keyword] = location = where.where(place.field)
        if where.get(place.field) == NULL:
            found.deleted.add(keyword)
            continue
        given: list[str]
        if keyword == "PatientAddress":
            given = [values.address(where, place.field)]
        elif keyword == "PatientTelephoneNumbers":
            given = values.phones(where, place.field)
        else:
            several = [where] if where.name == "PID" else list(message.all(where.name))
            given = [values.clean(each.value(place.field, place.component)) for each in several]
        longest = _LONGEST.get(keyword, 16)
        kept = [each[:longest] if keyword == "PatientAddress" else each for each in given if each]
        if any(len(each) > longest for each in given):
            cut = "is shortened to 64 characters" if keyword == "PatientAddress" else "is too long and left out"
            found.notes.append(Fault(DATA_TYPE, cut, location))
        kept = [each for each in kept if len(each) <= longest][:20]
        if kept:
            found.values[keyword] = kept if keyword in ("PatientTelephoneNumbers", "Allergies") else kept[0]


def _identifiers(segment: Segment, message: Message, found: Patient) -> None:
    """Số định danh cá nhân and BHYT number, where they look like ones."""
    identity = found.identity
    insured = message.first("IN1")
    policy = values.clean(insured.value(36)) if insured is not None else ""
    citizen = identity.citizen_id or values.clean(segment.value(19))
    insurance = identity.insurance or policy
    told = bool(identity.citizen_id), bool(identity.insurance)
    kept = {CITIZEN: citizen if _CITIZEN_ID.fullmatch(citizen) else ""}
    kept[INSURANCE] = insurance.upper() if _INSURANCE.fullmatch(insurance.upper()) else ""
    for said, issuer, what in zip(told, kept, ("12 digits", "15 characters or 10 digits"), strict=True):
        if said and not kept[issuer]:
            found.notes.append(Fault(DATA_TYPE, f"an identifier is no {issuer} ({what}), left out", segment.where(3)))
    found.identity = Identity(identity.patient_id, kept[CITIZEN], kept[INSURANCE])
    others = [
        {"PatientID": value, "IssuerOfPatientID": issuer, "TypeOfPatientID": "TEXT"}
        for issuer, value in kept.items()
        if value
    ]
    if others:
        found.values["OtherPatientIDsSequence"] = others
        found.where["OtherPatientIDsSequence"] = segment.where(3)
