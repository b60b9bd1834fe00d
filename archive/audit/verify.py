"""Proves the audit trail: every hash, every number, and every anchor against its copies.

What it finds: records that were changed, taken away, added, put in another order; segments that are gone; a tail that
was cut off; anchors that were changed, taken away or forged. It looks at one moment of the database, and may run while
the archive serves.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import psycopg

from archive.audit.anchors import PREFIX, key_of, signature
from archive.audit.chain import COLUMNS, chained, genesis
from archive.database import connect, first_line
from archive.errors import IndexUnavailable
from config.settings import DatabaseSettings
from storage.base import ObjectStore
from storage.errors import ObjectNotFound

PAGE: Final = 2000
MOST_FINDINGS: Final = 1000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written."""

    place: str
    """``segment 3``, ``record 3-17``, ``anchor 9``."""
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(slots=True)
class _Known:
    """What the anchors say of one segment."""

    heads: dict[int, bytes] = field(default_factory=dict)
    closed: tuple[int, bytes] | None = None
    expired: bool = False


@dataclass(slots=True)
class Verified:
    """What one run looked at, and what is wrong."""

    segments: int = 0
    expired: int = 0
    records: int = 0
    anchors: int = 0
    unanchored: int = 0
    """Records that no anchor tells of yet: whoever can write to the database could still cut these off."""
    signed: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.findings

    def found(self, place: str, text: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(place, text))


