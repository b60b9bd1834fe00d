"""What happens when a rejection note arrives, and what is made up for when it could not happen then."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from archive.index_session import IndexSession
from archive.records import Arrival
from archive.rejection import sql
from archive.rejection.apply import Named, Rights, register, settle
from archive.rejection.causes import Hidden
from archive.rejection.note import Note, Reference, read_note
from archive.standard.scan import scan
from config.logs import fields
from config.peers import PeerBook
from storage.base import ObjectStore
from storage.errors import StorageError

log = logging.getLogger(__name__)

_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class _Unread:
    study: str
    series: str
    instance: str
    key: str
    size: int
    digest: bytes
    dataset_offset: int
    transfer_syntax_uid: str
    calling_ae_title: str


class RejectionNotes:
    """Reads notes and has them applied. Used by many threads at once."""

    def __init__(self, session: IndexSession, store: ObjectStore, peers: PeerBook, *, expiry_notes: bool) -> None:
        self._session = session
        self._store = store
        self._peers = peers
        self._expiry_notes = expiry_notes

    def take(self, arrival: Arrival) -> str:
        """Do what a Key Object Selection document asks that was just stored, or stored before.

        Gives what it cannot have, as a sentence for its sender; mostly empty. Raises `IndexUnavailable`.
        """
        at = Reference(arrival.study_instance_uid, arrival.series_instance_uid, arrival.instance.sop_instance_uid)
        if arrival.note is None and not self._was_note(at):
            return ""
        number = self._register(at, arrival.object.digest, arrival.note, arrival.source.calling_ae_title)
        if number is None:
            return ""
        settle(self._session)
        return self._unmet(number, at.sop_instance_uid)

    def catch_up(self) -> int:
        """Read the notes that were stored and not read, apply those that were read and not applied; give how many.

        Raises `IndexUnavailable`.
        """
        count = 0
        while rows := self._unread():
            done = sum(self._read(row) for row in rows)
            count += done
            if not done or len(rows) < _PAGE:
                break
        return max(count, settle(self._session))

    def _unread(self) -> list[_Unread]:
        rows = self._session.run(lambda connection: connection.execute(sql.UNREAD, {"limit": _PAGE}).fetchall())
        return [_Unread(*row) for row in rows]

    def _read(self, row: _Unread) -> bool:
        size = row.size - row.dataset_offset

        def read(offset: int, length: int) -> bytes:
            with self._store.open_range(row.key, row.dataset_offset + offset, min(length, size - offset)) as reader:
                return reader.read()

        try:
            scanned = scan(read, size, row.transfer_syntax_uid, frozenset())
            note = read_note(read, scanned, size)
        except StorageError as error:
            log.warning("a rejection note cannot be read now", extra=fields(key=row.key, error=str(error)))
            return False
        at = Reference(row.study, row.series, row.instance)
        return self._register(at, row.digest, note, row.calling_ae_title) is not None

    def _register(self, at: Reference, digest: bytes, note: Note | None, sender: str) -> int | None:
        peer = self._peers.known(sender)
        rejects = "own" if peer is None else peer.rejects
        expired = note is not None and note.title.cause is Hidden.EXPIRED
        permitted = rejects != "nothing" and (self._expiry_notes or not expired)
        return register(self._session, Named(at, digest), note, Rights(rejects == "province", permitted))

    def _was_note(self, at: Reference) -> bool:
        names = {"study": at.study_instance_uid, "series": at.series_instance_uid, "instance": at.sop_instance_uid}
        return bool(self._session.run(lambda connection: connection.execute(sql.FIND_NOTE, names).fetchone()))

    def _unmet(self, number: int, uid: str) -> str:
        row = self._session.run(lambda connection: connection.execute(sql.EFFECT, {"note": number}).fetchone())
        if row is None:
            return ""
        code, permitted, named, foreign = row
        if permitted and not foreign:
            return ""
        log.warning(
            "a rejection note is not obeyed in all",
            extra=fields(note=uid, code=code, permitted=permitted, named=named, foreign=foreign),
        )
        if not permitted:
            return f"stored; a note with title {code} from this AE rejects nothing"
        return f"stored; {foreign} of {named} instances belong to another facility"
