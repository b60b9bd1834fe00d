"""Rows that PostgreSQL adds while their objects are made durable, and commits when these are.

An object waits for its flush and for its rows. Side by side both take as long as the longer of the two, and the order
that matters is kept: the Sync that commits the rows is sent when the flush has returned. Until then nobody sees them;
if an object cannot be made durable, or the process dies, PostgreSQL rolls them back.

Only what is mostly the case is done ahead. Whatever else happens to a row (it is there already, its series was deleted,
the session was lost, even after the commit), `IndexWriter.add` finds out and settles, for it may be asked twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg

from archive.database import first_line
from archive.index_insert import Sent
from archive.index_session import IndexSession
from config.logs import fields

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What was sent, by the thread that holds the session."""

    session: IndexSession
    sent: Sent
    order: Sequence[int]
    """Which object each statement is for."""


class RowsAhead:
    """The rows of some objects. Leaving the block without `commit` rolls them back.

    It holds the session, so within the block nothing may be done that another thread could need the session for.
    """

    def __init__(self, count: int, held: Held | None = None) -> None:
        """Of `count` objects, in this order; without `held`, nothing is done ahead."""
        self._held = held
        self._pending = held is not None
        self.added = [False] * count
        """Which of them have their rows, committed. The others are left to `IndexWriter.add`."""

    def commit(self) -> None:
        """Commit the rows: all objects are durable."""
        if self._held is None:
            return
        try:
            added = self._held.sent.commit()
        except psycopg.Error as error:
            log.info("rows that were sent ahead are added anew", extra=fields(error=first_line(error)))
        else:
            for n, is_new in zip(self._held.order, added, strict=True):
                self.added[n] = is_new
        self._pending = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        try:
            if self._pending:
                held.sent.roll_back()
        finally:
            held.session.give_back()
