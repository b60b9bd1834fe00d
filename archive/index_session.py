"""The one connection of a process that writes the index, and the lock that says the process lives."""

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


class IndexSession:
    """Runs work on one PostgreSQL session, one thread at a time, reconnecting after a loss.

    The session holds the advisory lock `writer` as long as it lives, so that others can tell whether the key blocks
    of this process are still in use.
    """

    def __init__(self, settings: DatabaseSettings, application: str) -> None:
        self._settings = settings
        self._application = application
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self.writer = secrets.randbits(62)

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work` on the connection. Raises `IndexUnavailable` when the session is lost or cannot be opened;
        then it is not known whether the work was committed."""
        with self._lock:
            connection = self._open()
            try:
                return work(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if connection.broken or connection.closed:
                    self._drop()
                raise IndexUnavailable(f"the index cannot serve now: {first_line(error)}") from error

    def close(self) -> None:
        """End the session, which frees the advisory lock."""
        with self._lock:
            self._drop()

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection: Connection = connect(self._settings, self._application)
            connection.execute("SELECT pg_advisory_lock(%s)", (self.writer,))
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
