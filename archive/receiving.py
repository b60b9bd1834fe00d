"""One object on its way in: its bytes go to the store as they come, until it is finished or given up."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from archive.description import sop_uids
from archive.digest import Digest
from archive.errors import (
    CannotParse,
    ObjectTooLarge,
    StoreUnavailable,
    UnsupportedSOPClass,
    UnsupportedTransferSyntax,
)
from archive.examine import Announcement, Placed, examine
from archive.index_writer import Added
from archive.keys import Key
from archive.provenance import remembered
from archive.records import Arrival, Receipt, Source
from archive.standard.file_format import encode_file_meta
from archive.standard.uids import check_uid, is_storage_sop_class, is_supported_transfer_syntax
from archive.standard.walk import FIRST_BLOCK
from config.logs import fields
from storage.base import Buffer, ObjectWriter
from storage.errors import StorageError

if TYPE_CHECKING:
    from archive.ingest import Ingest

log = logging.getLogger(__name__)

HELD_BACK_BYTES = 64 * 1024
"""How much of a dataset is looked at for its SOP UIDs when the sender did not announce them."""


class Receiving:
    """One object on its way in. Write the dataset, then `finish`; leaving the block without it aborts.

    Memory stays bounded whatever the size of the object: the bytes go to the store as they come.
    """

    def __init__(
        self,
        ingest: Ingest,
        key: Key,
        writer: ObjectWriter,
        source: Source,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
    ) -> None:
        self.ingest = ingest
        self._key = key
        self._writer = writer
        self._source = source
        self._sop_class_uid = sop_class_uid
        self._sop_instance_uid = sop_instance_uid
        self._transfer_syntax_uid = transfer_syntax_uid
        self._digest = Digest()
        self._dataset_offset = 0
        self._held_back = bytearray()
        self._head = b""
        """The first bytes of the dataset: mostly all that is looked at, so that the store need not read them back."""
        self._arrival: Arrival | None = None
        self._open = True
        self._committing = False
        self._room = ingest.maximum_object_bytes
        self.size = 0
        """Bytes of the dataset so far."""

    def start(self) -> None:
        """Write the file meta information, if the object's name is known already."""
        if self._sop_class_uid and self._sop_instance_uid:
            self._write_file_meta()

    def write(self, data: Buffer) -> None:
        """Append dataset bytes as received. Raises `ObjectTooLarge`, `StoreUnavailable`."""
        length = len(data)
        self.size += length
        if self.size > self._room:
            raise ObjectTooLarge(f"the object is larger than {self._room} bytes")
        self._digest.update(data)
        if not self._head:
            self._head = bytes(data[:FIRST_BLOCK])
        if self._dataset_offset:
            with STORE_ERRORS:
                self._writer.write(data)
            return
        self._held_back += data
        if len(self._held_back) >= HELD_BACK_BYTES:
            self._release_held_back()

    def check(self) -> Arrival:
        """Look at the object, of which all bytes are here. `finish` may then be called in another thread.

        Raises as `finish` does.
        """
        try:
            if not self._dataset_offset:
                self._release_held_back()
            self._arrival = self._examine()
        except BaseException:
            self.abort()
            raise
        return self._arrival

    def finish(self) -> Receipt:
        """Check the object, make it durable and visible. The receipt is the archive's word that it is safe.

        Raises `BadObject` (nothing was kept) or `Unavailable` (send it again).
        """
        arrival = self._arrival or self.check()
        return self._receipt(arrival, self.ingest.finish(self))

    @property
    def placed(self) -> tuple[Arrival, Key]:
        """What it is, and the key under which it lies. After `check`."""
        assert self._arrival is not None
        return self._arrival, self._key

    @property
    def is_open(self) -> bool:
        """Whether its bytes are neither durable nor given up."""
        return self._open

    @property
    def shares(self) -> bool:
        """Whether it is best finished with others (`archive.ingest_together`); else `commit` had better be called by a
        thread of its own."""
        return self._writer.shares

    def commit(self) -> None:
        """Make the bytes of the object durable, which was checked. Raises `StoreUnavailable`."""
        writer = self.to_commit()
        try:
            with STORE_ERRORS:
                writer.commit()
        except BaseException:
            self.abort()
            raise
        self._open = False

    def to_commit(self) -> ObjectWriter:
        """Its writer, for whoever commits it with others, and then says `committed` or `abort`."""
        self._committing = True
        return self._writer

    def committed(self, error: Exception | None) -> Exception | None:
        """The writer was committed, or raised `error`; gives what `commit` would have raised."""
        if error is None:
            self._open = False
            return None
        self.abort()
        return _store_unavailable(error) if isinstance(error, StorageError) else error

    def give_up(self, error: BaseException) -> None:
        """Its bytes are durable; whether it has a row is not known."""
        self.ingest.give_up(self._key, error)

    def given(self, added: Added | Exception) -> Receipt | Exception:
        """What `finish` would have returned or raised, if this came of its row."""
        if isinstance(added, Exception):
            return added
        try:
            return self._receipt(self.placed[0], added)
        except Exception as error:
            return error

    def _receipt(self, arrival: Arrival, added: Added) -> Receipt:
        unmet = self.ingest.obey(arrival, added.outcome)
        return Receipt(
            outcome=added.outcome,
            study_instance_uid=arrival.study_instance_uid,
            series_instance_uid=arrival.series_instance_uid,
            sop_class_uid=arrival.instance.sop_class_uid,
            sop_instance_uid=arrival.instance.sop_instance_uid,
            size=arrival.object.size,
            warnings=arrival.warnings,
            unmet=unmet,
        )

    def abort(self) -> None:
        """Give the object up. Safe to call at any time; after `finish` it does nothing."""
        if not self._open:
            return
        self._open = False
        self._digest.close()
        try:
            self._writer.abort()
        except StorageError as error:
            log.warning("an aborted object left something behind", extra=fields(key=self._key.text, error=str(error)))
            self.ingest.discard(self._key)
        else:
            if self._committing:
                # A store that failed to say "stored" may have stored it all the same.
                self.ingest.discard(self._key)
            else:
                self.ingest.release(self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.abort()

    def _write_file_meta(self) -> None:
        meta = encode_file_meta(
            self._sop_class_uid,
            self._sop_instance_uid,
            self._transfer_syntax_uid,
            self._source.calling_ae_title,
            receiving_ae_title=self._source.called_ae_title,
            private=remembered(self._source),
        )
        self._dataset_offset = len(meta)
        with STORE_ERRORS:
            self._writer.write(meta)

    def _release_held_back(self) -> None:
        """Name the object by its first bytes, which are behind us now, then let them through."""
        head = bytes(self._held_back)
        self._held_back.clear()
        found_class, found_instance = sop_uids(head, self._transfer_syntax_uid)
        self._sop_class_uid = self._sop_class_uid or found_class
        self._sop_instance_uid = self._sop_instance_uid or found_instance
        check_storable(self._sop_class_uid, self._sop_instance_uid, self._transfer_syntax_uid, required=True)
        self._write_file_meta()
        with STORE_ERRORS:
            self._writer.write(head)

    def _read(self, start: int, length: int) -> bytes:
        if start + length <= len(self._head):
            return self._head[start : start + length]
        return self._writer.read_back(self._dataset_offset + start, length)

    def _examine(self) -> Arrival:
        if not self.size:
            raise CannotParse("the object is empty")
        offset = self._dataset_offset
        return examine(
            self._read,
            Announcement(self._sop_class_uid, self._sop_instance_uid, self._transfer_syntax_uid),
            Placed(self._key.text, self._key.block, offset + self.size, offset, self._digest.value()),
            self._source,
            self.ingest.worklist,
        )


def check_storable(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, *, required: bool = False
) -> None:
    """Raise unless an object so announced can be stored. Empty SOP UIDs pass unless `required`."""
    if required or sop_instance_uid:
        check_uid(sop_instance_uid, "SOPInstanceUID")
    if required or sop_class_uid:
        check_uid(sop_class_uid, "SOPClassUID")
        if not is_storage_sop_class(sop_class_uid):
            raise UnsupportedSOPClass(f"{sop_class_uid} is not a storage SOP class")
    if not is_supported_transfer_syntax(transfer_syntax_uid):
        raise UnsupportedTransferSyntax(f"objects in transfer syntax {transfer_syntax_uid[:64]!r} cannot be stored")


class _StoreErrors:
    """Raises `StoreUnavailable` for what a store raises. Used some times for each object, so it is no generator."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if isinstance(exc, StorageError):
            raise _store_unavailable(exc) from exc


def _store_unavailable(error: StorageError) -> StoreUnavailable:
    return StoreUnavailable(f"the object store cannot take the object: {error}")


STORE_ERRORS: Final = _StoreErrors()
"""What the caller of an archive hears of an error of its store."""
