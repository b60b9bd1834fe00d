"""An ImagingStudy made of a study and its series (PS3.20 and imagingstudy-mappings.html). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from archive.fhir.context import Context
from archive.fhir.datatypes import (
    code,
    coded,
    date_time,
    first,
    identifier,
    instant,
    person,
    practitioner,
    reference,
    text,
    values,
    without_empty,
    zone,
)
from archive.fhir.terms import (
    BODY_PARTS,
    DCM,
    DICOM_UID,
    LATERALITY,
    SERIES_FUNCTION,
    SNOMED,
    V2_0203,
    Json,
    coding,
    concept,
)
from archive.standard.text import parse_date, parse_time

_REFERRING: Final = "00080090"
_READING: Final = "00081060"
_PROCEDURE: Final = "00081032"


def imaging_study(row: Any, series: Iterable[Any], orders: Sequence[int], context: Context) -> Json:
    """The resource. `row` has the study, its patient and owner; `series` are its series that are shown, in order.

    Single instances are not listed: the endpoint gives them, some thousand for a CT.
    """
    attributes = row.attributes
    contained = _people(attributes)
    named = {each["id"]: {"reference": f"#{each['id']}"} for each in contained}
    shown = [_series(each, row, context) for each in series]
    return without_empty(
        {
            "resourceType": "ImagingStudy",
            "id": row.study_instance_uid,
            "meta": context.meta("ImagingStudy", instant(row.updated_at)),
            "contained": contained,
            "extension": [{"url": context.own("viewer"), "valueUrl": viewer_address(context, row.study_instance_uid)}],
            "identifier": _identifiers(row, context),
            "status": "available",
            "modality": [coding(DCM, each) for each in map(code, row.modalities_in_study) if each],
            "subject": reference("Patient", row.patient_id),
            "started": date_time(row.study_date, row.study_time, zone(attributes)),
            "basedOn": [reference("ServiceRequest", order) for order in orders],
            "referrer": named.get("referrer"),
            "interpreter": [each for name, each in named.items() if name.startswith("interpreter")],
            "endpoint": [reference("Endpoint", name) for name in ("dicomweb", "viewer")],
            "numberOfSeries": row.series_count,
            "numberOfInstances": row.instance_count,
            "procedureCode": [*coded(values(attributes, _PROCEDURE))],
            "description": text(row.study_description),
            "series": shown,
        }
    )


def viewer_address(context: Context, study: str) -> str:
    """Where a person sees the images."""
    return f"{context.site}/viewer/viewer?StudyInstanceUIDs={study}"


def body_site(value: str, context: Context) -> Json:
    """The Coding of a Body Part Examined: of SNOMED CT where PS3.16 Annex L is followed, else as it was received."""
    known = BODY_PARTS.get(value.strip().upper())
    if known is not None:
        return coding(SNOMED, *known)
    received = code(value)
    return coding(context.own("body-part-examined"), received, received) if received else {}


def _identifiers(row: Any, context: Context) -> list[Json]:
    found = [identifier(DICOM_UID, f"urn:oid:{row.study_instance_uid}", use="official")]
    kind = concept(coding(V2_0203, "ACSN", "Accession ID"))
    found.append(identifier(context.accession_system(row.owner), row.accession_number, use="usual", type=kind))
    return [each for each in found if each]


def _people(attributes: Any) -> list[Json]:
    referring = [practitioner("referrer", person(name)) for name in values(attributes, _REFERRING)[:1]]
    reading = [
        practitioner(f"interpreter-{number}", person(name))
        for number, name in enumerate(values(attributes, _READING)[:8], 1)
    ]
    return [each for each in (*referring, *reading) if each]


def _series(row: Any, study: Any, context: Context) -> Json:
    attributes = row.attributes
    day, hour = parse_date(first(attributes, "00080021")), parse_time(first(attributes, "00080031"))
    side = LATERALITY.get(first(attributes, "00200060").upper())
    performer = {
        "function": concept(coding(SERIES_FUNCTION, "PRF", "performer")),
        "actor": reference("Organization", study.owner, context.facilities.get(study.owner, "")),
    }
    return without_empty(
        {
            "uid": row.series_instance_uid,
            "number": row.series_number if row.series_number is not None and 0 <= row.series_number < 1 << 31 else None,
            "modality": coding(DCM, code(row.modality) or "OT"),
            "description": text(row.series_description),
            "numberOfInstances": row.instance_count,
            "bodySite": body_site(row.body_part_examined, context),
            "laterality": coding(SNOMED, *side) if side else None,
            "started": date_time(day, hour, zone(study.attributes)),
            "performer": [performer],
        }
    )
