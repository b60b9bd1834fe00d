"""Who is examined where and when, day by day: also those who are sent on to a higher hospital."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from archive.demo.generated import calendar
from archive.demo.generated.examinations import FALLBACK, OLDEST, SHARES, URGENT, WOMEN_ONLY, YOUNGEST
from archive.demo.generated.persons import Persons
from archive.demo.generated.places import DISTRICT_OF, DISTRICTS, HOSPITALS, PLACES, TIER_OF, WEIGHT_OF, Tier

ZONE: Final = ZoneInfo("Asia/Ho_Chi_Minh")
OFFSET: Final = 7 * 3600
"""Seconds that clocks of the province are ahead of UTC, all year."""
DAY: Final = 86_400
_SENT_ON: Final = 0.045
"""Share of those at stations and district hospitals who are examined at a higher hospital within days."""
_AGAIN: Final = 0.38
"""Share of them for whom the same examination is made once more."""
_LEVELS: Final = np.cumsum(WEIGHT_OF / WEIGHT_OF.sum())
SILENT: Final = 11
"""The hospital of which nothing has come for more than a day at the end: its line is down."""
_SILENT_SECONDS: Final = 29 * 3600


@dataclass(frozen=True, slots=True)
class Visits:
    """Studies as columns, in the order of time."""

    second: NDArray[np.int64]
    """Since 1970 by the clocks of the province."""
    place: NDArray[np.int64]
    examination: NDArray[np.int64]
    person: NDArray[np.int64]
    urgent: NDArray[np.bool_]
    sent_by: NDArray[np.int64]
    """The facility that sent the patient; -1 for most."""
    arrived: NDArray[np.int64]
    """When the first image came here; later than usual if the facility's line was down."""

    def __len__(self) -> int:
        return len(self.second)

    def chosen(self, which: Any) -> Visits:
        return Visits(*(getattr(self, field.name)[which] for field in fields(self)))


def joined(parts: list[Visits]) -> Visits:
    return Visits(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Visits)))


