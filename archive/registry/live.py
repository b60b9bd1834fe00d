"""The peers as they are now: a book that every part of a process holds, and that follows the table.

Who asks it reads a dictionary. A thread compares one number with the database each two seconds; and before somebody is
refused who is not listed, it is compared at once, so that a device works the moment it was added.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from sqlalchemy import Engine

from archive.background import Background
from archive.database import fetch, open_engine
from archive.errors import IndexUnavailable
from archive.registry.entries import EPOCH, Entry, of_table
from config.logs import fields
from config.peers import Peer, PeerBook, lists
from config.settings import Settings

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0
"""Seconds between two comparisons."""
_BETWEEN_LOOKS: Final = 0.2
"""Seconds, at least, between two comparisons that strangers cause; they wait for one another's."""
_AFTER_FAILURE: Final = 5.0
"""So long strangers cause none once the index could not be asked."""


class LivePeers(PeerBook):
    """Those of the settings, and those of the table that are in force. For all threads.

    While the index cannot be asked, what was known last holds.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        """With the peers of the settings alone, until `refresh`."""
        super().__init__(settings.facilities, settings.peers, settings.unknown_peers)
        self._settings = settings
        self._engine = engine
        self._epoch = -1
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._refreshing = threading.Lock()
        self._looking = threading.Lock()
        self._looked = self._failed = float("-inf")

    def find(self, ae_title: str, address: str) -> Peer | None:
        """As `PeerBook.find`. Nobody is refused, or taken for a stranger, by a list that is out of date."""
        found = super().find(ae_title, address)
        if found is not None and self.named(ae_title) is not None:
            return found
        self._look_again()
        return super().find(ae_title, address)

    def refresh(self) -> None:
        """Read the table if it has changed. Raises `IndexUnavailable`."""
        with self._refreshing:
            rows = fetch(self._engine, EPOCH)
            if rows and rows[0].epoch == self._epoch:
                return
            epoch, entries = of_table(self._engine, self._settings)
            self._lists = lists(
                [*self._settings.peers, *(each.peer for each in entries if each.state == "enabled")],
                [each.peer for each in entries if each.state in ("disabled", "unusable")],
            )
            self._epoch = epoch
            self._tell(entries)

    def following(self) -> Background:
        """A thread that keeps this up to date."""
        return Background("peers", self._step)

    def _step(self) -> float:
        self.refresh()
        return INTERVAL

    def _look_again(self) -> None:
        arrived = time.monotonic()
        with self._looking:
            # Somebody who waited here, too, may have looked since we came.
            if self._looked >= arrived or time.monotonic() < self._failed + _AFTER_FAILURE:
                return
            time.sleep(max(0.0, self._looked + _BETWEEN_LOOKS - time.monotonic()))
            self._looked = time.monotonic()
            try:
                self.refresh()
            except IndexUnavailable as error:
                self._failed = time.monotonic()
                log.warning("who is not listed is judged by an older list of peers", extra=fields(error=str(error)))

    def _tell(self, entries: list[Entry]) -> None:
        """Say in the log which rows are not in force though they were to be, once for each."""
        found = frozenset((each.ae_title, each.state) for each in entries if each.state in ("overruled", "unusable"))
        for each in entries:
            if (each.ae_title, each.state) in found - self._told:
                faults = "; ".join(f"{name} {text}" for name, text in each.faults.items())
                reason = faults if each.state == "unusable" else "pacs.toml lists the AE title, too, and holds"
                log.warning("a peer is not as its page says", extra=fields(peer=each.ae_title, reason=reason))
        self._told = found


def peers_now(settings: Settings) -> PeerBook:
    """The peers as they are now, for who does not stay. Raises `IndexUnavailable`."""
    engine = open_engine(settings.database, "pacs peers")
    try:
        book = LivePeers(settings, engine)
        book.refresh()
        return book
    finally:
        engine.dispose()
