"""The review list, and persons with their patients, as far as the reader may know them.

Who decides for a hospital sees what it knows itself. Of a record of another hospital they see how it compares, and its
name, birth date and numbers only where they may see one of its studies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Engine, Select, func, select, text

from archive.access import visible
from archive.database import fetch
from archive.errors import NotFound
from archive.identity.models import IdentityIdentifier, IdentityRecord
from archive.identity.numbers import warnings_of
from archive.models import Facility, Study
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.reading import Reader
from archive.records import Scope
from config.settings import Settings

MOST: Final = 500


@dataclass(frozen=True, slots=True)
class StudyOf:
    """A study of a record that the reader may see."""

    uid: str
    date: date | None
    description: str
    modalities: tuple[str, ...]
    facility: str
    images: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """A number of a record, with what it contradicts."""

    kind: str
    value: str
    issuer: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """A record as the reader may see it. Of one that is not `shown`, everything that says who it is is empty."""

    record: int
    person: int
    patient: int | None
    issuer: str
    facilities: tuple[str, ...]
    """Where it is known: by its issuer, or by studies."""
    shown: bool
    own: bool
    """It is known to a facility for which the reader decides."""
    number: str
    name: str
    birth_date: date | None
    birth_year: int | None
    sex: str
    phone: str
    how: str
    numbers: tuple[Numbered, ...]
    studies: tuple[StudyOf, ...]
    """Those that the reader may see, the latest first."""
    study_count: int
    """Of all facilities."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two records that may be the same person."""

    likelihood: float
    conflict: bool
    evidence: dict[str, tuple[str, float]]
    one: Side
    other: Side


