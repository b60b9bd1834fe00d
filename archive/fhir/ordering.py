"""A ServiceRequest as an order of the worklist, and a Patient as what a hospital says of somebody. Pure.

What cannot be understood is refused with the element that it is about: an order for a patient must not be guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from archive.errors import InvalidItem
from archive.fhir.context import Context
from archive.fhir.terms import DCM, DICOM_UID, GENDERS, PRIORITIES, SNOMED, Json
from archive.fhir.values import moment
from archive.standard.uids import is_uid
from config.clock import VIETNAM

_SCHEMES: Final = {SNOMED: "SCT", DCM: "DCM", "http://loinc.org": "LN"}
_SEXES: Final = {gender: sex for sex, gender in GENDERS.items()}
_DICOM_PRIORITY: Final = {"stat": "STAT", "asap": "HIGH", "urgent": "HIGH", "routine": "ROUTINE"}
assert {*PRIORITIES.values()} <= {*_DICOM_PRIORITY}


class Somebody(NamedTuple):
    """A patient as an order names them."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str


def order_of(request: Json, known: Somebody | None, facility: str, context: Context) -> dict[str, Any]:
    """The order. `known` is the patient if the request refers to one of ours. Raises `InvalidItem`."""
    _check_kind(request, "ServiceRequest")
    if request.get("status") != "active":
        raise _wrong("status", "must be active: only what is to be done is put on the worklist")
    if request.get("intent") not in ("order", "original-order", "filler-order", "instance-order"):
        raise _wrong("intent", "must be order")
    who = known or subject(request, facility, context)
    start = _start(request.get("occurrenceDateTime"))
    found = {
        "Facility": facility,
        "PatientID": who.patient_id,
        "IssuerOfPatientID": who.issuer,
        "PatientName": who.name,
        "PatientBirthDate": who.birth_date.replace("-", ""),
        "PatientSex": who.sex,
        "Modality": _modality(request),
        "AccessionNumber": _accession(request, context),
        "RequestedProcedureID": _own(request, context.own(f"requested-procedure:{facility}")),
        "ScheduledProcedureStepID": _own(request, context.own(f"scheduled-step:{facility}")),
        "StudyInstanceUID": _study(request),
        "PlacerOrderNumberImagingServiceRequest": _typed(request, "PLAC"),
        "FillerOrderNumberImagingServiceRequest": _typed(request, "FILL"),
        "RequestedProcedurePriority": _priority(request),
        "RequestingPhysician": _person(request, "requester"),
        "ReasonForTheRequestedProcedure": _text_of(next(iter(_list(request, "reasonCode")), {}))[:64],
        "RequestedProcedureComments": next((str(each.get("text", "")) for each in _list(request, "note")), ""),
        **_procedure(request),
        **start,
    }
    return {name: value for name, value in found.items() if value not in ("", [])}


def subject(request: Json, facility: str, context: Context) -> Somebody:
    """The patient that is contained in an order. Raises `InvalidItem`."""
    reference = str(_object(request, "subject").get("reference", ""))
    if not reference.startswith("#"):
        raise _wrong("subject", "refers to a Patient of this archive, or to one that is contained")
    found = next((each for each in _list(request, "contained") if f"#{each.get('id')}" == reference), None)
    if found is None or found.get("resourceType") != "Patient":
        raise _wrong("subject", "refers to what is not contained")
    return somebody(found, facility, context)


def somebody(patient: Json, facility: str, context: Context) -> Somebody:
    """Who a Patient is. Raises `InvalidItem`."""
    own = context.patient_system("")
    systems = (context.settings.systems.patient,)
    for each in _list(patient, "identifier"):
        system, value = str(each.get("system", "")), str(each.get("value", "")).strip()
        kinds = {str(one.get("code")) for one in _list(_object(each, "type"), "coding")}
        if value and (system in systems or system.startswith(own) or kinds & {"MR", "PI"}):
            issuer = system.removeprefix(own) if system.startswith(own) else ""
            return Somebody(value, issuer, _name(patient), str(patient.get("birthDate", "")), _sex(patient))
    raise _wrong("Patient.identifier", f"has no patient ID: system {systems[0]}, or type MR, in facility {facility}")


def numbers(patient: Json) -> Iterator[tuple[str, str]]:
    """System and value of each identifier."""
    for each in _list(patient, "identifier"):
        if each.get("value"):
            yield str(each.get("system", "")), str(each["value"]).strip()


def facility_of(request: Json) -> str:
    """The facility that an order names as its performer, or a patient as whose it is; empty if it names none."""
    for each in (*_list(request, "performer"), _object(request, "managingOrganization")):
        kind, _, key = str(each.get("reference", "")).rpartition("/")
        if kind.rpartition("/")[2] == "Organization":
            return key
    return ""


