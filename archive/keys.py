"""Object keys, and who owns a key that has no row in the index yet.

A key is ``yyyy/mm/dd/<block>/<sequence>``: unique for ever (the block is random), at most `BLOCK_SIZE` objects in one
folder, and one folder per day for back-up. Keys are reserved in blocks, so that the intent to write is durable before
the first byte and yet costs one transaction per `BLOCK_SIZE` objects:

========  =====================================  ====================================================
block     a key of it without a row means        who moves it on
========  =====================================  ====================================================
open      receiving, or left by a failed write   its writer, when all its keys are used and released
open      the writer died or lost its session:   `archive.reconcile`, at every start and every minute
          bytes to delete, or a whole object to
          adopt, which may have been acknowledged
settling  bytes to delete                        whoever settles it; again after a crash
(gone)    cannot be: nothing is left             -
========  =====================================  ====================================================
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from psycopg import Connection, Cursor

from archive.errors import ArchiveError
from config.logs import fields
from storage.base import ObjectStore
from storage.errors import StorageError

log = logging.getLogger(__name__)

BLOCK_SIZE = 1024

T = TypeVar("T")
Database = Connection[Any]


@dataclass(frozen=True, slots=True)
class Key:
    """A key that belongs to one writer until released."""

    text: str
    block: int


class Run(Protocol):
    """Does work on a connection and gives what it gave. The work may be done twice; see `IndexSession.run`."""

    def __call__(self, work: Callable[[Database], T], /) -> T: ...


class _Session(Protocol):
    """Runs work on the connection whose session holds the writer's advisory lock."""

    writer: int
    opened: int

    @property
    def run(self) -> Run: ...


@dataclass(slots=True)
class _Block:
    id: int
    prefix: str
    session: int
    """The number of the session that reserved it. With the next, it was given up: rows of it may have been lost."""
    used: int = 0
    held: int = 0
    retired: bool = False
    """No more keys are taken from it: somebody else settled it."""
    left_behind: list[str] = field(default_factory=list)
    """Keys that were released without knowing that nothing lies under them."""

    @property
    def finished(self) -> bool:
        return self.held == 0 and (self.retired or self.used == BLOCK_SIZE)


class KeyAllocator:
    """Hands out keys to the threads of one process.

    Lock order: the allocator's lock before the session's, so nothing here may be called from within `IndexSession.run`.
    """

    def __init__(self, session: _Session, store: ObjectStore) -> None:
        self._session = session
        self._store = store
        self._mutex = threading.Lock()
        self._blocks: dict[int, _Block] = {}
        self._current: _Block | None = None

    def take(self) -> Key:
        """A key that nobody ever had. Raises `IndexUnavailable` when a new block cannot be reserved."""
        current = self._current
        if current is not None and current.session != self._session.opened:
            self.retire(current.id)  # it was given up with its session: `archive.reconcile` has it
        with self._mutex:
            block = self._current
            if block is None or block.used == BLOCK_SIZE:
                block = self._current = self._reserve()
                self._blocks[block.id] = block
            sequence = block.used
            block.used += 1
            block.held += 1
        return Key(f"{block.prefix}/{sequence:03x}", block.id)

    def release(self, key: Key, *, settled: bool) -> None:
        """Give a key back. `settled`: it has a row in the index, or certainly nothing lies under it in the store."""
        with self._mutex:
            block = self._blocks.get(key.block)
            if block is None:
                return
            block.held -= 1
            if not settled:
                block.left_behind.append(key.text)
            if not block.finished:
                return
            del self._blocks[block.id]
        self._finish(block)

    def retire(self, block_id: int) -> None:
        """Take no more keys from a block: somebody else settled it, or has it now, since we were cut off."""
        with self._mutex:
            block = self._blocks.get(block_id)
            if block is None:
                return
            block.retired = True
            if self._current is block:
                self._current = None
            if not block.finished:
                return
            del self._blocks[block_id]
        self._finish(block)

    def close(self) -> None:
        """Settle all blocks whose keys are released; the others are left to reconcile."""
        with self._mutex:
            blocks = [block for block in self._blocks.values() if block.held == 0]
            self._blocks.clear()
            self._current = None
        for block in blocks:
            self._finish(block)

    def _reserve(self) -> _Block:
        now = datetime.now(UTC)
        prefix = f"{now:%Y/%m/%d}/{secrets.token_hex(8)}"
        parameters = (prefix, BLOCK_SIZE, self._session.writer)

        def work(connection: Database) -> _Block:
            return _Block(_id(connection.execute(_RESERVE, parameters)), prefix, self._session.opened)

        return self._session.run(work)

    def _finish(self, block: _Block) -> None:
        """Only of a block that is still ours: the session may be lost, and its blocks given up, at any moment."""
        parameters = (block.id, self._session.writer)
        try:
            if block.left_behind:
                self._settle(block)
            else:
                self._session.run(lambda connection: connection.execute(_FORGET_OWN, parameters).rowcount)
        except (ArchiveError, StorageError) as error:
            # The block stays in the table, and reconcile sees to it.
            log.warning("a key block could not be settled", extra=fields(block=block.id, error=str(error)))

    def _settle(self, block: _Block) -> None:
        """Delete what was left behind, also when somebody else has settled the block before the last bytes came."""
        parameters = (block.prefix, BLOCK_SIZE, self._session.writer)
        settling = self._session.run(lambda connection: connection.execute(_SETTLE_OWN, parameters).fetchone())
        if settling is not None:
            _delete_orphans(self._session.run, self._store, int(settling[0]), block.left_behind)


