"""Who is who: what the other parts of the archive ask and do. Reach it as `archive.core.Archive.identities`.

Decisions are made by people with `Right.IDENTITY`, and by hospitals' systems for their own numbers (HL7 ADT). Each is
on record before it takes effect, has a number in the trace, and can be undone by that number.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Engine, text

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import fetch
from archive.errors import InvalidItem, NotFound, NotPermitted
from archive.identity import deciding, sql
from archive.identity.book import Book, lock
from archive.identity.deciding import Decision
from archive.identity.find import Finder
from archive.identity.records import Facts, Number, Record, describe
from archive.identity.score import Comparison
from archive.identity.trace import Act, Done, Event
from archive.index_session import Connection, IndexSession
from archive.people.caller import Caller
from archive.people.roles import Right
from config.settings import Settings

How = Literal["review", "hl7", "manual"]
Said = Literal["manual", "hl7", "fhir"]
LONGEST_REASON: Final = 1024
_LONGEST_NUMBER: Final = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person who may be meant."""

    person: int
    record: Record
    """The record of the person that fits best."""
    comparison: Comparison


class Identities:
    """Persons and their numbers. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, trail: Trail, settings: Settings) -> None:
        self._engine = engine
        self._trail = trail
        self._settings = settings
        self._facilities = settings.peer_book().facilities
        self._session = IndexSession(settings.database, "pacs identity")

    def close(self) -> None:
        """End its session."""
        self._session.close()

    # -- asked -------------------------------------------------------------------------------------------------------

    def person_of(self, patient: int) -> int | None:
        """The person of a row of ``patient``; None if it was not looked at yet."""
        rows = fetch(self._engine, _PERSON_OF, {"patient": patient})
        return int(rows[0][0]) if rows else None

    def person_of_number(self, number: Number) -> int | None:
        """The person whom a number belongs to; None if nobody has told of it."""
        rows = fetch(self._engine, _PERSON_OF_NUMBER, number._asdict())
        return int(rows[0][0]) if rows else None

    def patients_of(self, person: int) -> list[int]:
        """The rows of ``patient`` that are this person's; also of one who was merged into another."""
        rows = fetch(self._engine, _PATIENTS_OF, {"person": person})
        return [int(row[0]) for row in rows]

    def numbers_of(self, person: int) -> list[Number]:
        """The numbers by which hospitals know this person."""
        return [Number(*tuple(row)) for row in fetch(self._engine, _NUMBERS_OF, {"person": person})]

    def resolve(self, facts: Facts, number: Number | None = None, *, most: int = 10) -> list[Candidate]:
        """Who may be meant by what is known of somebody, the likeliest first. Nothing is written.

        `number` is one that is known under an issuer. What comes out names patients of all facilities: who gives it on
        must ask what the caller may see.
        """
        record = describe(*(number or Number("", "")), number.id if number else "", {"manual": facts})

        def work(connection: Connection) -> list[Candidate]:
            finder, book = Finder(connection, self._settings.identity), Book(connection)
            pairs = finder.by_numbers([record]) | finder.by_facts([record])
            if number is not None and (own := connection.execute(sql.FIND, number._asdict()).fetchone()):
                pairs.add((0, int(own[0])))
            records = finder.load_neighbours(book, pairs, {0: record})
            return _best(finder.compare(pairs, records), records)[:most]

        return self._session.run(work)

    def events_of(self, person: int, limit: int = 200) -> list[Event]:
        """What was done to a person, the latest first."""
        rows = fetch(self._engine, _EVENTS, {"person": person, "limit": limit})
        return [Event(*tuple(row)) for row in rows]

    # -- told --------------------------------------------------------------------------------------------------------

    def update(self, by: Caller, number: Number, facts: Facts, source: Said = "hl7") -> int:
        """Note what a hospital's system says of its patient (ADT A04, A08, A28, A31); give the person.

        What is said replaces what the same source said before. Raises `NotPermitted` for a number of another hospital,
        `InvalidItem`.
        """
        self._require_issuers(by, [number])
        _check(number)

        def work(connection: Connection) -> int:
            with connection.transaction():
                lock(connection)
                book = Book(connection)
                record = book.claim(source, {number: facts}, by.name)[number]
                return book.load([record])[record].person

        return self._session.run(work)

    # -- decided -----------------------------------------------------------------------------------------------------

    def merge(self, by: Caller, source: int, target: int, reason: str, *, how: How = "manual") -> Done:
        """Two persons are one: all of `source` goes to `target` (their numbers as persons).

        The caller needs `Right.IDENTITY` for a facility that one of them is known to. Raises `NotFound`,
        `NotPermitted`, `Conflict` if they are one already, `InvalidItem` without a reason.
        """
        self._require_persons(by, [source, target])
        return self._act(
            by,
            "merge",
            reason,
            lambda decision: deciding.merge(decision, source, target, how),
            persons=(source, target),
        )

    def merge_numbers(self, by: Caller, source: Number, target: Number, reason: str, *, how: How = "hl7") -> Done:
        """The patient known as `source` is the one known as `target` (ADT A40, and A24 which links two).

        Both must be numbers of a facility for which the caller has the right. Raises the same.
        """
        self._require_issuers(by, [source, target])
        return self._act(
            by,
            "merge",
            reason,
            lambda decision: deciding.merge_numbers(decision, source, target, how),
            (source, target),
        )

    def separate_numbers(self, by: Caller, number: Number, other: Number, reason: str, *, how: How = "hl7") -> Done:
        """The patients known by these two numbers are not the same (ADT A37). This is remembered. Raises the same."""
        self._require_issuers(by, [number, other])
        return self._act(
            by, "apart", reason, lambda decision: deciding.apart_numbers(decision, number, other, how), (number, other)
        )

    def move_number(self, by: Caller, number: Number, target: Number, reason: str, *, how: How = "hl7") -> Done:
        """This number belongs to the person known as `target`, not to who had it (ADT A43). Raises the same."""
        self._require_issuers(by, [number, target])
        return self._act(
            by, "move", reason, lambda decision: deciding.move(decision, number, target, how), (number, target)
        )

    def separate(self, by: Caller, record: int, reason: str) -> Done:
        """One record is somebody else than the rest of its person. Automatic links never join them again."""
        self._require_persons(by, [self._person_of_record(record)])
        return self._act(by, "separate", reason, lambda decision: deciding.separate(decision, record))

    def not_same(self, by: Caller, person: int, other: int, reason: str) -> Done:
        """Two persons are not the same: they are not proposed again, and never linked by themselves."""
        self._require_persons(by, [person, other])
        return self._act(by, "apart", reason, lambda decision: deciding.apart(decision, person, other))

    def unmerge(self, by: Caller, event: int, reason: str) -> Done:
        """Undo an act of the trace exactly: each record goes back to whom it belonged, for the reason it did.

        Raises `NotFound`; `Conflict` if it was undone already, or if what it moved was moved again since: that act is
        to be undone first, and the message names it.
        """
        persons = [int(row[0]) for row in fetch(self._engine, _PERSONS_OF_EVENT, {"event": event}) if row[0]]
        if not persons:
            raise NotFound("nothing was done under this number")
        self._require_persons(by, persons)
        return self._act(by, "undo", reason, lambda decision: deciding.undo(decision, event))

    def temporary(
        self,
        by: Caller,
        facility: str,
        kind: Literal["newborn", "unknown"],
        facts: Facts,
        *,
        mother: Number | None = None,
        order: int = 1,
        reason: str = "",
    ) -> tuple[Number, Done]:
        """A number for a newborn (the mother's with ``-SS`` and the order of birth) or for somebody unknown.

        When it is known who they are, `merge_numbers` with this number as the source. Raises `NotPermitted`,
        `InvalidItem`, `Conflict` if this child has one already.
        """
        by.require(Right.IDENTITY, facility)
        if facility not in self._facilities:
            raise InvalidItem.of({"facility": "is not one of this archive"})
        if kind == "newborn" and (mother is None or not mother.id or not 1 <= order <= 9):
            raise InvalidItem.of({"mother": "and the order of birth, 1 to 9, are needed for a newborn"})
        issuer = self._facilities[facility].issuer
        ticket = uuid.uuid4().hex
        wanted = deciding.Temporary(issuer, kind, facts, mother, order)
        done = self._act(by, "temporary", reason or kind, lambda each: deciding.temporary(each, wanted), ticket=ticket)
        (row,) = fetch(self._engine, _NUMBER_OF_EVENT, {"event": done.event})
        return Number(issuer, str(row[0])), done

    # -- parts -------------------------------------------------------------------------------------------------------

    def _act(
        self,
        by: Caller,
        action: str,
        reason: str,
        work: Callable[[Decision], Done],
        numbers: Sequence[Number] = (),
        *,
        persons: Collection[int] = (),
        ticket: str = "",
    ) -> Done:
        if not reason.strip() or len(reason) > LONGEST_REASON:
            raise InvalidItem.of({"reason": f"is needed, with at most {LONGEST_REASON} characters"})
        for number in numbers:
            _check(number)
        act = Act(action, by, reason.strip(), ticket or uuid.uuid4().hex)
        self._record(act, numbers, persons)

        def run(connection: Connection) -> Done:
            with connection.transaction():
                lock(connection)
                found = connection.execute(sql.EVENT_OF_TICKET, {"ticket": act.ticket}).fetchone()
                return Done(*found) if found else work(Decision(connection, Book(connection), act))

        return self._session.run(run)

    def _record(self, act: Act, numbers: Sequence[Number], persons: Collection[int]) -> None:
        first = numbers[0] if numbers else Number("", "")
        named = [f"{each.issuer}:{each.id}" for each in numbers] or [f"person {each}" for each in persons]
        self._trail.record(
            AuditEvent(
                Action.IDENTITY,
                act.caller,
                patient_id=first.id,
                issuer_of_patient_id=first.issuer,
                purpose=act.reason,
                detail={"what": act.action, "about": named, "ticket": act.ticket},
            )
        )

    def _require_issuers(self, by: Caller, numbers: Iterable[Number]) -> None:
        """A hospital's system decides about its own numbers."""
        by.require(Right.IDENTITY)
        where = by.rights[Right.IDENTITY]
        if where is None:
            return
        own = {self._facilities[code].issuer for code in where if code in self._facilities}
        if any(number.issuer not in own for number in numbers):
            raise NotPermitted("these are numbers of another facility")

    def _require_persons(self, by: Caller, persons: Sequence[int]) -> None:
        """Somebody decides where one of the persons is known to a facility of theirs."""
        by.require(Right.IDENTITY)
        where = by.rights[Right.IDENTITY]
        if where is not None and not self.known_to(where, persons):
            raise NotPermitted("none of these patients is known to your facility")

    def known_to(self, facilities: Collection[str], persons: Sequence[int]) -> bool:
        """Whether one of the persons has a number or a study of one of these facilities."""
        issuers = [self._facilities[code].issuer for code in facilities if code in self._facilities]
        given = {"persons": list(persons), "issuers": issuers, "facilities": sorted(facilities)}
        return bool(fetch(self._engine, _KNOWN_TO, given))

    def _person_of_record(self, record: int) -> int:
        rows = fetch(self._engine, text("SELECT person_id FROM identity_record WHERE id = :id"), {"id": record})
        if not rows:
            raise NotFound("there is no such patient")
        return int(rows[0][0])


