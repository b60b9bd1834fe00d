"""What unlisted senders sent: kept apart, shown to nobody, until somebody says what it is.

An object from quarantine lies under a study of its own, of the same UID and named by its sender, so that it touches
nothing of what others sent: no counter, no attribute, no version. To release it is to store it: its row there goes and
one among the others comes, in one transaction, as if the facility had sent it. To discard it hides it even from those
who see everything; its bytes stay, for it was acknowledged.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final, TypeVar

import psycopg
from psycopg.rows import class_row, dict_row

from archive.adopt import Adopted, Adopter
from archive.errors import BadObject, NotFound
from archive.index_session import Connection, IndexSession
from archive.records import Arrival, Source
from archive.rejection import quarantine_sql, sql
from archive.rejection.notes import RejectionNotes
from config.logs import fields
from config.peers import PeerBook
from storage.base import ObjectStore
from storage.errors import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T")

_ATTEMPTS: Final = 5
_KEPT: Final = (Adopted.UNREADABLE, Adopted.REFUSED)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A study in quarantine."""

    sender: str
    """``AE@address``."""
    study: str
    patient_id: str
    patient_name: str
    study_date: date | None
    description: str
    modalities: list[str]
    instances: int
    discarded: int
    bytes: int
    first: datetime
    last: datetime
    known: bool
    """Whether others sent something of this study."""


@dataclass(frozen=True, slots=True)
class _Object:
    id: int
    key: str
    received_at: datetime
    transport: Any
    calling_ae_title: str
    address: str
    study_instance_uid: str


@dataclass(slots=True)
class Released:
    """What a release did."""

    objects: int = 0
    copies: int = 0
    """Objects that somebody else had sent, too."""
    left: int = 0
    """Objects that cannot be read, or that the policy for conflicts refuses: they stay in quarantine."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decides on what is in quarantine, and why. All studies of the sender if none is named."""

    sender: str
    study: str | None
    who: str
    why: str = ""


class Quarantine:
    """Lists, releases and discards. Works on a session of its own."""

    def __init__(
        self,
        open_session: Callable[[], IndexSession],
        store: ObjectStore,
        peers: PeerBook,
        *,
        adopter: Callable[[IndexSession], Adopter],
        notes: Callable[[IndexSession], RejectionNotes],
    ) -> None:
        self._open_session = open_session
        self._store = store
        self._peers = peers
        self._adopter = adopter
        self._notes = notes

    def studies(self) -> list[Quarantined]:
        """What is in quarantine, what came last first. Raises `IndexUnavailable`."""

        def work(connection: Connection) -> list[Quarantined]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return [Quarantined(**row) for row in cursor.execute(quarantine_sql.LIST).fetchall()]

        return self._with_session(lambda session: session.run(work))

    def release(self, decision: Decision, facility: str) -> Released:
        """Store what a sender sent as if a peer of this facility had sent it.

        Safe to repeat. Raises `NotFound` for a facility that is not listed or when nothing is there, `Unavailable`.
        """
        if facility not in self._peers.facilities:
            raise NotFound(f"no facility {facility} is in the settings")
        return self._with_session(lambda session: self._release(session, decision, facility))

    def discard(self, decision: Decision) -> int:
        """Hide it from everybody, for ever; give how many instances. Raises `NotFound`, `IndexUnavailable`."""
        which = {"sender": decision.sender, "study": decision.study}

        def work(connection: Connection) -> int:
            with connection.transaction():
                rows = connection.execute(quarantine_sql.DISCARD, which).fetchall()
                for study, count in Counter(study for (study,) in rows).items():
                    _record(connection, "discarded", study, decision, count)
            return len(rows)

        count = self._with_session(lambda session: session.run(work))
        if not count:
            raise NotFound("nothing of this sender is in quarantine")
        return count

    def _with_session(self, work: Callable[[IndexSession], T]) -> T:
        session = self._open_session()
        try:
            return work(session)
        finally:
            session.close()

    def _release(self, session: IndexSession, decision: Decision, facility: str) -> Released:
        found = self._objects(session, decision)
        if not found:
            raise NotFound("nothing of this sender is in quarantine")
        released = Released()
        studies: Counter[str] = Counter()
        with self._adopter(session) as adopter:
            for each in found:
                became = self._release_one(session, adopter, each, facility)
                released.objects += became is Adopted.INDEXED
                released.copies += became is Adopted.COPY
                released.left += became in _KEPT
                studies[each.study_instance_uid] += became not in _KEPT
        for study, count in (+studies).items():
            session.run(
                lambda connection, study=study, count=count: _record(connection, "released", study, decision, count)  # type: ignore[misc]
            )
        self._notes(session).catch_up()
        return released

    def _objects(self, session: IndexSession, decision: Decision) -> list[_Object]:
        def work(connection: Connection) -> list[_Object]:
            with connection.cursor(row_factory=class_row(_Object)) as cursor:
                which = {"sender": decision.sender, "study": decision.study}
                return cursor.execute(quarantine_sql.OBJECTS, which).fetchall()

        return session.run(work)

    def _release_one(self, session: IndexSession, adopter: Adopter, each: _Object, facility: str) -> Adopted:
        try:
            arrival = self._arrival(adopter, each, facility)
        except BadObject as error:
            log.error("an object cannot be released", extra=fields(key=each.key, error=str(error)))
            return Adopted.UNREADABLE

        def move(connection: Connection) -> Adopted:
            with connection.transaction() as transaction:
                gone = connection.execute(quarantine_sql.TAKE_OUT, {"id": each.id, "key": each.key}).fetchone()
                if gone is None:
                    return Adopted.GONE  # somebody else released it, or we did, before the connection broke
                connection.execute(quarantine_sql.TAKE_OUT_INSTANCE, {"instance": gone[0]})
                became = adopter.place(arrival)
                if became in _KEPT:
                    transaction.force_rollback = True
            return became

        for attempt in range(_ATTEMPTS):
            adopter.prepare(arrival)
            try:
                became = session.run(move)
                break
            except (psycopg.errors.InFailedSqlTransaction, psycopg.errors.DeadlockDetected):
                # The study was changed by others since it was prepared; nothing was moved.
                if attempt == _ATTEMPTS - 1:
                    raise
        if became is Adopted.COPY:
            self._delete_copy(each.key)
        return became

    def _arrival(self, adopter: Adopter, each: _Object, facility: str) -> Arrival:
        peer = self._peers.known(each.calling_ae_title)
        arrival = adopter.describe(
            each.key,
            Source(
                facility=facility,
                issuer_of_patient_id=self._peers.facility(facility).issuer,
                transport=each.transport,
                calling_ae_title=each.calling_ae_title,
                address=each.address,
                default_character_set=peer.default_character_set if peer is not None else None,
                actual_character_set=peer.actual_character_set if peer is not None else None,
                coercion=peer.coerce if peer is not None else None,
            ),
        )
        return replace(arrival, received_at=each.received_at, warnings=("released from quarantine",))

    def _delete_copy(self, key: str) -> None:
        try:
            self._store.delete(key)
        except StorageError as error:
            log.warning("a copy without a row could not be deleted", extra=fields(key=key, error=str(error)))


def _record(connection: Connection, action: str, study: str, decision: Decision, count: int) -> None:
    said = {"action": action, "subject": study, "who": decision.who, "why": decision.why, "instances": count}
    connection.execute(sql.RECORD, said)
