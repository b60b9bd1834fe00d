"""Makes the corrections of stored objects anew after the settings of their senders changed.

Study by study, each in one transaction with the note of how far the run has come: whatever breaks it off, a second call
goes on behind the last whole study. Objects that arrive meanwhile have the settings of the node that takes them, so the
nodes are restarted first. The bytes are only read.

In the index, a value is exchanged where it is what such an object said before: what another object, or a person, put
there stays. A study whose patient becomes another one moves to that patient.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Engine

from archive.correction import reapply_sql as sql
from archive.correction.reapply_index import PatientGone, exchange
from archive.correction.record import Corrections
from archive.correction.rules import Worklist, correct
from archive.description import Description, describe
from archive.errors import ArchiveError, IndexUnavailable, NotFound
from archive.index_session import Connection, IndexSession
from archive.locate import by_object
from archive.records import Source, StoredInstance
from archive.retrieve import read_encoded, syntax_of
from archive.sender import source_of
from archive.standard.scan import Scan, scan
from config.peers import PeerBook
from storage.base import ObjectStore

PAGE: Final = 50
ATTEMPTS: Final = 3
_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"


@dataclass(slots=True)
class Reapplied:
    """What a run has done."""

    studies: int = 0
    objects: int = 0
    """Objects that were looked at."""
    changed: int = 0
    failed: int = 0
    """Objects that could not be read now; the run says which."""
    resumed: bool = False


class Reapply:
    """Runs through stored objects."""

    def __init__(
        self, engine: Engine, session: IndexSession, store: ObjectStore, peers: PeerBook, worklist: Worklist
    ) -> None:
        self._engine = engine
        self._session = session
        self._store = store
        self._peers = peers
        self._worklist = worklist

    def run(
        self,
        *,
        peer: str = "",
        study: str = "",
        progress: Callable[[Reapplied], None] = lambda _: None,
        complain: Callable[[str], None] = lambda _: None,
    ) -> Reapplied:
        """Correct the objects of a peer, of a study, or all anew. Raises `IndexUnavailable`.

        Looked at are objects of senders that have rules now, and those that are corrected already.
        """
        done = Reapplied()
        titles = [peer] if peer else sorted(self._peers.correcting())
        if study:
            found = self._all(sql.STUDY_BY_UID, {"study": study})
            if not found:
                raise NotFound("no such study")
            for (study_id,) in found:
                self._study(study_id, peer, titles, done, complain)
            return done
        after, done.resumed = self._begin(peer)
        while studies := self._all(sql.STUDIES, {"after": after, "titles": titles, "peer": peer, "limit": PAGE}):
            for (after,) in studies:
                self._study(after, peer, titles, done, complain)
            self._session.run(
                lambda connection, now=after: connection.execute(  # type: ignore[misc]
                    sql.RUN_REACHED, {"peer": peer, "study": now, "changed": done.changed}
                )
            )
            progress(done)
        if not done.failed:
            self._session.run(lambda connection: connection.execute(sql.RUN_FINISHED, {"peer": peer}))
        return done

    def _all(self, statement: str, given: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._session.run(lambda connection: connection.execute(statement, given).fetchall())

    def _begin(self, peer: str) -> tuple[int, bool]:
        """Where to go on: behind the last whole study of a run with the same settings that was not finished."""
        settings = self._peers.correction_settings()
        named = {"peer": peer, "settings": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()}
        found = self._all(sql.RUN, named)
        if found:
            return int(found[0][0]), True
        self._session.run(lambda connection: connection.execute(sql.RUN_BEGINS, named))
        return 0, False

    def _study(
        self, study_id: int, peer: str, titles: Sequence[str], done: Reapplied, complain: Callable[[str], None]
    ) -> None:
        changes: list[_Changed] = []
        objects = self._all(sql.OBJECTS, {"study": study_id, "titles": titles, "peer": peer})
        located = by_object(self._engine, [row[0] for row in objects], hidden=True)
        for object_id, title, facility, shown, held in objects:
            inst = located.get(object_id)
            if inst is None:  # removed since
                continue
            done.objects += 1
            try:
                changed = self._object(_Row(object_id, held, shown), inst, self._source(title, facility))
            except ArchiveError as error:
                done.failed += 1
                complain(f"{inst.sop_instance_uid}: {error}")
                continue
            if changed is not None:
                changes.append(changed)
        done.studies += 1
        if changes:
            done.changed += self._session.run(lambda connection: _write(connection, study_id, changes))

    def _source(self, title: str, facility: str) -> Source:
        return source_of(self._peers, self._peers.known(title), "import", facility=facility, calling_ae_title=title)

    def _object(self, row: _Row, inst: StoredInstance, source: Source) -> _Changed | None:
        wanted = Description.WANTED if source.coercion is None else Description.WANTED | source.coercion.tags
        scanned = _scan(self._store, inst, wanted)
        before = inst.corrections
        after = correct(scanned.elements, source, datetime.now(UTC), self._lookup(before))
        if before.same_as(after) if before is not None else after is None:
            return None

        uids = inst.sop_class_uid, inst.sop_instance_uid, inst.object.transfer_syntax_uid

        def described(corrections: Corrections | None) -> Description:
            return describe(scanned, source, corrections, *uids, _no_pixels)

        return _Changed(row, after, (described(before), described(after)) if row.shown else None)

    def _lookup(self, before: Corrections | None) -> Worklist:
        """The worklist; what was taken from an item that is gone by now is kept."""

        def lookup(facts: Any) -> Any:
            return self._worklist(facts) or (before.from_worklist() if before is not None else {})

        return lookup


class _Row(NamedTuple):
    """A row of ``stored_object``."""

    id: int
    corrections: dict[str, Any] | None
    shown: bool


@dataclass(frozen=True, slots=True)
class _Changed:
    row: _Row
    after: Corrections | None
    described: tuple[Description, Description] | None
    """Before and after, of a version that is shown."""


def _no_pixels(offset: int, length: int) -> bytes:
    raise AssertionError(f"a header has no pixel data to be read at {offset}, {length}")


def _scan(store: ObjectStore, inst: StoredInstance, wanted: frozenset[int]) -> Scan:
    header = read_encoded(store, inst).header
    uid = _EXPLICIT_VR_LITTLE_ENDIAN if syntax_of(inst).deflated else inst.object.transfer_syntax_uid
    return scan(lambda offset, length: header[offset : offset + length], len(header), uid, wanted)


def _write(connection: Connection, study_id: int, changes: Sequence[_Changed]) -> int:
    """Write the corrections of the objects of a study and what the index says by them; give their number.

    An object that somebody else has corrected meanwhile is left to them.
    """
    for _ in range(ATTEMPTS):
        # Ingest may wait for us while we wait for it, or `reconcile` remove the patient that we found.
        with suppress(psycopg.errors.DeadlockDetected, PatientGone):
            return _write_once(connection, study_id, changes)
    raise IndexUnavailable("the study is being changed by others; try again")


def _write_once(connection: Connection, study_id: int, changes: Sequence[_Changed]) -> int:
    with connection.transaction():
        connection.execute(sql.LOCK_PATIENT, {"study": study_id})
        connection.execute(sql.LOCK_STUDY, {"study": study_id})
        written = [change for change in changes if _exchange_corrections(connection, change)]
        for before, after in _distinct(written):
            exchange(connection, study_id, before, after)
    return len(written)


def _exchange_corrections(connection: Connection, change: _Changed) -> bool:
    given = {
        "id": change.row.id,
        "before": None if change.row.corrections is None else sql.jsonb(change.row.corrections),
        "after": None if change.after is None else sql.jsonb(change.after.to_json()),
    }
    if not connection.execute(sql.EXCHANGE_CORRECTIONS, given).fetchall():
        return False
    if change.described is not None:
        before, after = (each.instance.attributes for each in change.described)
        if before != after:
            held, new = (each and sql.jsonb(each) for each in (before, after))
            parameters = {"id": change.row.id, "before": held, "after": new}
            connection.execute(sql.EXCHANGE_ATTRIBUTES, parameters)
    return True


def _distinct(changes: Sequence[_Changed]) -> Iterator[tuple[Description, Description]]:
    """What the objects say of their parents, once for all that say the same."""
    seen = set()
    for change in changes:
        if change.described is None:
            continue
        before, after = change.described
        key = repr((before.series_instance_uid, before.parents(), after.parents()))
        if key not in seen:
            seen.add(key)
            yield before, after
