"""Makes metadata of studies ready-made when they are complete, so that not even the first who opens one waits for it.

It goes by the change feed, which tells that no more objects of a study come, and what was hidden, shown or corrected
since. How far it has come lies in a file beside the cache, for it says what is in that cache and in no other: each
machine has its own. Of the processes on a machine the one with the lock of the file works. Whoever dies, the next goes
on from the file, and does again at most what one page of the feed names; what was made is found in the cache.

It rests in proportion to its work, so that answers and storing keep the processor.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final

from archive.background import Background
from archive.core import Archive
from archive.errors import Forgotten, IndexUnavailable, NotFound, StoreUnavailable
from archive.feed.feed import Wanted
from archive.ready_metadata import worth_keeping
from archive.records import Scope, StoredInstance
from archive.rejection.causes import View
from config.logs import fields
from viewer_api.addresses import public_addresses
from viewer_api.metrics import Metrics

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0
"""Seconds between two looks into the feed."""
_MOST: Final = 200
_ELSEWHERE: Final = 30.0
"""Seconds after which is asked again whether another process on this machine still works."""
_FULL: Final = 300.0
"""Seconds after which is asked again whether the disk has room."""


class Position:
    """Up to which change of the feed this machine has made metadata: a file, which one process holds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "metadata.position"
        self._lock = -1

    def claim(self) -> bool:
        """Whether this process is the one that works, now or already. The kernel frees what a dead process held."""
        if self._lock >= 0:
            return True
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def read(self) -> int | None:
        """The number of the change; None if nothing is known, as when somebody deleted the cache."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._path.read_text("ascii"))
        return None

    def write(self, number: int) -> None:
        """Go on from here after a restart. Raises `OSError`."""
        unfinished = self._path.with_suffix(".new")
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        unfinished.write_text(str(number), "ascii")
        unfinished.replace(self._path)

    def release(self) -> None:
        """Let another process work."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def waiting(archive: Archive) -> int:
    """Of how many changes the metadata of this machine do not know yet. Raises `IndexUnavailable`."""
    if not _wanted(archive):
        return 0
    state = archive.feed.state()
    return max(0, state.latest - max(Position(archive.settings.cache_dir).read() or 0, state.forgotten))


def _wanted(archive: Archive) -> bool:
    web = archive.settings.web
    return web.metadata_ahead > 0 and web.metadata_cache_bytes > 0


class MetadataAhead(Background):
    """A thread that makes metadata ahead as long as the ``with`` block lives, if the settings want that."""

    def __init__(self, archive: Archive, metrics: Metrics, interval: float = INTERVAL) -> None:
        super().__init__("metadata ahead", self._look)
        self._archive = archive
        self._metrics = metrics
        self._interval = interval
        web = archive.settings.web
        self._rest = 1 / web.metadata_ahead - 1 if web.metadata_ahead else 0.0
        self._addresses = public_addresses(archive.settings)
        # What those see who ask for no view.
        self._scope = Scope(view=View(web.views[0]))
        self._wanted = Wanted(kinds=("complete", "hidden", "shown", "corrected"), scope=self._scope)
        self._position = Position(archive.settings.cache_dir)

    def __enter__(self) -> MetadataAhead:
        if _wanted(self._archive):
            super().__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if _wanted(self._archive):
            super().__exit__(exc_type, exc, tb)
        self._position.release()

    def _look(self) -> float:
        """Make what the next page of the feed names; give the seconds until the next look."""
        try:
            return self._next_page() if self._position.claim() else _ELSEWHERE
        except OSError as error:
            folder = str(self._archive.settings.cache_dir)
            log.warning("cache cannot be written", extra=fields(folder=folder, error=str(error)))
            return _FULL

    def _next_page(self) -> float:
        if not self._archive.metadata.has_room():
            return _FULL
        since = self._position.read()
        try:
            page = self._archive.feed.read(since, self._wanted, _MOST)
        except Forgotten as error:
            # Off for longer than the feed remembers, or the database was restored: nothing but time is lost.
            log.info("metadata are made from the beginning of the feed", extra=fields(reason=str(error)))
            page = self._archive.feed.read(None, self._wanted, _MOST)
        for study in dict.fromkeys(change.study_instance_uid for change in page.changes):
            self._prepare(study)
            if self.stopping:
                return 0.0
        if page.next != since:
            self._position.write(page.next)
        return 0.0 if page.next < page.latest else self._interval

    def _prepare(self, study: str) -> None:
        """Make the metadata of a study. Raises `Unavailable` if nothing can be read now."""
        try:
            found = self._archive.locate(study, scope=self._scope)
            if worth_keeping(found):
                self._make(found)
        except NotFound:
            pass  # hidden or gone since
        except IndexUnavailable:
            raise
        except Exception as error:
            # One object that is lost, or a defect of ours, must not hold up all other studies.
            if isinstance(error, StoreUnavailable) and self._archive.check()["store"] is not None:
                raise
            about = fields(study_instance_uid=study, error=type(error).__name__)
            log.warning("metadata of a study cannot be made ahead", extra=about)

    def _make(self, found: list[StoredInstance]) -> None:
        started = time.perf_counter()
        with closing(self._archive.metadata.prepare(found, self._addresses)) as groups:
            for instances in groups:
                self._metrics.metadata_made(instances)
                self.pause((time.perf_counter() - started) * self._rest)
                if self.stopping:
                    return
                started = time.perf_counter()
