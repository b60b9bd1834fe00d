"""Distinct persons told apart one by one, where no sums that are kept tell of them.

PostgreSQL hands over who was seen where and when, packed: eight octets for each of what is asked for. To tell persons
apart takes a sort of numbers here, and is some times as fast as there, where each row goes through a hash table of
texts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archive.figures.question import By

MOST: Final = 1_500_000
"""Of more facts the persons are told apart by PostgreSQL, which needs no memory for them here."""
AT_ONCE: Final = threading.BoundedSemaphore(4)
"""As many counts are made at once in a process: each holds some dozen octets for each fact."""
TEXTS: Final = (By.MODALITY, By.BODY_PART, By.SEX, By.AGE_GROUP)
"""What PostgreSQL groups by: few values, and texts. The rest of a breakdown is packed."""

Numbers = NDArray[np.int64]
Places = Mapping[int, Mapping[By, str]]
"""What facilities are called, by their rows."""
_EPOCH: Final = datetime(2000, 1, 1)
_HOUR: Final = 3_600_000_000
_DAY: Final = 24 * _HOUR


class Packed(NamedTuple):
    """What PostgreSQL hands over: groups of the same texts, and of each the packed numbers of its facts."""

    texts: Sequence[By]
    columns: Sequence[str]
    """What is packed of each fact: ``person``, and ``at`` and ``facility`` if they are asked for."""
    rows: Sequence[Sequence[Any]]


class _Part(NamedTuple):
    """One breakdown: of each fact the number of its value, and the values."""

    numbers: Numbers
    values: Sequence[Any]


def count(packed: Packed, by: Sequence[By], places: Places) -> dict[tuple[Any, ...], tuple[int]]:
    """Distinct persons by the values of `by`; times are their beginnings."""
    blobs = [row[-1] for row in packed.rows]
    table = np.frombuffer(b"".join(blobs), dtype=">i8").reshape(-1, len(packed.columns))
    columns: dict[str, Numbers] = {name: table[:, at].astype(np.int64) for at, name in enumerate(packed.columns)}
    sizes = np.array([len(blob) for blob in blobs], dtype=np.int64) // (8 * len(packed.columns))
    group: Numbers = np.repeat(np.arange(len(blobs)), sizes)
    parts = [_part(each, packed, columns, group, places) for each in by]
    values, numbers, size = _combined(parts, len(table))
    found: dict[tuple[Any, ...], tuple[int]] = {}
    for number, persons in zip(*_distinct(numbers, size, columns["person"]), strict=True):
        found[values(int(number))] = (int(persons),)
    return found


def _part(name: By, packed: Packed, columns: Mapping[str, Numbers], group: Numbers, places: Places) -> _Part:
    if name in TEXTS:
        at = packed.texts.index(name)
        of_groups = _numbered([row[at] for row in packed.rows])
        return _Part(of_groups.numbers[group], of_groups.values)
    if name in _TIMES:
        unit, told = _TIMES[name]
        units = unit(columns["at"])
        # All between the first and the last: they are few, and to find out which occur takes longer.
        first, last = (int(units.min()), int(units.max())) if len(units) else (0, 0)
        named = _numbered([told(each) for each in range(first, last + 1)])
        return _Part(named.numbers[units - first], named.values)
    rows = sorted(places)
    named = _numbered([places[row][name] for row in rows])
    return _Part(named.numbers[np.searchsorted(np.array(rows, dtype=np.int64), columns["facility"])], named.values)


def _numbered(values: Sequence[Any]) -> _Part:
    """The same value may be there more than once: districts have many facilities."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return _Part(np.array([numbers[value] for value in values], dtype=np.int64), list(numbers))


def _combined(parts: Sequence[_Part], facts: int) -> tuple[Callable[[int], tuple[Any, ...]], Numbers, int]:
    """One number for all breakdowns of a fact together, how many such there can be, and what a number stands for."""
    combined: Numbers = np.zeros(facts, dtype=np.int64)
    size = 1
    for part in parts:
        combined = combined * len(part.values) + part.numbers
        size *= len(part.values)

    def values(number: int) -> tuple[Any, ...]:
        found = []
        for part in reversed(parts):
            number, at = divmod(number, len(part.values))
            found.append(part.values[at])
        return tuple(reversed(found))

    return values, combined, size


def _distinct(numbers: Numbers, size: int, persons: Numbers) -> tuple[Numbers, Numbers]:
    """Of each number that occurs, how many persons do so with it."""
    if not len(persons):
        return numbers, numbers
    first, last = int(persons.min()), int(persons.max())
    width = last - first + 1
    if size * width >= 1 << 62:  # numbers of persons lie far apart
        known, persons = np.unique(persons, return_inverse=True)
        first, width = 0, len(known)
    pairs = np.sort(numbers * width + (persons - first))
    new = np.concatenate(([True], pairs[1:] != pairs[:-1]))
    return np.unique(pairs[new] // width, return_counts=True)


def _moment(hours: int) -> datetime:
    return _EPOCH + timedelta(hours=hours)


def _day(days: int) -> date:
    return (_EPOCH + timedelta(days=days)).date()


def _week(days: int) -> date:
    day = _day(days)
    return day - timedelta(days=day.weekday())


def _month(days: int) -> date:
    return _day(days).replace(day=1)


def _quarter(days: int) -> date:
    day = _day(days)
    return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)


def _year(days: int) -> date:
    return _day(days).replace(month=1, day=1)


def _same(number: int) -> int:
    return number


_DAYS: Final[Callable[[Numbers], Numbers]] = lambda at: at // _DAY  # noqa: E731
# Microseconds since 2000 as some number, and what that number stands for. 2000 began on a Saturday.
_TIMES: Final[Mapping[By, tuple[Callable[[Numbers], Numbers], Callable[[int], Any]]]] = {
    By.HOUR: (lambda at: at // _HOUR, _moment),
    By.DAY: (_DAYS, _day),
    By.WEEK: (_DAYS, _week),
    By.MONTH: (_DAYS, _month),
    By.QUARTER: (_DAYS, _quarter),
    By.YEAR: (_DAYS, _year),
    By.HOUR_OF_DAY: (lambda at: at // _HOUR % 24, _same),
    By.DAY_OF_WEEK: (lambda at: (at // _DAY + 5) % 7 + 1, _same),
}
PACKED: Final[Mapping[By, str]] = {
    **dict.fromkeys(_TIMES, "at"),
    **dict.fromkeys((By.FACILITY, By.DISTRICT, By.CARE_LEVEL), "facility"),
}
"""Which packed column a breakdown is read from, of those that are not texts."""
