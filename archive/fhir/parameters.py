"""What a resource type can be searched by: the table behind searches, the CapabilityStatement and the documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from archive.errors import InvalidQuery
from archive.fhir.conditions import Condition, Instants, any_of
from archive.fhir.context import Context
from archive.fhir.terms import Json
from archive.fhir.values import Moment, Reference, Token, moment, plain, reference, separated, token
from archive.reading import Reader
from archive.records import Scope

ParameterKind = Literal["token", "string", "date", "reference", "uri"]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who searches, and with what names."""

    reader: Reader
    scope: Scope
    context: Context


Build = Callable[[Asking, str, Sequence[str]], Condition]
"""The condition of a modifier and values, one of which is to match. Raises `InvalidQuery`."""
Follow = Callable[[Json], Sequence[str]]
"""The references, such as ``Patient/17``, that a resource has by a parameter."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter of one type of resource."""

    name: str
    kind: ParameterKind
    about: str
    build: Build
    modifiers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    """Types that a reference leads to."""
    chain: Mapping[str, Build] = field(default_factory=dict)
    """Parameters of the target that may follow behind a dot."""
    follow: Follow | None = None
    """For ``_include``."""
    definition: str = ""
    """Canonical address, where it is none of R4."""


@dataclass(frozen=True, slots=True)
class Key:
    """A column that matches are ordered by."""

    column: Any
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """An order that an index has; the last key is unique."""

    keys: tuple[Key, ...]


class Term(NamedTuple):
    """One parameter of a search with all that it says."""

    parameter: Parameter
    modifier: str
    chained: str
    values: tuple[str, ...]

    def condition(self, asking: Asking) -> Condition:
        """What it asks for. Raises `InvalidQuery`."""
        if self.chained:
            return self.parameter.chain[self.chained](asking, self.modifier, self.values)
        return self.parameter.build(asking, self.modifier, self.values)


def term(parameters: Mapping[str, Parameter], name: str, value: str) -> Term | None:
    """Read one parameter; None for one that is unknown. Raises `InvalidQuery` for a modifier that is."""
    head, dot, chained = name.partition(".")
    bare, _, modifier = head.partition(":")
    parameter = parameters.get(bare)
    if parameter is None:
        return None
    values = tuple(separated(value))
    if dot:
        chained, _, inner = chained.partition(":")
        if chained not in parameter.chain or (modifier and modifier not in parameter.targets):
            return None
        if inner not in ("", "exact", "contains", "missing"):
            raise InvalidQuery(f"{bare}.{chained} has no such modifier")
        return Term(parameter, inner, chained, values)
    if modifier and modifier not in (*parameter.modifiers, *parameter.targets):
        known = ", ".join(parameter.modifiers + parameter.targets) or "none"
        raise InvalidQuery(f"{bare} has no such modifier; there are: {known}")
    return Term(parameter, modifier, "", values)


# -- makers of conditions --------------------------------------------------------------------------------------------


def tokens(condition: Callable[[Asking, Token], Condition]) -> Build:
    """By tokens; with ``:not``, what has none of them."""

    def build(asking: Asking, modifier: str, values: Sequence[str]) -> Condition:
        found = any_of([condition(asking, token(value)) for value in values])
        return ~found if modifier == "not" else found

    return build


def dates(target: Any) -> Build:
    """By moments; `target` is `Days` or `Instants`. With ``:missing``, whether there is a date at all."""

    def build(_: Asking, modifier: str, values: Sequence[str]) -> Condition:
        if modifier == "missing":
            column = target.column if isinstance(target, Instants) else target.date
            return _missing(column, values)
        wanted: list[Moment] = [moment(value) for value in values]
        return any_of([target.condition(each) for each in wanted])

    return build


def texts(condition: Callable[[Asking, str, str], Condition]) -> Build:
    """By strings, with their modifier."""

    def build(asking: Asking, modifier: str, values: Sequence[str]) -> Condition:
        return any_of([condition(asking, plain(value), modifier) for value in values])

    return build


def references(
    targets: Sequence[str],
    condition: Callable[[Asking, Sequence[str]], Condition],
    by_identifier: Callable[[Asking, Token], Condition] | None = None,
) -> Build:
    """By references to these types; `condition` gets their ids. With ``:identifier``, by what they are known as."""

    def build(asking: Asking, modifier: str, values: Sequence[str]) -> Condition:
        if modifier == "identifier" and by_identifier is not None:
            return any_of([by_identifier(asking, token(value)) for value in values])
        kinds = (modifier,) if modifier else tuple(targets)
        wanted = [reference(value, asking.context.base) for value in values]
        fitting: list[Reference] = [each for each in wanted if each is not None and (each.kind or kinds[0]) in kinds]
        return condition(asking, [each.id for each in fitting])

    return build


def _missing(column: Any, values: Sequence[str]) -> Condition:
    if list(values) not in (["true"], ["false"]):
        raise InvalidQuery(":missing is true or false")
    found: Condition = column.is_(None) if values[0] == "true" else column.is_not(None)
    return found


R5: Final = "http://hl7.org/fhir/5.0/SearchParameter"
"""Where parameters are defined that R4 has not."""
