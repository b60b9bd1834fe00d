"""Makes the index row of an object that lies in the store without one.

Such an object was received whole, for a store shows nothing else. Either its sender was never answered (a crash came
between the bytes and the row), then a row does no harm: the sender sends again and hears that it is stored. Or it was
acknowledged and its row is lost (the database was restored from an older copy), then the row is owed. So whole objects
are adopted and never deleted, but for exact copies of what is indexed.

Every object is a Part 10 file that describes itself. What only the row knew (when it came, over which link) is taken
from the file meta information as far as it is there.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from dataclasses import replace
from enum import Enum, auto
from types import TracebackType
from typing import Self

from archive.correction.rules import Worklist, no_worklist
from archive.errors import BadObject, ConflictingDuplicate
from archive.examine import Announcement, Placed, examine
from archive.index_session import IndexSession
from archive.index_sql import VersionRow
from archive.index_writer import IndexWriter
from archive.provenance import recalled
from archive.records import Arrival, Source
from archive.sender import source_of
from archive.standard.file_format import FileMeta, read_file_meta
from config.logs import fields
from config.peers import UNKNOWN_FACILITY, PeerBook
from storage.base import CHUNK_SIZE, ObjectStore
from storage.errors import IntegrityError, ObjectNotFound

log = logging.getLogger(__name__)

LONGEST_META = 1 << 20


class Adopted(Enum):
    """What became of a key without a row."""

    INDEXED = auto()
    COPY = auto()
    """Its bytes are indexed and whole under another key."""
    UNREADABLE = auto()
    """No row can be made for it; the log says why."""
    REFUSED = auto()
    """Other bytes are indexed under its SOP Instance UID, and the policy is to refuse the newcomer."""
    GONE = auto()
    """There is no object under the key."""


class Adopter:
    """Adopts objects while open; use as a context manager.

    It holds a key block of its own under which nothing lies, since rows are added under an open block only. When it
    dies, settling that block deletes nothing.
    """

    def __init__(
        self,
        session: IndexSession,
        store: ObjectStore,
        peers: PeerBook,
        *,
        conflict: str,
        worklist: Worklist = no_worklist,
    ) -> None:
        self._session = session
        self._store = store
        self._peers = peers
        self._worklist = worklist
        self._writer = IndexWriter(session, conflict=conflict)
        self._block = 0

    def __enter__(self) -> Self:
        parameters = (f"adopting/{secrets.token_hex(8)}", self._session.writer)
        row = self._session.run(
            lambda connection: connection.execute(
                "INSERT INTO key_block (prefix, size, writer) VALUES (%s, 0, %s) RETURNING id", parameters
            ).fetchone()
        )
        assert row is not None
        self._block = int(row[0])
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        block = self._block
        self._session.run(lambda connection: connection.execute("DELETE FROM key_block WHERE id = %s", (block,)))

    def adopt(self, key: str) -> Adopted:
        """Give the object under `key` a row. Raises `Unavailable`, `StorageError`."""
        try:
            arrival = self.describe(key)
        except ObjectNotFound:
            return Adopted.GONE
        except (BadObject, IntegrityError) as error:
            log.error("no row can be made for an object", extra=fields(key=key, error=str(error)))
            return Adopted.UNREADABLE
        return self.place(arrival)

    def prepare(self, arrival: Arrival) -> None:
        """Commit the patient, study and series of an arrival that `place` is to be called for in a transaction."""
        self._writer.prepare(arrival)

    def place(self, arrival: Arrival) -> Adopted:
        """Give a described object a row. Raises `Unavailable`, `StorageError`."""
        try:
            added = self._writer.add(arrival)
        except ConflictingDuplicate:
            return Adopted.REFUSED
        if added.existing is None:
            return Adopted.INDEXED
        if self._is_whole(added.existing):
            return Adopted.COPY
        self._writer.replace_lost(added.existing, arrival)
        return Adopted.INDEXED

    def _is_whole(self, row: VersionRow) -> bool:
        try:
            return row.state == "available" and self._store.stat(row.key).size == row.size
        except (ObjectNotFound, IntegrityError):
            return False

    def describe(self, key: str, source: Source | None = None) -> Arrival:
        """What the object says of itself, from this source or, by default, the one that its file names.

        Raises `BadObject`, `Unavailable`, `StorageError`.
        """
        size = self._store.stat(key).size
        meta = read_file_meta(self._read(key, 0, min(size, LONGEST_META)), at_end=True)
        offset = meta.dataset_offset
        arrival = examine(
            lambda start, length: self._read(key, offset + start, min(length, size - offset - start)),
            Announcement(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid),
            Placed(key, self._block, size, offset, self._digest(key, offset, size)),
            source or self._source(meta),
            self._worklist,
        )
        return replace(arrival, warnings=(*arrival.warnings, "the index row was made anew from the stored object"))

    def _source(self, meta: FileMeta) -> Source:
        """The sender as the file meta information names it; its address is not known any more."""
        title = meta.source_ae_title
        peer = self._peers.known(title)
        facility = peer.facility if peer is not None else UNKNOWN_FACILITY.code
        named = source_of(self._peers, peer, "import", facility=facility, calling_ae_title=title)
        return recalled(meta, named)

    def _read(self, key: str, offset: int, length: int) -> bytes:
        if length <= 0:
            return b""
        with self._store.open_range(key, offset, length) as reader:
            return reader.read()

    def _digest(self, key: str, offset: int, size: int) -> bytes:
        digest = hashlib.sha256()
        if size > offset:
            with self._store.open_range(key, offset, size - offset) as reader:
                while chunk := reader.read(CHUNK_SIZE):
                    digest.update(chunk)
        return digest.digest()
