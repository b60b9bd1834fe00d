"""Writes the statements that answer a question: parts of time, each from what it is counted from, added up in one.

PostgreSQL adds up by facility, and looks up what facilities are called once that is done: their rows are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from archive.figures.distinct import PACKED, TEXTS
from archive.figures.persons import OF_FACILITY, OF_MODALITY, Level
from archive.figures.plan import CLOCK, Piece
from archive.figures.question import By, Question
from archive.figures.sums import Cube

_OF_FACILITY: Final = {
    By.FACILITY: "facility.code",
    By.DISTRICT: "facility.district",
    By.CARE_LEVEL: "facility.care_level",
}
_TRUNCATED: Final = {By.WEEK: "week", By.MONTH: "month", By.QUARTER: "quarter", By.YEAR: "year"}
_FACTS: Final = "(SELECT studied_at AS at, * FROM study_fact)"
_SENT: Final = {
    "person": "int8send(person_id)",
    "at": "timestamp_send(at)",
    "facility": "int8send(facility_id)",
}
_LONG: Final = {By.MONTH: "1 month", By.QUARTER: "3 months", By.YEAR: "1 year"}


class Statement:
    """One statement in the making, and its parameters."""

    def __init__(self, question: Question, since: datetime, until: datetime) -> None:
        self._question = question
        self._places = [name for name in question.by if name in _OF_FACILITY]
        self._names = [f"k{number}" for number, name in enumerate(question.by) if name not in _OF_FACILITY]
        if self._places:
            self._names.append("facility_id")
        self.keys = [f"k{number}" for number in range(len(question.by))]
        """What the breakdowns are called in the rows of `total`."""
        self.stretch = (since, until)
        self.parameters: dict[str, object] = {}

    def part(self, piece: Piece, events: str, sums: str, columns: Sequence[str], condition: str = "") -> str:
        """Rows of a piece, from `events` where it is counted from facts, else from `sums`."""
        source = events if piece.cube is None else sums
        conditions = [self._within(piece), *self._narrowed(piece), *([condition] if condition else [])]
        selected = ", ".join((*self._keys(piece), *columns))
        return f"SELECT {selected} FROM {source} AS event WHERE {' AND '.join(conditions)}"

    def total(self, parts: Sequence[str], more: Sequence[str], counters: Sequence[str]) -> str:
        """The parts added up: the breakdowns, then `more` of them, then the counters."""
        grouped = [*self._names, *more]
        # The one row of no breakdown is none if nothing is in it.
        added = self._added(grouped, grouped, counters, f"({' UNION ALL '.join(parts)}) AS part")
        if not self._places:
            return added
        named = [*self._outer(), *more]
        joined = f"({added}) AS part JOIN facility ON facility.id = facility_id"
        if By.FACILITY in self._places:
            selected = [f"{each} AS {name}" for each, name in zip(self._outer(), self.keys, strict=True)]
            return f"SELECT {', '.join((*selected, *more, *counters))} FROM {joined}"
        return self._added(named, [*self.keys, *more], counters, joined)

    def _outer(self) -> list[str]:
        return [_OF_FACILITY.get(name, f"k{number}") for number, name in enumerate(self._question.by)]

    @staticmethod
    def _added(grouped: Sequence[str], names: Sequence[str], counters: Sequence[str], source: str) -> str:
        keys = [f"{each} AS {name}" for each, name in zip(grouped, names, strict=True)]
        sums = [f"sum({name})::bigint AS {name}" for name in counters]
        ending = f"GROUP BY {', '.join(grouped)}" if grouped else "HAVING count(*) > 0"
        return f"SELECT {', '.join((*keys, *sums))} FROM {source} {ending}"

    # -- persons -----------------------------------------------------------------------------------------------------

    def persons(self, whole: Piece, level: Level) -> str:
        """Distinct persons: of whole months from what is kept, of what is before and behind them from the facts.

        Who is found in such an end counts only if they are not seen in those months, too.
        """
        since, until = self.stretch
        self.parameters |= {"first": whole.since, "last": whole.until}
        unit = next((name for name in self._question.by if name in _LONG), None)
        start = ":first" if unit is None else f"greatest(:first, date_trunc('{_TRUNCATED[unit]}', day::timestamp))"
        conditions = [
            f"level = {int(level)} AND day >= :first AND day < :last AND before < {start}",
            *self._narrowed(whole),
        ]
        kept = f"""
