"""Parts of a STOW-RS request that are complete, made durable and visible while the request is read on.

One thread stores what came while it stored what came before. So many parts share a flush, a transaction and the change
of threads; a thread for each woke up and fell asleep for each step of each part, which took more than all else. What
comes of them is as if one was stored after the other. Parts that share no flush (large ones, and all of some stores)
are made durable before, each by a thread of its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Final, NamedTuple

from archive.ingest_together import MOST_TOGETHER
from viewer_api.store_part import Part, store_all

MOST_AT_ONCE: Final = 48
"""Parts of one request that wait or are being stored. Each has two descriptors."""
MOST_BYTES: Final = 8 << 20
"""Of these, in memory: those that share a flush are there whole."""

_REQUESTS: Final = 32
_COMMITS: Final = 48


class StoreThreads(NamedTuple):
    """Threads of the service that wait nearly all of the time. Of two kinds, for the one waits for the other."""

    requests: Executor
    """Each stores what one request brings."""
    commits: Executor
    """Each makes one part durable."""

    def shutdown(self) -> None:
        """Wait for what is under way."""
        self.requests.shutdown()
        self.commits.shutdown()


def store_threads() -> StoreThreads:
    return StoreThreads(
        ThreadPoolExecutor(_REQUESTS, thread_name_prefix="storing"),
        ThreadPoolExecutor(_COMMITS, thread_name_prefix="committing"),
    )


class _Entry(NamedTuple):
    part: Part
    committed: Future[None] | None
    """Of a part that is made durable by itself."""
    held: int
    """Bytes in memory."""


class StoreQueue:
    """For one request, whose thread calls everything here; `done` is called for each part, in their order."""

    def __init__(self, threads: StoreThreads, done: Callable[[Part], None]) -> None:
        self._threads = threads
        self._done = done
        self._changed = threading.Condition()
        self._waiting: deque[_Entry] = deque()
        self._open = 0
        """Parts that were added and are not done."""
        self._held = 0
        """Their bytes in memory."""
        self._at_work = False
        self._error: BaseException | None = None

    def add(self, part: Part) -> None:
        """Store a part that was checked; waits while there are as many as may be.

        What fails is noted in the part. Raises if storing itself broke.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._open < MOST_AT_ONCE and self._held < MOST_BYTES)
        if self._error is not None:
            part.abort()
            raise self._error
        committed = None
        if not part.shares:
            committed = self._threads.commits.submit(copy_context().run, part.commit)
        entry = _Entry(part, committed, part.size if committed is None else 0)
        with self._changed:
            self._waiting.append(entry)
            self._open += 1
            self._held += entry.held
            if self._at_work:
                return
            self._at_work = True
        try:
            self._threads.requests.submit(copy_context().run, self._work)
        except BaseException as error:  # the service stops
            self._fail(error)
            raise

    def close(self) -> None:
        """Wait until all are stored or have failed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work)
        if self._error is not None:
            raise self._error

    # -- in another thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Store what waits until nothing does."""
        try:
            while entries := self._next():
                for entry in entries:
                    if entry.committed is not None:
                        entry.committed.result()
                store_all([entry.part for entry in entries])
                for entry in entries:
                    self._done(entry.part)
                with self._changed:
                    self._open -= len(entries)
                    self._held -= sum(entry.held for entry in entries)
                    self._changed.notify_all()
        except BaseException as error:
            self._fail(error)
            raise

    def _next(self) -> list[_Entry]:
        """The first of what waits. What a rejection note rejects may be in the same request: each comes alone."""
        found: list[_Entry] = []
        with self._changed:
            while self._waiting and len(found) < MOST_TOGETHER:
                if found and (found[0].part.is_note or self._waiting[0].part.is_note):
                    break
                found.append(self._waiting.popleft())
            self._at_work = bool(found)
            if not found:
                self._changed.notify_all()
        return found

    def _fail(self, error: BaseException) -> None:
        """Nothing more is stored: nobody shall wait for it."""
        with self._changed:
            self._error = error
            left = list(self._waiting)
            self._waiting.clear()
            self._open = self._held = 0
            self._at_work = False
            self._changed.notify_all()
        for entry in left:
            if entry.committed is not None:
                wait((entry.committed,))
            entry.part.abort()
