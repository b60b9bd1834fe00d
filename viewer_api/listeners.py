"""Those who wait for changes: long polls and streams of server-sent events.

They wait in the event loop, so that none of them takes a thread; all of one process together ask the index twice a
second how far the feed has come, and only while there is somebody to be told.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio import to_thread

from archive.core import Archive
from archive.errors import Unavailable
from viewer_api.front import Front

POLL: Final = 0.5
"""Seconds between two questions."""


class Listeners:
    """All that wait in one process; there may be so many in all processes together."""

    def __init__(self, archive: Archive, front: Front) -> None:
        self._archive = archive
        self._counts, self._number = front.listening, front.number
        self._most = archive.settings.feed.most_listeners
        self._asking = anyio.Lock()
        self._asked = 0.0
        self._latest = 0
        self.stopping = False
        """The process ends: nobody may go on waiting."""

    def require_place(self) -> None:
        """Raises `Unavailable` if nobody else may wait."""
        if sum(self._counts.all) >= self._most:
            raise Unavailable("too many wait for changes already: ask without wait, or try again later")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place to wait in. Raises `Unavailable` if there is none."""
        self.require_place()
        self._counts[self._number] += 1
        try:
            yield
        finally:
            self._counts[self._number] -= 1

    async def beyond(self, sequence: int, seconds: float) -> bool:
        """Wait until the feed has a change with a higher number, `seconds` at most. Raises `IndexUnavailable`."""
        deadline = time.monotonic() + seconds
        while not self.stopping:
            if await self._now() > sequence:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            await anyio.sleep(min(POLL, left))
        return False

    async def _now(self) -> int:
        async with self._asking:
            if time.monotonic() - self._asked >= POLL / 2:
                self._latest = (await to_thread.run_sync(self._archive.feed.state)).latest
                self._asked = time.monotonic()
            return self._latest
