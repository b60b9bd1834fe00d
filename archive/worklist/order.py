"""An order as a program writes it, read into a worklist item (PS3.4 K.6.1.2.2).

An order is one scheduled procedure step: a flat object of DICOM keywords, in which the attributes of the step stand
beside those of the patient, the request and the procedure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any, Final

from archive.description import fold_name
from archive.errors import InvalidItem
from archive.records import DicomJSON
from archive.standard.text import parse_date, parse_time
from archive.worklist.attributes import ATTRIBUTES, FLAT, IN_STEP, STEP_ATTRIBUTE
from archive.worklist.values import Bad, dicom_element, plain_values

FACILITY: Final = "Facility"
STATUS: Final = "ScheduledProcedureStepStatus"
OPEN: Final = ("SCHEDULED", "ARRIVED", "READY", "STARTED")
CLOSED: Final = ("COMPLETED", "DISCONTINUED", "CANCELLED")
STATUSES: Final = OPEN + CLOSED

_DESCRIBING: Final = (
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "ScheduledProcedureStepDescription",
    "ScheduledProtocolCodeSequence",
)
_NEEDED: Final = ("PatientID", "PatientName", "Modality")


@dataclass(frozen=True, slots=True)
class OrderKey:
    """What makes an order the same order within its facility."""

    accession_number: str
    requested_procedure_id: str
    scheduled_procedure_step_id: str


@dataclass(frozen=True, slots=True)
class Order:
    """A whole and checked order. The columns of `WorklistItem` that are searched by, and all attributes."""

    key: OrderKey
    study_instance_uid: str
    patient_id: str
    issuer: str
    name: str
    name_fold: str
    birth_date: date | None
    sex: str
    modality: str
    station_ae_titles: list[str]
    start_date: date
    start_time: time
    attributes: DicomJSON


class Faults:
    """Collects what is wrong, so that all of it can be told at once."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def add(self, field: str, text: str) -> None:
        """Note the first mistake of a field."""
        self._found.setdefault(field, text)

    def __contains__(self, field: str) -> bool:
        return field in self._found

    def __bool__(self) -> bool:
        return bool(self._found)

    def check(self) -> None:
        """Raise `InvalidItem` if there are any."""
        if self._found:
            raise InvalidItem.of(self._found)


def read_key(values: Mapping[str, Any]) -> OrderKey:
    """The key of an order: what it leaves out is taken from the next that it says. Raises `InvalidItem`."""
    faults = Faults()
    names = ("AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID")
    accession, procedure, step = (_first(_element(keyword, values.get(keyword), faults)) for keyword in names)
    if not (accession or procedure) and not any(name in faults for name in names):
        faults.add("AccessionNumber", "is missing; without it, RequestedProcedureID must be given")
    if faults:
        _elements(values, faults)
    faults.check()
    procedure = procedure or accession
    return OrderKey(accession, procedure, step or procedure)


def read_order(values: Mapping[str, Any], issuer: str) -> Order:
    """Check an order. `issuer` is the one of patient IDs that name none.

    StudyInstanceUID and ScheduledProcedureStepStartDate must be there. Raises `InvalidItem`, which names the fields.
    """
    faults = Faults()
    elements = _elements(values, faults)
    faults.check()
    return _order(elements, read_key(values), issuer)


def flat(attributes: DicomJSON) -> dict[str, Any]:
    """What `read_order` read, as far as it has a value."""
    step = (attributes.get(STEP_ATTRIBUTE.key, {}).get("Value") or [{}])[0]
    others = {tag: each for tag, each in ATTRIBUTES.items() if each is not STEP_ATTRIBUTE}
    return plain_values(others, attributes) | plain_values(STEP_ATTRIBUTE.members, step)


def read_status(values: Mapping[str, Any]) -> str | None:
    """The status that an order asks for, None if it says nothing of it. Raises `InvalidItem`."""
    status = values.get(STATUS)
    if status is None:
        return None
    if status not in STATUSES:
        raise InvalidItem.of({STATUS: f"must be one of {', '.join(STATUSES)}"})
    return str(status)


