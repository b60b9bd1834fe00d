"""Asks the FHIR interface, and checks whatever comes back against the models of the standard.

`fhir.resources` has R4B (4.3.0) beside R5. R4B differs from R4 (4.0.1) in other types of resources than ours, but for
Subscription, of which it only says more.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import httpx

Json = dict[str, Any]


def validate(resource: Json) -> None:
    """Raises if the resource is none of R4."""
    kind = resource["resourceType"]
    module = importlib.import_module(f"fhir.resources.R4B.{kind.lower()}")
    getattr(module, kind).model_validate(resource)


def get(web: httpx.Client, path: str, status: int = 200, **options: Any) -> Json:
    """The resource that a request gives."""
    response = web.get(path if path.startswith("http") else f"/fhir/{path}", **options)
    assert response.status_code == status, (path, response.status_code, response.text)
    assert response.headers["content-type"] == "application/fhir+json"
    found: Json = response.json()
    validate(found)
    return found


def search(web: httpx.Client, path: str, **options: Any) -> list[Json]:
    """The matches of a page."""
    return matches(get(web, path, **options))


def matches(bundle: Json, mode: str = "match") -> list[Json]:
    return [each["resource"] for each in bundle.get("entry", []) if each["search"]["mode"] == mode]


def ids(web: httpx.Client, path: str, **options: Any) -> set[str]:
    return {each["id"] for each in search(web, path, **options)}


def pages(web: httpx.Client, path: str) -> Iterator[Json]:
    """The pages of a search, from link to link."""
    address: str | None = path
    while address:
        bundle = get(web, address)
        yield bundle
        address = next((each["url"] for each in bundle["link"] if each["relation"] == "next"), None)


def references(resource: Any) -> Iterator[str]:
    """All references in a resource."""
    if isinstance(resource, dict):
        if isinstance(resource.get("reference"), str):
            yield resource["reference"]
        for each in resource.values():
            yield from references(each)
    elif isinstance(resource, list):
        for each in resource:
            yield from references(each)
