"""What values of search parameters ask of columns (FHIR R4, search.html 3.1.1.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Time, and_, case, cast, false, func, literal, not_, or_, text
from sqlalchemy.dialects.postgresql import INTERVAL

from archive.comparisons import like
from archive.errors import InvalidQuery
from archive.fhir.values import Moment
from archive.standard.matching import like_literal
from archive.standard.text import fold
from config import clock

Condition = ColumnElement[bool]
_DAY: Final = timedelta(days=1)
_NEAR: Final = 0.1
"""Of the time from the value until now: how far ``ap`` reaches on both sides (search.html 3.1.1.4.6)."""


def any_of(conditions: Sequence[Condition]) -> Condition:
    """One of them; nothing at all if there is none."""
    return or_(*conditions) if conditions else false()


@dataclass(frozen=True, slots=True)
class Instants:
    """A column of moments."""

    column: Any

    def condition(self, wanted: Moment) -> Condition:
        """Whether the column is as this moment with its prefix asks."""
        low, high = wanted.low, wanted.high
        found: dict[str, Callable[[], Condition]] = {
            "eq": lambda: and_(self.column >= low, self.column < high),
            "ne": lambda: or_(self.column < low, self.column >= high),
            "gt": lambda: self.column >= high,
            "sa": lambda: self.column >= high,
            "ge": lambda: self.column >= low,
            "lt": lambda: self.column < low,
            "eb": lambda: self.column < low,
            "le": lambda: self.column < high,
            "ap": lambda: and_(self.column >= low - _near(wanted), self.column < high + _near(wanted)),
        }
        return found[wanted.prefix]()


@dataclass(frozen=True, slots=True)
class Days:
    """A column of dates, and one of times that belong to them, in the zone of the hospitals.

    A value without a time is a whole day; FHIR compares ranges. The dates alone decide where nothing is said of the
    time of day, and always limit where the index looks.
    """

    date: Any
    time: Any = None

    def condition(self, wanted: Moment) -> Condition:
        """Whether the column is as this moment with its prefix asks."""
        low, high = (end.replace(tzinfo=None) for end in (wanted.low, wanted.high))
        near = _near(wanted)
        made: dict[str, Callable[[], Condition]] = {
            "eq": lambda: self._within(low, high),
            "ne": lambda: not_(self._within(low, high)),
            "gt": lambda: self._ends_behind(high),
            "ge": lambda: or_(self._ends_behind(high), self._within(low, high)),
            "lt": lambda: self._begins_before(low),
            "le": lambda: or_(self._begins_before(low), self._within(low, high)),
            "sa": lambda: self._begins_from(high),
            "eb": lambda: self._ends_until(low),
            "ap": lambda: and_(self._begins_before(high + near), self._ends_behind(low - near)),
        }
        if wanted.prefix == "ge" and wanted.whole_days:
            return self._begins_from(low)
        if wanted.prefix == "le" and wanted.whole_days:
            return self._ends_until(high)
        limits = {"ge": lambda: self.date >= low.date(), "le": lambda: self.date <= high.date()}
        outer = [limits[wanted.prefix]()] if wanted.prefix in limits else []
        return and_(*outer, made[wanted.prefix]())

    # Each of these is a condition on dates alone for ends at midnight, and has one beside it else.

    def _begins_before(self, end: datetime) -> Condition:
        if _is_midnight(end):
            return _is(self.date < end.date())
        return and_(self.date <= end.date(), self._start() < end)

    def _begins_from(self, end: datetime) -> Condition:
        if _is_midnight(end):
            return _is(self.date >= end.date())
        return and_(self.date >= end.date(), self._start() >= end)

    def _ends_behind(self, end: datetime) -> Condition:
        if _is_midnight(end):
            return _is(self.date >= end.date())
        return and_(self.date >= end.date(), self._end() > end)

    def _ends_until(self, end: datetime) -> Condition:
        if _is_midnight(end):
            return _is(self.date < end.date())
        return and_(self.date <= end.date(), self._end() <= end)

    def _within(self, low: datetime, high: datetime) -> Condition:
        return and_(self._begins_from(low), self._ends_until(high))

    def _start(self) -> Any:
        return self.date + (
            literal(time(0), Time) if self.time is None else func.coalesce(self.time, literal(time(0), Time))
        )

    def _end(self) -> Any:
        a_day, a_moment = (cast(each, INTERVAL) for each in ("1 day", "1 microsecond"))
        if self.time is None:
            return self._start() + a_day
        return self._start() + case((self.time.is_(None), a_day), else_=a_moment)


def _is(condition: Any) -> Condition:
    found: Condition = condition
    return found


def _is_midnight(moment: datetime) -> bool:
    return moment.time() == time(0)


def _near(wanted: Moment) -> timedelta:
    where = wanted.low.tzinfo
    # No farther than there are dates.
    room = min(wanted.low - datetime.min.replace(tzinfo=where), datetime.max.replace(tzinfo=where) - wanted.high) / 2
    return min(abs(clock.now().replace(tzinfo=where) - wanted.low) * _NEAR, room)


def text_condition(column: Any, value: str, modifier: str) -> Condition:
    """A string parameter on a column of names that are folded (3.1.1.4.8): what begins so, without accents and case."""
    wanted = fold(value)
    if not wanted:
        raise InvalidQuery("a text to search for has letters or digits")
    if modifier == "contains":
        return like(column, f"%{like_literal(wanted)}%")
    return like(column, f"{like_literal(wanted)}%")


def missing(column: Any, value: str) -> Condition:
    """``:missing``. Raises `InvalidQuery`."""
    if value not in ("true", "false"):
        raise InvalidQuery(":missing is true or false")
    empty = column.is_(None) if column.nullable else column == text("''")
    return _is(empty) if value == "true" else not_(empty)