def _element(keyword: str, given: Any, faults: Faults) -> dict[str, Any]:
    attribute = FLAT[keyword]
    try:
        return dicom_element(attribute, given)
    except Bad as error:
        where, text = error.args
        faults.add(keyword + where, text)
        return {"vr": attribute.vr}


def _elements(values: Mapping[str, Any], faults: Faults) -> dict[str, dict[str, Any]]:
    """The elements that have a value, by keyword; what is wrong is noted."""
    elements = {}
    for keyword, given in values.items():
        if keyword in (FACILITY, STATUS):
            continue
        if keyword not in FLAT:
            faults.add(str(keyword)[:64], "is not an attribute of a worklist item")
            continue
        element = _element(keyword, given, faults)
        if "Value" in element:
            elements[keyword] = element
    for keyword in _NEEDED:
        if keyword not in elements:
            faults.add(keyword, "is missing")
    _describe(elements, faults)
    return elements


def _first(element: Mapping[str, Any]) -> str:
    values = element.get("Value") or [""]
    return str(values[0])


def _describe(elements: dict[str, dict[str, Any]], faults: Faults) -> None:
    """Give procedure and step the text that Table K.6-1 wants of each (type 1C: a description or a code)."""
    if not any(keyword in elements for keyword in _DESCRIBING):
        faults.add(_DESCRIBING[0], "is missing; without it, a code or the description of the step must be given")
        return
    meanings = [
        code.get("00080104")
        for keyword in _DESCRIBING
        if keyword.endswith("CodeSequence")
        for code in elements.get(keyword, {}).get("Value", ())
    ]
    texts = [elements.get(_DESCRIBING[0]), elements.get(_DESCRIBING[2]), *meanings]
    text = next(each for each in texts if each)
    for keyword in (_DESCRIBING[0], _DESCRIBING[2]):
        elements.setdefault(keyword, {"vr": "LO", "Value": list(text["Value"])})


def _order(elements: dict[str, dict[str, Any]], key: OrderKey, issuer: str) -> Order:
    elements.setdefault("IssuerOfPatientID", {"vr": "LO", "Value": [issuer[:64]]})
    elements["RequestedProcedureID"] = {"vr": "SH", "Value": [key.requested_procedure_id]}
    elements["ScheduledProcedureStepID"] = {"vr": "SH", "Value": [key.scheduled_procedure_step_id]}
    elements.setdefault("ScheduledProcedureStepStartTime", {"vr": "TM", "Value": ["000000"]})
    step = {FLAT[keyword].key: element for keyword, element in elements.items() if keyword in IN_STEP}
    attributes = {FLAT[keyword].key: element for keyword, element in elements.items() if keyword not in IN_STEP}
    attributes[STEP_ATTRIBUTE.key] = {"vr": "SQ", "Value": [step]}
    names = elements["PatientName"]["Value"][0]
    name = "=".join(names.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")

    def first(keyword: str) -> str:
        return _first(elements.get(keyword, {}))

    start_date, start_time = (
        parse_date(first("ScheduledProcedureStepStartDate")),
        parse_time(first("ScheduledProcedureStepStartTime")),
    )
    assert start_date is not None and start_time is not None
    return Order(
        key=key,
        study_instance_uid=first("StudyInstanceUID"),
        patient_id=first("PatientID"),
        issuer=first("IssuerOfPatientID"),
        name=name,
        name_fold=fold_name(name),
        birth_date=parse_date(first("PatientBirthDate")),
        sex=first("PatientSex"),
        modality=first("Modality"),
        station_ae_titles=list(elements.get("ScheduledStationAETitle", {}).get("Value", ())),
        start_date=start_date,
        start_time=start_time,
        attributes=dict(sorted(attributes.items())),
    )
