"""Writes the audit trail.

Each process writes segments of its own, one for each time that records are kept, so that no process waits for another.
Threads of one process share transactions: one writes what all of them have brought meanwhile, and then leaves that to
the first of those who came later. So `record` is durable when it returns, and a thousand acts a second cost a few dozen
commits. Each thread is woken once, when its records are there: were all to ask by turns, waking them would take longer
than to write.

Nothing is written under a number twice. A process that lost its connection writes the same rows again, which adds those
that are missing. After any other failure it goes on in a new segment, and closes the old one as the database has it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from archive.audit import sql
from archive.audit.chain import COLUMNS, Entry, chained, entry_of, genesis, study_uids
from archive.audit.events import AuditEvent
from archive.database import first_line
from archive.errors import IndexUnavailable
from archive.index_session import Connection, IndexSession
from config.logs import fields
from config.settings import DatabaseSettings

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 500
LONGEST_SEGMENT: Final = 100_000
"""Records after which a new segment is begun; also each day, so that what is over can be taken away whole."""

_ARRAYS: Final = frozenset(("home", "studies", "owners", "detail"))


@dataclass(slots=True)
class Head:
    """How far a segment has come, as its writer knows it."""

    segment: int
    day: str
    sequence: int = 0
    hash: bytes = b""
    last_at: datetime | None = None


class _Call:
    """A thread that waits for its records to be written, or for its turn to write."""

    def __init__(self, records: int) -> None:
        self.left = records
        self.error: Exception | None = None
        self.turn = threading.Lock()
        self.turn.acquire()

    def written(self, error: Exception | None) -> None:
        """One record less."""
        self.left -= 1
        self.error = self.error or error
        if not self.left:
            self.turn.release()


@dataclass(slots=True)
class _Batch:
    """Rows on their way, column by column, and the heads as they are once the rows are there."""

    heads: dict[str, Head]
    columns: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in ("segment_id", "sequence", "hash", *COLUMNS)}
    )

    def add(self, entry: Entry) -> None:
        head = self.heads[entry.keeping]
        sequence = head.sequence + 1
        digest = chained(head.hash, head.segment, sequence, entry)
        self.heads[entry.keeping] = replace(head, sequence=sequence, hash=digest, last_at=entry.recorded_at)
        columns = self.columns
        columns["segment_id"].append(head.segment)
        columns["sequence"].append(sequence)
        columns["hash"].append(digest)
        for name in COLUMNS:
            value = getattr(entry, name)
            columns[name].append(Jsonb(value) if name in _ARRAYS else value)


class Trail:
    """What every part of the archive tells its acts to. For all threads."""

    def __init__(
        self, database: DatabaseSettings, application: str = "pacs", clock: Callable[[], datetime] | None = None
    ) -> None:
        self._session = IndexSession(database, f"{application} audit")
        self._clock = clock or (lambda: datetime.now(UTC))
        self._queue: list[tuple[Entry, _Call]] = []
        self._queue_lock = threading.Lock()
        self._led = False
        """Whether a thread writes, or is about to."""
        self._writing = threading.Lock()
        self._heads: dict[str, Head] = {}

    @property
    def session(self) -> IndexSession:
        """The session that writes, for those who seal what it wrote."""
        return self._session

    def record(self, event: AuditEvent) -> None:
        """Record an act durably, before its result is given out. Raises `IndexUnavailable`: then do not act."""
        self.record_all((event,))

    def record_all(self, events: Sequence[AuditEvent]) -> None:
        """The same for several acts, which are recorded in this order. Raises `IndexUnavailable`."""
        now = self._clock()
        entries = [entry_of(event, now) for event in events]
        if not entries:
            return
        call = _Call(len(entries))
        with self._queue_lock:
            self._queue += [(entry, call) for entry in entries]
            leads, self._led = not self._led, True
        if not leads:
            self._wait(call)
        if leads or call.left:
            try:
                while call.left:
                    self._write_some()
            finally:
                self._hand_over()
        if call.error is not None:
            raise call.error

    def heads(self) -> list[Head]:
        """The segments that this process writes now, and how far it has come in each."""
        with self._writing:
            return [replace(head) for head in self._heads.values()]

    def close(self) -> None:
        """Close the segments of this process, and its session."""
        with self._writing:
            try:
                if self._heads:
                    self._session.run(self._close_heads)
            except IndexUnavailable as error:
                log.warning("segments of the audit trail are left to be closed by others: %s", error)
            self._heads = {}
            self._session.close()

    def _wait(self, call: _Call) -> None:
        """Until its records are written or it is to write itself."""
        try:
            call.turn.acquire()
        except BaseException:  # the process is told to end: leave nothing to a thread that is gone
            with self._queue_lock:
                self._queue = [each for each in self._queue if each[1] is not call]
                leads = call.turn.acquire(blocking=False) and call.left
            if leads:
                self._hand_over()
            raise

    def _hand_over(self) -> None:
        with self._queue_lock:
            self._led = bool(self._queue)
            if self._led:
                self._queue[0][1].turn.release()

    def _write_some(self) -> None:
        with self._queue_lock:
            batch, self._queue = self._queue[:MOST_AT_ONCE], self._queue[MOST_AT_ONCE:]
        error: Exception | None = IndexUnavailable("the process was told to end")
        try:
            with self._writing:
                error = self._written([entry for entry, _ in batch])
        finally:
            for _, call in batch:
                call.written(error)

    def _written(self, entries: list[Entry]) -> Exception | None:
        """Write them; give why they were not."""
        try:
            self._write(entries)
        except Exception as raised:
            # It is not known what was written: go on in a new segment.
            self._heads = {}
            if not isinstance(raised, psycopg.Error):
                return raised
            log.error("the audit trail cannot be written", extra=fields(error=first_line(raised)))
            return IndexUnavailable("what is done cannot be put on record now")
        return None

    def _write(self, entries: list[Entry]) -> None:
        self._session.run(lambda connection: _with_owners(connection, entries))
        try:
            self._append(entries)
        except psycopg.errors.InsufficientPrivilege:
            # While this process was cut off, another took it for dead and closed its segments.
            self._heads = {}
            self._append(entries)

    def _append(self, entries: list[Entry]) -> None:
        for keeping in sorted({entry.keeping for entry in entries}):
            self._ready(keeping, entries[0].recorded_at)
        batch = _Batch(dict(self._heads))
        for entry in entries:
            batch.add(entry)
        added, same = self._session.run(lambda connection: _add(connection, batch.columns, len(entries)))
        if not same:
            # Somebody else has put records where only this process writes.
            self._heads = {}
            log.error("the audit trail holds records that nobody wrote", extra=fields(added=added, of=len(entries)))
            raise IndexUnavailable("the audit trail was tampered with, and is continued elsewhere: try again")
        self._heads = batch.heads

    def _ready(self, keeping: str, now: datetime) -> None:
        """Have a segment to write to: a new one at the start, each day, and when the old one is full."""
        head, day = self._heads.get(keeping), f"{now:%Y-%m-%d}"
        if head is not None and head.day == day and head.sequence < LONGEST_SEGMENT:
            return
        parameters = {"keeping": keeping, "writer": self._session.writer}

        def work(connection: Connection) -> int:
            with connection.transaction():
                connection.execute(sql.LOCK, (sql.NUMBERING,))
                if head is not None:
                    _close(connection, head)
                connection.execute(sql.CLOSE, parameters)
                (number, _) = connection.execute(sql.OPEN, parameters).fetchone() or (0, None)
                return int(number)

        number = self._session.run(work)
        self._heads[keeping] = Head(number, day, hash=genesis(number))

    def _close_heads(self, connection: Connection) -> None:
        with connection.transaction():
            for keeping, head in self._heads.items():
                _close(connection, head)
                connection.execute(sql.CLOSE, {"writer": self._session.writer, "keeping": keeping})


def _close(connection: Connection, head: Head) -> None:
    if head.last_at is None:
        return  # empty: `sql.CLOSE` does it, by this writer or by another
    given = {"id": head.segment, "last_at": head.last_at, "records": head.sequence, "head": head.hash}
    connection.execute(sql.CLOSE_AT, given)


def _add(connection: Connection, columns: dict[str, list[Any]], count: int) -> tuple[int, bool]:
    """Add the rows; give how many were new, and whether all that are there are ours."""
    # One statement is a transaction of its own: one round trip instead of three.
    added = connection.execute(sql.ADD, columns).rowcount
    if added == count:
        return added, True
    (same,) = connection.execute(sql.COUNT_SAME, columns).fetchone() or (0,)
    return added, same == count


def _with_owners(connection: Connection, entries: list[Entry]) -> None:
    """Whose the studies are, and whose images: kept with the record, for both may change."""
    uids = study_uids(entries)
    if not uids:
        return
    found: dict[str, tuple[str, str, str]] = {}
    for uid, owner, patient, issuer in connection.execute(sql.OWNERS, {"studies": uids}):
        found.setdefault(uid, (owner, patient, issuer))
    for at, entry in enumerate(entries):
        known = [found[uid] for uid in entry.studies if uid in found]
        if not known:
            continue
        patients = {(patient, issuer) for _, patient, issuer in known}
        patient, issuer = entry.patient_id, entry.issuer_of_patient_id
        if not patient and len(patients) == 1:
            patient, issuer = next(iter(patients))
        owners = sorted({owner for owner, _, _ in known})
        entries[at] = replace(entry, owners=owners, patient_id=patient, issuer_of_patient_id=issuer)
