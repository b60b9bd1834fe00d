"""The rows of ``patient``: what each register of patients knows of a person, with the mistakes of everyday.

A row is made when somebody comes to a register for the first time, or is registered again by mistake; whose it truly is
goes to the file of the truth.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archive.demo.generated import mistakes, persons
from archive.demo.generated.persons import Persons, citizen_id
from archive.demo.generated.places import ASCII_SHARE, HOSPITALS, PLACES, REGISTER_OF, TIER_OF, WRITES_CITIZEN_IDS, Tier
from archive.demo.generated.visits import DAY, OFFSET, Visits
from archive.demo.province import CITIZEN_ID_ISSUER
from archive.description import fold_name
from archive.standard.text import parse_date

INSURANCE_ISSUER: Final = "BHYT"
OLD_CARD_ISSUER: Final = "CMND"
_NEWBORN_DAYS: Final = 28
_GROUPS: Final = HOSPITALS + 1
"""Registers of the hospitals, and 0: that of the citizen numbers, which is the same everywhere."""
PREFIXED: Final = frozenset(range(1, _GROUPS, 2))
"""Registers whose numbers begin with letters; those of the others are the same digits in many hospitals."""


class Row(NamedTuple):
    """A row of ``patient`` as `COPY` takes it."""

    id: int
    issuer: str
    identity: str
    patient_id: str
    name: str
    name_fold: str
    birth_date: date | None
    sex: str
    attributes: str
    created_at: datetime


class Truth(NamedTuple):
    """Whose a row is."""

    patient: int
    issuer: str
    identity: str
    person: int
    citizen_id: str
    faults: str
    """What is wrong with the row, joined by ``+``."""


@dataclass(slots=True)
class _Wanted:
    """A row that is to be made."""

    person: int
    group: int
    place: int
    second: int
    arrived: int
    special: str = ""
    borrowed: str = ""
    study: str = ""
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class LookedUp:
    """What the registers said about some visits."""

    patients: list[int]
    """The row of each visit."""
    ids: list[tuple[str, str]]
    """Issuer and PatientID of each visit."""
    rows: list[Row] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)


class Registers:
    """Knows which row is whose in each register. About 64 bytes a person."""

    def __init__(self, people: Persons, seed: int) -> None:
        self._people = people
        self._rows = np.zeros((len(people), _GROUPS), np.int32)
        self._chance = random.Random(seed)  # noqa: S311  the same people for the same seed
        self._taken = set(map(int, people.citizen_numbers(slice(None))))
        self._borrowed: dict[int, str] = {}
        self._last = 0

    def look_up(self, visits: Visits, study_uids: list[str], rng: np.random.Generator) -> LookedUp:
        """The row of each visit, and the rows that are new."""
        count = len(visits)
        place, person = visits.place, visits.person
        uses_citizen_id = WRITES_CITIZEN_IDS[place] & (rng.random(count) < 0.86)
        group = np.where(uses_citizen_id, 0, REGISTER_OF[place] + 1)
        special = self._special(visits, group, rng)
        current = self._rows[person, group].astype(np.int64)
        again = (current > 0) & (group > 0) & (rng.random(count) < 0.012)
        wanted = (special != "") | (current == 0) | again
        found = current.tolist()
        done = LookedUp(found, [])
        ids: dict[int, tuple[str, str]] = {}
        seen: dict[tuple[int, int], int] = {}
        for at in np.flatnonzero(wanted).tolist():
            key = (int(person[at]), int(group[at]))
            if not special[at] and key in seen:
                found[at] = seen[key]
                continue
            new = _Wanted(*key, int(place[at]), int(visits.second[at]), int(visits.arrived[at]), str(special[at]))
            new.study = study_uids[at]
            if not (special[at] or again[at]) and key[1] and self._chance.random() < 0.02:
                new.borrowed = self._elsewhere(*key)
            row, truth = self._row(new)
            done.rows.append(row)
            done.truths.append(truth)
            found[at] = row.id
            if special[at]:
                ids[at] = row.issuer, row.patient_id
            else:
                seen[key] = self._rows[key] = row.id
                if new.borrowed:
                    self._borrowed[row.id] = row.patient_id
        groups = group.tolist()
        numbers = self._people.citizen_numbers(person).tolist()
        done.ids = [ids.get(at) or self._id(groups[at], found[at], numbers[at]) for at in range(count)]
        return done

    def _id(self, group: int, row: int, number: int) -> tuple[str, str]:
        if not group:
            return CITIZEN_ID_ISSUER, citizen_id(number)
        return PLACES[group - 1].code, self._borrowed.get(row) or local_id(group, row)

    def _special(self, visits: Visits, group: NDArray[Any], rng: np.random.Generator) -> NDArray[np.str_]:
        """Rows that are for one visit only: of newborns, of the unknown, without a number, with a wrong one."""
        count = len(visits)
        people = self._people
        special = np.full(count, "", "U8")
        draw = rng.random(count)
        special[(group == 0) & (draw < 0.004)] = "wrong"
        special[(TIER_OF[visits.place] == Tier.STATION) & (draw < 0.03)] = "none"
        special[visits.urgent & (TIER_OF[visits.place] > Tier.STATION) & (draw > 0.997)] = "unknown"
        age = visits.second // DAY - people.born[visits.person]
        special[(age < _NEWBORN_DAYS) & (people.mother[visits.person] >= 0)] = "newborn"
        return special

    def _elsewhere(self, person: int, group: int) -> str:
        """The number that the patient showed is that of another hospital."""
        for other in range(1, _GROUPS):
            if other != group and other in PREFIXED and (row := int(self._rows[person, other])):
                return local_id(other, row)
        return ""

    # -- one row -----------------------------------------------------------------------------------------------------

    def _row(self, wanted: _Wanted) -> tuple[Row, Truth]:
        self._last += 1
        people, person, chance = self._people, wanted.person, self._chance
        number = citizen_id(int(people.citizen_numbers(person)))
        issuer, patient_id = self._number(wanted, number)
        name = self._name(wanted)
        birth_date, given = self._birth_date(wanted)
        sex = "F" if people.woman[person] else "M"
        draw = chance.random()
        if draw < 0.012 or wanted.special == "unknown":
            sex = ""
        elif draw < 0.015:
            sex = "M" if sex == "F" else "F"
            wanted.faults.append("wrong_sex")
        others = self._other_ids(wanted, number) if wanted.group and wanted.special not in ("none", "unknown") else []
        identity = patient_id or f" study {wanted.study}"
        row = Row(
            id=self._last,
            issuer=issuer,
            identity=identity,
            patient_id=patient_id,
            name=name,
            name_fold=fold_name(name),
            birth_date=birth_date,
            sex=sex,
            attributes=_attributes(patient_id, issuer if wanted.group == 0 else "", name, given, sex, others),
            created_at=datetime.fromtimestamp(wanted.arrived - OFFSET, UTC),
        )
        truth = Truth(self._last, issuer, identity, person, number, "+".join(sorted(set(wanted.faults))))
        return row, truth

    def _number(self, wanted: _Wanted, number: str) -> tuple[str, str]:
        """Issuer and PatientID."""
        if wanted.group == 0:
            if wanted.special == "wrong":
                wanted.faults.append("citizen_id_digit")
                while int(wrong := mistakes.wrong_digit(number, self._chance)) in self._taken:
                    pass
                self._taken.add(int(wrong))
                return CITIZEN_ID_ISSUER, wrong
            if wanted.special in ("newborn", "unknown"):
                return PLACES[wanted.place].code, self._temporary(wanted)
            return CITIZEN_ID_ISSUER, number
        issuer = PLACES[wanted.group - 1].code
        if wanted.special in ("newborn", "unknown"):
            return issuer, self._temporary(wanted)
        if wanted.special == "none":
            wanted.faults.append("no_id")
            return issuer, ""
        if wanted.borrowed:
            wanted.faults.append("other_hospital_id")
            return issuer, wanted.borrowed
        return issuer, local_id(wanted.group, self._last)

    def _temporary(self, wanted: _Wanted) -> str:
        wanted.faults.append("temporary_id")
        wanted.group = wanted.group or int(REGISTER_OF[wanted.place]) + 1
        return f"{'SS' if wanted.special == 'newborn' else 'VD'}{self._last:07d}"

    def _name(self, wanted: _Wanted) -> str:
        people, chance, faults = self._people, self._chance, wanted.faults
        place = PLACES[wanted.place]
        if wanted.special == "unknown":
            faults.append("unknown")
            return f"VÔ DANH {'NỮ' if people.woman[wanted.person] else 'NAM'} {self._last % 100:02d}"
        name = people.name(wanted.person)
        if wanted.special == "newborn":
            faults.append("newborn")
            name = f"{chance.choice(('CON BÀ', 'CB', 'TSS'))} {people.name(int(people.mother[wanted.person]))}"
        draw = chance.random()
        if draw < 0.025:
            faults.append("typing")
            name = mistakes.mistyped(name, chance)
        elif draw < 0.055:
            faults.append("swapped")
            name = mistakes.swapped(name)
        elif draw < 0.085 and (other := mistakes.other_d(name)) != name:
            faults.append("d")
            name = other
        if chance.random() < max(0.06, float(ASCII_SHARE[wanted.place])):
            faults.append("accents")
            name = mistakes.without_accents(name)
        elif chance.random() < 0.02:
            faults.append("tcvn3")
            return mistakes.tcvn3(name if place.capitals else mistakes.written_small(name))
        if not place.capitals:
            name = mistakes.written_small(name)
        return name.replace(" ", "^", 1) if chance.random() < 0.06 else name

    def _birth_date(self, wanted: _Wanted) -> tuple[date | None, str]:
        """As the column has it and as the object says it."""
        if wanted.special == "unknown":
            return None, ""
        days, chance, faults = int(self._people.born[wanted.person]), self._chance, wanted.faults
        exact = f"{date.fromordinal(date(1970, 1, 1).toordinal() + days):%Y%m%d}"
        draw = chance.random()
        if draw < (0.16 if int(exact[:4]) < 1960 else 0.02):
            faults.append("birth_year_only")
            given = f"{exact[:4]}0000" if draw < 0.01 else f"{exact[:4]}0101"
        elif draw < 0.19 and draw > 0.172:
            given = mistakes.day_and_month_swapped(exact)
            if given != exact:
                faults.append("day_month")
        elif draw > 0.992:
            faults.append("no_birth_date")
            return None, ""
        else:
            given = exact
        return parse_date(given), given

    def _other_ids(self, wanted: _Wanted, number: str) -> list[tuple[str, str]]:
        """Numbers of the identity and insurance cards, as far as the register has them."""
        chance, faults, person = self._chance, wanted.faults, wanted.person
        if wanted.special == "newborn":
            return []
        age = (wanted.second // DAY - int(self._people.born[person])) / 365.25
        found = []
        draw = chance.random()
        if draw < (0.45 if age < 14 else 0.2):
            faults.append("no_citizen_id")
        elif draw < 0.25 and age > 32:
            faults.append("old_identity_card")
            found.append((persons.old_identity_card(person), OLD_CARD_ISSUER))
        elif draw > 0.988:
            faults.append("citizen_id_digit")
            found.append((mistakes.wrong_digit(number, chance), CITIZEN_ID_ISSUER))
        else:
            found.append((number, CITIZEN_ID_ISSUER))
        draw = chance.random()
        if draw < 0.62:
            insurance = persons.insurance_card(person) if draw < 0.3 else persons.insurance_number(person)
            found.append((insurance, INSURANCE_ISSUER))
        return found


def local_id(group: int, row: int) -> str:
    """The number that a register gives."""
    return f"BN{group:02d}{row:07d}" if group in PREFIXED else f"{row + 1009 * group:08d}"


def _attributes(
    patient_id: str, issuer: str, name: str, birth_date: str, sex: str, others: list[tuple[str, str]]
) -> str:
    """What ingest keeps of an object that says this (`archive.attributes.PATIENT`)."""
    found = []
    if name:
        found.append(f'"00100010":{{"vr":"PN","Value":[{{"Alphabetic":"{name}"}}]}}')
    if patient_id:
        found.append(f'"00100020":{{"vr":"LO","Value":["{patient_id}"]}}')
    if issuer:
        found.append(f'"00100021":{{"vr":"LO","Value":["{issuer}"]}}')
    if birth_date:
        found.append(f'"00100030":{{"vr":"DA","Value":["{birth_date}"]}}')
    if sex:
        found.append(f'"00100040":{{"vr":"CS","Value":["{sex}"]}}')
    if others:
        found.append(f'"00101002":{{"vr":"SQ","Value":[{other_ids(others)}]}}')
    return "{" + ",".join(found) + "}"


def other_ids(others: list[tuple[str, str]]) -> str:
    """Items of Other Patient IDs Sequence (PS3.3 C.2.2): number and who gave it."""
    return ",".join(
        f'{{"00100020":{{"vr":"LO","Value":["{number}"]}},"00100021":{{"vr":"LO","Value":["{issuer}"]}},'
        '"00100022":{"vr":"CS","Value":["TEXT"]}}'
        for number, issuer in others
    )