class Reviews:
    """What there is to be decided, and what persons consist of. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, reader: Reader, settings: Settings) -> None:
        self._engine = engine
        self._reader = reader
        self._facilities = settings.peer_book().facilities
        self._by_issuer: dict[str, list[str]] = {}
        for code, facility in self._facilities.items():
            self._by_issuer.setdefault(facility.issuer, []).append(code)

    def open(self, caller: Caller, *, limit: int = 50, offset: int = 0) -> list[Pair]:
        """Pairs that the caller may decide about: contradictions first, then the likeliest. Raises `NotPermitted`."""
        found = fetch(self._engine, _OPEN, {**self._where(caller), "limit": min(limit, MOST), "offset": offset})
        # Of two persons, one pair is enough to decide by.
        rows = list({frozenset((row.one_person, row.other_person)): row for row in reversed(found)}.values())[::-1]
        sides = self._sides(caller, {number for row in rows for number in (row.record_id, row.other_id)})
        return [
            Pair(
                row.likelihood,
                row.conflict,
                {name: (level, bits) for name, (level, bits) in row.evidence.items()},
                sides[row.record_id],
                sides[row.other_id],
            )
            for row in rows
        ]

    def count(self, caller: Caller) -> int:
        """How many pairs there are, at most a thousand."""
        return int(fetch(self._engine, _COUNT, self._where(caller))[0][0])

    def person(self, caller: Caller, person: int) -> list[Side]:
        """The records of a person. Raises `NotFound` unless one is known to a facility of the caller, or a study of
        one may be seen."""
        caller.require(Right.IDENTITY)
        rows = fetch(self._engine, _RECORDS_OF, {"person": person})
        sides = self._sides(caller, {row[0] for row in rows})
        found = [sides[number] for number in sorted(sides)]
        if not any(side.own or side.shown for side in found):
            raise NotFound("no such person is known to your facility")
        return found

    def studies_of(self, scope: Scope, study: str) -> list[str]:
        """All studies of the person whose study this is that the caller may see, that one first, then the latest.

        Raises `NotFound` if the caller may not see this one.
        """
        own = select(Study.id, Study.patient_id).where(
            Study.study_instance_uid == study, Study.quarantine == "", visible(scope)
        )
        found = self._reader.fetch(scope, own)
        if not found:
            raise NotFound("no such study")
        given = {"patient": found[0].patient_id}
        patients = [int(row[0]) for row in fetch(self._engine, _SAME, given)] or [found[0].patient_id]
        uids = [row.study_instance_uid for row in self._reader.fetch(scope, _studies(scope, patients))]
        return [study, *(uid for uid in uids if uid != study)]

    def elsewhere(self, scope: Scope, studies: Sequence[str]) -> dict[str, int]:
        """Of each of these studies: how many more of the same person there are under other numbers.

        Only those that the caller may see are counted; studies without any are left out.
        """
        if not studies:
            return {}
        own = select(Study.study_instance_uid, Study.patient_id).where(
            Study.study_instance_uid.in_(studies), Study.quarantine == "", visible(scope)
        )
        patients = {row.study_instance_uid: row.patient_id for row in self._reader.fetch(scope, own)}
        others: dict[int, set[int]] = {}
        for row in fetch(self._engine, _OTHERS, {"patients": sorted(set(patients.values()))}):
            others.setdefault(row.mine, set()).add(row.theirs)
        if not others:
            return {}
        theirs = sorted(set().union(*others.values()))
        found = select(Study.patient_id, func.count().label("studies")).group_by(Study.patient_id)
        counted = found.where(Study.patient_id.in_(theirs), Study.quarantine == "", visible(scope))
        count = {row.patient_id: row.studies for row in self._reader.fetch(scope, counted)}
        more = {study: sum(count.get(each, 0) for each in others.get(patients[study], ())) for study in patients}
        return {study: number for study, number in more.items() if number}

    # -- parts -------------------------------------------------------------------------------------------------------

    def _where(self, caller: Caller) -> dict[str, Any]:
        caller.require(Right.IDENTITY)
        where = caller.rights[Right.IDENTITY]
        if where is None:
            return {"everywhere": True, "issuers": [], "facilities": []}
        issuers = [self._facilities[code].issuer for code in where if code in self._facilities]
        return {"everywhere": False, "issuers": issuers, "facilities": sorted(where)}

    def _sides(self, caller: Caller, records: Iterable[int]) -> dict[int, Side]:
        wanted = sorted(records)
        if not wanted:
            return {}
        rows = fetch(
            self._engine, select(IdentityRecord).where(IdentityRecord.id.in_(wanted)).with_only_columns(*_COLUMNS)
        )
        numbers = self._numbers(wanted)
        patients = [row.patient_id for row in rows if row.patient_id is not None]
        seen = self._studies(caller, patients)
        all_of_them = self._known(patients)
        where = caller.rights[Right.IDENTITY]
        sides = {}
        for row in rows:
            known = all_of_them.get(row.patient_id, {})
            at = tuple(sorted({*self._by_issuer.get(row.issuer, ()), *known}))
            own = where is None or any(code in where for code in at)
            studies = seen.get(row.patient_id, ())
            sides[row.id] = _side(row, numbers.get(row.id, []), at, own, studies, sum(known.values()))
        return sides

    def _numbers(self, records: Sequence[int]) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        wanted = select(
            IdentityIdentifier.record_id, IdentityIdentifier.kind, IdentityIdentifier.value, IdentityIdentifier.issuer
        )
        for row in fetch(
            self._engine, wanted.where(IdentityIdentifier.record_id.in_(records)).order_by(IdentityIdentifier.kind)
        ):
            found.setdefault(row.record_id, []).append(row)
        return found

    def _studies(self, caller: Caller, patients: Sequence[int]) -> dict[int | None, tuple[StudyOf, ...]]:
        """What the caller may see of these patients, by the one predicate."""
        if not patients or not caller.may(Right.VIEW):
            return {}
        scope = caller.scope()
        found: dict[int | None, tuple[StudyOf, ...]] = {}
        for row in self._reader.fetch(scope, _studies(scope, patients)):
            study = StudyOf(
                row.study_instance_uid,
                row.study_date,
                row.study_description,
                tuple(row.modalities_in_study),
                row.code,
                row.instance_count,
            )
            found[row.patient_id] = (*found.get(row.patient_id, ()), study)
        return found

    def _known(self, patients: Sequence[int]) -> dict[int | None, dict[str, int]]:
        """Of each patient: at which facilities there are how many studies. Counts, nothing that is in them."""
        found: dict[int | None, dict[str, int]] = {}
        for row in fetch(self._engine, _KNOWN, {"patients": list(patients)}):
            found.setdefault(row.patient_id, {})[row.code] = row.studies
        return found


def _studies(scope: Scope, patients: Sequence[int]) -> Select[Any]:
    columns = (
        Study.patient_id,
        Study.study_instance_uid,
        Study.study_date,
        Study.study_description,
        Study.modalities_in_study,
        Study.instance_count,
        Facility.code,
    )
    found = select(*columns).join(Facility, Facility.id == Study.facility_id)
    wanted: Select[Any] = found.where(Study.patient_id.in_(patients), Study.quarantine == "", visible(scope))  # type: ignore[assignment]
    return wanted.order_by(Study.study_date.desc().nulls_last(), Study.id.desc()).limit(MOST)


def _side(
    row: Any,
    numbers: Sequence[Any],
    facilities: tuple[str, ...],
    own: bool,
    studies: tuple[StudyOf, ...],
    study_count: int,
) -> Side:
    shown = own or bool(studies)
    return Side(
        record=row.id,
        person=row.person_id,
        patient=row.patient_id,
        issuer=row.issuer,
        facilities=facilities,
        shown=shown,
        own=own,
        number=row.number if shown else "",
        name=row.name if shown else "",
        birth_date=row.birth_date if shown else None,
        birth_year=row.birth_year if shown else None,
        sex=row.sex if shown else "",
        phone=row.phone if shown else "",
        how=row.how,
        numbers=tuple(_numbered(row, each) for each in numbers) if shown else (),
        studies=studies,
        study_count=study_count,
    )


def _numbered(row: Any, number: Any) -> Numbered:
    warnings = warnings_of(number.value, row.birth_date, row.birth_year, row.sex) if number.kind == "citizen" else []
    return Numbered(number.kind, number.value, number.issuer, tuple(warnings))


_COLUMNS: Final = (
    IdentityRecord.id,
    IdentityRecord.person_id,
    IdentityRecord.patient_id,
    IdentityRecord.issuer,
    IdentityRecord.number,
    IdentityRecord.name,
    IdentityRecord.birth_date,
    IdentityRecord.birth_year,
    IdentityRecord.sex,
    IdentityRecord.phone,
    IdentityRecord.how,
)
_OF_FACILITY: Final = """
(record.issuer = ANY(:issuers)
 OR EXISTS (SELECT FROM study JOIN facility ON facility.id = study.facility_id
             WHERE study.patient_id = record.patient_id AND study.quarantine = ''
               AND facility.code = ANY(:facilities)))