SELECT {", ".join((*self._keys(whole), "persons"))} FROM study_person AS event WHERE {" AND ".join(conditions)}"""
        ends = [
            self._end(piece, level, unit)
            for piece in (Piece(None, since, whole.since), Piece(None, whole.until, until))
            if piece.since < piece.until
        ]
        if not ends:
            return self.total([kept], (), ("persons",))
        keys = self._names
        # Each of them once, though they may be found in both ends.
        found = f"SELECT DISTINCT {', '.join((*keys, 'person_id'))} FROM ({' UNION ALL '.join(ends)}) AS found"
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        others = f"SELECT {', '.join((*keys, 'count(*)'))} FROM ({found}) AS others{grouped}"
        return self.total([kept, others], (), ("persons",))

    def _end(self, piece: Piece, level: Level, unit: By | None) -> str:
        lower, upper = ":first", ":last"
        if unit is not None:
            begins = f"date_trunc('{_TRUNCATED[unit]}', event.at)"
            lower, upper = f"greatest(:first, {begins})", f"least(:last, {begins} + interval '{_LONG[unit]}')"
        same = " AND same.facility_id = event.facility_id" if level in OF_FACILITY else ""
        same += " AND same.modality = event.modality" if level in OF_MODALITY else ""
        return self.part(
            piece,
            _FACTS,
            "",
            ("person_id",),
            f"""NOT EXISTS (SELECT FROM study_fact AS same WHERE same.person_id = event.person_id
                                AND same.studied_at >= {lower} AND same.studied_at < {upper}{same})""",
        )

    def persons_of_facts(self, piece: Piece) -> str:
        """Distinct persons, counted one by one."""
        keys = self.keys
        named = [f"{each} AS {name}" for each, name in zip(self._outer(), keys, strict=True)]
        part = self.part(piece, _FACTS, "", ("person_id",))
        join = " JOIN facility ON facility.id = facility_id" if self._places else ""
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        return (
            f"SELECT {', '.join((*keys, 'count(*)'))} FROM (SELECT DISTINCT {', '.join((*named, 'person_id'))}"
            f" FROM ({part}) AS part{join}) AS persons{grouped}"
        )

    def persons_packed(self, piece: Piece) -> tuple[tuple[By, ...], tuple[str, ...], str]:
        """Who was seen in a piece, as `archive.figures.distinct.Packed` has it: texts, columns and the statement."""
        by = self._question.by
        texts = tuple(name for name in by if name in TEXTS)
        columns = ("person", *sorted({PACKED[name] for name in by if name not in TEXTS}))
        conditions = " AND ".join((self._within(piece), *self._narrowed(piece)))
        names = ", ".join(texts)
        packed = " || ".join(_SENT[name] for name in columns)
        return (
            texts,
            columns,
            f"SELECT {names}{', ' if names else ''}string_agg({packed}, '') AS packed FROM {_FACTS} AS event"
            f" WHERE {conditions} {f'GROUP BY {names}' if names else 'HAVING count(*) > 0'}",
        )

    # -- parts -------------------------------------------------------------------------------------------------------

    def _keys(self, piece: Piece) -> list[str]:
        keys = [
            f"{_expression(name, piece)} AS k{number}"
            for number, name in enumerate(self._question.by)
            if name not in _OF_FACILITY
        ]
        return [*keys, "facility_id"] if self._places else keys

    def _within(self, piece: Piece) -> str:
        number = len(self.parameters)
        self.parameters |= {f"since_{number}": piece.since, f"until_{number}": piece.until}
        at = "at" if piece.cube is None else "day"
        return f"{at} >= :since_{number} AND {at} < :until_{number}"

    def _narrowed(self, piece: Piece) -> list[str]:
        """What is looked at is narrowed down to, and what may be counted."""
        found, places = [], []
        for name, values in self._question.where.items():
            given = [int(value) for value in values] if name in CLOCK else list(values)
            self.parameters[f"where_{name.value}"] = given
            if name in _OF_FACILITY:
                places.append(f"{_OF_FACILITY[name]} = ANY(:where_{name.value})")
            else:
                found.append(f"{_expression(name, piece)} = ANY(:where_{name.value})")
        if self._question.facilities is not None:
            places.append("facility.code = ANY(:facilities)")
            self.parameters["facilities"] = sorted(self._question.facilities)
        if places:
            found.append(f"facility_id = ANY(ARRAY(SELECT id FROM facility WHERE {' AND '.join(places)}))")
        return found


def level_of(question: Question) -> Level | None:
    """At which level distinct persons of a question are kept; None where they are only told by the facts."""
    used = {*question.by, *question.where}
    places = used & _OF_FACILITY.keys()
    if used - places - _LONG.keys() - {By.MODALITY}:
        return None
    of_facility = bool(places) or question.facilities is not None
    if of_facility and By.FACILITY not in question.by and not _one_facility(question):
        return None
    of_modality = By.MODALITY in used
    if of_modality and By.MODALITY not in question.by and len(set(question.where[By.MODALITY])) > 1:
        return None
    return (
        Level.BOTH
        if of_facility and of_modality
        else (Level.FACILITY if of_facility else Level.MODALITY if of_modality else Level.PROVINCE)
    )


def _one_facility(question: Question) -> bool:
    given = (question.where.get(By.FACILITY), question.facilities)
    return any(each is not None and len(set(each)) == 1 for each in given)


def _expression(name: By, piece: Piece) -> str:
    at = "at" if piece.cube is None else "day::timestamp"
    if name is By.HOUR:
        return "date_trunc('hour', at)"
    if name is By.DAY:
        return "at::date" if piece.cube is None else "day"
    if name is By.MONTH and piece.cube not in (None, Cube.DAYS):
        return "day"
    if name in _TRUNCATED:
        return f"date_trunc('{_TRUNCATED[name]}', {at})::date"
    if name is By.HOUR_OF_DAY:
        return "extract(hour FROM at)::int" if piece.cube is None else "clock % 24"
    if name is By.DAY_OF_WEEK:
        return "extract(isodow FROM at)::int" if piece.cube is None else "clock / 24 + 1"
    return name.value