def _check(number: Number) -> None:
    for part in number:
        if not part.strip() or len(part) > _LONGEST_NUMBER or not part.isprintable():
            raise InvalidItem.of({"number": f"and its issuer are needed, with at most {_LONGEST_NUMBER} characters"})


def _best(compared: dict[tuple[int, int], Comparison], records: dict[int, Record]) -> list[Candidate]:
    """Of each person the record that fits best."""
    best: dict[int, Candidate] = {}
    for pair, comparison in compared.items():
        record = records[max(pair)]
        before = best.get(record.person)
        if before is None or comparison.likelihood > before.comparison.likelihood:
            best[record.person] = Candidate(record.person, record, comparison)
    return sorted(best.values(), key=lambda each: (-each.comparison.likelihood, each.person))


_PERSON_OF: Final = text("SELECT person_id FROM patient_person WHERE patient_id = :patient")
_PERSON_OF_NUMBER: Final = text("SELECT person_id FROM identity_record WHERE issuer = :issuer AND identity = :id")
_LIVING: Final = """
(WITH RECURSIVE chain AS (
     SELECT id, merged_into FROM person WHERE id = :person
     UNION SELECT person.id, person.merged_into FROM chain JOIN person ON person.id = chain.merged_into)
 SELECT id FROM chain WHERE merged_into IS NULL)
"""
_PATIENTS_OF: Final = text(
    f"SELECT patient_id FROM patient_person WHERE person_id = {_LIVING} ORDER BY patient_id"  # noqa: S608
)
_NUMBERS_OF: Final = text(
    f"SELECT issuer, identity FROM identity_record WHERE person_id = {_LIVING} AND number <> '' ORDER BY id"  # noqa: S608
)
_EVENTS: Final = text("""
SELECT event.id, event.at, event.action, event.person_id, event.other_person_id, event.caller, event.reason,
       event.detail, event.undoes, (SELECT later.id FROM identity_event AS later WHERE later.undoes = event.id)
  FROM identity_event AS event WHERE event.person_id = :person OR event.other_person_id = :person
 ORDER BY event.id DESC LIMIT :limit
""")
_PERSONS_OF_EVENT: Final = text("""
SELECT unnest(ARRAY[person_id, other_person_id]) FROM identity_event WHERE id = :event
""")
_NUMBER_OF_EVENT: Final = text("SELECT detail ->> 'number' FROM identity_event WHERE id = :event")
_KNOWN_TO: Final = text("""
SELECT 1 FROM identity_record AS record
 WHERE record.person_id = ANY(:persons)
   AND (record.issuer = ANY(:issuers)
        OR EXISTS (SELECT FROM study JOIN facility ON facility.id = study.facility_id
                    WHERE study.patient_id = record.patient_id AND study.quarantine = ''
                      AND facility.code = ANY(:facilities)))
 LIMIT 1
""")