def verify(
    database: DatabaseSettings,
    store: ObjectStore,
    keys: Sequence[str] = (),
    progress: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Check all of the trail. `keys` may have signed anchors, the first of them the newest.

    Raises `IndexUnavailable`, `StorageError`.
    """
    done = Verified(signed=bool(keys))
    # Before the moment that is looked at: an anchor is in the database before it is in the object store.
    copies = {int(key.removeprefix(PREFIX)) for key in store.keys(PREFIX)}
    connection = connect(database, "pacs audit verify")
    try:
        with connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            known = _anchors(connection, _Copies(store, copies), keys, done)
            _segments(connection, known, done, progress)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise IndexUnavailable(f"the index cannot serve now: {first_line(error)}") from error
    return done


# --- anchors


class _Copies:
    """What the object store has of the anchors."""

    def __init__(self, store: ObjectStore, numbers: set[int]) -> None:
        self._store = store
        self._lasting = store.name != "memory"
        self.numbers = numbers

    def check(self, number: int, body: str, *, copied: bool, done: Verified) -> None:
        """Compare the copy, where there must be one."""
        if not (self._lasting and (copied or number in self.numbers)):
            return
        try:
            with self._store.open(key_of(number)) as reader:
                copy = orjson.loads(reader.read())
        except ObjectNotFound:
            done.found(f"anchor {number}", "the object store has lost its copy")
        except ValueError:
            done.found(f"anchor {number}", "its copy in the object store cannot be read")
        else:
            if not isinstance(copy, dict) or copy.get("body") != body:
                done.found(f"anchor {number}", "its copy in the object store says something else")


def _anchors(connection: Connection, copies: _Copies, keys: Sequence[str], done: Verified) -> dict[int, _Known]:
    known: dict[int, _Known] = {}
    before, expected, signed_before = b"", 1, False
    statement = "SELECT number, body, digest, signature, copied FROM audit_anchor ORDER BY number"
    for number, body, digest, signed, copied in _rows(connection, "anchors", statement):
        place = f"anchor {number}"
        if number > expected:
            gone = f"anchor {expected}" if number == expected + 1 else f"anchors {expected} to {number - 1}"
            done.found(gone, "taken away, or lost when the database was restored")
        expected = number + 1
        done.anchors += 1
        if hashlib.sha256(body.encode()).digest() != digest:
            done.found(place, "was changed: its hash is another")
        if signed or signed_before:
            # Those before the first signed one are vouched for by it.
            signed_before = True
            if keys and not any(hmac.compare_digest(signature(key, body), signed) for key in keys):
                done.found(place, "is not signed by our key")
        said = _said(body)
        if said is None or said["number"] != number or said["before"] != before.hex():
            done.found(place, "does not follow the one before")
        before = digest
        copies.check(number, body, copied=copied, done=done)
        for segment, sequence, head, state in said["segments"] if said else ():
            _learn(known.setdefault(segment, _Known()), sequence, bytes.fromhex(head), state)
    for number in sorted(number for number in copies.numbers if number >= expected):
        done.found(f"anchor {number}", "is in the object store and not in the database")
    if keys and done.anchors and not signed_before:
        done.found(f"anchor {expected - 1}", "is not signed, and there is a key")
    return known


def _said(body: str) -> dict[str, Any] | None:
    try:
        said: dict[str, Any] = orjson.loads(body)
        return said if {"number", "before", "segments"} <= set(said) else None
    except (ValueError, TypeError):
        return None


def _learn(known: _Known, sequence: int, head: bytes, state: str) -> None:
    if sequence:
        known.heads.setdefault(sequence, head)
    if state != "open" and known.closed is None:
        known.closed = (sequence, head)
    known.expired |= state == "expired"


# --- records


def _segments(
    connection: Connection, known: dict[int, _Known], done: Verified, progress: Callable[[int], None]
) -> None:
    expected = 1
    rows = connection.execute("SELECT id, records, head, closed_at, expired_at FROM audit_segment ORDER BY id")
    for number, records, head, closed_at, expired_at in rows.fetchall():
        for missing in range(expected, number):
            done.found(f"segment {missing}", "was taken away")
        expected = number + 1
        done.segments += 1
        anchored = known.pop(number, _Known())
        if expired_at is not None:
            _check_expired(number, (records, head), anchored, done)
            continue
        count, last = _check_records(connection, number, anchored, done)
        if closed_at is not None and (count, last if count else b"") != (records, head):
            done.found(f"segment {number}", f"was closed with {records} records, and has {count} or another end")
        if anchored.closed is not None and anchored.closed[0] != count:
            done.found(f"segment {number}", f"an anchor closed it with {anchored.closed[0]} records, it has {count}")
        if anchored.closed is not None and closed_at is None:
            done.found(f"segment {number}", "an anchor closed it, and it is open")
        progress(done.records)
    for number in sorted(known):
        done.found(f"segment {number}", "an anchor tells of it, and it is gone")
    _check_strays(connection, done)


def _check_expired(number: int, now: tuple[int, bytes], anchored: _Known, done: Verified) -> None:
    done.expired += 1
    if anchored.closed != (now[0], bytes(now[1])):
        done.found(f"segment {number}", "its records were deleted without an anchor that closed it")


def _check_strays(connection: Connection, done: Verified) -> None:
    strays = connection.execute(
        "SELECT segment_id, count(*) FROM audit_record LEFT JOIN audit_segment ON audit_segment.id = segment_id "
        "WHERE audit_segment.id IS NULL OR expired_at IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    for number, count in strays.fetchall():
        done.found(f"segment {number}", f"{count} records are where there is no segment")


def _check_records(connection: Connection, segment: int, anchored: _Known, done: Verified) -> tuple[int, bytes]:
    """Follow the chain; give how many records there are, and the hash of the last."""
    before, expected, count = genesis(segment), 1, 0
    heads = dict(anchored.heads)
    columns = ", ".join(COLUMNS)
    statement = f"SELECT sequence, hash, {columns} FROM audit_record WHERE segment_id = {segment:d} ORDER BY sequence"
    for sequence, stored, *values in _rows(connection, "records", statement):
        place = f"record {segment}-{sequence}"
        count += 1
        done.records += 1
        if sequence != expected:
            gone = f"{expected}" if sequence == expected + 1 else f"{expected} to {sequence - 1}"
            done.found(place, f"follows none: {gone} taken away" if sequence > expected else "has a number twice")
        elif stored != chained(before, segment, sequence, dict(zip(COLUMNS, values, strict=True))):
            done.found(place, "was changed, or does not follow the one before")
        if heads.pop(sequence, stored) != stored:
            done.found(place, "an anchor has another hash of it")
        before, expected = bytes(stored), sequence + 1
    if heads:
        done.found(f"segment {segment}", f"ends with {expected - 1}, anchors have up to {max(heads)}: cut off")
    done.unanchored += max(0, expected - 1 - max(anchored.heads, default=0))
    return expected - 1 if count else 0, before


def _rows(connection: Connection, name: str, statement: str) -> Iterator[Any]:
    """Rows by a cursor of the server, so that memory stays bounded."""
    with connection.cursor(name=name) as cursor:
        cursor.itersize = PAGE
        yield from cursor.execute(statement.encode())
