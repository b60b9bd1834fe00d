"""The one connection of a process that writes the index, and the lock that says the process lives.

A session that is lost may have been lost by a crash of PostgreSQL, and with it the rows that were committed last
without waiting for its log (`archive.index_writer`). So the key blocks that the process had are given up when it opens
the next session: then `archive.reconcile` looks for objects in them that have no row.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from archive.database import connect, first_line
from archive.errors import IndexUnavailable
from config.settings import DatabaseSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
Connection = psycopg.Connection[Any]

_GIVE_UP_BLOCKS = "UPDATE key_block SET writer = %s WHERE writer = %s"
"""To a writer that does not exist."""
_ENDS_SESSION = (
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.IdleSessionTimeout,
    # After a fail-over to another server, this one may have become a standby.
    psycopg.errors.ReadOnlySqlTransaction,
)


class IndexSession:
    """Runs work on one PostgreSQL session, one thread at a time, reconnecting after a loss.

    The session holds the advisory lock `writer` as long as it lives, so that others can tell whether the key blocks
    of this process are still in use. `opened` counts sessions: blocks of an earlier one are not the process's any more.
    """

    def __init__(self, settings: DatabaseSettings, application: str) -> None:
        self._settings = settings
        self._application = application
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self.writer = secrets.randbits(62)
        self.opened = 0

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work` on the connection, and once more on a new one if the session turns out to be lost.

        So the work must be safe to repeat after it was committed: a session is also lost between the commit and the
        news of it. Raises `IndexUnavailable`; then it is not known whether the work was committed.
        """
        with self._lock:
            was_open = self._connection is not None
            try:
                return self._run(work)
            except IndexUnavailable:
                if not was_open or self._connection is not None:
                    raise
                log.warning("the session of the index was lost and is opened again")
                return self._run(work)

    def take(self) -> Connection | None:
        """The connection, if there is one and no other thread uses it: then it is this thread's until `give_back`."""
        if not self._lock.acquire(blocking=False):
            return None
        connection = self._connection
        if connection is None:
            self._lock.release()
        return connection

    def give_back(self) -> None:
        """End what `take` began. A connection that broke meanwhile is found by the next `run`."""
        self._lock.release()

    def close(self) -> None:
        """End the session, which frees the advisory lock."""
        with self._lock:
            self._drop()

    def _run(self, work: Callable[[Connection], T]) -> T:
        connection = self._open()
        try:
            return work(connection)
        except psycopg.errors.ProgramLimitExceeded:
            raise  # of class OperationalError, yet it is about the values and will not pass
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
            if connection.broken or connection.closed or isinstance(error, _ENDS_SESSION):
                self._drop()
            raise IndexUnavailable(f"the index cannot serve now: {first_line(error)}") from error

    def _open(self) -> Connection:
        # One that broke was dropped then; to ask each time whether it is closed would cost more than all else here.
        if self._connection is None:
            connection: Connection = connect(self._settings, self._application)
            try:
                # Waits for the server to notice that our last session is gone, or for the end of a reconcile that
                # took us for dead.
                connection.execute("SELECT pg_advisory_lock(%s)", (self.writer,))
                if self.opened:
                    connection.execute(_GIVE_UP_BLOCKS, (secrets.randbits(62), self.writer))
            except psycopg.Error as error:
                connection.close()
                raise IndexUnavailable(f"the index cannot serve now: {first_line(error)}") from error
            self._connection = connection
            self.opened += 1
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