def _name(patient: Json) -> str:
    for each in _list(patient, "name"):
        family, given = str(each.get("family", "")), " ".join(map(str, _values(each, "given")))
        if family and given:
            return f"{family}^{given}"
        spoken = str(each.get("text", "")) or family or given
        if spoken.strip():
            return spoken.strip()
    raise _wrong("Patient.name", "is missing")


def _sex(patient: Json) -> str:
    return _SEXES.get(str(patient.get("gender", "")), "")


def _modality(request: Json) -> str:
    for each in _list(request, "orderDetail"):
        for one in _list(each, "coding"):
            if one.get("system") == DCM and one.get("code"):
                return str(one["code"])
    raise _wrong("orderDetail", f"has no modality: a coding with the system {DCM}")


def _accession(request: Json, context: Context) -> str:
    value = str(_object(request, "requisition").get("value", "")) or _typed(request, "ACSN")
    own = context.accession_system("")
    system = next((each for each in _list(request, "identifier") if str(each.get("system", "")).startswith(own)), {})
    found = value or str(system.get("value", ""))
    if not found:
        raise _wrong("requisition", "is missing: the accession number, here or as an identifier with type ACSN")
    return found


def _typed(request: Json, kind: str) -> str:
    for each in _list(request, "identifier"):
        if any(one.get("code") == kind for one in _list(_object(each, "type"), "coding")):
            return str(each.get("value", ""))
    return ""


def _own(request: Json, system: str) -> str:
    return next(
        (str(each.get("value", "")) for each in _list(request, "identifier") if each.get("system") == system), ""
    )


def _study(request: Json) -> str:
    value = _own(request, DICOM_UID).removeprefix("urn:oid:")
    if value and not is_uid(value):
        raise _wrong("identifier", "is no UID")
    return value


def _priority(request: Json) -> str:
    given = request.get("priority")
    if given is None:
        return ""
    if not isinstance(given, str) or given not in _DICOM_PRIORITY:
        raise _wrong("priority", f"is one of {', '.join(_DICOM_PRIORITY)}")
    return _DICOM_PRIORITY[given]


def _procedure(request: Json) -> dict[str, Any]:
    concept = _object(request, "code")
    text = _text_of(concept)
    if not text:
        raise _wrong("code", "is missing: what is to be done")
    made: dict[str, Any] = {"RequestedProcedureDescription": text[:64], "ScheduledProcedureStepDescription": text[:64]}
    codes = []
    for each in _list(concept, "coding"):
        value = str(each.get("code", ""))
        if 0 < len(value) <= 16:
            scheme = _SCHEMES.get(str(each.get("system", "")), "L")
            meaning = str(each.get("display", "") or text)[:64]
            codes.append({"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning})
    return {**made, "RequestedProcedureCodeSequence": codes[:1]} if codes else made


def _start(given: object) -> dict[str, str]:
    if given is None:
        return {}
    try:
        wanted = moment(str(given))
    except Exception:
        raise _wrong("occurrenceDateTime", "is no date or time") from None
    low = wanted.low.astimezone(VIETNAM)
    made = {"ScheduledProcedureStepStartDate": f"{low:%Y%m%d}"}
    return made if wanted.whole_days else {**made, "ScheduledProcedureStepStartTime": f"{low:%H%M%S}"}


def _person(request: Json, element: str) -> str:
    given = _object(request, element)
    reference = str(given.get("reference", ""))
    for each in _list(request, "contained"):
        if reference == f"#{each.get('id')}" and each.get("resourceType") == "Practitioner":
            return _name(each)
    return str(given.get("display", ""))[:64]


def _text_of(concept: Mapping[str, Any]) -> str:
    shown = next((str(each["display"]) for each in _list(concept, "coding") if each.get("display")), "")
    return str(concept.get("text", "") or shown).strip()


def _check_kind(resource: object, kind: str) -> None:
    if not isinstance(resource, dict) or resource.get("resourceType") != kind:
        raise _wrong("resourceType", f"must be {kind}")


def check_patient(resource: object) -> None:
    """Raises `InvalidItem` for what is no Patient."""
    _check_kind(resource, "Patient")


def _object(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _wrong(name, "is an object")
    return found


def _list(of: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = of.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _wrong(name, "is a list of objects")
    return found


def _values(of: Mapping[str, Any], name: str) -> list[Any]:
    found = of.get(name) or []
    return found if isinstance(found, list) else []


def _wrong(element: str, what: str) -> InvalidItem:
    return InvalidItem.of({element: what})
