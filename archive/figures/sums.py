"""Sums over facts and looks, kept up to date by adding what changed.

A cube is the sums by some properties. The cubes of months answer for years, that of days for months; what none of them
tells apart is counted from the facts themselves (`archive.figures.ask`). Whatever the way, the counts are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from enum import IntEnum
from typing import Any, Final, NamedTuple

from archive.figures import persons
from archive.figures.fact import Fact
from archive.figures.spread import SPANS
from archive.index_session import Connection

COUNTERS: Final = (
    *("studies", "instances", "bytes", "reported", "tele_read", "delivered", "filmless", "duplicates_found"),
    *("data_right", "data_whole", "data_clean", "data_alive", "complete", "cross_views", "duplicates_avoided"),
)
KEYS: Final = ("cube", "day", "facility_id", "modality", "body_part", "sex", "age_group", "clock")
NO_CLOCK: Final = -1

# Both halves of what is counted, as rows of one shape.
_OF_FACTS: Final = {
    "studies": "1",
    "instances": "instances",
    "bytes": "bytes",
    "duplicates_found": "duplicate::int",
    "complete": "(data_right AND data_whole AND data_clean AND data_alive)::int",
    "cross_views": "0",
    "duplicates_avoided": "0",
}
_OF_LOOKS: Final = {"cross_views": "1", "duplicates_avoided": "avoided::int"}
EVENTS: Final = f"""
(SELECT studied_at AS at, facility_id, modality, body_part, sex, age_group,
        {", ".join(f"{_OF_FACTS.get(name, f'{name}::int')} AS {name}" for name in COUNTERS)} FROM study_fact
 UNION ALL
 SELECT looked_at, fact.facility_id, modality, body_part, sex, age_group,
        {", ".join(_OF_LOOKS.get(name, "0") for name in COUNTERS)}
   FROM study_look JOIN study_fact AS fact USING (study_id) WHERE counted)
"""


class Cube(IntEnum):
    """Which properties a sum tells apart, beside facility and modality."""

    DAYS = 1
    MONTHS = 2
    PEOPLE = 3
    """Months; body part, sex and age group."""
    CLOCK = 4
    """Months; hour of day and day of week."""


class Look(NamedTuple):
    """A row of ``study_look``."""

    segment_id: int
    sequence: int
    study_id: int
    facility_id: int
    looked_at: datetime
    avoided: bool
    counted: bool


Key = tuple[int, date, int, str, str, str, str, int]
SpreadKey = tuple[int, date, int, str, int]


class Delta:
    """What is to be added to the sums."""

    def __init__(self) -> None:
        self.sums: dict[Key, list[int]] = {}
        self.spreads: Counter[SpreadKey] = Counter()

    def add(self, fact: Fact | None, looks: Iterable[Look], sign: int) -> None:
        """Add all that a study counts for, or take it away."""
        if fact is None:
            return
        self._add(fact, fact.studied_at, _of_fact(fact), sign)
        for look in looks:
            self._add(fact, look.looked_at, {"cross_views": 1, "duplicates_avoided": int(look.avoided)}, sign)
        month = fact.studied_at.date().replace(day=1)
        for number, name in SPANS.items():
            if (bucket := getattr(fact, name)) is not None:
                self.spreads[number, month, fact.facility_id, fact.modality, bucket] += sign

    def apply(self, connection: Connection) -> None:
        """Add it to the tables, and delete what is nothing then."""
        changed = {key: values for key, values in self.sums.items() if any(values)}
        if changed:
            rows = sorted((*key, *values) for key, values in changed.items())
            _run(connection, _ADD_SUMS, (*KEYS, *COUNTERS), rows)
            if any(value < 0 for values in changed.values() for value in values):
                _run(connection, _DROP_SUMS, KEYS, sorted(changed))
        moved = {key: count for key, count in self.spreads.items() if count}
        if moved:
            _run(
                connection, _ADD_SPREADS, (*_SPREAD_KEYS, "studies"), sorted((*k, count) for k, count in moved.items())
            )
            if any(count < 0 for count in moved.values()):
                connection.execute(_DROP_SPREADS)

    def _add(self, fact: Fact, at: datetime, counts: dict[str, int], sign: int) -> None:
        for key in _keys(fact, at):
            values = self.sums.setdefault(key, [0] * len(COUNTERS))
            for position, name in enumerate(COUNTERS):
                values[position] += sign * counts.get(name, 0)


def resum(connection: Connection) -> None:
    """Make all sums anew, in the transaction of the caller."""
    for table in ("study_sum", "study_spread", "study_person"):
        connection.execute(f"DELETE FROM {table}")
    of_persons = (persons.INSERT + each for each in persons.FROM_SCRATCH.values())
    for statement in (*FROM_SCRATCH.values(), SPREADS_FROM_SCRATCH, *of_persons):
        connection.execute(statement)


def wrong(connection: Connection) -> int:
    """How many sums are not what the facts say; 0 unless something is broken."""
    found = 0
    for cube, statement in FROM_SCRATCH.items():
        kept = f"SELECT {', '.join((*KEYS, *COUNTERS))} FROM study_sum WHERE cube = {int(cube)}"
        found += _difference(connection, kept, statement.partition(")")[2])
    for level, right in persons.FROM_SCRATCH.items():
        kept = f"SELECT {', '.join(persons.KEYS)}, persons FROM study_person WHERE level = {int(level)}"
        found += _difference(connection, kept, right)
    kept = f"SELECT {', '.join(_SPREAD_KEYS)}, studies FROM study_spread"
    return found + _difference(connection, kept, SPREADS_FROM_SCRATCH.partition(")")[2])


def _difference(connection: Connection, kept: str, right: str) -> int:
    both = (f"({kept}) EXCEPT ({right})", f"({right}) EXCEPT ({kept})")
    return sum(
        int((connection.execute(f"SELECT count(*) FROM ({each}) AS differs").fetchone() or (0,))[0]) for each in both
    )


def _of_fact(fact: Fact) -> dict[str, int]:
    whole = fact.data_right and fact.data_whole and fact.data_clean and fact.data_alive
    counts: dict[str, int] = {name: int(getattr(fact, name)) for name in COUNTERS if name in Fact._fields}
    return {**counts, "studies": 1, "duplicates_found": int(fact.duplicate), "complete": int(whole)}


def _keys(fact: Fact, at: datetime) -> Iterator[Key]:
    day, where = at.date(), (fact.facility_id, fact.modality)
    month, nobody = day.replace(day=1), ("", "", "")
    yield (Cube.DAYS, day, *where, *nobody, NO_CLOCK)
    yield (Cube.MONTHS, month, *where, *nobody, NO_CLOCK)
    yield (Cube.PEOPLE, month, *where, fact.body_part, fact.sex, fact.age_group, NO_CLOCK)
    yield (Cube.CLOCK, month, *where, *nobody, at.weekday() * 24 + at.hour)


def _run(connection: Connection, statement: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    columns = zip(*rows, strict=True)
    connection.execute(statement, {name: list(values) for name, values in zip(names, columns, strict=True)})


_TYPES: Final = {
    **dict.fromkeys(COUNTERS, "bigint"),
    **dict.fromkeys(("modality", "body_part", "sex", "age_group"), "text"),
    "cube": "smallint",
    "day": "date",
    "facility_id": "bigint",
    "clock": "smallint",
    "span": "smallint",
    "bucket": "smallint",
}
_SPREAD_KEYS: Final = ("span", "day", "facility_id", "modality", "bucket")


def _given(names: Sequence[str]) -> str:
    return f"unnest({', '.join(f'%({name})s::{_TYPES[name]}[]' for name in names)}) AS given ({', '.join(names)})"


_ADD_SUMS: Final = f"""
INSERT INTO study_sum AS kept ({", ".join((*KEYS, *COUNTERS))}) SELECT * FROM {_given((*KEYS, *COUNTERS))}
ON CONFLICT ({", ".join(KEYS)})
   DO UPDATE SET {", ".join(f"{name} = kept.{name} + EXCLUDED.{name}" for name in COUNTERS)}
