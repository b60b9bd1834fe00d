"""Parts of a STOW-RS request that are complete, made durable and visible by several threads at once.

Each waits for the medium and for the index, and those that wait together share flushes and commits. Nothing that is
seen afterwards depends on which thread was the quickest: where the order of two parts matters, the later one waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import Final, NamedTuple

from archive.records import Arrival
from archive.rejection.causes import KEY_OBJECT_SELECTION
from viewer_api.store_part import Part

MOST_AT_ONCE: Final = 24
"""Of one request. Of a part that waits here, some kilobytes are in memory whatever its size."""

THREADS: Final = 48
"""Of the service. They wait nearly all of the time."""

_Series = tuple[str, str, str, str]


class _Entry(NamedTuple):
    part: Part
    stored: Future[None] | None
    """None for a part that failed before it came here."""
    opens: bool
    """Whether it is the first of its series in the request: what it says of patient, study and series counts."""


class StoreQueue:
    """For one request, whose thread calls everything here; `done` is called there for each part, in their order."""

    def __init__(self, threads: Executor, done: Callable[[Part], None]) -> None:
        self._threads = threads
        self._done = done
        self._entries: deque[_Entry] = deque()
        self._opened: set[_Series] = set()

    def add(self, part: Part) -> None:
        """Store a part that was checked; waits while there are as many as may be. Never raises for what fails."""
        while len(self._entries) >= MOST_AT_ONCE:
            self._settle()
        arrival = part.arrival
        if part.error is not None or arrival is None:
            self._entries.append(_Entry(part, None, opens=False))
            return
        series = _series(arrival)
        opens = series not in self._opened
        self._opened.add(series)
        while any(_comes_before(entry, arrival, opens=opens) for entry in self._entries):
            self._settle()
        stored = self._threads.submit(copy_context().run, part.store)
        self._entries.append(_Entry(part, stored, opens))

    def close(self) -> None:
        """Wait until all are stored or have failed."""
        while self._entries:
            self._settle()

    def _settle(self) -> None:
        entry = self._entries.popleft()
        if entry.stored is not None:
            entry.stored.result()
        if entry.opens and entry.part.arrival is not None and entry.part.receipt is None:
            self._opened.discard(_series(entry.part.arrival))
        self._done(entry.part)


def _comes_before(entry: _Entry, later: Arrival, *, opens: bool) -> bool:
    """Whether a part that is being stored has to be, before `later` is.

    What comes first under a SOP Instance UID is its first version; what comes first of a patient, study or series
    describes it; what a rejection note rejects may be in the same request.
    """
    first = entry.part.arrival
    if first is None or entry.stored is None or entry.stored.done():
        return False
    if first.instance.sop_instance_uid == later.instance.sop_instance_uid:
        return True
    if KEY_OBJECT_SELECTION in (first.instance.sop_class_uid, later.instance.sop_class_uid):
        return True
    related = first.study_instance_uid == later.study_instance_uid or _patient(first) == _patient(later)
    return related and (opens or entry.opens)


def _patient(arrival: Arrival) -> tuple[str, str]:
    return arrival.issuer, arrival.patient_identity


def _series(arrival: Arrival) -> _Series:
    return *_patient(arrival), arrival.study_instance_uid, arrival.series_instance_uid
