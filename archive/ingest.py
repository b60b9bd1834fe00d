"""The one way in: C-STORE, STOW-RS and imports all store objects through :class:`Ingest`.

The order is what makes an acknowledgement mean something. A key from a durable block; the bytes under it, hashed on the
way; the bytes made durable (`ObjectWriter.commit`); one transaction that adds the rows; only then a `Receipt`. A crash
at any point leaves a key without a row, which `archive.reconcile` deletes; the sender had no answer and sends again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from archive.correction.rules import Worklist, no_worklist
from archive.errors import BadObject, StoreUnavailable
from archive.index_writer import Added, IndexWriter
from archive.ingest_together import Finishing, commit_all
from archive.keys import Key, KeyAllocator
from archive.receiving import STORE_ERRORS, Receiving, check_storable
from archive.records import Arrival, Outcome, Source
from archive.rejection.causes import KEY_OBJECT_SELECTION
from config.logs import fields
from storage.base import ObjectStore
from storage.errors import IntegrityError, ObjectNotFound, StorageError

log = logging.getLogger(__name__)


_NEW: Final = Added(Outcome.STORED)


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
        self._finishing = Finishing(self.finish_all)

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
            with STORE_ERRORS:
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

    def finish(self, receiving: Receiving) -> Added:
        """Make an object durable that was checked, then visible; with those of other threads, if it can share a flush.

        A rejection note goes alone, for what it rejects may be among the others. Raises as `Receiving.finish` does.
        """
        arrival, key = receiving.placed
        if receiving.is_open and receiving.shares and arrival.instance.sop_class_uid != KEY_OBJECT_SELECTION:
            return self._finishing.finish(receiving)
        receiving.commit()
        return self.add(arrival, key)

    def add(self, arrival: Arrival, key: Key) -> Added:
        """Commit the index row of an object that is durable, and settle what becomes of its bytes."""
        try:
            added = self._index.add(arrival)
        except BaseException as error:
            self.give_up(key, error)
            raise
        return self._settle(added, arrival, key)

    def finish_all(self, receivings: Sequence[Receiving]) -> list[Added | Exception]:
        """Make objects durable that were checked, then visible, as if one after the other; what `finish` would have
        raised is given back. Some may be durable. A rejection note has to come alone."""
        placed = [each.placed for each in receivings]
        rows = self._index.ahead([arrival for arrival, _ in placed])
        errors = commit_all(receivings, rows)
        safe = [n for n, error in enumerate(errors) if error is None]
        found = iter(self._add_all([placed[n] for n in safe], [rows.added[n] for n in safe]))
        return [error or next(found) for error in errors]

    def _add_all(self, safe: Sequence[tuple[Arrival, Key]], added: Sequence[bool]) -> list[Added | Exception]:
        """Those of which `added` does not say that they have their rows are given them."""
        left = [n for n, has_row in enumerate(added) if not has_row]
        outcomes: list[Added | Exception] = [_NEW] * len(safe)
        try:
            for n, outcome in zip(left, self._index.add_all([safe[n][0] for n in left]), strict=True):
                outcomes[n] = outcome
        except BaseException as error:
            for _, key in safe:
                self.give_up(key, error)
            raise
        settled: list[Added | Exception] = []
        for outcome, (arrival, key) in zip(outcomes, safe, strict=True):
            if isinstance(outcome, Exception):
                self.give_up(key, outcome)
                settled.append(outcome)
                continue
            try:
                settled.append(self._settle(outcome, arrival, key))
            except Exception as error:
                settled.append(error)
            except BaseException as error:
                for _, unsettled in safe[len(settled) + 1 :]:
                    self.give_up(unsettled, error)
                raise
        return settled

    def _settle(self, added: Added, arrival: Arrival, key: Key) -> Added:
        try:
            if added.existing is not None:
                added = self._keep_or_discard(added, arrival)
        except BaseException as error:
            self.give_up(key, error)
            raise
        if added.outcome is Outcome.DUPLICATE:
            self.discard(key)
        else:
            self._keys.release(key, settled=True)
        return added

    def give_up(self, key: Key, error: BaseException) -> None:
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
