"""Runs in the background of each DICOM node: closes items whose images are in, deletes those of long ago.

Several may run on one database; each takes rows that no other has.
"""

from __future__ import annotations

import logging

from archive.background import Background
from archive.worklist.items import Items
from config.logs import fields

log = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between two looks."""


class WorklistUpkeep(Background):
    """A thread that lives as long as the ``with`` block."""

    def __init__(self, items: Items, interval: float = INTERVAL) -> None:
        super().__init__("worklist upkeep", self._look)
        self._items = items
        self._interval = interval

    def _look(self) -> float:
        closed, deleted = self._items.close_by_images(), self._items.delete_old()
        if closed or deleted:
            log.info("worklist tidied", extra=fields(closed=closed, deleted=deleted))
        return self._interval
