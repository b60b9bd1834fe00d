"""Anchors: what the trail was at one moment, written down where the trail is not.

A chain of hashes shows that a record was changed, not that its last records were cut off or all of it was written anew.
So each minute in which something happened an anchor is made: number and head of every segment that has grown, been
closed or expired since the one before, whose hash it names. It is signed, and kept in the database, in the object store
and in the log (and so wherever logs are sent).

A process tells of its own segments what it remembers, not what the database says. Segments of dead processes are closed
first, by whoever comes.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from archive.audit import sql
from archive.audit.trail import Head, Trail
from archive.index_session import Connection, IndexSession
from config.logs import fields
from storage.base import ObjectStore
from storage.errors import ObjectExists, ObjectNotFound

log = logging.getLogger(__name__)

PREFIX: Final = "audit/anchors/"
"""Of their keys in the object store."""

_OPEN: Final = "SELECT DISTINCT writer FROM audit_segment WHERE closed_at IS NULL AND writer <> %s"
_KEEPING: Final = ("access", "security")
_MOVED: Final = """
SELECT id, records, head, CASE WHEN expired_at IS NULL THEN -1 ELSE -2 END FROM audit_segment
 WHERE closed_at IS NOT NULL AND anchored <> CASE WHEN expired_at IS NULL THEN -1 ELSE -2 END ORDER BY id
"""
_ANCHORED: Final = "SELECT id, anchored FROM audit_segment WHERE id = ANY(%s) AND closed_at IS NULL"
_MARK: Final = "UPDATE audit_segment SET anchored = %s WHERE id = %s"
_LAST: Final = "SELECT number, digest FROM audit_anchor ORDER BY number DESC LIMIT 1"
_INSERT: Final = "INSERT INTO audit_anchor (number, body, digest, signature) VALUES (%s, %s, %s, %s)"
_UNCOPIED: Final = "SELECT number, body, signature FROM audit_anchor WHERE NOT copied ORDER BY number LIMIT 100"
_COPIED: Final = "UPDATE audit_anchor SET copied = true WHERE number = %s"


@dataclass(frozen=True, slots=True)
class Anchor:
    """One anchor, as it was made."""

    number: int
    digest: bytes
    segments: int


def key_of(number: int) -> str:
    """Where the object store has this anchor."""
    return f"{PREFIX}{number:012d}"


def signature(key: str, body: str) -> bytes:
    """What proves that whoever made the anchor had the key; nothing where there is none."""
    return hmac.digest(key.encode(), body.encode(), "sha256") if key else b""


def anchor(trail: Trail, store: ObjectStore, key: str) -> Anchor | None:
    """Make an anchor of what is new, and copy those that are not copied. None if nothing is new.

    Raises `IndexUnavailable`, `StorageError`.
    """
    session = trail.session
    close_dead(session)
    heads = trail.heads()
    made = session.run(lambda connection: _make(connection, store, heads, key))
    if made is not None:
        told = {"number": made.number, "digest": made.digest.hex(), "segments": made.segments}
        log.info("audit trail anchored", extra=fields(**told))
    copy(session, store)
    return made


def close_dead(session: IndexSession) -> None:
    """Close the segments of processes that have died. Raises `IndexUnavailable`."""

    def work(connection: Connection) -> None:
        for (writer,) in connection.execute(_OPEN, (session.writer,)).fetchall():
            # Got only when the process is dead; it would wait for it before it wrote on.
            (free,) = connection.execute("SELECT pg_try_advisory_lock(%s)", (writer,)).fetchone() or (False,)
            if free:
                try:
                    for keeping in _KEEPING:
                        connection.execute(sql.CLOSE, {"writer": writer, "keeping": keeping})
                finally:
                    connection.execute("SELECT pg_advisory_unlock(%s)", (writer,))

    session.run(work)


def copy(session: IndexSession, store: ObjectStore) -> int:
    """Put anchors into the object store that it does not have; give how many. Raises as `anchor`."""
    rows = session.run(lambda connection: connection.execute(_UNCOPIED).fetchall())
    for number, body, signed in rows:
        try:
            with store.create(key_of(number)) as writer:
                writer.write(orjson.dumps({"body": body, "signature": signed.hex()}))
                writer.commit()
        except ObjectExists:
            pass  # by another process, or by one that died before it could say so
        session.run(lambda connection, given=number: connection.execute(_COPIED, (given,)))  # type: ignore[misc]
    return len(rows)


def _make(connection: Connection, store: ObjectStore, heads: list[Head], key: str) -> Anchor | None:
    with connection.transaction():
        connection.execute(sql.LOCK, (sql.NUMBERING,))
        told: list[list[Any]] = []
        marks: list[tuple[int, int]] = []
        for number, records, head, state in connection.execute(_MOVED).fetchall():
            told.append([number, records, head.hex(), "closed" if state == -1 else "expired"])
            marks.append((state, number))
        before = dict(connection.execute(_ANCHORED, ([head.segment for head in heads],)).fetchall())
        for mine in heads:
            if mine.segment in before and mine.sequence > before[mine.segment]:
                told.append([mine.segment, mine.sequence, mine.hash.hex(), "open"])
                marks.append((mine.sequence, mine.segment))
        if not told:
            return None
        last, digest = connection.execute(_LAST).fetchone() or (0, b"")
        number = _free(store, last + 1)
        body = body_of(number, digest, told)
        made = Anchor(number, hashlib.sha256(body.encode()).digest(), len(told))
        connection.execute(_INSERT, (made.number, body, made.digest, signature(key, body)))
        for mark in marks:
            connection.execute(_MARK, mark)
        return made


def _free(store: ObjectStore, number: int) -> int:
    """This number; or, where the object store has it already, the next that it has not.

    So it is after the database was restored from a copy: the anchors since then must not be written over.
    """
    try:
        store.stat(key_of(number))
    except ObjectNotFound:
        return number
    return max(int(kept.removeprefix(PREFIX)) for kept in store.keys(PREFIX)) + 1


def body_of(number: int, before: bytes, segments: list[list[Any]]) -> str:
    """What an anchor says: its number, the moment, the hash of the one before, and the heads."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    values = {"number": number, "made_at": now, "before": before.hex(), "segments": segments}
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()
