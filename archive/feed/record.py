"""Writes the change feed.

One process at a time holds the lock of the one row of ``feed_cursor`` and gives out the numbers, in one transaction
with the changes that get them. So numbers have no gaps, whoever sees one sees all before it, and nothing is ever put
between: to remember one number is enough to go on, whatever dies when.

New objects are found by `archive.follow`. Who changes what is there already (hides it, shows it, corrects it) adds a
row to ``change_pending`` in his own transaction; it gets its number once the object that it is about has one.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from archive.background import Background
from archive.feed import sql
from archive.follow import Follower, Scanned
from archive.index_session import Connection, IndexSession
from config.feed import FeedSettings
from config.settings import DatabaseSettings

MOST_AT_ONCE: Final = 1000
INTERVAL: Final = 1.0
"""Seconds between two looks for what is new."""
_BEHIND: Final = 0.02
_DAY: Final = 86_400.0

_FOLLOWER: Final = Follower("feed_cursor", MOST_AT_ONCE)


def begin(session: IndexSession) -> None:
    """Follow the index from now on, unless that goes on already. Raises `IndexUnavailable`."""
    session.run(_FOLLOWER.begin)


def record(session: IndexSession, settings: FeedSettings) -> Scanned:
    """Give what is new its numbers, some hundred changes at most. Raises `IndexUnavailable`."""

    def work(connection: Connection) -> Scanned:
        with connection.transaction():
            return _step(connection, settings)

    return session.run(work)


def forget(session: IndexSession, settings: FeedSettings) -> int:
    """Delete the oldest changes that are too old, a thousand at most; give how many. Raises `IndexUnavailable`."""

    def work(connection: Connection) -> int:
        with connection.transaction():
            if connection.execute(sql.LOCK).fetchone() is None:
                return 0
            given = {"most": MOST_AT_ONCE, "seconds": settings.keep_days * _DAY}
            (count,) = connection.execute(sql.FORGET, given).fetchone() or (0,)
            return int(count)

    return session.run(work)


def _step(connection: Connection, settings: FeedSettings) -> Scanned:
    row = connection.execute(sql.LOCK).fetchone()
    if row is None:
        return Scanned()  # another process is at it
    first = last = int(row[0])
    given = {"most": MOST_AT_ONCE, "quiet": settings.quiet}

    def look(position: int, horizon: int) -> tuple[int, int]:
        nonlocal last
        stored = {**given, "last": last, "position": position, "horizon": horizon}
        count, reached, told = connection.execute(sql.TELL_STORED, stored).fetchone() or (0, position, 0)
        last += told
        return count, reached

    scanned = _FOLLOWER.step(connection, look)
    behind = scanned.behind
    (position,) = connection.execute(sql.POSITION).fetchone() or (0,)
    # A study is complete only if nothing of it can be on its way.
    for statement in (sql.TELL_PENDING,) if behind else (sql.TELL_PENDING, sql.TELL_COMPLETE):
        count, told = connection.execute(statement, {**given, "last": last, "position": position}).fetchone() or (0, 0)
        last += told
        behind = behind or count == MOST_AT_ONCE
    if last != first:
        connection.execute(sql.MOVE, {"last": last})
    return Scanned(last - first, behind)


class Recorder(Background):
    """A thread that writes the feed as long as the ``with`` block lives.

    From its making on, no change is missed. Raises `IndexUnavailable`.
    """

    def __init__(self, database: DatabaseSettings, settings: FeedSettings, interval: float = INTERVAL) -> None:
        super().__init__("change feed", self._record)
        self._session = IndexSession(database, "pacs change feed")
        self._settings = settings
        self._interval = interval
        self._tidy = 0
        try:
            begin(self._session)
        except BaseException:
            self._session.close()
            raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        super().__exit__(exc_type, exc, tb)
        self._session.close()

    def _record(self) -> float:
        if record(self._session, self._settings).behind:
            return _BEHIND
        self._tidy -= 1
        if self._tidy < 0 and forget(self._session, self._settings) < MOST_AT_ONCE:
            self._tidy = 60
        return self._interval
