"""Runs `archive.reconcile` in the background of a serving process: at its start, then every minute.

The search for empty parents reads whole tables, and nobody waits for its result: once a day.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from archive.core import Archive
from archive.errors import Unavailable

log = logging.getLogger(__name__)

INTERVAL = 60.0
DAY = 86_400.0


class Maintenance:
    """A thread that lives as long as the ``with`` block."""

    def __init__(self, archive: Archive, interval: float = INTERVAL) -> None:
        self._archive = archive
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        thorough = time.monotonic()
        while True:
            try:
                due = time.monotonic() >= thorough
                self._archive.reconcile(empty_parents=due)
                thorough += DAY if due else 0
            except Unavailable as error:
                log.warning("reconciling is put off: %s", error)
            except Exception:
                log.exception("reconciling failed")
            if self._stop.wait(self._interval):
                return
