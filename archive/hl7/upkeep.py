"""What goes on beside answering: messages that had to wait are done, old ones are deleted."""

from __future__ import annotations

import logging
import time
from typing import Final

from archive.background import Background
from archive.hl7.messages import Messages
from config.logs import fields

log = logging.getLogger(__name__)

INTERVAL: Final = 5.0
"""Seconds between two looks at messages that wait."""
_DELETING: Final = 3600.0


class Upkeep(Background):
    """A thread that lives as long as the ``with`` block."""

    def __init__(self, messages: Messages, interval: float = INTERVAL) -> None:
        super().__init__("HL7 messages that wait", self._look)
        self._messages = messages
        self._interval = interval
        self._deleted_at = float("-inf")

    def _look(self) -> float:
        for sender in self._messages.inbox.waiting():
            self._messages.inbox.settle(sender)
        if time.monotonic() - self._deleted_at > _DELETING:
            self._deleted_at = time.monotonic()
            if deleted := self._messages.delete_old():
                log.info("old HL7 messages deleted", extra=fields(deleted=deleted))
        return self._interval
