"""Searches of resources: parameters of a request to pages of resources (FHIR R4, search.html)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Row, Select, func, literal, select

from archive.errors import InvalidQuery
from archive.fhir.conditions import Condition
from archive.fhir.kind import Kind
from archive.fhir.paging import Pairs, Place, order_by, phases
from archive.fhir.parameters import Asking, Sort, Term, term
from archive.fhir.terms import Json
from archive.fhir.values import separated

MOST_PARAMETERS: Final = 100
COUNTED: Final = 100_000
"""Matches that ``_total=estimate`` counts; of more, there is no total."""
_TOO_BROAD: Final = "the search takes too long: narrow it by patient, identifier or date"
CONTROLS: Final[Mapping[str, str]] = {
    "_count": "Matches of one page",
    "_sort": "Order; a `-` in front begins with the largest",
    "_include": "Resources that matches refer to",
    "_revinclude": "Resources that refer to matches",
    "_total": "`none`, `estimate` or `accurate`",
    "_summary": "`true`, `text`, `data`, `count` or `false`",
    "_elements": "Elements wanted",
    "_format": "Media type wanted",
    "_pretty": "Whether to indent",
}
"""Parameters that steer a search."""
_LISTS: Final = ("_include", "_revinclude", "_include:iterate", "_revinclude:iterate")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search as it was understood."""

    terms: tuple[Term, ...]
    ids: tuple[str, ...] | None
    sort: str
    descending: bool
    count: int
    include: tuple[str, ...]
    revinclude: tuple[str, ...]
    iterated: frozenset[str]
    """Of both, what is to be followed from what was included, too."""
    total: str
    summary: str
    elements: tuple[str, ...]
    used: Pairs
    """What was understood, for the link to itself."""
    ignored: tuple[str, ...] = ()
    """Names of what was not."""


@dataclass(slots=True)
class Page:
    """Some matches in order."""

    resources: list[Json] = field(default_factory=list)
    total: int | None = None
    place: Place | None = None
    """Of the last one, if there are more."""


def wanted(kind: Kind, pairs: Pairs, *, strict: bool, count: int, most: int) -> Wanted:
    """Read the parameters of a search. Raises `InvalidQuery`, for an unknown one only if `strict`."""
    if len(pairs) > MOST_PARAMETERS:
        raise InvalidQuery(f"a search has at most {MOST_PARAMETERS} parameters")
    terms: list[Term] = []
    controls: dict[str, str] = {}
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    used: Pairs = []
    ignored: list[str] = []
    ids: set[str] | None = None
    for name, value in pairs:
        if not value:
            continue
        if name == "_id":
            ids = {*separated(value)} if ids is None else ids & {*separated(value)}
        elif name in _LISTS:
            lists[name].append(value)
        elif name in CONTROLS:
            if controls.setdefault(name, value) != value:
                raise InvalidQuery(f"{name} is given twice")
        elif (found := term(kind.parameters, name, value)) is not None:
            terms.append(found)
        elif strict:
            raise InvalidQuery(f"{kind.name} cannot be searched by {name[:64]!a}")
        else:
            ignored.append(name[:64])
            continue
        used.append((name, value))
    sort, descending = _sort(kind, controls.get("_sort", kind.default_sort), ignored, strict=strict)
    used = [pair for pair in used if pair[0] not in ignored]
    return Wanted(
        terms=tuple(terms),
        ids=None if ids is None else tuple(sorted(ids)),
        sort=sort,
        descending=descending,
        count=min(_number(controls.get("_count", str(count))), most),
        include=(*lists["_include"], *lists["_include:iterate"]),
        revinclude=(*lists["_revinclude"], *lists["_revinclude:iterate"]),
        iterated=frozenset((*lists["_include:iterate"], *lists["_revinclude:iterate"])),
        total=_one_of("_total", controls.get("_total", "none"), ("none", "estimate", "accurate")),
        summary=_one_of("_summary", controls.get("_summary", "false"), ("true", "text", "data", "count", "false")),
        elements=tuple(separated(controls.get("_elements", ""))),
        used=used,
        ignored=tuple(ignored),
    )


