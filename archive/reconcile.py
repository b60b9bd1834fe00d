"""Repairs what a crash left behind. Safe to run at any time, by any number of processes.

==========================================  ======================================================================
found                                       repaired by
==========================================  ======================================================================
key block of a writer that died             whole objects under its keys get the row that they lack, see
                                            `archive.adopt`; what else lies there is deleted, then the block
key block that a writer failed to settle    what lies under its keys without a row is deleted, then the block
study, series or patient without instances  deleted when older than a day: its first instance never came
rejection note that has not taken effect    applied, see `archive.rejection.notes`
row whose object the store has lost         (`verify`) marked ``missing``, shown in the log; a re-send repairs it
row whose object has another size or hash   (`verify`) marked ``corrupt``, likewise
==========================================  ======================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from archive.adopt import Adopted, Adopter
from archive.index_session import Connection, IndexSession
from archive.keys import settle_block
from archive.wholeness import SET_STATE, Kept, State, log_change, state_in_store
from config.logs import fields
from storage.base import ObjectStore
from storage.errors import StorageError

log = logging.getLogger(__name__)

PAGE = 1000

T = TypeVar("T")

_DELETE_EMPTY = (
    "DELETE FROM series WHERE instance_count = 0 AND hidden_count = 0 AND created_at < now() - interval '1 day'",
    """DELETE FROM study WHERE instance_count = 0 AND hidden_count = 0 AND created_at < now() - interval '1 day'
         AND NOT EXISTS (SELECT 1 FROM series WHERE series.study_id = study.id)""",
    """DELETE FROM patient WHERE created_at < now() - interval '1 day'
         AND NOT EXISTS (SELECT 1 FROM study WHERE study.patient_id = patient.id)""",
)


@dataclass(slots=True)
class Repairs:
    """What one run did."""

    blocks: int = 0
    orphans: int = 0
    """Keys without a row that were deleted, whether or not anything lay under them."""
    adopted: int = 0
    """Whole objects that got the row which they lacked."""
    empty: int = 0
    checked: int = 0
    missing: int = 0
    corrupt: int = 0
    recovered: int = 0
    """Rows marked missing or corrupt before, whose object is whole now."""
    notes: int = 0
    """Rejection notes that had not taken effect."""
    failed: int = 0
    """Blocks and objects that could not be dealt with; the next run tries again."""


def reconcile(session: IndexSession, store: ObjectStore, adopter: Adopter, *, empty_parents: bool = True) -> Repairs:
    """Settle the key blocks of dead writers and remove empty parents, which reads whole tables.

    `adopter` works on the same session. Raises `IndexUnavailable`.
    """
    repairs = Repairs()
    blocks = _blocks_of_others(session)
    if blocks:
        with adopter:
            for block, writer, state in blocks:
                _settle_if_unused(session, store, adopter, block, writer, state, repairs)
    if empty_parents:
        repairs.empty = sum(_delete_empty(session, statement) for statement in _DELETE_EMPTY)
    if repairs.blocks or repairs.empty or repairs.failed:
        log.info(
            "reconciled",
            extra=fields(
                blocks=repairs.blocks,
                orphans=repairs.orphans,
                adopted=repairs.adopted,
                empty=repairs.empty,
                failed=repairs.failed,
            ),
        )
    return repairs


def verify(
    session: IndexSession,
    store: ObjectStore,
    repairs: Repairs,
    *,
    content: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Check every row against the store: presence and size, with `content` also the SHA-256 of the dataset."""
    for row in _objects(session):
        # Of bytes that were found to be wrong, the size alone does not say that they are right now.
        state = state_in_store(store, row, content=content or row.state == "corrupt")
        repairs.checked += 1
        if state is None:
            repairs.failed += 1
        elif state != row.state:
            _mark(session, row, state)
        if state == "missing":
            repairs.missing += 1
        elif state == "corrupt":
            repairs.corrupt += 1
        elif state == "available" and row.state != state:
            repairs.recovered += 1
        if repairs.checked % PAGE == 0:
            progress(repairs.checked)
    progress(repairs.checked)


def _delete_empty(session: IndexSession, statement: str) -> int:
    try:
        return session.run(lambda connection: connection.execute(statement).rowcount)
    except psycopg.errors.ForeignKeyViolation:
        return 0  # one of them got its first child at this moment; the next run takes the others


def _blocks_of_others(session: IndexSession) -> list[tuple[int, int, str]]:
    rows = session.run(
        lambda connection: connection.execute(
            "SELECT id, writer, state FROM key_block WHERE writer <> %s ORDER BY id", (session.writer,)
        ).fetchall()
    )
    return [(int(block), int(writer), str(state)) for block, writer, state in rows]


def _settle_if_unused(
    session: IndexSession,
    store: ObjectStore,
    adopter: Adopter,
    block: int,
    writer: int,
    state: str,
    repairs: Repairs,
) -> None:
    def adopt(key: str) -> bool:
        became = adopter.adopt(key)
        repairs.adopted += became is Adopted.INDEXED
        return became in (Adopted.INDEXED, Adopted.UNREADABLE, Adopted.REFUSED)

    def work(connection: Connection) -> int | None:
        def run(part: Callable[[Connection], T], /) -> T:
            return part(connection)

        if not _lock(connection, writer):
            # Its session lives: the block is in use, or what it left there was given up and acknowledged to nobody.
            return settle_block(run, store, block) if state == "settling" else None
        try:
            # Only under this lock: a writer that comes back waits for it, and then finds its objects with their rows.
            return settle_block(run, store, block, adopt)
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", (writer,))

    try:
        orphans = session.run(work)
    except StorageError as error:
        log.warning("a key block could not be settled", extra=fields(block=block, error=str(error)))
        repairs.failed += 1
        return
    if orphans is not None:
        repairs.blocks += 1
        repairs.orphans += orphans


def _lock(connection: Connection, writer: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (writer,)).fetchone()
    return bool(row and row[0])


def _objects(session: IndexSession) -> Iterator[Kept]:
    """All rows, in pages by id, so that no transaction stays open while the store is read."""
    last = 0
    while True:

        def page(connection: Connection, after: int = last) -> list[Any]:
            return connection.execute(
                "SELECT id, key, size, digest, dataset_offset, state FROM stored_object WHERE id > %s "
                "ORDER BY id LIMIT %s",
                (after, PAGE),
            ).fetchall()

        rows = session.run(page)
        if not rows:
            return
        for row in rows:
            yield Kept(*row)
        last = rows[-1][0]


def _mark(session: IndexSession, row: Kept, state: State) -> None:
    log_change(row, state)
    session.run(lambda connection: connection.execute(SET_STATE, {"state": state, "id": row.id, "key": row.key}))
