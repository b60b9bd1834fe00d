"""Runs `archive.reconcile` in the background of a serving process: at its start, then every minute.

The search for empty parents reads whole tables, and nobody waits for its result: once a day.
"""

from __future__ import annotations

import time

from archive.background import Background
from archive.core import Archive

INTERVAL = 60.0
DAY = 86_400.0


class Maintenance(Background):
    """A thread that lives as long as the ``with`` block."""

    def __init__(self, archive: Archive, interval: float = INTERVAL) -> None:
        super().__init__("maintenance", self._reconcile, pause_after_failure=interval)
        self._archive = archive
        self._interval = interval
        self._thorough = time.monotonic()

    def _reconcile(self) -> float:
        due = time.monotonic() >= self._thorough
        self._archive.reconcile(empty_parents=due)
        self._thorough += DAY if due else 0
        return self._interval
