"""What decisions do, each in one transaction that holds the lock of `archive.identity.book`.

A decision pins the records that it is about: nothing moves them by itself any more. What it moved stands in the trace
with how it was before, so it can be undone exactly, as long as nothing else has moved the same records since.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal

from archive.errors import Conflict, InvalidItem, NotFound
from archive.identity import sql
from archive.identity.book import Book, named
from archive.identity.place import Place
from archive.identity.records import Facts, Number, Record
from archive.identity.trace import Act, Done, write
from archive.index_session import Connection
from config import clock

MOST_RECORDS: Final = 200
"""Records of one person that can be decided about at once."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A transaction, and who decides in it."""

    connection: Connection
    book: Book
    act: Act

    def place(self, person: int, how: str) -> Place:
        """Where a record comes by this decision."""
        return Place(person, how, None, self.act.caller.name)


@dataclass(frozen=True, slots=True)
class Temporary:
    """A number that is wanted for somebody without one."""

    issuer: str
    kind: Literal["newborn", "unknown"]
    facts: Facts
    mother: Number | None
    order: int


def merge(decision: Decision, source: int, target: int, how: str) -> Done:
    """All of one person goes to the other."""
    book = decision.book
    gone, kept = book.living(source), book.living(target)
    if gone is None or kept is None:
        raise NotFound("there is no such person")
    if gone == kept:
        raise Conflict("they are one person already")
    theirs, ours = _records(book, [gone]), _records(book, [kept])
    together = _no_longer_apart(decision, theirs, ours)
    pinned = {record.id: decision.place(kept, how) for record in ours.values() if not record.decided}
    moving = {record.id: decision.place(kept, how) for record in theirs.values()}
    moved = book.assign({**pinned, **moving}, {**ours, **theirs})
    _due(decision, [*theirs, *ours])
    return write(decision.connection, decision.act, kept, moved, other=gone, together=together)


def merge_numbers(decision: Decision, source: Number, target: Number, how: str) -> Done:
    """The persons who are known by these numbers, either of which may be new."""
    records = _of_numbers(decision.book, [source, target])
    if records[source].person == records[target].person:
        # Said again, or found out before: it is a decision from now on.
        person = records[target].person
        pins = {each.id: decision.place(person, how) for each in records.values() if not each.decided}
        return write(decision.connection, decision.act, person, decision.book.assign(pins))
    return merge(decision, records[source].person, records[target].person, how)


def separate(decision: Decision, record: int, how: str = "manual") -> Done:
    """One record becomes a person of its own."""
    found = decision.book.load([record]).get(record)
    if found is None:
        raise NotFound("there is no such patient")
    rest = _records(decision.book, [found.person])
    rest.pop(record)
    if not rest:
        raise Conflict("this is the only number of this person")
    before, person = found.person, decision.book.add_person()
    moved = decision.book.assign({record: decision.place(person, how)}, {record: found})
    done = write(decision.connection, decision.act, person, moved, other=before)
    _apart(decision, done.event, [record], rest)
    _due(decision, [record, *rest])
    return done


def apart(decision: Decision, person: int, other: int) -> Done:
    """Two persons are not one."""
    book = decision.book
    one, two = book.living(person), book.living(other)
    if one is None or two is None:
        raise NotFound("there is no such person")
    if one == two:
        raise Conflict("they are one person: take the patient out of it instead")
    ours, theirs = _records(book, [one]), _records(book, [two])
    done = write(decision.connection, decision.act, one, [], other=two)
    _apart(decision, done.event, ours, theirs)
    return done


def apart_numbers(decision: Decision, number: Number, other: Number, how: str) -> Done:
    """The patients of two numbers are not one; if they were, the first is taken out."""
    records = _of_numbers(decision.book, [number, other])
    if records[number].person == records[other].person:
        return separate(decision, records[number].id, how)
    return apart(decision, records[number].person, records[other].person)


def move(decision: Decision, number: Number, target: Number, how: str) -> Done:
    """A number goes to another person."""
    records = _of_numbers(decision.book, [number, target])
    moving, goal = records[number], records[target]
    if moving.person == goal.person:
        return merge_numbers(decision, number, target, how)
    before = moving.person
    left = _records(decision.book, [before])
    left.pop(moving.id)
    members = _records(decision.book, [goal.person])
    together = _no_longer_apart(decision, [moving.id], members)
    places = {
        each.id: decision.place(goal.person, how) for each in (moving, goal) if each is moving or not each.decided
    }
    moved = decision.book.assign(places)
    done = write(decision.connection, decision.act, goal.person, moved, other=before, together=together)
    if left:
        _apart(decision, done.event, [moving.id], left)
    _due(decision, [moving.id, *left, *members])
    return done


