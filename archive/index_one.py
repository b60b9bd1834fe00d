"""One arrival in one statement, past psycopg's cursors and adapters: they took longer than all else that Python does.

A few share one transaction and one round trip (a pipeline), each in its statement: of two or three, the one statement
for many takes PostgreSQL a quarter longer, and Python twice as long.

Values go in binary, each as its type's ``recv`` function of PostgreSQL reads it; so the server checks them as it does
others, and refuses text with a NUL.
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

from archive.index_session import Connection
from archive.index_sql import INPUT, INSERT_ONE

_NAME: Final = b"pacs_insert_one"
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
_STATEMENT: Final = re.sub(
    r"%\((\w+)\)s", lambda found: f"${_USED.index(found[1]) + 1}::{INPUT[found[1]]}", INSERT_ONE
).encode()
_PLACES: Final = [(name, _ENCODERS[INPUT[name]]) for name in _USED]
_BINARY: Final = [1] * len(_PLACES)


class InsertOne:
    """Adds arrivals one at a time on the connection of an `IndexSession`."""

    def __init__(self) -> None:
        self._prepared_on: Connection | None = None

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> list[bool]:
        """Add arrivals that are shown, all or none, by the values of `input_row`; whether each had no row before.

        Raises as `Connection.execute` does.
        """
        values = [_encoded(row) for row in rows]
        if connection is not self._prepared_on:
            self._prepare(connection)
        results = _executed(connection, values)
        if any(result.error_field(DiagnosticField.SQLSTATE) == _NOT_PREPARED for result in results):
            # psycopg gives up all that was prepared on a connection once a transaction was rolled back.
            self._prepare(connection)
            results = _executed(connection, values)
        return [_checked(connection, result).ntuples == 1 for result in results]

    def send(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> Sent | None:
        """Have PostgreSQL add arrivals that are shown, and wait to be told to commit. None if it cannot be now."""
        if connection is not self._prepared_on:
            return None
        return Sent(connection, [_encoded(row) for row in rows])

    def _prepare(self, connection: Connection) -> None:
        self._prepared_on = None
        result = connection.pgconn.prepare(_NAME, _STATEMENT)
        if result.error_field(DiagnosticField.SQLSTATE) != _PREPARED:  # by another writer of this session
            _checked(connection, result)
        self._prepared_on = connection


class Sent:
    """Rows that PostgreSQL adds while their objects are made durable: one transaction, which ends with a Sync.

    Either `commit` or `roll_back` is called, by the thread that holds the session.
    """

    def __init__(self, connection: Connection, values: Sequence[list[Any]]) -> None:
        self._connection = connection
        pgconn = connection.pgconn
        try:
            pgconn.enter_pipeline_mode()
            for each in values:
                pgconn.send_query_prepared(_NAME, each, _BINARY)
            pgconn.flush()  # what the socket does not take now goes with the Sync
        except BaseException:
            pgconn.finish()
            raise

    def commit(self) -> list[bool]:
        """Commit them, all or none; whether each had no row before. Raises as `Connection.execute` does."""
        return [_checked(self._connection, result).ntuples == 1 for result in _ended(self._connection)]

    def roll_back(self) -> None:
        """Have none of them added. After an interrupted `commit`, the connection is closed, if it is not yet."""
        with contextlib.suppress(psycopg.OperationalError):
            self._connection.pgconn.send_query_params(b"ROLLBACK", None)
            _ended(self._connection)


def _ended(connection: Connection) -> list[PGresult]:
    """Send a Sync: what stands before it is one transaction, committed before the answer to it."""
    pgconn = connection.pgconn
    try:
        pgconn.pipeline_sync()
        results = connection.wait(_until_sync(pgconn))
        pgconn.exit_pipeline_mode()
    except BaseException:
        pgconn.finish()  # what is still under way must not be taken for the answer to something else
        raise
    return results


def _encoded(row: Mapping[str, object]) -> list[Any]:
    return [None if (value := row[name]) is None else encode(value) for name, encode in _PLACES]


def _executed(connection: Connection, values: Sequence[list[Any]]) -> list[PGresult]:
    pgconn = connection.pgconn
    if len(values) == 1:
        return [pgconn.exec_prepared(_NAME, values[0], _BINARY)]
    Sent(connection, values)
    return _ended(connection)


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
