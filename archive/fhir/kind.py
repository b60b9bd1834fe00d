"""A type of resource that is searched in the index: how its rows are found, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Row, Select

from archive.fhir.conditions import Condition
from archive.fhir.parameters import Asking, Parameter, Sort
from archive.fhir.terms import Json

Rows = Sequence[Row[Any]]


class Source(Protocol):
    """Rows of one type of resource, and what they become."""

    def statement(self, asking: Asking) -> Select[Any]:
        """All that the caller may see, under the access predicate; rows have all that `resources` needs of them."""

    def by_ids(self, ids: Sequence[str]) -> Condition:
        """The rows of these ids of resources; those that can be none are left out."""

    def resources(self, asking: Asking, rows: Rows) -> list[Json]:
        """A resource for each row, in their order. Raises `IndexUnavailable`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of resource."""

    name: str
    about: str
    source: Source
    parameters: Mapping[str, Parameter]
    sorts: Mapping[str, Sort]
    default_sort: str
    """With a ``-`` in front where it begins with the largest."""
    summary: frozenset[str]
    """Elements of ``_summary=true`` (those marked Σ)."""
    required: frozenset[str] = field(default_factory=frozenset)
    """Elements that no subset may leave out."""


def parameters(*listed: Parameter) -> dict[str, Parameter]:
    """By name."""
    return {each.name: each for each in listed}
