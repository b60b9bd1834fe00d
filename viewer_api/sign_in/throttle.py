"""Slows down who tries many names from one address: each name is locked after a few tries, but there are many names."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, NamedTuple

TRIES: Final = 50
"""Failures of one address within the time; a whole hospital may share an address."""
SECONDS: Final = 900.0
_WAYS: Final = 8
"""Addresses that can lie in one row of the table."""
_ROWS: Final = 1250
_ENTRY: Final = struct.Struct("<Qqd")
"""Of an address: its digest (0: nobody's), how often, and since when in seconds of the clock."""


class _Entry(NamedTuple):
    place: int
    digest: int
    times: int
    since: float


class Table:
    """Counts of ten thousand addresses, in memory that processes share which are forked when it is made.

    Where a row is full, the oldest count in it goes. Which addresses share one nobody can foresee.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._memory = mmap.mmap(-1, _ENTRY.size * _WAYS * _ROWS)
        self._key = secrets.token_bytes(16)
        self._lock = threading.Lock()
        # The kernel gives the lock of a process back when that dies, in whatever way.
        self._between = os.memfd_create("throttle") if shared else -1

    def get(self, address: str) -> tuple[int, float]:
        """How often, and since when; nothing if it is not there."""
        with self._held():
            mine, _ = self._find(address)
        return mine.times, mine.since

    def change(self, address: str, change: Callable[[int, float], tuple[int, float]]) -> None:
        """Replace both by what `change` makes of them."""
        with self._held():
            mine, place = self._find(address)
            _ENTRY.pack_into(self._memory, place, mine.digest, *change(mine.times, mine.since))

    def _find(self, address: str) -> tuple[_Entry, int]:
        """What is known of an address, and where it lies or is to lie."""
        digest = int.from_bytes(hashlib.blake2b(address.encode(), digest_size=8, key=self._key).digest()) or 1
        first = digest % _ROWS * _WAYS * _ENTRY.size
        row = [
            _Entry(place, *_ENTRY.unpack_from(self._memory, place))
            for place in range(first, first + _WAYS * _ENTRY.size, _ENTRY.size)
        ]
        found = next((each for each in row if each.digest == digest), None)
        if found is not None:
            return found, found.place
        # Free entries are the oldest of all.
        return _Entry(-1, digest, 0, 0.0), min(row, key=lambda each: (each.digest != 0, each.since)).place

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock:
            if self._between < 0:
                yield
                return
            fcntl.lockf(self._between, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._between, fcntl.LOCK_UN)


class Throttle:
    """Failures of each address in all processes that have the table."""

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        *,
        tries: int = TRIES,
        seconds: float = SECONDS,
        table: Table | None = None,
    ) -> None:
        """So many failures, or whatever else is counted, within so many seconds. The clock is one of the machine."""
        self._tries = tries
        self._seconds = seconds
        self._clock = clock
        self._table = table or Table()

    def is_shut(self, address: str) -> bool:
        """Whether the address has failed too often."""
        count, since = self._table.get(address)
        return count >= self._tries and self._clock() - since < self._seconds

    def failed(self, address: str) -> None:
        """Count a failure."""
        now = self._clock()

        def counted(count: int, since: float) -> tuple[int, float]:
            return (count + 1, since) if count and now - since < self._seconds else (1, now)

        self._table.change(address, counted)