def search(kind: Kind, asking: Asking, asked: Wanted, place: Place | None = None) -> Page:
    """One page. Raises `InvalidQuery`, `TooManyMatches`, `IndexUnavailable`."""
    conditions = [each.condition(asking) for each in asked.terms]
    if asked.ids is not None:
        conditions.append(kind.source.by_ids(asked.ids))
    statement = kind.source.statement(asking).where(*conditions)
    size = 0 if asked.summary == "count" else asked.count
    sort = kind.sorts[asked.sort]
    rows = _rows(asking, statement, sort, asked, place, size + 1) if size else []
    page = Page(kind.source.resources(asking, rows[:size]))
    if len(rows) > size:
        page.place = tuple(rows[size - 1]._mapping[f"place_{number}"] for number in range(len(sort.keys)))
    if place is None and size and len(rows) <= size:
        page.total = len(rows)
    elif asked.summary == "count" or asked.total != "none" or not size:
        page.total = _count(asking, statement, None if asked.total != "estimate" else COUNTED)
    return page


def read(kind: Kind, asking: Asking, ids: Sequence[str]) -> list[Json]:
    """The resources of these ids that the caller may see, in any order. Raises `IndexUnavailable`."""
    if not ids:
        return []
    statement = kind.source.statement(asking).where(kind.source.by_ids(ids))
    return kind.source.resources(asking, asking.reader.fetch(asking.scope, statement))


def referring(kind: Kind, asking: Asking, parameter: str, references: Sequence[str], most: int) -> list[Json]:
    """Resources that refer to these by a parameter, `most` of them at most. Raises `IndexUnavailable`."""
    condition: Condition = kind.parameters[parameter].build(asking, "", references)
    statement = kind.source.statement(asking).where(condition)
    sort, descending = kind.default_sort.removeprefix("-"), kind.default_sort.startswith("-")
    statement = statement.order_by(*order_by(kind.sorts[sort], descending)).limit(most)
    return kind.source.resources(asking, asking.reader.fetch(asking.scope, statement, too_slow=_TOO_BROAD))


def _rows(
    asking: Asking, statement: Select[Any], sort: Sort, asked: Wanted, place: Place | None, size: int
) -> list[Row[Any]]:
    places = [key.column.label(f"place_{number}") for number, key in enumerate(sort.keys)]
    ordered = statement.add_columns(*places).order_by(*order_by(sort, asked.descending))
    found: list[Row[Any]] = []
    for phase in phases(sort, asked.descending, place):
        if len(found) < size:
            limited = (ordered if phase is None else ordered.where(phase)).limit(size - len(found))
            found += asking.reader.fetch(asking.scope, limited, too_slow=_TOO_BROAD)
    return found


def _count(asking: Asking, statement: Select[Any], most: int | None) -> int | None:
    source = statement.with_only_columns(literal(1).label("one"), maintain_column_froms=True)
    limited = source if most is None else source.limit(most + 1)
    counted = select(func.count()).select_from(limited.subquery())
    found: int = asking.reader.fetch(asking.scope, counted, too_slow=_TOO_BROAD)[0][0]
    return found if most is None or found <= most else None


def _sort(kind: Kind, text: str, ignored: list[str], *, strict: bool) -> tuple[str, bool]:
    name, descending = text.lstrip("-+"), text.startswith("-")
    if name in kind.sorts:
        return name, descending
    possible = ", ".join(sorted(kind.sorts))
    if strict:
        raise InvalidQuery(f"_sort: {kind.name} is ordered by one of {possible}")
    ignored.append("_sort")
    return kind.default_sort.removeprefix("-"), kind.default_sort.startswith("-")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidQuery("_count is not a whole number from 0")
    return int(text)


def _one_of(name: str, value: str, possible: tuple[str, ...]) -> str:
    if value not in possible:
        raise InvalidQuery(f"{name} is one of {', '.join(possible)}")
    return value
