"""Parts of resources: ``_summary`` and ``_elements`` (FHIR R4, search.html 3.1.1.5.8 and 3.1.1.5.9). Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from archive.fhir.terms import Json

_ALWAYS: Final = frozenset(("resourceType", "id", "meta"))
_SUBSETTED: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
    "display": "subsetted",
}


def subset(
    resource: Json, summary: str, elements: Sequence[str], *, of_summary: Collection[str], required: Collection[str]
) -> Json:
    """The part that is asked for; it is marked as such."""
    if summary in ("false", "data", "count") and not elements:
        return resource
    if summary == "text":
        kept = {"text", *required}
    elif elements:
        kept = {*(each.split(".")[0] for each in elements), *required}
    else:
        kept = {*of_summary, *required}
    made = {name: value for name, value in resource.items() if name in _ALWAYS or name in kept}
    # A reference to what is contained must lead somewhere.
    if "contained" in resource and any(f"#{each['id']}" in str(made) for each in resource["contained"]):
        made["contained"] = [each for each in resource["contained"] if f"#{each['id']}" in str(made)]
    made["meta"] = {**resource.get("meta", {}), "tag": [_SUBSETTED]}
    return {"resourceType": resource["resourceType"], **{name: made[name] for name in made if name != "resourceType"}}
