"""Names that FHIR, DICOM and VN Core give to things: systems, profiles, codes. Pure."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
SNOMED: Final = "http://snomed.info/sct"
LOINC: Final = "http://loinc.org"
DICOM_UID: Final = "urn:dicom:uid"
"""System of identifiers that are UIDs; their value is ``urn:oid:`` and the UID (imagingstudy.html)."""
URI: Final = "urn:ietf:rfc:3986"
V2_0203: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
V2_0074: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"
CONNECTION: Final = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
ORGANIZATION_TYPE: Final = "http://terminology.hl7.org/CodeSystem/organization-type"
SERIES_FUNCTION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
NAME_REPRESENTATION: Final = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
PROFILES: Final[dict[str, str]] = {
    kind: f"http://fhir.ehealth.gov.vn/core/StructureDefinition/vn-core-{name}"
    for kind, name in {
        "ImagingStudy": "imaging-study",
        "Patient": "patient",
        "ServiceRequest": "service-request",
        "DiagnosticReport": "diagnostic-report",
        "Organization": "provider",
    }.items()
}
"""Profiles of the draft of VN Core, by type of resource."""

BODY_PARTS: Final[dict[str, tuple[str, str]]] = {
    "ABDOMEN": ("818981001", "Abdomen"),
    "ANKLE": ("70258002", "Ankle joint"),
    "ARM": ("40983000", "Upper arm"),
    "BLADDER": ("89837001", "Bladder"),
    "BRAIN": ("12738006", "Brain"),
    "BREAST": ("76752008", "Breast"),
    "CHEST": ("816094009", "Chest"),
    "CLAVICLE": ("51299004", "Clavicle"),
    "CSPINE": ("122494005", "Cervical spine"),
    "ELBOW": ("16953009", "Elbow joint"),
    "FOOT": ("56459004", "Foot"),
    "HAND": ("85562004", "Hand"),
    "HEAD": ("69536005", "Head"),
    "HEART": ("80891009", "Heart"),
    "HIP": ("29836001", "Hip"),
    "KIDNEY": ("64033007", "Kidney"),
    "KNEE": ("72696002", "Knee"),
    "LEG": ("30021000", "Lower leg"),
    "LIVER": ("10200004", "Liver"),
    "LSPINE": ("122496007", "Lumbar spine"),
    "NECK": ("45048000", "Neck"),
    "PELVIS": ("816092008", "Pelvis"),
    "SHOULDER": ("16982005", "Shoulder"),
    "SKULL": ("89546000", "Skull"),
    "SPINE": ("421060004", "Spine"),
    "THIGH": ("68367000", "Thigh"),
    "THYROID": ("69748006", "Thyroid"),
    "TSPINE": ("122495006", "Thoracic spine"),
    "UTERUS": ("35039007", "Uterus"),
    "WRIST": ("74670003", "Wrist joint"),
}
"""SNOMED CT codes of Body Part Examined (0018,0015), as PS3.16 Annex L has them."""
LATERALITY: Final = {"L": ("7771000", "Left"), "R": ("24028007", "Right"), "B": ("51440002", "Right and left")}
GENDERS: Final = {"M": "male", "F": "female", "O": "other"}
PRIORITIES: Final = {"STAT": "stat", "HIGH": "urgent", "ROUTINE": "routine", "MEDIUM": "routine", "LOW": "routine"}
ORDER_STATUS: Final = {
    **dict.fromkeys(("SCHEDULED", "ARRIVED", "READY", "STARTED"), "active"),
    "COMPLETED": "completed",
    "DISCONTINUED": "revoked",
    "CANCELLED": "revoked",
}
"""Status of a ServiceRequest, by that of the worklist item."""
REPORT_STATUS: Final = {
    "draft": "partial",
    "preliminary": "preliminary",
    "final": "final",
    "amended": "amended",
    "addendum": "appended",
    "cancelled": "cancelled",
}
"""Status of a DiagnosticReport, by that of the report or its version."""


def coding(system: str, code: str, display: str = "") -> Json:
    """A Coding; without a display if there is none."""
    made = {"system": system, "code": code}
    return {**made, "display": display} if display else made


def concept(*codings: Json, text: str = "") -> Json:
    """A CodeableConcept."""
    made: Json = {"coding": list(codings)} if codings else {}
    return {**made, "text": text} if text else made
