"""A ServiceRequest made of a worklist item (servicerequest-mappings.html). Pure."""

from __future__ import annotations

from typing import Any, Final

from archive.fhir.context import Context
from archive.fhir.datatypes import (
    code,
    coded,
    date_time,
    first,
    human_names,
    identifier,
    instant,
    person,
    practitioner,
    reference,
    shown_name,
    text,
    values,
    without_empty,
)
from archive.fhir.patient import identifiers
from archive.fhir.terms import DCM, DICOM_UID, GENDERS, ORDER_STATUS, PRIORITIES, SNOMED, V2_0203, Json, coding, concept
from archive.standard.text import parse_date, parse_time
from archive.worklist.attributes import STEP_ATTRIBUTE

_PROCEDURE: Final = "00321064"
_PROTOCOL: Final = "00400008"
_IMAGING: Final = concept(coding(SNOMED, "363679005", "Imaging"))


def service_request(row: Any, context: Context) -> Json:
    """The resource. `row` has the item, `owner`, the code of its facility, and `patient_row`, None without images."""
    attributes = row.attributes
    step = (values(attributes, STEP_ATTRIBUTE.key) or [{}])[0]
    requester = practitioner("requester", _requester(attributes))
    contained = [each for each in (requester, _patient(row, context)) if each]
    start = date_time(row.start_date, row.start_time)
    return without_empty(
        {
            "resourceType": "ServiceRequest",
            "id": str(row.id),
            "meta": context.meta("ServiceRequest", instant(row.updated_at), str(row.version)),
            "contained": contained,
            "identifier": _identifiers(row, attributes, context),
            "requisition": identifier(context.accession_system(row.owner), row.accession_number),
            "status": ORDER_STATUS[row.status],
            "intent": "order",
            "category": [_IMAGING],
            "priority": PRIORITIES.get(first(attributes, "00401003").upper()),
            "code": _code(attributes, step),
            "orderDetail": [concept(coding(DCM, code(row.modality)))] if code(row.modality) else [],
            "subject": _subject(row),
            "occurrenceDateTime": start,
            "authoredOn": _authored(row, attributes),
            "requester": {"reference": "#requester"} if requester else None,
            "performer": [reference("Organization", row.owner, context.facilities.get(row.owner, ""))],
            "reasonCode": [*coded(values(attributes, "0040100A"), first(attributes, "00401002"))],
            "patientInstruction": None,
            "note": [{"text": note} for note in _notes(attributes, step)],
        }
    )


def _identifiers(row: Any, attributes: Any, context: Context) -> list[Json]:
    own, owner = context.own, row.owner
    found = [
        identifier(own(f"requested-procedure:{owner}"), row.requested_procedure_id),
        identifier(own(f"scheduled-step:{owner}"), row.scheduled_procedure_step_id),
        identifier(DICOM_UID, f"urn:oid:{row.study_instance_uid}"),
        identifier(
            own(f"placer-order:{owner}"), first(attributes, "00402016"), type=_type("PLAC", "Placer Identifier")
        ),
        identifier(
            own(f"filler-order:{owner}"), first(attributes, "00402017"), type=_type("FILL", "Filler Identifier")
        ),
        identifier(
            context.accession_system(owner), row.accession_number, use="usual", type=_type("ACSN", "Accession ID")
        ),
    ]
    return [each for each in found if each]


def _type(name: str, display: str) -> Json:
    return concept(coding(V2_0203, name, display))


def _subject(row: Any) -> Json:
    """The patient, or what is contained while there are no images of them."""
    name = shown_name(row.name)
    if row.patient_row is not None:
        return reference("Patient", row.patient_row, name)
    return without_empty({"reference": "#patient", "display": name})


def _patient(row: Any, context: Context) -> Json:
    if row.patient_row is not None:
        return {}
    known = {
        "resourceType": "Patient",
        "id": "patient",
        "identifier": [without_empty(each) for each in identifiers(row, context)],
        "name": human_names(row.name),
        "gender": GENDERS.get(row.sex.strip().upper(), "unknown"),
        "birthDate": row.birth_date.isoformat() if row.birth_date is not None else None,
    }
    return without_empty(known)


def _requester(attributes: Any) -> str:
    names = values(attributes, "00321032") or values(attributes, "00080090")
    return person(names[0]) if names else ""


def _code(attributes: Any, step: Any) -> Json:
    texts = (first(attributes, "00321060"), first(step, "00400007"), "(không ghi)")
    described = next(filter(None, texts))
    codes = values(attributes, _PROCEDURE) or values(step, _PROTOCOL)
    found = next(coded(codes, described), {"text": described})
    return {**found, "text": found.get("text") or described}


def _authored(row: Any, attributes: Any) -> str:
    day = parse_date(first(attributes, "00402004"))
    return date_time(day, parse_time(first(attributes, "00402005"))) or instant(row.created_at)


def _notes(attributes: Any, step: Any) -> list[str]:
    found = (first(attributes, "00401400"), first(attributes, "00402400"), first(step, "00400400"))
    return [text(each) for each in found if each]
