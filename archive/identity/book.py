"""Writes records and persons, within a transaction of the caller that holds `lock`.

All changes of who is whose go through `Book.assign`, so that what others read (``patient_person``, ``person``) says the
same as the records, and who may see patients while treating them is worked out again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from psycopg.rows import namedtuple_row

from archive.identity import sql
from archive.identity.numbers import Identifier, Kind
from archive.identity.place import Moved, Place, place_of
from archive.identity.records import Facts, Number, Record, describe, of_dicom
from archive.index_session import Connection

UNKNOWN: Final = Facts()
_KINDS: Final = {kind.value: kind for kind in Kind}


def lock(connection: Connection) -> None:
    """Be the only one who changes persons, until the end of the transaction."""
    connection.execute(sql.PLAN_ANEW)
    connection.execute(sql.LOCK, (sql.GATE,))


def named(connection: Connection, statement: str, given: Mapping[str, Any]) -> list[Any]:
    """All rows of a statement, with the names of their columns."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return list(cursor.execute(statement, given).fetchall())


class Book:
    """The records and persons, as one transaction sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- what is known -----------------------------------------------------------------------------------------------

    def enter_patients(self, patients: Sequence[int]) -> int:
        """Make or renew the records of these rows of ``patient``; give how many changed."""
        return self._enter(sql.PATIENTS, {"patients": list(patients)})

    def renew(self, records: Sequence[int]) -> int:
        """Work these records out again, after something was said of them."""
        return self._enter(sql.RECORDS, {"records": list(records)})

    def record_of(self, number: Number) -> int:
        """The record under a number; made if there is none."""
        return self.records_of([number])[number]

    def records_of(self, numbers: Collection[Number]) -> dict[Number, int]:
        """The same of several."""
        found = self._find(numbers)
        missing = [number for number in numbers if number not in found]
        if missing:
            rows = self._connection.execute(sql.FIND_PATIENTS, {"rows": _wanted(missing)}).fetchall()
            if rows:
                self.enter_patients([row[0] for row in rows])
                found.update(self._find(missing))
            new = [number for number in missing if number not in found]
            if new:
                self._add([describe(each.issuer, each.id, each.id, {"dicom": UNKNOWN}) for each in new])
                found.update(self._find(new))
        return found

    def claim(self, source: str, said: Mapping[Number, Facts], by: str) -> dict[Number, int]:
        """Note what somebody says of these numbers; give their records."""
        records = self.records_of(list(said))
        rows = [{"record_id": records[number], "facts": facts.to_json(), "by": by} for number, facts in said.items()]
        given = {"rows": json.dumps(rows), "source": source}
        changed = [int(row[0]) for row in self._connection.execute(sql.CLAIM, given).fetchall()]
        if changed:
            self.renew(changed)
        return records

    def load(self, records: Iterable[int]) -> dict[int, Record]:
        """These records with their numbers."""
        wanted = sorted(set(records))
        if not wanted:
            return {}
        return self._load(sql.LOAD, {"records": wanted})

    def load_with_persons(self, records: Collection[int]) -> dict[int, Record]:
        """These records, and all others of the same persons."""
        return self._load(sql.LOAD_WITH_PERSONS, {"records": sorted(records)}) if records else {}

    def load_of_persons(self, persons: Collection[int]) -> dict[int, Record]:
        """All records of these persons."""
        return self._load(sql.LOAD_OF_PERSONS, {"persons": sorted(persons)}) if persons else {}

    def living(self, person: int) -> int | None:
        """The person whom this one was merged into, or itself; None if there is no such person."""
        found = self._connection.execute(sql.LIVING, {"person": person}).fetchone()
        return None if found is None else int(found[0])

    # -- who is whose ------------------------------------------------------------------------------------------------

    def new_persons(self, count: int) -> list[int]:
        """Numbers for persons to come."""
        rows = self._connection.execute(sql.PERSON_IDS, {"count": count}).fetchall()
        return [int(row[0]) for row in rows]

    def add_person(self, kind: str = "known") -> int:
        """A person of whom nothing is known yet."""
        (number,) = self.new_persons(1)
        self._json(sql.ADD_PERSONS, [_person_row(number, [], kind)])
        return number

    def add_persons(self, groups: Sequence[Sequence[Record]]) -> list[int]:
        """A person for each of these groups of records, which are still to be assigned."""
        if not groups:
            return []
        numbers = self.new_persons(len(groups))
        rows = [_person_row(number, group) for number, group in zip(numbers, groups, strict=True)]
        self._json(sql.ADD_PERSONS, rows)
        return numbers

    def assign(self, places: Mapping[int, Place], known: Mapping[int, Record] | None = None) -> list[Moved]:
        """Put records to persons, who must exist; give what moved. Persons left without records are merged into the
        one who got most of theirs."""
        records = {**(known or {})}
        records.update(self.load(set(places) - set(records)))
        moved = [
            Moved(records[number], place_of(records[number]), place)
            for number, place in sorted(places.items())
            if (records[number].person, records[number].how) != (place.person, place.how)
        ]
        if not moved:
            return []
        self._json(sql.ASSIGN, [{"id": each.record.id, **each.after.to_json()} for each in moved])
        self._connection.execute(sql.MIRROR, {"records": [each.record.id for each in moved]})
        for each in moved:
            each.record.person, each.record.how = each.after.person, each.after.how
        self._settle(moved)
        return moved

    def _settle(self, moved: Sequence[Moved]) -> None:
        """Bring the persons up to date, and have it worked out who may see their patients."""
        went = [each for each in moved if each.before.person != each.after.person]
        persons = {place.person for each in moved for place in (each.before, each.after)}
        members: dict[int, list[Record]] = {person: [] for person in persons}
        for record in self.load_of_persons(persons).values():
            members[record.person].append(record)
        heirs: dict[int, Counter[int]] = {}
        for each in went:
            heirs.setdefault(each.before.person, Counter())[each.after.person] += 1
        before = self.persons(persons)
        rows = []
        for person, theirs in members.items():
            old = before[person]
            if theirs:
                rows.append({**_person_row(person, theirs, old["kind"]), "merged_into": None})
            elif person in heirs:
                rows.append({**old, "merged_into": heirs[person].most_common(1)[0][0]})
        self._json(sql.CHANGE_PERSONS, rows)
        self._reconsider_care(members, heirs)

    def _reconsider_care(self, members: Mapping[int, Sequence[Record]], heirs: Mapping[int, Counter[int]]) -> None:
        """Have it worked out who may see the patients of these persons; end at once what followed from a link that is
        gone."""

        def patients(persons: Iterable[int]) -> list[int]:
            found = {record.patient for person in persons for record in members[person]}
            return sorted(patient for patient in found if patient is not None)

        touched = {*heirs, *(person for to in heirs.values() for person in to)}
        parted = {each for person, to in heirs.items() if members[person] or len(to) > 1 for each in (person, *to)}
        if due := patients(touched):
            self._connection.execute(sql.CARE_DUE, {"patients": due})
        if ended := patients(parted):
            self._connection.execute(sql.END_CARE, {"patients": ended})

    def refresh_persons(self, persons: Collection[int]) -> None:
        """Repeat in these persons what their records say."""
        members: dict[int, list[Record]] = {}
        for record in self.load_of_persons(persons).values():
            members.setdefault(record.person, []).append(record)
        before = self.persons(list(members))
        rows = [
            {**_person_row(person, theirs, before[person]["kind"]), "merged_into": before[person]["merged_into"]}
            for person, theirs in members.items()
        ]
        self._json(sql.CHANGE_PERSONS, rows)

    def persons(self, persons: Collection[int]) -> dict[int, dict[str, Any]]:
        """The rows of these persons."""
        rows = named(self._connection, sql.PERSONS, {"persons": sorted(persons)})
        return {row.id: {**row._asdict(), "birth_date": _iso(row.birth_date)} for row in rows}

    def set_kind(self, person: int, kind: str) -> None:
        """Whether a person has a temporary number, and why."""
        self._connection.execute("UPDATE person SET kind = %s WHERE id = %s AND kind <> %s", (kind, person, kind))

    # -- parts -------------------------------------------------------------------------------------------------------

    def _load(self, statement: str, given: Mapping[str, Any]) -> dict[int, Record]:
        rows = self._connection.execute(statement, given).fetchall()
        return {row[0]: _loaded(*row) for row in rows}

    def _find(self, numbers: Iterable[Number]) -> dict[Number, int]:
        rows = self._connection.execute(sql.FIND_ALL, {"rows": _wanted(numbers)}).fetchall()
        return {Number(issuer, identity): int(number) for number, issuer, identity in rows}

    def _enter(self, statement: str, given: dict[str, Any]) -> int:
        rows = named(self._connection, statement, given)
        described = [_described(row) for row in rows]
        known = self.load(row.record for row in rows if row.record is not None)
        new = [record for record, row in zip(described, rows, strict=True) if row.record is None]
        if new:
            self._add(new)
        changed = []
        writes = []
        for record, row in zip(described, rows, strict=True):
            if row.record is None:
                continue
            old = known[row.record]
            differs = old.wholly != record.wholly
            record.id, record.person, record.how = old.id, old.person, old.how
            if differs or (old.seen, old.patient) != (record.seen, record.patient):
                writes.append({**_record_row(record), "id": record.id, "due": differs})
            if differs:
                changed.append((old, record))
        if writes:
            self._json(sql.CHANGE_RECORDS, writes)
            self._connection.execute(sql.MIRROR, {"records": [each["id"] for each in writes]})
        if changed:
            self._changed(changed)
        return len(new) + len(changed)

    def _changed(self, changed: Sequence[tuple[Record, Record]]) -> None:
        numbers = [record.id for _, record in changed]
        self._connection.execute(sql.CLEAR_NUMBERS, {"records": numbers})
        self._write_numbers(record for _, record in changed)
        names = Counter(record.name_key for _, record in changed)
        names.subtract(old.name_key for old, _ in changed)
        self._count_names(names)
        self.refresh_persons({record.person for _, record in changed})

    def _add(self, records: Sequence[Record]) -> None:
        persons = self.new_persons(len(records))
        self._json(
            sql.ADD_PERSONS, [_person_row(person, [each]) for person, each in zip(persons, records, strict=True)]
        )
        for person, each in zip(persons, records, strict=True):
            each.person = person
        rows = json.dumps([_record_row(each) for each in records], default=_iso)
        ids = {
            (issuer, identity): number
            for number, issuer, identity in self._connection.execute(sql.ADD_RECORDS, {"rows": rows}).fetchall()
        }
        for each in records:
            each.id = ids[each.issuer, each.identity]
        self._connection.execute(sql.MIRROR, {"records": [each.id for each in records]})
        self._write_numbers(records)
        self._count_names(Counter(each.name_key for each in records))

    def _write_numbers(self, records: Iterable[Record]) -> None:
        rows = [
            {"record_id": record.id, "kind": each.kind, "issuer": each.issuer, "value": each.value, "text": each.text}
            for record in records
            for each in record.identifiers
        ]
        if rows:
            self._json(sql.ADD_NUMBERS, rows)

    def _count_names(self, names: Counter[str]) -> None:
        rows = [{"name_key": name, "change": change} for name, change in names.items() if name and change]
        if rows:
            self._json(sql.COUNT_NAMES, rows)

    def _json(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._connection.execute(statement, {"rows": json.dumps(rows, default=_iso)})


def _wanted(numbers: Iterable[Number]) -> str:
    return json.dumps([{"issuer": each.issuer, "identity": each.id} for each in numbers])


def _described(row: Any) -> Record:
    said = {source: Facts.from_json(facts) for source, facts in (row.claims or {}).items()}
    if row.patient is not None:
        said["dicom"] = of_dicom(row.name, row.birth_date, row.sex, row.born, row.others, row.other_ids)
    number = row.identity if row.patient is None else row.number
    record = describe(row.issuer, row.identity, number, said)
    record.patient, record.seen = row.patient, row.seen or 0
    return record


def _loaded(
    number: int, numbers: Sequence[Sequence[str]] | None, score: float | None, by: str, at: datetime, *rest: Any
) -> Record:
    issuer, identity, own, name, born, year, sex, phone, patient, person, how, seen, name_fold, name_key, given = rest
    return Record(
        issuer=issuer,
        identity=identity,
        number=own,
        name=name,
        birth_date=born,
        birth_year=year,
        sex=sex,
        phone=phone,
        identifiers=tuple(Identifier(_KINDS[kind], *values) for kind, *values in numbers or ()),
        id=number,
        patient=patient,
        person=person,
        how=how,
        seen=seen,
        name_fold=name_fold,
        name_key=name_key,
        given=given,
        extra={"place": (score, by, at)},
    )


def _record_row(record: Record) -> dict[str, Any]:
    return {
        "issuer": record.issuer,
        "identity": record.identity,
        "number": record.number,
        "patient_id": record.patient,
        "person_id": record.person,
        "name": record.name,
        "name_fold": record.name_fold,
        "name_key": record.name_key,
        "given": record.given,
        "birth_date": record.birth_date,
        "birth_year": record.birth_year,
        "sex": record.sex,
        "phone": record.phone,
        "seen": record.seen,
    }


def _person_row(person: int, records: Sequence[Record], kind: str = "known") -> dict[str, Any]:
    """What a person's records say of it: the fullest names first, then what came first."""
    ordered = sorted(records, key=lambda each: (not each.name_key, each.name.isascii(), each.id))

    def first(values: Iterable[Any]) -> Any:
        return next((value for value in values if value), "")

    name = first(each.name for each in ordered)
    return {
        "id": person,
        "kind": kind,
        "citizen_id": first(min(each.citizens, default="") for each in ordered),
        "name": name,
        "name_fold": first(each.name_fold for each in ordered if each.name == name),
        "birth_date": first(each.birth_date for each in ordered) or None,
        "sex": first(each.sex for each in ordered),
    }


def _iso(value: Any) -> Any:
    """Dates and times as JSON has them."""
    if isinstance(value, datetime) or hasattr(value, "isoformat"):
        return value.isoformat()
    return value
