"""One arrival in one statement, past psycopg's cursors and adapters: they took longer than all else that Python does.

Values go in binary, each as its type's ``recv`` function of PostgreSQL reads it; so the server checks them as it does
others, and refuses text with a NUL.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import psycopg
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

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

    def __call__(self, connection: Connection, row: Mapping[str, object]) -> bool:
        """Add an arrival that is shown, by the values of `input_row`; whether it had no row before.

        Raises as `Connection.execute` does.
        """
        values: list[Any] = [None if (value := row[name]) is None else encode(value) for name, encode in _PLACES]
        if connection is not self._prepared_on:
            self._prepare(connection)
        result = connection.pgconn.exec_prepared(_NAME, values, _BINARY)
        if result.error_field(DiagnosticField.SQLSTATE) == _NOT_PREPARED:
            # psycopg gives up all that was prepared on a connection once a transaction was rolled back.
            self._prepare(connection)
            result = connection.pgconn.exec_prepared(_NAME, values, _BINARY)
        return _checked(connection, result).ntuples == 1

    def _prepare(self, connection: Connection) -> None:
        self._prepared_on = None
        result = connection.pgconn.prepare(_NAME, _STATEMENT)
        if result.error_field(DiagnosticField.SQLSTATE) != _PREPARED:  # by another writer of this session
            _checked(connection, result)
        self._prepared_on = connection


def _checked(connection: Connection, result: PGresult) -> PGresult:
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    if connection.broken:
        raise psycopg.OperationalError(result.get_error_message())
    raise psycopg.errors.error_from_result(result)