"""
_PAIRS: Final = f"""
  FROM identity_candidate AS candidate
  JOIN identity_record AS one ON one.id = candidate.record_id JOIN identity_record AS other ON other.id = other_id
 WHERE one.person_id <> other.person_id
   AND (:everywhere OR EXISTS (SELECT FROM identity_record AS record
                                WHERE record.id IN (candidate.record_id, candidate.other_id) AND {_OF_FACILITY}))
"""
_OPEN: Final = text(f"""
SELECT candidate.record_id, candidate.other_id, likelihood, conflict, evidence,
       one.person_id AS one_person, other.person_id AS other_person
{_PAIRS}
 ORDER BY conflict DESC, likelihood DESC, candidate.record_id LIMIT :limit OFFSET :offset
""")
_COUNT: Final = text(f"SELECT count(*) FROM (SELECT 1 {_PAIRS} LIMIT 1000) AS found")  # noqa: S608
_RECORDS_OF: Final = text("""
WITH RECURSIVE chain AS (
    SELECT id, merged_into FROM person WHERE id = :person
    UNION SELECT person.id, person.merged_into FROM chain JOIN person ON person.id = chain.merged_into)
SELECT record.id FROM identity_record AS record JOIN chain ON chain.id = record.person_id AND merged_into IS NULL
 ORDER BY record.id LIMIT 200
""")
_SAME: Final = text("""
SELECT theirs.patient_id FROM patient_person AS mine JOIN patient_person AS theirs ON theirs.person_id = mine.person_id
 WHERE mine.patient_id = :patient
""")
_OTHERS: Final = text("""
SELECT mine.patient_id AS mine, theirs.patient_id AS theirs
  FROM patient_person AS mine JOIN patient_person AS theirs ON theirs.person_id = mine.person_id
 WHERE mine.patient_id = ANY(:patients) AND theirs.patient_id <> mine.patient_id
 LIMIT 10000
""")
_KNOWN: Final = text("""
SELECT study.patient_id, facility.code, count(*) AS studies
  FROM study JOIN facility ON facility.id = study.facility_id
 WHERE study.patient_id = ANY(:patients) AND study.quarantine = '' AND study.instance_count > 0
 GROUP BY 1, 2
""")
