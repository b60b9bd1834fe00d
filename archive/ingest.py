"""The one way in: C-STORE, STOW-RS and imports all store objects through :class:`Ingest`.

The order is what makes an acknowledgement mean something. A key from a durable block; the bytes under it, hashed on the
way; the bytes made durable (`ObjectWriter.commit`); one transaction that adds the rows; only then a `Receipt`. A crash
at any point leaves a key without a row, which `archive.reconcile` deletes; the sender had no answer and sends again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from archive.correction.rules import Worklist, no_worklist
from archive.description import sop_uids
from archive.digest import Digest
from archive.errors import (
    BadObject,
    CannotParse,
    ObjectTooLarge,
    StoreUnavailable,
    UnsupportedSOPClass,
    UnsupportedTransferSyntax,
)
from archive.examine import Announcement, Placed, examine
from archive.index_writer import Added, IndexWriter
from archive.keys import Key, KeyAllocator
from archive.provenance import remembered
from archive.records import Arrival, Outcome, Receipt, Source
from archive.rejection.causes import KEY_OBJECT_SELECTION
from archive.standard.file_format import encode_file_meta
from archive.standard.uids import check_uid, is_storage_sop_class, is_supported_transfer_syntax
from archive.standard.walk import FIRST_BLOCK
from config.logs import fields
from storage.base import Buffer, ObjectStore, ObjectWriter
from storage.errors import IntegrityError, ObjectNotFound, StorageError

log = logging.getLogger(__name__)

HELD_BACK_BYTES = 64 * 1024
"""How much of a dataset is looked at for its SOP UIDs when the sender did not announce them."""


class Ingest:
    """Takes objects in. Used by many threads at once."""

    def __init__(
        self,
        store: ObjectStore,
        keys: KeyAllocator,
        index: IndexWriter,
        *,
        maximum_object_bytes: int,
        on_key_object: Callable[[Arrival], str] = lambda _: "",
        worklist: Worklist = no_worklist,
    ) -> None:
        self._store = store
        self._on_key_object = on_key_object
        self._keys = keys
        self._index = index
        self.maximum_object_bytes = maximum_object_bytes
        self.worklist = worklist

    def begin(
        self, source: Source, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> Receiving:
        """Start to take in one object.

        The UIDs are those announced by the sender (C-STORE-RQ, or the file meta information); empty ones are taken
        from the dataset. Raises `InvalidUID`, `UnsupportedSOPClass`, `UnsupportedTransferSyntax`, `Unavailable`.
        """
        check_storable(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        key = self._keys.take()
        try:
            with _STORE_ERRORS:
                writer = self._store.create(key.text, indexed=True)
        except BaseException:
            self._keys.release(key, settled=False)
            raise
        receiving = Receiving(self, key, writer, source, sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        try:
            receiving.start()
        except BaseException:
            receiving.abort()
            raise
        return receiving

    def add(self, arrival: Arrival, key: Key) -> Added:
        """Commit the index row of an object that is durable, and settle what becomes of its bytes."""
        try:
            added = self._index.add(arrival)
        except BaseException as error:
            self._give_up(key, error)
            raise
        return self._settle(added, arrival, key)

    def add_all(self, safe: Sequence[tuple[Arrival, Key]]) -> list[Added | Exception]:
        """The same for some, as if one came after the other; what `add` would have raised is given back."""
        try:
            outcomes = self._index.add_all([arrival for arrival, _ in safe])
        except BaseException as error:
            for _, key in safe:
                self._give_up(key, error)
            raise
        settled: list[Added | Exception] = []
        for outcome, (arrival, key) in zip(outcomes, safe, strict=True):
            if isinstance(outcome, Exception):
                self._give_up(key, outcome)
                settled.append(outcome)
                continue
            try:
                settled.append(self._settle(outcome, arrival, key))
            except Exception as error:
                settled.append(error)
        return settled

    def _settle(self, added: Added, arrival: Arrival, key: Key) -> Added:
        try:
            if added.existing is not None:
                added = self._keep_or_discard(added, arrival)
        except BaseException as error:
            self._give_up(key, error)
            raise
        if added.outcome is Outcome.DUPLICATE:
            self.discard(key)
        else:
            self._keys.release(key, settled=True)
        return added

    def _give_up(self, key: Key, error: BaseException) -> None:
        """Settle what becomes of bytes whose row could not be committed."""
        if isinstance(error, BadObject):
            self.discard(key)
        else:
            # The row may be there: the bytes are not ours to delete. Settling the block finds out.
            self._keys.release(key, settled=False)

    def obey(self, arrival: Arrival, outcome: Outcome) -> str:
        """Do what a stored object asks if it is a rejection note; give what it cannot have.

        Also when it was stored before: its sender had no answer, or wants to be sure. Raises `IndexUnavailable`.
        """
        if arrival.instance.sop_class_uid != KEY_OBJECT_SELECTION or arrival.source.quarantined:
            return ""
        return "" if outcome is Outcome.HELD_VERSION else self._on_key_object(arrival)

    def discard(self, key: Key) -> None:
        """Delete the bytes under a key that has no row; if that fails, settling the block does it later."""
        try:
            self._store.delete(key.text)
        except StorageError as error:
            log.warning(
                "an object without a row could not be deleted yet", extra=fields(key=key.text, error=str(error))
            )
            self._keys.release(key, settled=False)
        else:
            self._keys.release(key, settled=True)

    def release(self, key: Key) -> None:
        """Give back a key under which nothing lies."""
        self._keys.release(key, settled=True)

    def _keep_or_discard(self, added: Added, arrival: Arrival) -> Added:
        """The same bytes came again: use them if the store has lost the first ones."""
        lost = added.existing
        assert lost is not None
        try:
            intact = lost.state == "available" and self._store.stat(lost.key).size == lost.size
        except (ObjectNotFound, IntegrityError):
            intact = False
        except StorageError:
            # Nothing is known of the first bytes; the sender must not believe that they are safe.
            raise StoreUnavailable("the object store cannot be reached to compare with the stored object") from None
        if intact:
            return added
        self._index.replace_lost(lost, arrival)
        log.error(
            "an object that the store had lost was sent again and is whole now",
            extra=fields(instance=arrival.instance.sop_instance_uid, key=lost.key),
        )
        try:
            self._store.delete(lost.key)
        except StorageError as error:
            log.warning("a damaged object could not be deleted", extra=fields(key=lost.key, error=str(error)))
        return Added(Outcome.REPAIRED)


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
        self._ingest = ingest
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
            with _STORE_ERRORS:
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
        self.commit()
        return self._receipt(arrival, self._ingest.add(arrival, self._key))

    @property
    def shares(self) -> bool:
        """Whether it is best finished with others (`archive.ingest_together`); else `commit` had better be called by a
        thread of its own."""
        return self._writer.shares

    def commit(self) -> None:
        """Make the bytes of the object durable, which was checked. Raises `StoreUnavailable`."""
        self._committing = True
        try:
            with _STORE_ERRORS:
                self._writer.commit()
        except BaseException:
            self.abort()
            raise
        self._open = False

    def _receipt(self, arrival: Arrival, added: Added) -> Receipt:
        unmet = self._ingest.obey(arrival, added.outcome)
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

    def _given(self, arrival: Arrival, added: Added) -> Receipt | Exception:
        try:
            return self._receipt(arrival, added)
        except Exception as error:
            return error

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
            self._ingest.discard(self._key)
        else:
            if self._committing:
                # A store that failed to say "stored" may have stored it all the same.
                self._ingest.discard(self._key)
            else:
                self._ingest.release(self._key)

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
        with _STORE_ERRORS:
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
        with _STORE_ERRORS:
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
            self._ingest.worklist,
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
            raise store_unavailable(exc) from exc


def store_unavailable(error: StorageError) -> StoreUnavailable:
    """What the caller of an archive hears of an error of its store."""
    return StoreUnavailable(f"the object store cannot take the object: {error}")


_STORE_ERRORS: Final = _StoreErrors()
