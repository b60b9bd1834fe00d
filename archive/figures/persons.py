"""Distinct persons by month, kept so that those of any months together can be added up.

Persons of months cannot be added, for who comes in two of them is one. So each is kept with the month in which they
were seen before: of the months from one on, who was last seen before that one is seen for the first time, once. What
"before" means depends on where somebody looks, so there is a level for each: in the province, at a facility, with a
modality, and with a modality at a facility.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date
from enum import IntEnum
from typing import Final

from archive.figures.fact import Fact
from archive.index_session import Connection


class Level(IntEnum):
    """What is told apart; the rest is 0 or empty."""

    PROVINCE = 1
    FACILITY = 2
    MODALITY = 3
    BOTH = 4


OF_FACILITY: Final = (Level.FACILITY, Level.BOTH)
OF_MODALITY: Final = (Level.MODALITY, Level.BOTH)
NEVER: Final = date(1900, 1, 1)
"""The month before for who was not seen before; no study is as old (`archive.figures.quality.EARLIEST`)."""
KEYS: Final = ("level", "day", "before", "facility_id", "modality")
Key = tuple[int, date, date, int, str]
Persons = Counter[Key]

_PERSON: Final = "person_id = ANY(%(persons)s)"


def _counted(level: Level, condition: str) -> str:
    facility = "facility_id" if level in OF_FACILITY else "0::bigint"
    modality = "modality" if level in OF_MODALITY else "'' COLLATE \"C\""
    return f"""
SELECT {int(level)}::smallint, day, before, facility_id, modality, count(*) FROM (
    SELECT day, facility_id, modality, coalesce(
               lag(day) OVER (PARTITION BY person_id, facility_id, modality ORDER BY day), '{NEVER}'::date) AS before
      FROM (SELECT DISTINCT person_id, date_trunc('month', studied_at)::date AS day,
                   {facility} AS facility_id, {modality} AS modality
              FROM study_fact WHERE {condition}) AS seen) AS course
 GROUP BY day, before, facility_id, modality
"""


_OF_PERSONS: Final = " UNION ALL ".join(_counted(level, _PERSON) for level in Level)
FROM_SCRATCH: Final = {level: _counted(level, "true") for level in Level}
"""Rows of ``study_person``, made of all facts."""
INSERT: Final = f"INSERT INTO study_person ({', '.join((*KEYS, 'persons'))}) "
_ADD: Final = f"""
INSERT INTO study_person AS kept ({", ".join((*KEYS, "persons"))})
SELECT * FROM unnest(%(level)s::smallint[], %(day)s::date[], %(before)s::date[], %(facility_id)s::bigint[],
                     %(modality)s::text[], %(persons)s::bigint[])
ON CONFLICT ({", ".join(KEYS)}) DO UPDATE SET persons = kept.persons + EXCLUDED.persons
"""
_DROP: Final = "DELETE FROM study_person WHERE persons = 0"


def moved(pairs: Iterable[tuple[Fact | None, Fact | None]]) -> list[int]:
    """The persons for whom it matters that facts became others."""
    found: set[int] = set()
    for old, new in pairs:
        if _seen(old) != _seen(new):
            found.update(fact.person_id for fact in (old, new) if fact is not None)
    return sorted(found)


def _seen(fact: Fact | None) -> tuple[int, int, int, int, str] | None:
    if fact is None:
        return None
    return (fact.person_id, fact.studied_at.year, fact.studied_at.month, fact.facility_id, fact.modality)


def seen(connection: Connection, persons: list[int]) -> Persons:
    """What these persons count for by the facts as they are."""
    if not persons:
        return Counter()
    rows = connection.execute(_OF_PERSONS, {"persons": persons}).fetchall()
    return Counter({row[:-1]: row[-1] for row in rows})


def move(connection: Connection, before: Persons, after: Persons) -> None:
    """Bring the table from what persons counted for to what they count for now."""
    after.subtract(before)
    rows = sorted((*key, count) for key, count in after.items() if count)
    if not rows:
        return
    columns = zip(*rows, strict=True)
    connection.execute(_ADD, {name: list(each) for name, each in zip((*KEYS, "persons"), columns, strict=True)})
    if any(row[-1] < 0 for row in rows):
        connection.execute(_DROP)
