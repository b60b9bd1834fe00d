"""Slows down who tries many names from one address: each name is locked after a few tries, but there are many names."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

TRIES: Final = 50
"""Failures of one address within the time; a whole hospital may share an address."""
SECONDS: Final = 900.0
_MOST: Final = 10_000


class Throttle:
    """Failures of each address in this process."""

    def __init__(self, clock: Callable[[], float] = monotonic, *, tries: int = TRIES, seconds: float = SECONDS) -> None:
        """So many failures, or whatever else is counted, within so many seconds."""
        self._tries = tries
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._of: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def is_shut(self, address: str) -> bool:
        """Whether the address has failed too often."""
        with self._lock:
            count, since = self._of.get(address, (0, 0.0))
            return count >= self._tries and self._clock() - since < self._seconds

    def failed(self, address: str) -> None:
        """Count a failure."""
        with self._lock:
            now = self._clock()
            count, since = self._of.pop(address, (0, now))
            if now - since >= self._seconds:
                count, since = 0, now
            self._of[address] = count + 1, since
            if len(self._of) > _MOST:
                self._of.popitem(last=False)
