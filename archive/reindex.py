"""Makes index rows for objects that the store has and the index does not: after the database was restored or lost.

Back-ups of the database are older than the objects. The rows committed since then are gone, their objects are not, and
each was acknowledged to a sender who will not send it again. Every object is a Part 10 file that describes itself, so
its row can be made anew; what only the row knew (who sent it when, over which link) is taken from the file meta
information as far as it is there.

Objects that a running writer is busy with are left alone: their key block is in the table. An object that turns out to
be a second copy of an indexed one stays where it is and is counted.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

from archive.errors import BadObject
from archive.examine import Announcement, Placed, examine
from archive.index_session import IndexSession
from archive.index_writer import IndexWriter
from archive.records import Arrival, Outcome, Source
from archive.standard.file_format import FileMeta, read_file_meta
from config.logs import fields
from config.peers import UNKNOWN_FACILITY, PeerBook
from storage.base import CHUNK_SIZE, ObjectStore
from storage.errors import ObjectNotFound, StorageError

log = logging.getLogger(__name__)

PAGE = 1000
LONGEST_META = 1 << 20


@dataclass(slots=True)
class Reindexed:
    """What one run found and did."""

    seen: int = 0
    indexed: int = 0
    copies: int = 0
    """Objects whose bytes are indexed under another key."""
    unreadable: int = 0
    """Objects that no row can be made for; the log names each."""


def reindex(
    session: IndexSession,
    store: ObjectStore,
    writer: IndexWriter,
    peers: PeerBook,
    progress: Callable[[Reindexed], None] = lambda _: None,
) -> Reindexed:
    """Add a row for every object without one, in the order they were received. Raises `Unavailable`.

    Holds the keys of all objects without a row in memory, about 100 bytes each.
    """
    done = Reindexed()
    missing: list[str] = []
    for page in _pages(store.keys()):
        done.seen += len(page)
        missing += _without_row(session, page)
        progress(done)
    with _adopting_block(session) as block:
        for key in sorted(missing):
            _adopt(store, writer, peers, key, block, done)
            if (done.indexed + done.copies + done.unreadable) % PAGE == 0:
                progress(done)
    progress(done)
    return done


def _pages(keys: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(keys)
    while page := list(islice(iterator, PAGE)):
        yield page


def _without_row(session: IndexSession, keys: list[str]) -> list[str]:
    """Those keys that neither have a row nor belong to a writer.

    Blocks are asked for before rows: a block that is gone by then has left no key without either a row or an end.
    """
    prefixes = sorted({key.rpartition("/")[0] for key in keys})
    blocks = session.run(
        lambda connection: connection.execute(
            "SELECT prefix FROM key_block WHERE prefix = ANY(%s)", (prefixes,)
        ).fetchall()
    )
    busy = {prefix for (prefix,) in blocks}
    free = [key for key in keys if key.rpartition("/")[0] not in busy]
    rows = session.run(
        lambda connection: connection.execute("SELECT key FROM stored_object WHERE key = ANY(%s)", (free,)).fetchall()
    )
    indexed = {key for (key,) in rows}
    return [key for key in free if key not in indexed]


@contextmanager
def _adopting_block(session: IndexSession) -> Iterator[int]:
    """A key block under which no object lies, so that rows may be added and settling it deletes nothing."""
    prefix = f"adopting/{secrets.token_hex(8)}"
    row = session.run(
        lambda connection: connection.execute(
            "INSERT INTO key_block (prefix, size, writer) VALUES (%s, 0, %s) RETURNING id", (prefix, session.writer)
        ).fetchone()
    )
    assert row is not None
    block = int(row[0])
    try:
        yield block
    finally:
        session.run(lambda connection: connection.execute("DELETE FROM key_block WHERE id = %s", (block,)))


def _adopt(store: ObjectStore, writer: IndexWriter, peers: PeerBook, key: str, block: int, done: Reindexed) -> None:
    try:
        added = writer.add(_describe(store, peers, key, block))
    except ObjectNotFound:
        return  # deleted since it was listed
    except (BadObject, StorageError) as error:
        log.error("no row can be made for an object", extra=fields(key=key, error=str(error)))
        done.unreadable += 1
        return
    if added.outcome is Outcome.DUPLICATE:
        done.copies += 1
    else:
        done.indexed += 1


def _describe(store: ObjectStore, peers: PeerBook, key: str, block: int) -> Arrival:
    size = store.stat(key).size
    meta = read_file_meta(_read(store, key, 0, min(size, LONGEST_META)), at_end=True)
    offset = meta.dataset_offset
    source = _source(meta, peers)

    def read(start: int, length: int) -> bytes:
        return _read(store, key, offset + start, min(length, size - offset - start))

    arrival = examine(
        read,
        Announcement(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid),
        Placed(key, block, size, offset, _digest(store, key, offset, size)),
        source,
    )
    return replace(arrival, warnings=(*arrival.warnings, "the index row was made anew from the stored object"))


def _source(meta: FileMeta, peers: PeerBook) -> Source:
    """The sender as the file meta information names it; its address is not known any more."""
    peer = peers.named(meta.source_ae_title)
    facility = peers.facility(peer.facility) if peer is not None else UNKNOWN_FACILITY
    return Source(
        facility=facility.code,
        issuer_of_patient_id=facility.issuer,
        transport="import",
        calling_ae_title=meta.source_ae_title,
        default_character_set=peer.default_character_set if peer is not None else None,
    )


def _read(store: ObjectStore, key: str, offset: int, length: int) -> bytes:
    if length <= 0:
        return b""
    with store.open_range(key, offset, length) as reader:
        return reader.read()


def _digest(store: ObjectStore, key: str, offset: int, size: int) -> bytes:
    digest = hashlib.sha256()
    if size > offset:
        with store.open_range(key, offset, size - offset) as reader:
            while chunk := reader.read(CHUNK_SIZE):
                digest.update(chunk)
    return digest.digest()
