"""How likely two records are the same person, and whether they may be linked without asking anybody.

Evidence is added up in bits (Fellegi and Sunter): of each field, how much likelier what is seen would be of one person
than of two whom chance has put side by side. A name counts by how rare it is: ``NGUYỄN VĂN AN`` tells little. From the
sum goes what it takes to pick one person out of all; what is left is the likelihood, 0 being even odds.

A link is automatic only by a strong number that both have, with name and birth date that agree and nothing that
contradicts. No sum of weak evidence ever links.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from archive.identity.names import Alike, bits, compare, share
from archive.identity.numbers import Kind
from archive.identity.records import Record

SHARED: Final = "same"
_KINDS: Final = tuple(Kind)
_ODD: Final = "different"
# How often the fields of one person look so, in two records; and by chance in two people's.
_NAME_OF_ONE: Final[Mapping[Alike, float]] = {
    Alike.SAME: 0.85,
    Alike.ORDER: 0.02,
    Alike.ACCENTS: 0.02,
    Alike.CLOSE: 0.04,
    Alike.PART: 0.03,
    Alike.GIVEN: 0.01,
}
_NEIGHBOURS: Final = 12.0
"""Names that are nearly the same as one are so many times as frequent."""
_DAYS: Final = 70 * 365.25
_BIRTH_BITS: Final[Mapping[str, float]] = {
    "same": bits(0.88, 1 / _DAYS),
    "year": bits(0.06, 1 / 70 / 8),
    "swapped": bits(0.02, 0.4 / _DAYS),
    "digit": bits(0.03, 12 / _DAYS),
    "different": bits(0.01, 0.9),
}
_SEX_BITS: Final = {SHARED: bits(0.985, 0.5), _ODD: bits(0.015, 0.5)}
# Families share telephones.
_PHONE_BITS: Final = {SHARED: 6.0, _ODD: -0.5}
_NUMBER_BITS: Final[Mapping[Kind, Mapping[str, float]]] = {
    Kind.CITIZEN: {SHARED: 20.0, "digit": 1.0, _ODD: -9.0, "warned": 8.0},
    Kind.INSURANCE: {SHARED: 16.0, "digit": 1.0, _ODD: -4.0},
    Kind.PASSPORT: {SHARED: 16.0, "digit": 0.5, _ODD: -1.0},
    Kind.IDENTITY_CARD: {SHARED: 14.0, "digit": 0.5, _ODD: -4.0},
    Kind.FACILITY: {SHARED: 12.0},
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two records side by side."""

    likelihood: float
    """Bits over even odds."""
    evidence: dict[str, tuple[str, float]]
    """By field: how it compares, and the bits that this tells."""
    automatic: bool
    """They may be linked by themselves."""
    contradicts: bool
    """Something says that they are two people, so that they are never linked without somebody's decision."""
    conflict: bool
    """They share a strong number all the same: something there is wrong, whoever they are."""

    def to_json(self) -> dict[str, Any]:
        """The evidence for the database."""
        return {name: [level, round(weight, 1)] for name, (level, weight) in self.evidence.items()}

    @property
    def probability(self) -> float:
        """Of being the same person, from 0 to 1."""
        return probability(self.likelihood)


def probability(likelihood: float) -> float:
    """What so many bits over even odds are, from 0 to 1."""
    return 1 / (1 + 2 ** -max(-60.0, min(60.0, likelihood)))


