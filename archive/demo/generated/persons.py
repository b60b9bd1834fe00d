"""The people of the generated province as columns of numbers; their names and numbers are written when asked for.

About 40 bytes a person, whatever the number of studies is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archive.demo.generated import names
from archive.demo.generated.places import DISTRICTS

Ints = NDArray[np.int32]
EPOCH: Final = np.datetime64("1970-01-01")
_FAMILY, _FAMILY_SHARES = names.shares(names.FAMILY)
_MIDDLE = [names.shares(table) for table in (names.MIDDLE_MEN, names.MIDDLE_WOMEN)]
_GIVEN = [names.shares(table) for table in (names.GIVEN_MEN, names.GIVEN_WOMEN)]
_HOMES: Final = np.array((0.16, 0.12, 0.1, 0.09, 0.085, 0.08, 0.07, 0.065, 0.06, 0.05, 0.05, 0.04, 0.03))
_TWINS: Final = 0.006
"""Share of people who have a twin among those who were examined."""
_NAMESAKES: Final = 0.004
"""Share of people for whom there is another of the same name and birth date, beyond those that chance makes."""


@dataclass(slots=True)
class Persons:
    """Columns, one entry a person. Days count from 1970-01-01."""

    family: NDArray[np.int16]
    middle: NDArray[np.int16]
    given: NDArray[np.int16]
    syllable: NDArray[np.int8]
    woman: NDArray[np.bool_]
    born: Ints
    home: NDArray[np.int16]
    """District."""
    serial: Ints
    """The last six digits of the citizen number; unique with century, sex and year."""
    phone: Ints
    mother: Ints
    """Of those who are born within the years that are generated; -1 otherwise."""
    starts: Ints
    """Where each district's people begin; one more at the end."""

    def __len__(self) -> int:
        return len(self.born)

    def year(self, person: Any) -> Any:
        return (EPOCH + self.born[person]).astype("datetime64[Y]").astype(np.int32) + 1970

    def citizen_numbers(self, person: Any) -> Any:
        """Số định danh cá nhân as a number: 099, century and sex, year of birth, six digits."""
        year = self.year(person).astype(np.int64)
        digit = (year // 100 - 19) * 2 + self.woman[person]
        return 99_000_000_000 + digit * 100_000_000 + year % 100 * 1_000_000 + self.serial[person]

    def name(self, person: int) -> str:
        """As the birth certificate has it, in capitals."""
        woman = int(self.woman[person])
        parts = (
            _FAMILY[self.family[person]],
            _MIDDLE[woman][0][self.middle[person]],
            names.SYLLABLES[self.syllable[person]],
            _GIVEN[woman][0][self.given[person]],
        )
        return " ".join(part for part in parts if part)


def citizen_id(number: int) -> str:
    """The twelve digits."""
    return f"{number:012d}"


def old_identity_card(person: int) -> str:
    """Số CMND, nine digits; none begins with 99."""
    return f"99{person * 7_919 % 10_000_000:07d}"


def insurance_number(person: int) -> str:
    """Mã số BHXH, ten digits; no province has 99 there."""
    return f"99{person * 48_611 % 100_000_000:08d}"


def insurance_card(person: int) -> str:
    """Thẻ BHYT, fifteen characters."""
    return f"{('DN', 'GD', 'HT', 'TE', 'HN', 'CK')[person % 6]}{1 + person % 4}99{insurance_number(person)}"


def phone_number(number: int) -> str:
    """Ten digits; no network has 010."""
    return f"010{number % 10_000_000:07d}"


def make(count: int, since: int, until: int, rng: np.random.Generator) -> Persons:
    """People who are examined between these days."""
    home = np.sort(np.searchsorted(np.cumsum(_HOMES / _HOMES.sum()), rng.random(count))).astype(np.int16)
    woman = rng.random(count) < 0.54
    middle, given = np.empty(count, np.int16), np.empty(count, np.int16)
    for sex in (0, 1):
        chosen = woman == bool(sex)
        middle[chosen] = names.drawn(_MIDDLE[sex][1], rng.random(int(chosen.sum())))
        given[chosen] = names.drawn(_GIVEN[sex][1], rng.random(int(chosen.sum())))
    syllable = np.where(rng.random(count) < 0.8, 0, rng.integers(1, len(names.SYLLABLES), count)).astype(np.int8)
    made = Persons(
        family=names.drawn(_FAMILY_SHARES, rng.random(count)),
        middle=middle,
        given=given,
        syllable=syllable,
        woman=woman,
        born=_birth_days(count, since, until, rng),
        home=home,
        serial=np.zeros(count, np.int32),
        phone=rng.permutation(count).astype(np.int32),
        mother=np.full(count, -1, np.int32),
        starts=np.searchsorted(home, np.arange(len(DISTRICTS) + 1)).astype(np.int32),
    )
    _twins(made, rng)
    _namesakes(made, rng)
    _number(made)
    _mothers(made, since, rng)
    return made


def _birth_days(count: int, since: int, until: int, rng: np.random.Generator) -> Ints:
    """The old are examined most, then the middle-aged; of children mostly the smallest. Some are not born at first."""
    group = rng.random(count)
    age = np.select(
        (group < 0.08, group < 0.18, group < 0.5),
        (rng.exponential(4, count), rng.uniform(5, 20, count), rng.uniform(18, 48, count)),
        rng.normal(60, 14, count),
    )
    days = np.clip(age, 0, 103) * 365.25
    born = np.where(group < 0.04, rng.uniform(since, until, count), since - days)
    return born.astype(np.int32)


def _twins(made: Persons, rng: np.random.Generator) -> None:
    """The same family, day, home and phone; names that differ in the last syllable, or hardly."""
    count = len(made)
    young = np.flatnonzero(made.born[:-1] > np.median(made.born))
    first = np.sort(rng.choice(young, min(len(young), int(count * _TWINS / 2)), replace=False))
    first = first[np.diff(first, prepend=-2) > 1]
    second = first + 1
    for column in (made.family, made.born, made.home, made.phone):
        column[second] = column[first]
    same = rng.random(len(first)) < 0.65
    made.woman[second] = np.where(same, made.woman[first], ~made.woman[first])
    made.middle[second] = np.where(same, made.middle[first], 0)
    made.syllable[second] = made.syllable[first]
    other = (made.given[first] + 1 + rng.integers(0, 5, len(first))) % 40
    made.given[second] = np.where(same, other, made.given[second] % 40)
    # The districts' people stay together: a twin at the border of one lives where the index says.
    made.home[:] = np.searchsorted(made.starts, np.arange(count), side="right") - 1


def _namesakes(made: Persons, rng: np.random.Generator) -> None:
    """Others who are called the same and were born on the same day, and are not the same."""
    count = int(len(made) * _NAMESAKES / 2)
    first, second = rng.permutation(len(made))[: 2 * count].reshape(2, count)
    for column in (made.family, made.middle, made.given, made.syllable, made.woman, made.born):
        column[second] = column[first]


def _number(made: Persons) -> None:
    """Citizen numbers: scattered, and each given once."""
    key = made.year(slice(None)).astype(np.int64) * 2 + made.woman
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.diff(key[order], prepend=-1))
    rank = np.arange(len(made)) - np.repeat(begins, np.diff(np.append(begins, len(made))))
    made.serial[order] = (rank.astype(np.int64) * 613_651 + 7_307) % 1_000_000


def _mothers(made: Persons, since: int, rng: np.random.Generator) -> None:
    """A woman of the same district for each who is born later."""
    children = np.flatnonzero(made.born >= since)
    age = since / 365.25 - made.born / 365.25
    for district in range(len(DISTRICTS)):
        lowest, highest = made.starts[district], made.starts[district + 1]
        able = lowest + np.flatnonzero(
            made.woman[lowest:highest] & (age[lowest:highest] > 17) & (age[lowest:highest] < 42)
        )
        here = children[(children >= lowest) & (children < highest)]
        if len(able):
            made.mother[here] = rng.choice(able, len(here))
    has = made.mother >= 0
    made.phone[has] = made.phone[made.mother[has]]