"""
_DROP_SUMS: Final = f"""
DELETE FROM study_sum USING {_given(KEYS)}
 WHERE {" AND ".join(f"study_sum.{name} = given.{name}" for name in KEYS)}
   AND {" AND ".join(f"{name} = 0" for name in COUNTERS)}
"""
_ADD_SPREADS: Final = f"""
INSERT INTO study_spread AS kept ({", ".join(_SPREAD_KEYS)}, studies)
SELECT * FROM {_given((*_SPREAD_KEYS, "studies"))}
ON CONFLICT ({", ".join(_SPREAD_KEYS)}) DO UPDATE SET studies = kept.studies + EXCLUDED.studies
"""
_DROP_SPREADS: Final = "DELETE FROM study_spread WHERE studies = 0"

_GROUPS: Final = {
    Cube.DAYS: ("at::date", "''", "''", "''", "-1"),
    Cube.MONTHS: ("date_trunc('month', at)::date", "''", "''", "''", "-1"),
    Cube.PEOPLE: ("date_trunc('month', at)::date", "body_part", "sex", "age_group", "-1"),
    Cube.CLOCK: (
        *("date_trunc('month', at)::date", "''", "''", "''"),
        "((extract(isodow FROM at) - 1) * 24 + extract(hour FROM at))",
    ),
}
FROM_SCRATCH: Final = {
    cube: f"""
INSERT INTO study_sum ({", ".join((*KEYS, *COUNTERS))})
SELECT {int(cube)}::smallint, {day}, facility_id, modality, {part} COLLATE "C", {sex} COLLATE "C", {age} COLLATE "C",
       {clock}::smallint, {", ".join(f"sum({name})::bigint" for name in COUNTERS)}
  FROM {EVENTS} AS event GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
    for cube, (day, part, sex, age, clock) in _GROUPS.items()
}
SPREADS_FROM_SCRATCH: Final = f"""
INSERT INTO study_spread ({", ".join(_SPREAD_KEYS)}, studies)
SELECT span::smallint, date_trunc('month', studied_at)::date, facility_id, modality, bucket, count(*)
  FROM study_fact CROSS JOIN LATERAL (VALUES {", ".join(f"({span}, {name})" for span, name in SPANS.items())})
       AS took (span, bucket)
 WHERE bucket IS NOT NULL GROUP BY 1, 2, 3, 4, 5
"""