def temporary(decision: Decision, wanted: Temporary) -> Done:
    """A new record and person with a temporary number."""
    number = Number(wanted.issuer, _free_number(decision, wanted))
    book = decision.book
    record = book.claim("manual", {number: wanted.facts}, decision.act.caller.name)[number]
    person = book.load([record])[record].person
    book.set_kind(person, wanted.kind)
    moved = book.assign({record: decision.place(person, "manual")})
    mother = list(wanted.mother or ())
    return write(decision.connection, decision.act, person, moved, number=number.id, kind=wanted.kind, mother=mother)


def undo(decision: Decision, event: int) -> Done:
    """Put back what an act moved, and what it said about who is not the same."""
    (found,) = named(decision.connection, sql.EVENT, {"event": event}) or (None,)
    if found is None or found.action in ("undo", "temporary"):
        raise NotFound("nothing that can be undone was done under this number")
    if found.undone_by is not None:
        raise Conflict("it was undone already")
    entries: list[dict[str, Any]] = found.detail["moved"]
    records = decision.book.load(entry["record"] for entry in entries)
    for entry in entries:
        record, after = records[entry["record"]], entry["after"]
        if (record.person, record.how) != (after["person_id"], after["how"]):
            raise Conflict(_moved_since(decision, event, record))
    moved = decision.book.assign({entry["record"]: _place(entry["before"]) for entry in entries}, records)
    decision.connection.execute(sql.FORGET_APART, {"event": event})
    rows = found.detail.get("together", [])
    decision.connection.execute(sql.APART_AGAIN, {"rows": json.dumps(rows)})
    done = write(decision.connection, decision.act, found.person_id, moved, other=found.other_person_id, undoes=event)
    if found.action == "link":
        # The numbers that linked them are still there; they must not do so again.
        persons = {place["person_id"] for entry in entries for place in (entry["before"], entry["after"])}
        members: dict[int, list[int]] = {}
        for number, record in _records(decision.book, persons).items():
            members.setdefault(record.person, []).append(number)
        for person, other in combinations(members.values(), 2):
            _apart(decision, done.event, person, other)
    _due(decision, [*records])
    return done


def _moved_since(decision: Decision, event: int, record: Record) -> str:
    found = decision.connection.execute(
        "SELECT max(id) FROM identity_event WHERE id > %s AND detail -> 'moved' @> %s::jsonb",
        (event, json.dumps([{"record": record.id}])),
    ).fetchone()
    later = found[0] if found and found[0] else "a later one"
    return f"what it moved was moved again since: undo {later} first"


def _of_numbers(book: Book, numbers: Collection[Number]) -> dict[Number, Record]:
    ids = book.records_of(numbers)
    if len(ids) < len(numbers):
        raise InvalidItem.of({"number": "is the same twice"})
    records = book.load(ids.values())
    return {number: records[each] for number, each in ids.items()}


def _records(book: Book, persons: Collection[int]) -> dict[int, Record]:
    records = book.load_of_persons(persons)
    if len(records) > MOST_RECORDS:
        raise Conflict(f"a person with more than {MOST_RECORDS} numbers cannot be decided about as a whole")
    return records


def _apart(decision: Decision, event: int, ones: Collection[int], others: Collection[int]) -> None:
    given = {"event": event, "ones": list(ones), "others": list(others)}
    decision.connection.execute(sql.ADD_APART, given)
    decision.connection.execute(
        "DELETE FROM identity_candidate WHERE (record_id = ANY(%(ones)s) AND other_id = ANY(%(others)s))"
        " OR (record_id = ANY(%(others)s) AND other_id = ANY(%(ones)s))",
        given,
    )


def _no_longer_apart(decision: Decision, ones: Collection[int], others: Collection[int]) -> list[dict[str, int]]:
    rows = decision.connection.execute(sql.NO_LONGER_APART, {"ones": list(ones), "others": list(others)}).fetchall()
    return [{"record_id": one, "other_id": other, "event_id": event} for one, other, event in rows]


def _due(decision: Decision, records: Collection[int]) -> None:
    """Have them looked at again: what is proposed about them may have changed."""
    decision.connection.execute("UPDATE identity_record SET due = true WHERE id = ANY(%s)", (list(records),))


def _place(found: dict[str, Any]) -> Place:
    return Place(found["person_id"], found["how"], found["score"], found["linked_by"], found["linked_at"])


def _free_number(decision: Decision, wanted: Temporary) -> str:
    def taken(identity: str) -> bool:
        given = {"issuer": wanted.issuer, "id": identity}
        row = decision.connection.execute(
            "SELECT FROM identity_record WHERE issuer = %(issuer)s AND identity = %(id)s"
            " UNION ALL SELECT FROM patient WHERE issuer = %(issuer)s AND identity = %(id)s",
            given,
        ).fetchone()
        return row is not None

    if wanted.mother is not None:
        number = f"{wanted.mother.id}-SS{wanted.order}"
        if len(number) > 64:
            raise InvalidItem.of({"mother": "has a number that is too long to add to"})
        if taken(number):
            raise Conflict("this child has a number already: give the next order of birth")
        return number
    day = clock.today()
    return next(number for n in range(1, 10_000) if not taken(number := f"VD{day:%y%m%d}-{n:02}"))
