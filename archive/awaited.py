"""Statements whose answers the event loop waits for itself, each on a connection of its own.

Looking up one instance takes PostgreSQL less time than to hand the question to a thread, and the answer back. So this
asks without a thread, by libpq's own calls that do not wait. It is a short cut, and nothing but that: for whatever is
not as always (no connection that is free, or one that was lost, any error) it says so by None, and the caller asks in
the ordinary way, which waits, tries again and tells what is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from archive.errors import ArchiveError
from archive.row_security import SET, Context

log = logging.getLogger(__name__)

MOST: Final = 4
"""Connections. They are used for microseconds: whoever finds all in use asks in the ordinary way."""
_AGAIN: Final = 5.0
"""Seconds after a connection could not be opened until that is tried again."""
_PATIENCE: Final = 2.0
"""Seconds to wait for an answer, before it is asked for in the ordinary way."""
_BINARY: Final = 1
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_GOOD: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
Rows = Sequence[tuple[Any, ...]]


class Awaited:
    """A few connections for one event loop after another; threads never wait for them."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        """`connect` opens one, in a thread. Nothing is connected before the first question."""
        self._connect = connect
        self._lock = threading.Lock()
        self._free: list[_Session] = []
        self._count = 0
        self._not_before = 0.0
        self._closed = False

    async def fetch(self, statement: str, values: Mapping[str, object], context: Context | None) -> Rows | None:
        """All rows of a statement with parameters such as ``%(name)s``; None: ask in the ordinary way."""
        session = self._take(context)
        if session is None:
            return None
        try:
            found = await session.fetch(statement, values, context)
        except (psycopg.Error, OSError) as error:
            log.debug("a connection for short questions is given up: %s", type(error).__name__)
            self._give_up(session)
            return None
        except BaseException:  # cancelled: its answer must not be taken for that to another question
            self._give_up(session)
            raise
        self._give_back(session)
        return found

    def close(self) -> None:
        """End the connections, those in use when they are given back."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for each in free:
            each.close()

    def _take(self, context: Context | None) -> _Session | None:
        """One that is free, best one that has the context already."""
        loop = asyncio.get_running_loop()
        with self._lock:
            usable = [each for each in self._free if each.serves(loop)]
            if usable:
                found = next((each for each in reversed(usable) if each.context == context), usable[0])
                self._free.remove(found)
                return found
            if self._count >= MOST or self._closed or time.monotonic() < self._not_before:
                return None
            self._count += 1
        threading.Thread(target=self._open, name="opens a connection", daemon=True).start()
        return None

    def _open(self) -> None:
        try:
            session = _Session(self._connect())
        except (ArchiveError, psycopg.Error):
            with self._lock:
                self._count -= 1
                self._not_before = time.monotonic() + _AGAIN
            return
        self._give_back(session)

    def _give_back(self, session: _Session) -> None:
        with self._lock:
            if not self._closed:
                self._free.append(session)
                return
        session.close()

    def _give_up(self, session: _Session) -> None:
        with self._lock:
            self._count -= 1
        session.close()


class _Session:
    """One connection, and what was prepared on it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._adapt = Transformer(connection)
        self._prepared: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: asyncio.Future[PGresult] | None = None
        self._results: list[PGresult] = []
        self.context: Context | None = None

    def serves(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this loop may use it: a connection belongs to the first that did, as long as that exists."""
        return self._loop is None or self._loop is loop or self._loop.is_closed()

    async def fetch(self, statement: str, values: Mapping[str, object], context: Context | None) -> Rows:
        """All rows. Raises `psycopg.Error`; then the connection is of no further use."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            loop.add_reader(self._pgconn.socket, self._readable)
            self._loop = loop
        if context is not None and context != self.context:
            self.context = None
            await self._run(SET, context.values())
            self.context = context
        result = await self._run(statement, values)
        self._adapt.set_pgresult(result)
        return self._adapt.load_rows(0, result.ntuples, tuple)

    def close(self) -> None:
        """End it, in whatever thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._end, self._loop)
                return
        self._connection.close()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._pgconn.socket)
        self._connection.close()

    async def _run(self, statement: str, values: Mapping[str, object]) -> PGresult:
        text, names = _positional(statement)
        adapt = self._adapt
        parameters = adapt.dump_sequence([values[name] for name in names], [PyFormat.AUTO] * len(names))
        types, formats = adapt.types or (), adapt.formats
        name = self._prepared.get((statement, types))
        if name is None:
            name = b"pacs_%d" % len(self._prepared)
            self._pgconn.send_prepare(name, text, types)
            await self._answer()
            self._prepared[statement, types] = name
        self._pgconn.send_query_prepared(name, parameters, formats, _BINARY)
        return await self._answer()

    async def _answer(self) -> PGresult:
        """The result of what was sent. Raises `psycopg.Error`."""
        if self._pgconn.flush():
            raise psycopg.OperationalError("the server takes no statement")
        loop = asyncio.get_running_loop()
        self._done = done = loop.create_future()
        late = loop.call_later(_PATIENCE, _too_late, done)
        try:
            result: PGresult = await done
            return result
        finally:
            late.cancel()

    def _readable(self) -> None:
        """Something came: a part of an answer, or the end of the connection."""
        done, pgconn = self._done, self._pgconn
        try:
            pgconn.consume_input()
            if done is None or done.done():
                return
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is not None:
                    self._results.append(result)
                    continue
                results, self._results = self._results, []
                if len(results) != 1 or results[0].status not in _GOOD:
                    raise psycopg.OperationalError("the statement failed")
                done.set_result(results[0])
                return
        except psycopg.Error as error:
            assert self._loop is not None
            self._loop.remove_reader(pgconn.socket)  # it would be called again and again
            if done is not None and not done.done():
                done.set_exception(error)


def _too_late(done: asyncio.Future[PGresult]) -> None:
    if not done.done():
        done.set_exception(psycopg.OperationalError("no answer came in time"))


_known: dict[str, tuple[bytes, tuple[str, ...]]] = {}


def _positional(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement as PostgreSQL numbers its parameters, and their names in this order."""
    found = _known.get(statement)
    if found is None:
        names = tuple(dict.fromkeys(_PARAMETER.findall(statement)))
        text = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", statement).replace("%%", "%")
        found = _known[statement] = (text.encode(), names)
    return found
