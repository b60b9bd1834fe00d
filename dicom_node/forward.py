"""Sends objects on: fills the queues by the routes, and starts who empties them.

One thread looks each second what there is to do, for all destinations in one query. A destination that is away costs
nothing but its next try; one that is slow has threads of its own, so that nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Final, Self
from zoneinfo import ZoneInfo

from archive.background import Background
from archive.core import Archive
from archive.errors import Unavailable
from archive.routing import scan
from archive.routing.commitment import follow_commitment
from archive.routing.groups import ripen
from archive.routing.queue import Work
from archive.routing.rules import rules_of
from config.logs import fields
from config.peers import Peer
from dicom_node.forward_delivery import BATCH, Delivery

log = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between two looks at the queues."""
MOST_ASSOCIATIONS: Final = 16
"""The most that `Peer.parallel` can say."""
_FREE_EVERY, _REVIVE_EVERY, _POSTPONE_EVERY, _PRUNE_EVERY, _COMMIT_EVERY = 5.0, 30.0, 60.0, 600.0, 15.0


class Forwarder:
    """The sending side of one process; runs as long as the ``with`` block.

    From its making on, no object that arrives is missed. Raises `SettingsError` for routes that make no sense, and
    `IndexUnavailable`.
    """

    def __init__(self, archive: Archive, interval: float = INTERVAL) -> None:
        self._archive = archive
        self._interval = interval
        self._rules = rules_of(archive.settings)
        self._routes = [rule.route for rule in self._rules]
        self._zone = ZoneInfo(archive.settings.forward.time_zone)
        self._session = archive.routing.open_session()
        self._queue = archive.routing.queue(self._session)
        self._stopping = threading.Event()
        self._running: dict[Delivery, threading.Thread] = {}
        self._last: dict[str, float] = {}
        self._closed: list[str] = []
        """Routes outside of their hours."""
        self._background = Background("forwarding", self._step)
        try:
            (scan.begin if self._rules else scan.end)(self._session)
        except BaseException:
            self._session.close()
            raise

    def wake(self) -> None:
        """Look at the queues now."""
        self._background.wake()

    def __enter__(self) -> Self:
        self._background.__enter__()
        return self

    def wind_down(self) -> None:
        """Begin no more objects; those on their way may arrive."""
        self._stopping.set()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.wind_down()
        self._background.__exit__(exc_type, exc, tb)
        self._join(self._archive.settings.node.shutdown_grace)
        for delivery in self._alive():
            log.warning("sending on was cut off at shutdown", extra=fields(destination=delivery.peer.ae_title))
            delivery.interrupt()
        self._join(10)
        # Whatever is still held is free with the end of the session.
        self._session.close()

    def _join(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        for thread in list(self._running.values()):
            thread.join(max(0, deadline - time.monotonic()))

    def _alive(self) -> list[Delivery]:
        return [delivery for delivery, thread in self._running.items() if thread.is_alive()]

    # -- each second -------------------------------------------------------------------------------------------------

    def _step(self) -> float:
        behind = self._fill()
        self._closed = self._outside_hours()
        if self._due("free", _FREE_EVERY) and (freed := self._queue.free_dead()):
            log.info("objects of a dead process are sent by others", extra=fields(objects=freed))
        if self._due("lost", _FREE_EVERY):
            self._queue.free_lost(lambda: [delivery.batch for delivery in self._alive()])
        if self._due("revive", _REVIVE_EVERY):
            self._queue.revive()
        if self._due("prune", _PRUNE_EVERY):
            self._queue.prune()
        if self._due("commit", _COMMIT_EVERY):
            tries = self._archive.settings.forward.tries
            follow_commitment(self._session, self._archive.commitments, tries)
        self._running = {delivery: self._running[delivery] for delivery in self._alive()}
        if not self._stopping.is_set():
            peers = {peer.ae_title: peer for peer in self._archive.peers.listed if peer.host}
            for work in self._queue.ready(peers.keys(), self._closed, BATCH * MOST_ASSOCIATIONS):
                self._assign(work, peers[work.ae_title])
        return 0.05 if behind else self._interval

    def _fill(self) -> bool:
        """Turn new objects into tasks; whether there are more."""
        if not self._rules:
            return False
        try:
            scanned = scan.scan(self._session, self._rules)
            ripen(self._session, self._routes, self._archive.routing.place_of)
        except Unavailable:
            raise
        except Exception:
            # Nothing is lost by it, and what is in the queues can go on.
            log.exception("new objects could not be held against the routes")
            return False
        return scanned.behind

    def _outside_hours(self) -> list[str]:
        """The routes outside of their hours."""
        now = datetime.now(self._zone)
        closed = [(route, seconds) for route in self._routes if (seconds := route.closed_for(now))]
        if closed and self._due("postpone", _POSTPONE_EVERY):
            for route, seconds in closed:
                self._queue.postpone(route, seconds)
        return [route.name for route, _ in closed]

    def _due(self, what: str, interval: float) -> bool:
        now = time.monotonic()
        if now - self._last.get(what, -interval) < interval:
            return False
        self._last[what] = now
        return True

    def _assign(self, work: Work, peer: Peer) -> None:
        """Start threads for a destination, as far as it has work for them and takes their associations."""
        running = sum(delivery.peer.ae_title == peer.ae_title for delivery in self._running)
        if work.probing:
            more = int(not running and self._queue.probe(work.ae_title))
        else:
            more = min(peer.parallel - running, -(-work.waiting // BATCH))
        for _ in range(more):
            delivery = Delivery(self._archive, self._queue, peer, lambda: self._closed, self._stopping)
            thread = threading.Thread(target=delivery.run, name=f"forward to {peer.ae_title}", daemon=True)
            thread.start()
            self._running[delivery] = thread
