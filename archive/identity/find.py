"""Finds who might be the same person, by indexes, and compares them."""

from __future__ import annotations

import json
from calendar import isleap
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final

from archive.identity import sql
from archive.identity.book import Book
from archive.identity.records import Record
from archive.identity.score import Comparison, Scorer
from archive.index_session import Connection
from config.identity import IdentitySettings

MOST_ALIKE: Final = 60
"""Records that one index is asked for. More have the same name and year only where neither tells anything."""
Pair = tuple[int, int]


class Finder:
    """Finds and compares, as one transaction sees the records. `people` is how many there are, about."""

    def __init__(self, connection: Connection, settings: IdentitySettings, people: int | None = None) -> None:
        self._connection = connection
        self._settings = settings
        self._people = people
        self._names: dict[str, int] = {}
        self._scorer: Scorer | None = None

    def by_numbers(self, records: Iterable[Record]) -> set[Pair]:
        """Pairs that share a number, each with one of these first."""
        numbers = [
            {"id": record.id, "kind": kind, "issuer": issuer, "value": value}
            for record in records
            for kind, issuer, value in _numbers(record)
        ]
        given = {"numbers": json.dumps(numbers), "most": self._settings.largest_group}
        return self._pairs(sql.STRONG, given) if numbers else set()

    def by_facts(self, records: Iterable[Record]) -> set[Pair]:
        """Pairs of much the same name and birth date, or with one telephone."""
        rows = [_row(record) for record in records if record.name_key]
        return self._pairs(sql.ALIKE, {"rows": json.dumps(rows), "most": MOST_ALIKE}) if rows else set()

    def compare(self, pairs: Collection[Pair], records: Mapping[int, Record]) -> dict[Pair, Comparison]:
        """What each pair looks like; the lower id comes first."""
        ordered = {(min(pair), max(pair)) for pair in pairs if pair[0] in records and pair[1] in records}
        self._learn({records[number].name_key for pair in ordered for number in pair})
        scorer = self.scorer()
        return {pair: scorer.compare(records[pair[0]], records[pair[1]]) for pair in ordered}

    def scorer(self) -> Scorer:
        """What compares; it knows the names of those whom `compare` got."""
        if self._scorer is None:
            if self._people is None:
                (self._people,) = self._connection.execute(sql.PEOPLE).fetchone() or (0,)
            settings = self._settings
            self._scorer = Scorer(
                self._people or 0, lambda name: self._names.get(name, 0), settings.strong, settings.population
            )
        return self._scorer

    def load_neighbours(self, book: Book, pairs: Iterable[Pair], known: Mapping[int, Record]) -> dict[int, Record]:
        """The records of pairs, with those that are known already."""
        wanted = {number for pair in pairs for number in pair if number} - set(known)
        return {**known, **book.load(wanted)}

    def _learn(self, names: set[str]) -> None:
        new = sorted(name for name in names if name and name not in self._names)
        if new:
            rows = self._connection.execute(sql.NAME_COUNTS, {"names": new}).fetchall()
            self._names.update(dict.fromkeys(new, 0))
            self._names.update(dict(rows))

    def _pairs(self, statement: str, given: dict[str, Any]) -> set[Pair]:
        return {(int(one), int(other)) for one, other in self._connection.execute(statement, given).fetchall()}


def _numbers(record: Record) -> Iterable[tuple[str, str, str]]:
    for each in record.identifiers:
        yield each.kind.value, each.issuer, each.value
    if record.number and record.issuer:
        # Others may name this one.
        yield "facility", record.issuer, record.number


def _row(record: Record) -> dict[str, Any]:
    born = record.birth_date
    # The first of January is what systems write who know the year alone: it tells no day.
    years = _near(record.birth_year) if born and (born.month, born.day) != (1, 1) else []
    return {
        "id": record.id,
        "name_key": record.name_key,
        "rest": record.name_fold[: len(record.name_fold) - len(record.given)],
        "given": record.given,
        "birth_date": born.isoformat() if born else None,
        "birth_year": record.birth_year,
        "years": years,
        "days": [day.isoformat() for year in years if born and (day := _same_day(born, year))],
        "phone": record.phone,
    }


@lru_cache(maxsize=512)
def _near(year: int) -> list[int]:
    """The years of which one of the last two digits differs, and this one."""
    tens = [year // 10 * 10 + digit for digit in range(10)]
    return sorted({*tens, *(year // 100 * 100 + digit * 10 + year % 10 for digit in range(10))})


def _same_day(born: date, year: int) -> date | None:
    """The day in another year; None for 29 February where there is none."""
    return None if (born.month, born.day) == (2, 29) and not isleap(year) else born.replace(year=year)