_RESERVE = """
INSERT INTO key_block (prefix, size, writer) VALUES (%s, %s, %s)
ON CONFLICT (prefix) DO UPDATE SET writer = EXCLUDED.writer RETURNING id
"""
_SETTLE_OWN = """
INSERT INTO key_block (prefix, size, writer, state) VALUES (%s, %s, %s, 'settling')
ON CONFLICT (prefix) DO UPDATE SET state = 'settling' WHERE key_block.writer = EXCLUDED.writer RETURNING id
"""
_SETTLE = "UPDATE key_block SET state = 'settling' WHERE id = %s RETURNING prefix, size"
_WITH_ROWS = "SELECT key FROM stored_object WHERE key = ANY(%s)"
_OWED = """
SELECT key FROM stored_object WHERE key = ANY(%(keys)s)
 UNION
SELECT key FROM unnest(%(keys)s::text[]) AS key JOIN key_block ON prefix = regexp_replace(key, '/[^/]*$', '')
 WHERE state = 'open'
"""
_FORGET = "DELETE FROM key_block WHERE id = %s"
_FORGET_OWN = "DELETE FROM key_block WHERE id = %s AND writer = %s"


def with_rows(run: Run, keys: Sequence[str]) -> set[str]:
    """Those of the keys that have a row in the index. Raises `IndexUnavailable`."""
    rows = run(lambda connection: connection.execute(_WITH_ROWS, (list(keys),)).fetchall())
    return {key for (key,) in rows}


def owed(run: Run, keys: Sequence[str]) -> set[str]:
    """Those that have a row, or whose row may have been lost: their block is open. Raises `IndexUnavailable`."""
    rows = run(lambda connection: connection.execute(_OWED, {"keys": list(keys)}).fetchall())
    return {key for (key,) in rows}


def settle_block(run: Run, store: ObjectStore, block: int, adopt: Callable[[str], bool] = lambda _: False) -> int:
    """Delete what lies under the keys of a block that have no row in the index; give how many keys that were.

    `adopt` may give an object a row instead; it says whether the object is to stay.

    Safe to repeat, and to run while a writer still believes that it owns the block: from the first statement on,
    the writer's rows are refused. Raises `StorageError` when an object cannot be deleted; the block then stays.
    """
    row = run(lambda connection: connection.execute(_SETTLE, (block,)).fetchone())
    if row is None:
        return 0
    prefix, size = row
    return _delete_orphans(run, store, block, [f"{prefix}/{sequence:03x}" for sequence in range(size)], adopt)


def _delete_orphans(
    run: Run, store: ObjectStore, block: int, keys: Sequence[str], adopt: Callable[[str], bool] = lambda _: False
) -> int:
    """Delete what lies under those keys of a settling block that have no row, then the block."""
    rows = with_rows(run, keys)
    orphans = [key for key in keys if key not in rows and not adopt(key)]
    for key in orphans:
        store.delete(key)
    run(lambda connection: connection.execute(_FORGET, (block,)).rowcount)
    return len(orphans)


def _id(cursor: Cursor[Any]) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])
