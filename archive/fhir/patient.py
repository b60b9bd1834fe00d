"""A Patient made of a row of ``patient`` and of whom it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from archive.fhir.context import Context
from archive.fhir.datatypes import code, first, human_names, identifier, instant, reference, values, without_empty
from archive.fhir.terms import GENDERS, V2_0203, Json, coding, concept

_OTHER_IDS: Final = "00101002"
_INSURANCE = re.compile(r"[A-Z]{2}[1-5]\d{12}")


def patient(row: Any, others: Iterable[int], context: Context, *, citizen: str = "") -> Json:
    """The resource. `others` are rows of the same person elsewhere, `citizen` is that person's number."""
    return without_empty(
        {
            "resourceType": "Patient",
            "id": str(row.id),
            "meta": context.meta("Patient", instant(row.created_at)),
            "identifier": identifiers(row, context, citizen),
            "active": True,
            "name": human_names(row.name) or [{"text": "(không tên)", "use": "anonymous"}],
            "gender": GENDERS.get(row.sex.strip().upper(), "unknown"),
            "birthDate": row.birth_date.isoformat() if row.birth_date is not None else None,
            "managingOrganization": _organization(row.issuer, context),
            "link": [{"other": reference("Patient", other), "type": "seealso"} for other in others],
        }
    )


def identifiers(row: Any, context: Context, citizen: str = "") -> list[Json]:
    """Who it is, for other systems: number of the citizen, patient ID of the facility, others that it came with."""
    systems = context.settings.systems
    found = [
        identifier(systems.citizen, citizen, use="official", type=_type("NI", "National unique individual identifier")),
        *_of_issuer(row.patient_id, row.issuer, context),
    ]
    seen = {(each["system"], each["value"]) for each in found if each}
    insured = False
    for item in values(row.attributes, _OTHER_IDS):
        value, issuer = first(item, "00100020"), first(item, "00100021")
        if _INSURANCE.fullmatch(value) and not insured:
            insured = True
            kind = _type("SB", "Social Beneficiary Identifier")
            found.append(identifier(systems.insurance, value, use="official", type=kind))
            continue
        other = identifier(context.patient_system(code(issuer).replace(" ", "-") or "other"), value, use="secondary")
        if other and (other["system"], other["value"]) not in seen:
            seen.add((other["system"], other["value"]))
            found.append(other)
    return [each for each in found if each]


def _of_issuer(patient_id: str, issuer: str, context: Context) -> list[Json]:
    """By the system of this issuer, by which it is unique, and as the profile wants it."""
    who = _organization(issuer, context)
    usual = identifier(
        context.patient_system(issuer), patient_id, use="usual", type=_type("MR", "Medical record number")
    )
    second = identifier(
        context.settings.systems.patient, patient_id, use="secondary", type=_type("PI", "Patient internal identifier")
    )
    return [without_empty({**each, "assigner": who}) for each in (usual, second) if each]


def _type(name: str, display: str) -> Json:
    return concept(coding(V2_0203, name, display))


def _organization(issuer: str, context: Context) -> Json:
    facility = context.issuers.get(issuer, "")
    return reference("Organization", facility, context.facilities.get(facility, "")) if facility else {}
