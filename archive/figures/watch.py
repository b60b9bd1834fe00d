"""Notes what cannot be seen later: how long queues are, and since when somebody is listed in the settings.

Each process that serves the web does so. A row stands for a stretch of ten minutes, so that the second process that
looks in it adds none, and needs no lock to know that.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine, text

from archive.background import Background
from archive.database import fetch, in_transaction
from archive.figures.queues import Queues
from archive.routing.routing import Routing
from config.peers import PeerBook
from config.settings import Settings

INTERVAL: Final = 60.0
"""Seconds between two looks."""
_STRETCH: Final = "10 minutes"
_FORGET: Final = timedelta(days=7)
"""How long a name that no process has in its settings is remembered."""
_SAMPLE: Final = text(f"""
INSERT INTO figure_sample (kind, name, at, waiting)
SELECT kind, name, date_bin('{_STRETCH}', :now, 'epoch'), waiting
  FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[]), CAST(:waiting AS bigint[])) AS given (kind, name, waiting)
 ORDER BY 1, 2
ON CONFLICT DO NOTHING
""")
_OLD_SAMPLES: Final = text("DELETE FROM figure_sample WHERE at < :horizon")
_LISTED: Final = text(f"""
INSERT INTO figure_listed AS known (kind, name, since, seen_at)
SELECT kind, name, :now, :now FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[])) AS given (kind, name)
 ORDER BY 1, 2
ON CONFLICT (kind, name) DO UPDATE SET seen_at = EXCLUDED.seen_at
 WHERE known.seen_at < EXCLUDED.seen_at - interval '{_STRETCH}'
""")
_OLD_NAMES: Final = text("DELETE FROM figure_listed WHERE seen_at < :horizon")
# At the beginning of the stretch that is looked at, and in its middle. Where nobody looked, nothing is compared.
_EARLIER: Final = text("""
SELECT kind, name,
       (array_agg(waiting ORDER BY at DESC) FILTER (WHERE at <= :begin))[1] AS first,
       (array_agg(waiting ORDER BY at DESC) FILTER (WHERE at > :begin AND at <= :middle))[1] AS half
  FROM figure_sample WHERE at > :earliest AND at <= :middle GROUP BY 1, 2
""")
_SINCE: Final = text("SELECT kind, name, since FROM figure_listed")


class Length(NamedTuple):
    """How many wait in a queue."""

    kind: str
    name: str
    waiting: int


class Earlier(NamedTuple):
    """How many waited when the stretch began, and in its middle."""

    first: int
    half: int


class Watch:
    """Reads and writes these notes. Methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, settings: Settings, routing: Routing, peers: PeerBook) -> None:
        self._engine = engine
        self._settings = settings
        self._routing = routing
        self._queues = Queues(engine, settings)
        self._peers = peers

    def note(self, now: datetime | None = None) -> None:
        """Note how things are."""
        at = now or datetime.now(UTC)
        lengths = self.lengths()
        names = sorted(self._names())
        sample = {
            "now": at,
            "kinds": [each.kind for each in lengths],
            "names": [each.name for each in lengths],
            "waiting": [each.waiting for each in lengths],
        }
        listed = {"now": at, "kinds": [kind for kind, _ in names], "names": [name for _, name in names]}
        hours = self._settings.figures.growth_hours * 2 + 1

        def work(connection: Connection) -> None:
            connection.execute(_SAMPLE, sample)
            connection.execute(_LISTED, listed)
            connection.execute(_OLD_SAMPLES, {"horizon": at - timedelta(hours=hours)})
            connection.execute(_OLD_NAMES, {"horizon": at - _FORGET})

        in_transaction(self._engine, work)

    def lengths(self) -> list[Length]:
        """How many wait where, now."""
        forwarding = [Length("forward", queue.ae_title, queue.waiting) for queue in self._routing.queues()]
        return forwarding + [Length(queue.kind, queue.name, queue.waiting) for queue in self._queues.listed()]

    def earlier(self, now: datetime) -> dict[tuple[str, str], Earlier]:
        """How many waited earlier, of the queues of which that is known."""
        span = timedelta(hours=self._settings.figures.growth_hours)
        given = {"earliest": now - span * 2, "begin": now - span, "middle": now - span / 2}
        return {
            (row.kind, row.name): Earlier(row.first, row.half)
            for row in fetch(self._engine, _EARLIER, given)
            if row.first is not None and row.half is not None
        }

    def since(self) -> dict[tuple[str, str], datetime]:
        """Since when who is listed, by kind and name."""
        return {(row.kind, row.name): row.since for row in fetch(self._engine, _SINCE)}

    def _names(self) -> Iterable[tuple[str, str]]:
        for code in self._peers.facilities:
            yield "facility", code
        for peer in self._peers.listed:
            if peer.may("store"):
                yield "device", peer.ae_title
        for sender in self._settings.hl7.senders:
            yield "sender", sender.name


class Watcher(Background):
    """A thread that notes as long as the ``with`` block lives."""

    def __init__(self, watch: Watch, interval: float = INTERVAL) -> None:
        super().__init__("figures: how queues stand", self._look)
        self._watch = watch
        self._interval = interval

    def _look(self) -> float:
        self._watch.note()
        return self._interval
