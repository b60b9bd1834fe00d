"""Figures for pages that many have open: what one of them asked, others are told for some seconds.

An answer is told again as long as nothing that is counted has changed, and for a moment even then: fifty screens on the
walls of hospitals ask the same some dozen questions and should cost about as much as one. Whoever asks meanwhile waits
for the answer that is being made instead of having it made once more.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from archive.figures.alerts import Alert
from archive.figures.forecast import Forecast
from archive.figures.question import Answer, Question
from archive.figures.queues import Facilities
from archive.figures.state import FacilityState, Gateways, Now

if TYPE_CHECKING:
    from archive.figures.figures import Figures

T = TypeVar("T")

MOST: Final = 512
"""Answers that are remembered."""
MOST_ROWS: Final = 5000
"""An answer of more rows is not remembered."""
UNCHANGED: Final = 300.0
"""Seconds for which an answer is told again while nothing changes: names and districts of facilities may."""
LIVE: Final = 1.0
LIVE_UNCHANGED: Final = 5.0
"""The same of live counters, some of which move with the clock."""


@dataclass(slots=True, eq=False)
class _Entry:
    made: threading.Lock = field(default_factory=threading.Lock)
    value: object = None
    revision: object = None
    at: float | None = None
    """When the value was asked for; None where there is none."""
    error: Exception | None = None
    failed_at: float = 0.0


class Recent:
    """Remembers what was answered. Used by all threads of a process."""

    def __init__(self, revision: Callable[[], object], most: int = MOST) -> None:
        """`revision` tells what the figures are at; it is asked before what they say."""
        self._revision = revision
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T], changed: float, unchanged: float) -> T:
        """What `make` gave up to so many seconds ago, though the figures changed or while they have not; else anew.

        Raises what `make` raises; who waits for it meanwhile gets the same.
        """
        arrived = time.monotonic()
        entry = self._entry(key)
        with entry.made:
            age = None if entry.at is None else arrived - entry.at
            if age is not None and changed and age <= changed:
                return cast(T, entry.value)
            if entry.error is not None and entry.failed_at >= arrived:
                raise entry.error
            return cast(T, self._made(entry, make, age is not None and unchanged > 0 and age <= unchanged))

    def _made(self, entry: _Entry, make: Callable[[], object], usable: bool) -> object:
        asked = time.monotonic()
        try:
            revision = self._revision()
            if usable and revision == entry.revision:
                return entry.value
            value = make()
        except Exception as error:
            entry.error, entry.failed_at = error, time.monotonic()
            raise
        entry.error = None
        if isinstance(value, Answer) and len(value.rows) > MOST_ROWS:
            entry.at = entry.value = None
        else:
            entry.value, entry.revision, entry.at = value, revision, asked
        return value

    def _entry(self, key: Hashable) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
            return entry


class RecentFigures:
    """The same as `Figures`, told again for `seconds` though something changed.

    All methods raise `IndexUnavailable`.
    """

    def __init__(self, figures: Figures, seconds: float) -> None:
        self._figures = figures
        self._seconds = seconds
        self._recent = Recent(figures.revision)

    def ask(self, question: Question) -> Answer:
        return self._get((*_key(question),), lambda: self._figures.ask(question))

    def now(self, facilities: Facilities = None) -> Now:
        make: Callable[[], Now] = lambda: self._figures.now(facilities)  # noqa: E731
        return self._recent.get(("now", facilities), make, min(LIVE, self._seconds), min(LIVE_UNCHANGED, self._seconds))

    def backlog(self, since: date, until: date, facilities: Facilities = None) -> list[tuple[date, int]]:
        key = ("backlog", since, until, facilities)
        return self._get(key, lambda: self._figures.backlog(since, until, facilities))

    def forecast(self) -> Forecast:
        return self._while("forecast", self._figures.forecast)

    def gateways(self, facilities: Facilities = None) -> Gateways:
        return self._while(("gateways", facilities), lambda: self._figures.gateways(facilities))

    def facilities(self, facilities: Facilities = None) -> list[FacilityState]:
        return self._while(("facilities", facilities), lambda: self._figures.facilities(facilities))

    def alerts(self, facilities: Facilities = None) -> list[Alert]:
        return self._while(("alerts", facilities), lambda: self._figures.alerts(facilities))

    def _get(self, key: Hashable, make: Callable[[], T]) -> T:
        return self._recent.get(key, make, self._seconds, UNCHANGED if self._seconds else 0.0)

    def _while(self, key: Hashable, make: Callable[[], T]) -> T:
        """What changes without anything being counted: queues, devices, what is free."""
        seconds = min(self._seconds, LIVE_UNCHANGED)
        return self._recent.get(key, make, seconds, seconds)


def _key(question: Question) -> tuple[Any, ...]:
    where = frozenset((name, frozenset(values)) for name, values in question.where.items())
    return (
        *(question.measures, question.by, question.since, question.until, where),
        *(question.facilities, question.public),
    )
