"""The CapabilityStatement: what can be asked, told by the tables that answer it (FHIR R4, capabilitystatement.html)."""

from __future__ import annotations

from typing import Any, Final

from archive.fhir.context import Context
from archive.fhir.listed import LISTED
from archive.fhir.service import KINDS, includes, parameters_of, reverse_includes, types
from archive.fhir.terms import PROFILES, Json

DATE: Final = "2026-11-22"
_STANDARD: Final = "http://hl7.org/fhir/SearchParameter"
_COMMON: Final = {"_id": ("token", "The id of the resource"), "_lastUpdated": ("date", "When it was changed last")}


def capability_statement(context: Context, *, signs_in: bool) -> Json:
    """What the service can do."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "publisher": "Provincial PACS",
        "kind": "instance",
        "software": {"name": "Provincial PACS", "version": "0.1.0"},
        "implementation": {"description": "Images and reports of a province", "url": context.base},
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "implementationGuide": ["http://fhir.ehealth.gov.vn/core/ImplementationGuide/hl7.fhir.vn.core"],
        "rest": [
            {
                "mode": "server",
                "documentation": "What a caller may not see is answered as what does not exist.",
                "security": _security(signs_in),
                "resource": [*(_resource(name) for name in types()), *_OTHERS],
            }
        ],
    }


def _security(signs_in: bool) -> Json:
    if not signs_in:
        return {"cors": False, "description": "Nobody is asked who they are: the service listens on loopback only."}
    return {
        "cors": False,
        "description": "Access tokens by client credentials (OAuth 2.0), from /oauth/token; or a browser's session.",
    }


def _resource(name: str) -> Json:
    kind = KINDS.get(name)
    about = kind.about if kind else LISTED[name].about
    made: Json = {"type": name}
    if name in PROFILES:
        made["supportedProfile"] = [PROFILES[name]]
    made |= {
        "documentation": about,
        "interaction": [{"code": code} for code in _interactions(name)],
        "versioning": "versioned" if name in _VERSIONED else "no-version",
        "conditionalRead": "full-support",
        "conditionalCreate": name in _CREATED,
        "searchInclude": includes(name),
        "searchRevInclude": reverse_includes(name),
        "searchParam": [*_parameters(name)],
    }
    return {key: value for key, value in made.items() if value != []}


_OTHERS: Final[list[Json]] = [
    {
        "type": "Binary",
        "documentation": "The printed form of a version of a report, application/pdf. Needs the right to view.",
        "interaction": [{"code": "read"}],
    },
    {
        "type": "Subscription",
        "documentation": "Notifications by rest-hook, to receivers in the settings, with no payload or with ids. "
        "Needs the right to read the change feed.",
        "interaction": [{"code": code} for code in ("create", "read", "search-type", "delete")],
        "searchParam": [
            {"name": "_id", "definition": f"{_STANDARD}/Resource-id", "type": "token"},
            {"name": "status", "definition": f"{_STANDARD}/Subscription-status", "type": "token"},
        ],
    },
]
_VERSIONED: Final = ("DiagnosticReport",)


_CREATED: Final = ("Patient", "ServiceRequest")


def _interactions(name: str) -> tuple[str, ...]:
    found = ("read", "vread", "history-instance", "search-type") if name in _VERSIONED else ("read", "search-type")
    return (*found, "create") if name in _CREATED else found


def _parameters(name: str) -> Any:
    listed = {each.name: each for each in parameters_of(name)}
    if "_id" not in listed:
        kind, about = _COMMON["_id"]
        yield {"name": "_id", "definition": f"{_STANDARD}/Resource-id", "type": kind, "documentation": about}
    for each in listed.values():
        definition = each.definition or f"{_STANDARD}/{_defined_in(name, each.name)}"
        yield {"name": each.name, "definition": definition, "type": each.kind, "documentation": _documented(each)}


_SHARED: Final = {
    ("birthdate", "Patient"): "individual-birthdate",
    ("family", "Patient"): "individual-family",
    ("gender", "Patient"): "individual-gender",
    ("given", "Patient"): "individual-given",
    ("patient", "ImagingStudy"): "clinical-patient",
    ("patient", "ServiceRequest"): "clinical-patient",
    ("patient", "DiagnosticReport"): "clinical-patient",
    ("identifier", "ImagingStudy"): "clinical-identifier",
    ("identifier", "ServiceRequest"): "clinical-identifier",
    ("identifier", "DiagnosticReport"): "clinical-identifier",
    ("code", "ServiceRequest"): "clinical-code",
    ("code", "DiagnosticReport"): "clinical-code",
    ("date", "DiagnosticReport"): "clinical-date",
}
"""Parameters that R4 defines for several types at once."""


def _defined_in(kind: str, name: str) -> str:
    if name == "_lastUpdated":
        return "Resource-lastUpdated"
    return _SHARED.get((name, kind), f"{kind}-{name}")


def _documented(parameter: Any) -> str:
    text = str(parameter.about)
    if parameter.modifiers:
        text += f". Modifiers: {', '.join(f':{each}' for each in parameter.modifiers)}"
    chained = sorted(getattr(parameter, "chain", ()))
    if chained:
        text += f". Chained: {', '.join(f'{parameter.name}.{each}' for each in chained)}"
    return text
