"""Rows into tables by ``COPY``, in the background, so that making them and storing them go on at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from psycopg import Connection

NULL: Final = "\\N"

Rows = Iterable[tuple[str, ...]]
Statements = Sequence[tuple[str, tuple[Any, ...]]]


class Batch(NamedTuple):
    """What one transaction writes."""

    tables: Mapping[str, tuple[str, Rows]]
    """By table its columns, and texts of the rows."""
    before: Statements = ()
    after: Statements = ()


def text(value: str) -> str:
    """A text as the text format of COPY has it."""
    if value.isprintable() and "\\" not in value:
        return value
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def moment(second: int) -> str:
    """A time stamp from seconds since 1970 in UTC."""
    return datetime.fromtimestamp(second, UTC).isoformat()


class Copier:
    """Writes what it is given in the order in which it is given, each call of `put` as one transaction.

    Nothing is lost silently: the next call, or leaving the ``with`` block, raises what went wrong.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._queue: queue.Queue[Batch | None] = queue.Queue(2)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="copy")

    def put(self, batch: Batch) -> None:
        """Write this. Waits while two others are in the queue."""
        self._check()
        self._queue.put(batch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if exc is None:
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            if self._error is not None:
                continue  # so that who fills the queue does not wait for ever
            try:
                with self._connection.transaction():
                    for statement, values in batch.before:
                        self._connection.execute(statement.encode(), values)
                    for table, (columns, rows) in batch.tables.items():
                        self._copy(table, columns, rows)
                    for statement, values in batch.after:
                        self._connection.execute(statement.encode(), values)
            except BaseException as error:
                self._error = error

    def _copy(self, table: str, columns: str, rows: Rows) -> None:
        # Names are those of this package's code.
        with self._connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
            lines: list[str] = []
            for row in rows:
                lines.append("\t".join(row))
                if len(lines) == 2000:
                    copy.write("\n".join(lines) + "\n")
                    lines.clear()
            if lines:
                copy.write("\n".join(lines) + "\n")
