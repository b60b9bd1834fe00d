"""Resources that are few and in memory: Endpoint and Organization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from archive.errors import InvalidQuery
from archive.fhir.context import Context
from archive.fhir.parameters import ParameterKind
from archive.fhir.places import endpoints, organizations
from archive.fhir.terms import Json
from archive.fhir.values import plain, reference, separated, token
from archive.standard.text import fold

Matches = Callable[[Json, str, str], bool]
"""Whether a resource matches a value with a modifier. Raises `InvalidQuery`."""


@dataclass(frozen=True, slots=True)
class ListedParameter:
    """A search parameter that looks at resources."""

    name: str
    kind: ParameterKind
    about: str
    matches: Matches
    modifiers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A type of resource of which all are made whenever one is asked for."""

    name: str
    about: str
    make: Callable[[Context], list[Json]]
    parameters: Mapping[str, ListedParameter]
    summary: frozenset[str]
    required: frozenset[str] = frozenset()

    def found(
        self, context: Context, ids: Sequence[str] | None, terms: Sequence[tuple[ListedParameter, str, str]]
    ) -> list[Json]:
        """All that match, in order of their ids. Raises `InvalidQuery`."""
        matching = [
            each
            for each in self.make(context)
            if (ids is None or each["id"] in ids)
            and all(
                any(parameter.matches(each, modifier, value) for value in separated(values))
                for parameter, modifier, values in terms
            )
        ]
        return sorted(matching, key=lambda each: str(each["id"]))


def _is_token(*found: tuple[str, str], value: str) -> bool:
    wanted = token(value)
    return any((wanted.system in (None, system)) and wanted.code in ("", code) for system, code in found)


def _identifier(resource: Json, _: str, value: str) -> bool:
    return _is_token(*((each["system"], each["value"]) for each in resource["identifier"]), value=value)


def _name(resource: Json, modifier: str, value: str) -> bool:
    if modifier == "exact":
        return bool(resource["name"] == plain(value))
    wanted, name = fold(plain(value)), fold(resource["name"])
    if not wanted:
        raise InvalidQuery("a text to search for has letters or digits")
    return wanted in name if modifier == "contains" else f" {wanted}" in f" {name}"


def _codings(element: str) -> Matches:
    def matches(resource: Json, _: str, value: str) -> bool:
        given = resource.get(element, [])
        concepts = given if isinstance(given, list) else [{"coding": [given]}]
        codings = [(each.get("system", ""), each["code"]) for one in concepts for each in one["coding"]]
        return _is_token(*codings, value=value)

    return matches


def _plain(element: str) -> Matches:
    def matches(resource: Json, _: str, value: str) -> bool:
        given = resource.get(element)
        return token(value).code == (str(given).lower() if isinstance(given, bool) else given)

    return matches


def _endpoint(resource: Json, _: str, value: str) -> bool:
    wanted = reference(value, "")
    return wanted is not None and any(each["reference"] == f"Endpoint/{wanted.id}" for each in resource["endpoint"])


def _parameters(*listed: ListedParameter) -> dict[str, ListedParameter]:
    return {each.name: each for each in listed}


_TEXT: Final = ("exact", "contains")
ENDPOINT: Final = Listed(
    "Endpoint",
    "Where images are: DICOMweb for programs, the viewer for people.",
    endpoints,
    _parameters(
        ListedParameter("connection-type", "token", "Protocol", _codings("connectionType")),
        ListedParameter("identifier", "token", "Its name", _identifier),
        ListedParameter("name", "string", "Words of its name for people", _name, _TEXT),
        ListedParameter("payload-type", "token", "`any`, always", _codings("payloadType")),
        ListedParameter("status", "token", "`active`, always", _plain("status")),
    ),
    frozenset(
        (
            "identifier",
            "status",
            "connectionType",
            "name",
            "managingOrganization",
            "period",
            "payloadType",
            "payloadMimeType",
            "address",
        )
    ),
    frozenset(("status", "connectionType", "payloadType", "address")),
)
ORGANIZATION: Final = Listed(
    "Organization",
    "A facility; its id is its code (MA_CSKCB).",
    organizations,
    _parameters(
        ListedParameter("active", "token", "`true`, always", _plain("active")),
        ListedParameter("endpoint", "reference", "Where its images are", _endpoint, targets=("Endpoint",)),
        ListedParameter("identifier", "token", "MA_CSKCB", _identifier),
        ListedParameter("name", "string", "Words of its name, without accents and case", _name, _TEXT),
        ListedParameter("type", "token", "`prov`, always", _codings("type")),
    ),
    frozenset(("identifier", "active", "type", "name", "endpoint")),
)
LISTED: Final = {each.name: each for each in (ENDPOINT, ORGANIZATION)}