class Scorer:
    """Compares records. `people` is how many the archive knows, `count` how many of a name.

    `population` is how many people may come. As long as the archive knows fewer, two records of it are no likelier one
    person: how many have come says nothing of whether these two are one, only how many could have.
    """

    def __init__(self, people: int, count: Callable[[str], int], strong: Iterable[str], population: int) -> None:
        self._people = people
        self._against = math.log2(max(people, population))
        self._count = count
        self._strong = frozenset(map(Kind, strong))

    def compare(self, one: Record, other: Record) -> Comparison:
        """The same whichever comes first."""
        evidence: dict[str, tuple[str, float]] = {}
        name = compare(one.name, other.name, one.name_fold, other.name_fold)
        evidence["name"] = (name.value, self._name_bits(name, one, other))
        birth = compare_birth(one, other)
        evidence["birth"] = (birth, _BIRTH_BITS.get(birth, 0.0))
        if one.sex and other.sex and "O" not in (one.sex, other.sex):
            level = SHARED if one.sex == other.sex else _ODD
            evidence["sex"] = (level, _SEX_BITS[level])
        if one.phone and other.phone:
            level = SHARED if one.phone == other.phone else _ODD
            evidence["phone"] = (level, _PHONE_BITS[level])
        for kind in _KINDS:
            if kind in one.by_kind and kind in other.by_kind:
                found = _compare_numbers(kind, one, other)
                if found is not None:
                    evidence[kind.value] = (found, _NUMBER_BITS[kind][found])
        shared = self._shared(evidence)
        odd = _contradicts(evidence)
        return Comparison(
            sum(weight for _, weight in evidence.values()) - self._against,
            evidence,
            automatic=not odd and any(_may_link(kind, name, birth) for kind in shared),
            contradicts=odd,
            conflict=odd and bool(shared or evidence.get("citizen", ("",))[0] == "warned"),
        )

    def _name_bits(self, alike: Alike, one: Record, other: Record) -> float:
        if alike is Alike.MISSING:
            return 0.0
        if alike is Alike.DIFFERENT:
            return bits(0.03, 1.0)
        chance = max(share(each.name_fold, self._count(each.name_key), self._people) for each in (one, other))
        if alike is not Alike.SAME:
            chance *= 1.0 if alike in (Alike.ORDER, Alike.ACCENTS) else _NEIGHBOURS
        return bits(_NAME_OF_ONE[alike], min(chance, 0.5))

    def _shared(self, evidence: Mapping[str, tuple[str, float]]) -> list[Kind]:
        """Strong numbers that both have and that fit both."""
        # A hospital that names another's number says what it knows; that is as good as an insurance card.
        numbers = self._strong | {Kind.FACILITY} if self._strong else self._strong
        return [kind for kind in numbers if evidence.get(kind.value, ("",))[0] == SHARED]


def compare_birth(one: Record, other: Record) -> str:
    """``same``; ``year`` where one knows no more; ``swapped`` day and month; one ``digit``; ``different``;
    ``missing``."""
    mine, theirs = one.birth_date, other.birth_date
    if one.birth_year is None or other.birth_year is None:
        return "missing"
    if mine is None or theirs is None or _only_year(mine) != _only_year(theirs):
        # The first of January is what systems write who know the year alone.
        return "year" if one.birth_year == other.birth_year else "different"
    if mine == theirs:
        return "year" if _only_year(mine) else "same"
    if mine.year == theirs.year and (mine.day, mine.month) == (theirs.month, theirs.day):
        return "swapped"
    differing = [place for place, digit in enumerate(f"{mine:%Y%m%d}") if digit != f"{theirs:%Y%m%d}"[place]]
    return "digit" if len(differing) == 1 else "different"


def _only_year(birth: date) -> bool:
    return (birth.month, birth.day) == (1, 1)


def _compare_numbers(kind: Kind, one: Record, other: Record) -> str | None:
    mine, theirs = one.by_kind[kind], other.by_kind[kind]
    shared = mine & theirs
    if kind is Kind.FACILITY:
        return SHARED if shared else None
    if kind is Kind.CITIZEN and shared and not shared & one.citizens & other.citizens:
        return "warned"
    if shared:
        return SHARED
    if kind is Kind.CITIZEN and not (one.citizens and other.citizens):
        return None
    return "digit" if any(_one_digit(each, their) for each in mine for their in theirs) else _ODD


def _one_digit(one: str, other: str) -> bool:
    if len(one) != len(other):
        return False
    places = [place for place, char in enumerate(one) if char != other[place]]
    swapped = len(places) == 2 and places[1] == places[0] + 1 and one[places[0]] == other[places[1]]
    return len(places) == 1 or (swapped and one[places[1]] == other[places[0]])


def _contradicts(evidence: Mapping[str, tuple[str, float]]) -> bool:
    levels = {name: level for name, (level, _) in evidence.items()}
    return (
        levels["name"] in (Alike.DIFFERENT, Alike.GIVEN)
        or levels["birth"] == "different"
        or levels.get("sex") == _ODD
        or levels.get("citizen") in (_ODD, "digit", "warned")
    )


def _may_link(kind: Kind, name: Alike, birth: str) -> bool:
    """Whether a number links where names and birth dates compare so.

    A personal number has its own check of sex and year, so the rest may be off by a slip; other numbers are lent, or
    typed for a child or a twin, so the rest has to be the same.
    """
    if kind is Kind.CITIZEN:
        if name in (Alike.SAME, Alike.ORDER):
            return birth in ("same", "year", "swapped", "digit") or (birth == "missing" and name is Alike.SAME)
        return name in (Alike.ACCENTS, Alike.CLOSE, Alike.PART) and birth in ("same", "swapped")
    return name is Alike.SAME and birth == "same"
