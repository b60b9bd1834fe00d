"""Unified Procedure Steps as the archive offers them: workitems, subscriptions, channels, and what keeps them small."""

from __future__ import annotations

import logging
from typing import Final

from sqlalchemy import Engine

from archive.background import Background
from archive.reading import Reader
from archive.ups.channels import EventChannel, drop_excess
from archive.ups.subscriptions import Subscriptions
from archive.ups.workitems import Workitems
from config.logs import fields
from config.services import UPSSettings

log = logging.getLogger(__name__)

INTERVAL: Final = 60.0
"""Seconds between two looks at what is old."""


class ProcedureSteps:
    """The worklist of post-processing."""

    def __init__(self, engine: Engine, reader: Reader, settings: UPSSettings, *, most: int) -> None:
        self._engine = engine
        self._settings = settings
        self.workitems = Workitems(engine, reader, most=most)
        self.subscriptions = Subscriptions(engine)

    def channel(self, ae_title: str) -> EventChannel:
        """The event channel of an AE, not open yet. Raises `InvalidQuery`."""
        return EventChannel(self._engine, ae_title)

    def tidy(self) -> tuple[int, int]:
        """Delete old workitems and events that are too many; how many of each. Raises `IndexUnavailable`."""
        old = self.workitems.delete_old(self._settings.keep_days)
        return old, drop_excess(self._engine, self._settings.waiting_events)

    def upkeep(self, interval: float = INTERVAL) -> Background:
        """A thread that tidies; several processes may have one."""

        def look() -> float:
            old, dropped = self.tidy()
            if old or dropped:
                log.info("workitems tidied", extra=fields(deleted=old, events=dropped))
            return interval

        return Background("workitem upkeep", look)