class Diary:
    """Makes the visits of all days."""

    def __init__(self, persons: Persons, count: int, since: int, until: datetime, rng: np.random.Generator) -> None:
        """`since` is a day; `until` a moment."""
        self._persons = persons
        self._rng = rng
        self._since = since
        self._end = int(until.timestamp()) + OFFSET
        last = self._end // DAY + 1
        self._counts = calendar.per_day(count, since, last, rng)
        self._due: list[Visits] = []
        self._down = self._outages(last)

    def batches(self, size: int) -> Iterator[Visits]:
        """All visits, some days at once: as many as give about so many studies."""
        waiting: list[Visits] = []
        for number, count in enumerate(self._counts):
            waiting.append(self._day(self._since + number, int(count)))
            if sum(map(len, waiting)) >= size:
                yield joined(waiting)
                waiting = []
        if sum(map(len, waiting)):
            yield joined(waiting)

    def _day(self, day: int, count: int) -> Visits:
        begins, ends = day * DAY, (day + 1) * DAY
        carried = [part.chosen((part.second >= begins) & (part.second < ends)) for part in self._due]
        self._due = [part for part in (part.chosen(part.second >= ends) for part in self._due) if len(part)]
        fresh = max(0, count - sum(map(len, carried)))
        today = joined([*carried, self._fresh(begins, fresh)])
        today = today.chosen(np.argsort(today.second, kind="stable"))
        self._due.append(self._sent_on(today))
        arrived = self._arrivals(today)
        return replace(today, arrived=arrived).chosen(arrived <= self._end)

    def _fresh(self, begins: int, count: int) -> Visits:
        rng = self._rng
        place = np.minimum(np.searchsorted(_LEVELS, rng.random(count)), len(PLACES) - 1)
        examination = np.empty(count, np.int64)
        for tier in Tier:
            here = TIER_OF[place] == tier
            examination[here] = np.searchsorted(SHARES[tier], rng.random(int(here.sum())))
        examination = np.minimum(examination, len(URGENT) - 1)
        urgent = rng.random(count) < URGENT[examination]
        urgent &= TIER_OF[place] != Tier.STATION
        person = self._who(place, examination, begins // DAY)
        return Visits(
            second=begins + calendar.seconds_of_day(urgent, rng),
            place=place,
            examination=examination,
            person=person,
            urgent=urgent,
            sent_by=np.full(count, -1),
            arrived=np.zeros(count, np.int64),
        )

    def _who(self, place: NDArray[Any], examination: NDArray[Any], day: int) -> NDArray[np.int64]:
        """Somebody of the district who can have this examination; where ten tries find none, another examination."""
        person = self._anybody(place)
        for _ in range(10):
            wrong = np.flatnonzero(~self._fits(person, place, examination, day))
            if not len(wrong):
                return person
            person[wrong] = self._anybody(place[wrong])
        wrong = np.flatnonzero(~self._fits(person, place, examination, day))
        examination[wrong] = FALLBACK
        while len(unborn := np.flatnonzero(self._persons.born[person] > day)):
            person[unborn] = self._anybody(place[unborn])
        return person

    def _anybody(self, place: NDArray[Any]) -> NDArray[np.int64]:
        """Some come much more often than others."""
        rng, starts = self._rng, self._persons.starts
        district = DISTRICT_OF[place].astype(np.int64)
        far = np.where(TIER_OF[place] >= Tier.GENERAL, 0.62, 0.07)
        away = rng.random(len(place)) < far
        district[away] = rng.integers(0, len(DISTRICTS), int(away.sum()))
        begins, ends = starts[district], starts[district + 1]
        chosen = begins + ((ends - begins) * rng.random(len(place)) ** 1.7).astype(np.int64)
        last = len(self._persons) - 1
        return np.asarray(np.minimum(chosen, np.maximum(ends - 1, begins)).clip(0, last), np.int64)

    def _fits(
        self, person: NDArray[Any], place: NDArray[Any], examination: NDArray[Any], day: int
    ) -> NDArray[np.bool_]:
        age = (day - self._persons.born[person]) / 365.25
        woman = self._persons.woman[person]
        fits = (age >= 0) & (age >= YOUNGEST[examination]) & (age < OLDEST[examination] + 1)
        fits &= woman | ~WOMEN_ONLY[examination]
        children = TIER_OF[place] == Tier.WOMEN_AND_CHILDREN
        return np.asarray(fits & (~children | (age < 16) | (woman & (age < 55))), np.bool_)

    def _sent_on(self, today: Visits) -> Visits:
        """Examinations that follow at a higher hospital: stations send to the district, that to the province."""
        rng = self._rng
        lower = TIER_OF[today.place] <= Tier.DISTRICT
        some = np.flatnonzero(lower & (rng.random(len(today)) < _SENT_ON))
        sent = today.chosen(some)
        station = TIER_OF[sent.place] == Tier.STATION
        target = np.where(station & (rng.random(len(sent)) < 0.8), 2 + DISTRICT_OF[sent.place], 0)
        wait = np.where(sent.urgent, rng.integers(5400, 6 * 3600, len(sent)), rng.integers(1, 6, len(sent)) * DAY)
        second = sent.second + wait
        again = rng.random(len(sent)) < _AGAIN
        examination = sent.examination.copy()
        others = np.minimum(np.searchsorted(SHARES[Tier.GENERAL], rng.random(len(sent))), len(URGENT) - 1)
        fits = self._fits(sent.person, target, others, int(today.second[0] // DAY) if len(today) else 0)
        examination = np.where(again | ~fits, examination, others)
        return Visits(second, target, examination, sent.person, sent.urgent, sent.place, np.zeros_like(second))

    # -- lines that are down -----------------------------------------------------------------------------------------

    def _outages(self, last: int) -> list[tuple[int, int, int]]:
        """Facility, from when, until when: some of each hospital, and one that has not ended."""
        rng = self._rng
        found = [(SILENT, self._end - _SILENT_SECONDS, self._end + DAY)]
        for place in range(1, HOSPITALS):
            for _ in range(int(rng.poisson((last - self._since) / 300))):
                begins = int(rng.integers(self._since * DAY, max(self._since + 1, last - 10) * DAY))
                found.append((place, begins, begins + int(rng.exponential(14 * 3600)) + 1800))
        return found

    def _arrivals(self, today: Visits) -> NDArray[np.int64]:
        arrived = today.second + self._rng.integers(20, 240, len(today))
        for place, begins, ends in self._down:
            if len(today) and begins < today.second[-1] + 300 and ends > today.second[0]:
                late = (today.place == place) & (arrived >= begins) & (arrived < ends)
                arrived[late] = ends + self._rng.integers(30, 2400, int(late.sum()))
        return arrived
