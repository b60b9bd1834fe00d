"""Object keys, and who owns a key that has no row in the index yet.

A key is ``yyyy/mm/dd/<block>/<sequence>``: unique for ever (the block is random), at most `BLOCK_SIZE` objects in one
folder, and one folder per day for back-up. Keys are reserved in blocks, so that the intent to write is durable before
the first byte and yet costs one transaction per `BLOCK_SIZE` objects:

========  =====================================  ====================================================
block     a key of it without a row means        who moves it on
========  =====================================  ====================================================
open      receiving, or left by a failed write   its writer, when all its keys are used and released
open      the writer died                        `archive.reconcile`, at every start and every minute
settling  bytes to delete                        whoever settles it; again after a crash
(gone)    cannot be: nothing is left             -
========  =====================================  ====================================================
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from psycopg import Connection

from archive.errors import ArchiveError
from config.logs import fields
from storage.base import ObjectStore
from storage.errors import StorageError

log = logging.getLogger(__name__)

BLOCK_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Key:
    """A key that belongs to one writer until released."""

    text: str
    block: int


class _Session(Protocol):
    """Runs a function on the connection whose session holds the writer's advisory lock."""

    writer: int

    def run(self, work: Callable[[Connection[tuple[object, ...]]], object]) -> object: ...


@dataclass(slots=True)
class _Block:
    id: int
    prefix: str
    used: int = 0
    held: int = 0
    left_behind: bool = False
    """A key was released without knowing that nothing lies under it."""

    @property
    def finished(self) -> bool:
        return self.used == BLOCK_SIZE and self.held == 0


class KeyAllocator:
    """Hands out keys to the threads of one process."""

    def __init__(self, session: _Session, store: ObjectStore) -> None:
        self._session = session
        self._store = store
        self._mutex = threading.Lock()
        self._blocks: dict[int, _Block] = {}
        self._current: _Block | None = None

    def take(self) -> Key:
        """A key that nobody ever had. Raises `IndexUnavailable` when a new block cannot be reserved."""
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
            block.left_behind |= not settled
            if not block.finished:
                return
            del self._blocks[block.id]
        self._finish(block)

    def forget_current(self) -> None:
        """Take no more keys from the current block: somebody else settled it while we were cut off."""
        with self._mutex:
            self._current = None

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

        def insert(connection: Connection[tuple[object, ...]]) -> object:
            row = connection.execute(
                "INSERT INTO key_block (prefix, size, writer) VALUES (%s, %s, %s) RETURNING id",
                (prefix, BLOCK_SIZE, self._session.writer),
            ).fetchone()
            assert row is not None
            return row[0]

        block = self._session.run(insert)
        assert isinstance(block, int)
        return _Block(block, prefix)

    def _finish(self, block: _Block) -> None:
        def end(connection: Connection[tuple[object, ...]]) -> object:
            if block.left_behind:
                return settle_block(connection, self._store, block.id)
            return connection.execute("DELETE FROM key_block WHERE id = %s", (block.id,)).rowcount

        try:
            self._session.run(end)
        except (ArchiveError, StorageError) as error:
            # The block stays in the table, and reconcile takes it over when this process has ended.
            log.warning("a key block could not be settled", extra=fields(block=block.id, error=str(error)))


def settle_block(connection: Connection[tuple[object, ...]], store: ObjectStore, block: int) -> int:
    """Delete what lies under the keys of a block that have no row in the index; give how many keys that were.

    Safe to repeat, and to run while a writer still believes that it owns the block: from the first statement on,
    the writer's rows are refused. Raises `StorageError` when an object cannot be deleted; the block then stays.
    """
    row = connection.execute(
        "UPDATE key_block SET state = 'settling' WHERE id = %s RETURNING prefix, size", (block,)
    ).fetchone()
    if row is None:
        return 0
    prefix, size = str(row[0]), int(str(row[1]))
    keys = [f"{prefix}/{sequence:03x}" for sequence in range(size)]
    found = connection.execute("SELECT key FROM stored_object WHERE key = ANY(%s)", (keys,)).fetchall()
    indexed = {str(key) for (key,) in found}
    orphans = [key for key in keys if key not in indexed]
    for key in orphans:
        store.delete(key)
    connection.execute("DELETE FROM key_block WHERE id = %s", (block,))
    return len(orphans)
