"""Rows of arrivals, past psycopg's cursors and adapters: they took longer than all else that Python does for one.

A few share one transaction and one round trip (a pipeline), each in its statement: of two or three, the one statement
for many takes PostgreSQL a quarter longer, and Python twice as long.

Values of one go in binary, each as its type's ``recv`` function of PostgreSQL reads it; so the server checks them as it
does others, and refuses text with a NUL.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

from archive.index_parameters import input_rows
from archive.index_session import Connection
from archive.index_sql import INPUT, INSERT_INSTANCES, INSERT_ONE

MOST_IN_ONE_PIPELINE: Final = 4
"""Above it, the one statement for many is cheaper."""
_ONE: Final = b"pacs_insert_one"
_MANY: Final = b"pacs_insert_many"
_NOT_PREPARED: Final = b"26000"
_PREPARED: Final = b"42P05"
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TEXT_OID: Final = 25
_length: Final = struct.Struct("!i").pack


def _array(texts: Sequence[str]) -> bytes:
    """Of one dimension, without nulls, counted from 1."""
    encoded = [text.encode() for text in texts]
    head = struct.pack("!iiIii", 1, 0, _TEXT_OID, len(encoded), 1)
    return head + b"".join([_length(len(text)) + text for text in encoded])


_ENCODERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "text": str.encode,
    "text[]": _array,
    "int": struct.Struct("!i").pack,
    "bigint": struct.Struct("!q").pack,
    "bytea": bytes,
    "jsonb": lambda value: b"\x01" + orjson.dumps(value),
    "timestamptz": lambda moment: struct.pack("!q", (moment - _EPOCH) // _MICROSECOND),
}
_USED: Final = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", INSERT_ONE)))
_STATEMENTS: Final = {
    _ONE: re.sub(r"%\((\w+)\)s", lambda found: f"${_USED.index(found[1]) + 1}::{INPUT[found[1]]}", INSERT_ONE).encode(),
    _MANY: INSERT_INSTANCES.replace("%(rows)s", "$1").encode(),
}
_PLACES: Final = [(name, _ENCODERS[INPUT[name]]) for name in _USED]
_BINARY: Final = [1] * len(_PLACES)


class Inserts:
    """Adds arrivals on the connection of an `IndexSession`."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._prepared: set[bytes] = set()
        """Names of the statements that are prepared on it."""

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> list[bool]:
        """Add arrivals that are shown, all or none, by the values of `input_row`; whether each had no row before.

        Raises as `Connection.execute` does.
        """
        batch = _Batch(rows)
        self._prepare(connection, batch)
        results = _executed(connection, batch)
        if any(map(_not_prepared, results)):
            self._prepared.clear()
            self._prepare(connection, batch)
            results = _executed(connection, batch)
        return batch.added([_checked(connection, result) for result in results])

    def send(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> Sent:
        """Have PostgreSQL add them, and wait to be told to commit."""
        batch = _Batch(rows)
        self._prepare(connection, batch)
        return Sent(connection, batch, on_lost=self._prepared.clear)

    def _prepare(self, connection: Connection, batch: _Batch) -> None:
        if connection is not self._connection:
            self._prepared.clear()
            self._connection = connection
        if batch.name in self._prepared:
            return
        result = connection.pgconn.prepare(batch.name, _STATEMENTS[batch.name])
        if result.error_field(DiagnosticField.SQLSTATE) != _PREPARED:  # by another writer of this session
            _checked(connection, result)
        self._prepared.add(batch.name)


class _Batch:
    """Arrivals that are shown, as the values of one statement for each, or of one for all."""

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        self.rows = len(rows)
        self.formats: list[int] | None = None
        self.values: list[list[Any]]
        if self.rows <= MOST_IN_ONE_PIPELINE:
            self.name, self.formats = _ONE, _BINARY
            self.values = [
                [None if (value := row[name]) is None else code(value) for name, code in _PLACES] for row in rows
            ]
        else:
            self.name, self.values = _MANY, [[input_rows(rows).encode()]]

    def added(self, results: Sequence[PGresult]) -> list[bool]:
        """Whether each was added."""
        if self.name is _ONE:
            return [result.ntuples == 1 for result in results]
        (result,) = results
        inserted = {int(result.get_value(n, 0) or b"") for n in range(result.ntuples)}
        return [n in inserted for n in range(self.rows)]


class Sent:
    """Rows that PostgreSQL adds while something else is done: one transaction, which ends with a Sync.

    Either `commit` or `roll_back` is called, by the thread that holds the session.
    """

    def __init__(self, connection: Connection, batch: _Batch, on_lost: Callable[[], None] = lambda: None) -> None:
        """`on_lost` is called if the statement turns out not to be prepared any more."""
        self._connection = connection
        self._batch = batch
        self._on_lost = on_lost
        pgconn = connection.pgconn
        try:
            pgconn.enter_pipeline_mode()
            for values in batch.values:
                pgconn.send_query_prepared(batch.name, values, batch.formats)
            pgconn.flush()  # what the socket does not take now goes with the Sync
        except BaseException:
            pgconn.finish()
            raise

    def commit(self) -> list[bool]:
        """Commit them, all or none; whether each had no row before. Raises as `Connection.execute` does."""
        results = self.ended()
        if any(map(_not_prepared, results)):
            self._on_lost()
        return self._batch.added([_checked(self._connection, result) for result in results])

    def roll_back(self) -> None:
        """Have none of them added. After an interrupted `commit`, the connection is closed, if it is not yet."""
        with contextlib.suppress(psycopg.OperationalError):
            self._connection.pgconn.send_query_params(b"ROLLBACK", None)
            self.ended()

    def ended(self) -> list[PGresult]:
        """Send the Sync: what stands before it is one transaction, committed before the answer to it."""
        pgconn = self._connection.pgconn
        try:
            pgconn.pipeline_sync()
            results = self._connection.wait(_until_sync(pgconn))
            pgconn.exit_pipeline_mode()
        except BaseException:
            pgconn.finish()  # what is still under way must not be taken for the answer to something else
            raise
        return results


def _executed(connection: Connection, batch: _Batch) -> list[PGresult]:
    if len(batch.values) == 1:
        return [connection.pgconn.exec_prepared(batch.name, batch.values[0], batch.formats)]
    return Sent(connection, batch).ended()


def _not_prepared(result: PGresult) -> bool:
    """psycopg gives up all that was prepared on a connection once a transaction was rolled back."""
    return result.error_field(DiagnosticField.SQLSTATE) == _NOT_PREPARED


def _until_sync(pgconn: PGconn) -> Generator[Wait, Ready | int, list[PGresult]]:
    """What came before the answer to the Sync: the result of each statement, then maybe that the commit failed."""
    results: list[PGresult] = []
    result: PGresult | None = None
    while True:
        if (yield Wait.RW if pgconn.flush() else Wait.R) & Ready.R:
            pgconn.consume_input()
        while not pgconn.is_busy():
            before, result = result, pgconn.get_result()
            if pgconn.status != ConnStatus.OK or (before is None and result is None):
                raise psycopg.OperationalError(pgconn.get_error_message())
            if result is None:  # behind the result of each statement
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)


def _checked(connection: Connection, result: PGresult) -> PGresult:
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    if connection.broken:
        raise psycopg.OperationalError(result.get_error_message())
    raise psycopg.errors.error_from_result(result)
