"""Makes rejection notes take effect.

A note is an object like any other. What it hides follows from the rows of its references in three steps:

1. The object is stored (`archive.ingest`), hidden itself from the first moment.
2. `register` commits what it says: a row of ``rejection_note`` and one for each instance that it names.
3. `settle` decides which notes are active, sets ``instance.hidden`` and the counters, and commits that as one.

Only then its sender is told Success. After a crash between the steps, `archive.rejection.notes` does the rest within a
minute. An instance that arrives later finds the references (`archive.index_writer`). Step 2 is committed before step 3
begins, so that an arrival which does not see the references is seen by step 3, or runs into the new epoch of its study.

A note can be rejected by another (IOCM): then it rejects nothing. `settle` is done by one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psycopg

from archive.index_session import Connection, IndexSession
from archive.rejection import sql
from archive.rejection.note import Note, Reference

_ATTEMPTS = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Named:
    """A note's object: where it is, and of which bytes."""

    at: Reference
    digest: bytes


@dataclass(frozen=True, slots=True)
class Rights:
    """What the sender of a note may do."""

    anywhere: bool
    permitted: bool


def register(session: IndexSession, named: Named, note: Note | None, rights: Rights) -> int | None:
    """Commit what a note says; give its number. None if the object shown under its name is not this one.

    `note` is None for a document that is no rejection note, and was one before.
    """

    def work(connection: Connection) -> int | None:
        with connection.transaction():
            return _register(connection, named, note, rights)

    return session.run(work)


def _register(connection: Connection, named: Named, note: Note | None, rights: Rights) -> int | None:
    at = {"study": named.at.study_instance_uid, "series": named.at.series_instance_uid}
    at["instance"] = named.at.sop_instance_uid
    before = connection.execute(sql.FIND_NOTE, at).fetchone()
    row = connection.execute(
        sql.REGISTER,
        {
            **at,
            "digest": named.digest,
            "anywhere": rights.anywhere,
            "permitted": rights.permitted,
            "code": note.title.code if note else "",
            "cause": int(note.title.cause) if note else 0,
            "description": note.description if note else "",
        },
    ).fetchone()
    if row is None:
        return None
    connection.execute(sql.RETIRE_REFERENCES, {"note": row[0]})
    connection.execute(sql.REFER, {"note": row[0], **_columns(note.references if note else ())})
    if before is None or before[0] != row[1]:
        connection.execute(sql.RECORD_NOTE, {"note": row[0]})
    return int(row[0])


def settle(session: IndexSession) -> int:
    """Make all registered notes take effect that have not yet; give how many. Raises `IndexUnavailable`."""

    def work(connection: Connection) -> int:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (sql.LOCK,))
            waiting = [note for (note,) in connection.execute(sql.WAITING).fetchall()]
            if waiting:
                _apply(connection, waiting)
            return len(waiting)

    return again_after_deadlock(lambda: session.run(work))


def _apply(connection: Connection, waiting: Sequence[int]) -> None:
    notes = sorted({*waiting, *_activate(connection, waiting)})
    references = [Reference(*row) for row in connection.execute(sql.REFERENCES, {"notes": notes}).fetchall()]
    named = sorted({reference.study_instance_uid for reference in references})
    studies = {study for (study,) in connection.execute(sql.STUDIES, {"studies": named}).fetchall()}
    columns = _columns(references)
    instances = [instance for instance, _ in connection.execute(sql.TARGETS, columns).fetchall()]
    lock(connection, instances, studies)
    # Again: more may have arrived before the studies were locked.
    instances = [instance for instance, _ in connection.execute(sql.TARGETS, columns).fetchall()]
    connection.execute(sql.HIDE, {"instances": instances})
    recount(connection, studies)
    connection.execute(sql.FORGET_REFERENCES, {"notes": notes})
    connection.execute(sql.APPLIED, {"notes": notes})


def lock(connection: Connection, instances: Sequence[int], studies: set[int]) -> None:
    """Keep everybody else from adding to these studies until the end of the transaction."""
    connection.execute(sql.LOCK_INSTANCES, {"instances": list(instances)})
    connection.execute(sql.LOCK_SERIES, {"studies": sorted(studies)})
    connection.execute(sql.LOCK_STUDIES, {"studies": sorted(studies)})


def recount(connection: Connection, studies: set[int]) -> None:
    """Set the counters of locked studies by their rows, and begin a new epoch."""
    connection.execute(sql.RECOUNT_SERIES, {"studies": sorted(studies)})
    connection.execute(sql.RECOUNT_STUDIES, {"studies": sorted(studies)})


def again_after_deadlock(work: Callable[[], T]) -> T:
    """Do the work; once more if it and those who store waited for each other."""
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except psycopg.errors.DeadlockDetected:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _activate(connection: Connection, waiting: Sequence[int]) -> set[int]:
    """Decide which notes are active; give those that were not before, or are not any more."""
    notes, rejected_by = _around(connection, waiting)
    rows = connection.execute(sql.NOTES_OF, {"notes": sorted(notes)}).fetchall()
    capable = {note: bool(may) for note, may, _ in rows}
    active = active_notes(capable, rejected_by)
    connection.execute(sql.ACTIVATE, {"notes": sorted(notes), "active": sorted(active)})
    return {note for note, _, was in rows if was != (note in active)}


def _around(connection: Connection, waiting: Sequence[int]) -> tuple[set[int], dict[int, set[int]]]:
    """All notes that reject each other with these, and by which each is rejected."""
    notes, frontier = set(waiting), set(waiting)
    rejected_by: dict[int, set[int]] = {}
    while frontier:
        found = connection.execute(sql.EDGES, {"notes": sorted(frontier)}).fetchall()
        for note, target, stale in found:
            if not stale:
                rejected_by.setdefault(target, set()).add(note)
        frontier = {note for note, target, _ in found for note in (note, target)} - notes
        notes |= frontier
    return notes, rejected_by


def active_notes(capable: Mapping[int, bool], rejected_by: Mapping[int, set[int]]) -> set[int]:
    """The notes that are capable of rejecting and that no active note rejects.

    Whatever the order they came in. Notes that reject each other in a circle, which nobody means, all stay active: what
    is hidden by mistake can be looked for, what is shown by mistake is believed.
    """
    open_notes = {note for note, may in capable.items() if may}
    active: set[int] = set()
    while True:
        known = {note for note in open_notes if not rejected_by.get(note, set()) & open_notes}
        if not known:
            return active | open_notes
        active |= known
        open_notes -= known
        open_notes = {note for note in open_notes if not rejected_by.get(note, set()) & active}


def _columns(references: Sequence[Reference]) -> dict[str, list[str]]:
    return {
        "studies": [reference.study_instance_uid for reference in references],
        "series": [reference.series_instance_uid for reference in references],
        "instances": [reference.sop_instance_uid for reference in references],
    }
