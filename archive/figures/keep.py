"""Keeps the figures: follows what changes, a step at a time, without touching who makes the change.

Objects are followed by the change feed, whose numbers have no gaps; of reports, orders, deliveries and persons
triggers of their tables leave a note; looks are read from the audit trail, segment by segment. How far each has come is
a row, moved in the transaction that moves the figures: whatever dies when, nothing is counted twice or forgotten. One
process at a time holds the lock of the cursor; another takes over with the next step if that one dies.

A sweep looks at all studies: the first one builds the figures, later ones find what nobody told of.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from archive.background import Background
from archive.figures import sql
from archive.figures.looks import follow_looks
from archive.figures.refresh import AT_ONCE, refresh
from archive.figures.sums import resum, wrong
from archive.index_session import Connection, IndexSession
from config.figures import FiguresSettings
from config.logs import fields
from config.settings import DatabaseSettings

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0
"""Seconds between two looks for what changed."""
_BEHIND: Final = 0.02
"""Seconds of rest at least, while there is more to do."""
_CHANGES: Final = 5000
_SWEEP_AGAIN: Final = 7 * 86_400.0
"""Seconds after a sweep until the next one begins."""
_BUILDING: Final = 500
"""Studies of each step of the first sweep, where searches go on beside it: 2000 held the interpreter for 150 ms."""
_SLOWLY: Final = 200
"""Studies of each step of a sweep that only makes sure."""
_WAIT: Final = 1.0
"""Seconds until another process that keeps figures is asked how far it has come."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a step did."""

    studies: int = 0
    """How many studies were looked at."""
    behind: bool = False
    """There is more to do at once."""
    mine: bool = True
    """False where another process is at it, or nobody keeps figures yet."""
    sweep: int | None = None
    """How far the sweep has come."""


def step(session: IndexSession, settings: FiguresSettings, now: datetime | None = None, *, hurry: bool = False) -> Kept:
    """Bring the figures up to date, some thousand studies at most; with `hurry`, also in a sweep that only makes sure.

    Raises `IndexUnavailable`.
    """
    at = now or datetime.now(UTC)

    def work(connection: Connection) -> Kept:
        with connection.transaction():
            return _step(connection, settings, at, hurry)

    return session.run(work)


def catch_up(session: IndexSession, settings: FiguresSettings) -> Iterator[Kept]:
    """Take steps in a hurry until the figures are whole; gives each. `begin` comes first. Raises `IndexUnavailable`."""
    while True:
        kept = step(session, settings, hurry=True)
        if not kept.mine:
            time.sleep(_WAIT)  # a web process is at it
            continue
        yield kept
        if not kept.behind and kept.sweep is None:
            return


def begin(session: IndexSession) -> None:
    """Keep figures from now on, unless that goes on already. The feed must have begun. Raises `IndexUnavailable`."""
    session.run(lambda connection: connection.execute(sql.BEGIN))


def rebuild(session: IndexSession) -> None:
    """Have all facts looked at again from the first study on. Raises `IndexUnavailable`."""
    session.run(lambda connection: connection.execute(sql.SWEEP))


def sum_anew(session: IndexSession) -> int:
    """Make all sums anew from the facts; give how many were wrong. Raises `IndexUnavailable`."""

    def work(connection: Connection) -> int:
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute("SELECT FROM figure_cursor FOR UPDATE")
            found = wrong(connection)
            if found:
                resum(connection)
                connection.execute(sql.REVISED)
            return found

    return session.run(work)


def _step(connection: Connection, settings: FiguresSettings, now: datetime, hurry: bool) -> Kept:
    row = connection.execute(sql.CURSOR).fetchone()
    if row is None:
        return Kept(mine=False)
    position, sweep, swept_at = row
    sweep = _restarted(connection, position, sweep, swept_at, now)
    reached, count, told = connection.execute(sql.CHANGES, {"position": position, "most": _CHANGES}).fetchone() or _NONE
    if reached != position:
        connection.execute(sql.MOVE, {"position": reached})
    looked = follow_looks(connection)
    given = {"now": now, "most": AT_ONCE}
    taken, noted = connection.execute(sql.DUE, given).fetchone() or (0, [])
    behind = count == _CHANGES or looked.behind or taken == AT_ONCE
    swept: list[int] = []
    fast = hurry or swept_at is None
    if sweep is not None and not behind:
        swept, sweep = _sweep(connection, sweep, AT_ONCE if hurry else _BUILDING if fast else _SLOWLY)
        behind = fast and sweep is not None
    studies = sorted({*told, *noted, *swept, *looked.studies})
    # While the first sweep goes on, sums of what it has found so far would help nobody: they are made at its end, at
    # once, which takes less than following each study.
    certain = {*swept} - {*told, *noted} if fast else frozenset[int]()
    others = refresh(connection, studies, settings, now, summing=swept_at is not None, swept=certain)
    if swept_at is None and sweep is None:
        connection.execute("SET LOCAL statement_timeout = 0")
        resum(connection)
    return Kept(len(studies), behind or others > 0, sweep=sweep)


_NONE: Final[tuple[Any, ...]] = (0, 0, [])


def _restarted(connection: Connection, position: int, sweep: int | None, swept_at: Any, now: datetime) -> int | None:
    """Where the sweep stands; at the beginning if one is due."""
    (forgotten,) = connection.execute(sql.FORGOTTEN).fetchone() or (0,)
    if forgotten > position:
        log.warning("changes were deleted before the figures had them: all studies are looked at again")
        connection.execute(sql.MOVE, {"position": forgotten})
        sweep = 0
    elif sweep is None and (swept_at is None or (now - swept_at).total_seconds() > _SWEEP_AGAIN):
        sweep = 0
    return sweep


def _sweep(connection: Connection, after: int, most: int) -> tuple[list[int], int | None]:
    rows = connection.execute(sql.NEXT_STUDIES, {"after": after, "most": most}).fetchall()
    studies = [number for (number,) in rows]
    reached = studies[-1] if len(studies) == most else None
    connection.execute(sql.SWEPT, {"sweep": reached})
    return studies, reached


class Keeper(Background):
    """A thread that keeps the figures as long as the ``with`` block lives. Raises `IndexUnavailable`."""

    def __init__(self, database: DatabaseSettings, settings: FiguresSettings, interval: float = INTERVAL) -> None:
        super().__init__("figures", self._keep)
        self._session = IndexSession(database, "pacs figures")
        self._settings = settings
        self._interval = interval
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

    def _keep(self) -> float:
        started = time.monotonic()
        kept = step(self._session, self._settings)
        if not kept.behind:
            return self._interval
        if kept.sweep is not None:
            log.debug("figures are being built", extra=fields(studies=kept.sweep))
        # It rests as long as it worked: beside the figures of a million studies, searches took five times as long.
        return max(_BEHIND, time.monotonic() - started)
