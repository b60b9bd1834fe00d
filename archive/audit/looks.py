"""Looks that belong together are one: whoever scrolls through three thousand slices has looked at one study.

The first look of a caller at a study is on record before the first byte is given. Those that follow within some minutes
are only counted; at the end of that time a second record tells how many instances and requests there were. The same
holds for refusals, so that whoever knocks a million times does not fill the disk. A process that is killed leaves the
first record without the second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from archive.audit.events import AuditEvent, Outcome
from archive.audit.trail import Trail
from archive.errors import IndexUnavailable
from config.logs import fields

log = logging.getLogger(__name__)

MOST_KNOWN: Final = 20_000
"""Instances of one look that are told apart; beyond, only requests are counted."""
MOST_REFUSED: Final = 200
"""Different refusals of one caller within one window that are recorded one by one; the rest is one more."""
_Key = tuple[Any, ...]


@dataclass(slots=True)
class _Look:
    event: AuditEvent
    ends: float
    recorded: threading.Lock = field(default_factory=threading.Lock)
    durable: bool = False
    requests: int = 0
    instances: set[int] = field(default_factory=set)

    def add(self, instances: Iterable[str]) -> None:
        """Count a request."""
        self.requests += 1
        if len(self.instances) < MOST_KNOWN:
            self.instances.update(map(hash, instances))

    def end(self) -> AuditEvent:
        """What is told when the window is over."""
        counts = {"requests": self.requests, "instances": len(self.instances)}
        return replace(self.event, detail={**self.event.detail, "phase": "end", **counts})


def _key(event: AuditEvent, about: str) -> _Key:
    caller = event.caller
    who = (caller.kind, caller.name, caller.account, caller.link, caller.address, caller.purpose, event.outcome)
    return who, event.action, event.studies, event.patient_id, about


class Looks:
    """Counts looks. For all threads."""

    def __init__(self, trail: Trail, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`window` is in seconds."""
        self._trail = trail
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[_Key, _Look] = {}
        self._refused: Counter[_Key] = Counter()

    def note(self, event: AuditEvent, instances: Iterable[str] = (), about: str = "") -> None:
        """Put a look on record, unless it is part of one that is. Raises `IndexUnavailable`: then do not show.

        `instances` are UIDs; `about` tells apart looks that are not at studies.
        """
        key = _key(event, about)
        now = self._clock()
        over: _Look | None = None
        with self._lock:
            look = self._open.get(key)
            if look is not None and look.ends <= now:
                over = self._take(key)
                look = None
            if look is None:
                key, event = self._bounded(key, event)
                look = self._open.get(key)
            if look is None:
                look = self._open[key] = _Look(event, now + self._window)
            look.add(instances)
        if look.durable:
            return
        with look.recorded:
            if not look.durable:
                self._begin(key, look, over)

    def count(self, event: AuditEvent, instances: Iterable[str] = (), about: str = "") -> bool:
        """Count a look that is part of one on record, which takes no time; False if it is for `note` to record."""
        with self._lock:
            look = self._durable(event, about)
            if look is not None:
                look.add(instances)
        return look is not None

    def knows(self, event: AuditEvent, about: str = "") -> bool:
        """Whether `count` would count this now."""
        with self._lock:
            return self._durable(event, about) is not None

    def _durable(self, event: AuditEvent, about: str) -> _Look | None:
        look = self._open.get(_key(event, about))
        return None if look is None or not look.durable or look.ends <= self._clock() else look

    def end_those_over(self) -> int:
        """Record the ends of looks whose time is over; give how many. Raises `IndexUnavailable`: they stay open."""
        now = self._clock()
        return self._end([key for key, look in self._snapshot() if look.ends <= now])

    def close(self) -> None:
        """Record the ends of all looks. What cannot be recorded now is lost, and told in the log."""
        left = self._snapshot()
        try:
            self._end([key for key, _ in left])
        except IndexUnavailable as error:
            log.warning("ends of looks are not on record", extra=fields(count=len(left), error=str(error)))

    def _begin(self, key: _Key, look: _Look, over: _Look | None) -> None:
        try:
            self._trail.record_all([look.event] if over is None else [over.end(), look.event])
        except BaseException:
            with self._lock:
                if self._open.get(key) is look:
                    self._take(key)
            raise
        look.durable = True

    def _bounded(self, key: _Key, event: AuditEvent) -> tuple[_Key, AuditEvent]:
        """The same, or for one who is refused far too often the one that stands for all further refusals."""
        if event.outcome is Outcome.SUCCESS or key in self._open:
            return key, event
        who = key[0]
        if self._refused[who] >= MOST_REFUSED:
            return (who, "many"), replace(event, studies=(), patient_id="", detail={"what": "many more refusals"})
        self._refused[who] += 1
        return key, event

    def _take(self, key: _Key) -> _Look:
        look = self._open.pop(key)
        if key[1] != "many" and look.event.outcome is not Outcome.SUCCESS:
            self._refused[key[0]] -= 1
            if not self._refused[key[0]]:
                del self._refused[key[0]]
        return look

    def _snapshot(self) -> list[tuple[_Key, _Look]]:
        with self._lock:
            return list(self._open.items())

    def _end(self, keys: list[_Key]) -> int:
        with self._lock:
            over = [(key, self._take(key)) for key in keys if key in self._open]
        # A single request needs no second record: the first one says it all.
        told = [look.end() for _, look in over if look.durable and look.requests > 1]
        try:
            self._trail.record_all(told)
        except BaseException:
            with self._lock:
                for key, look in over:
                    self._open.setdefault(key, look)
            raise
        return len(told)
