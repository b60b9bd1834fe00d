"""What a name tells, in archives of few people and of many."""

from __future__ import annotations

from collections import Counter
from datetime import date

import numpy as np
import pytest

from archive.demo.generated import persons
from archive.identity.frequencies import expected
from archive.identity.names import folded, share
from archive.identity.records import Record
from archive.identity.score import Comparison, Scorer
from config.identity import IdentitySettings

SETTINGS = IdentitySettings()
FREQUENT = "NGUYỄN THỊ HOA"
RARE = "TÔN NỮ DIỆU THẠCH"


def record(name: str, born: date | None, year: int, number: str, **more: str) -> Record:
    return Record(
        "86001", number, number, name=name, birth_date=born, birth_year=year, id=int(number), sex=more.get("sex", "F")
    )


def compared(name: str, people: int, count: int = 2, *, day: bool = True) -> Comparison:
    """Two with the same name and birth date, or year, in an archive with so many people and so many of this name."""
    born = date(1962, 8, 14) if day else None
    scorer = Scorer(people, lambda _: count, SETTINGS.strong, SETTINGS.population)
    return scorer.compare(record(name, born, 1962, "1"), record(name, born, 1962, "2"))


def test_a_frequent_name_and_a_year_are_not_likely_one_person_in_a_small_archive() -> None:
    for people in (2, 30, 1000, 20_000):
        assert compared(FREQUENT, people, day=False).likelihood < 0
    assert compared(FREQUENT, 30).likelihood > SETTINGS.review_bits
    assert compared(RARE, 30, day=False).likelihood > SETTINGS.review_bits


@pytest.mark.parametrize("name", [FREQUENT, RARE, "LÊ VĂN TÁM", "HOA", "SMITH JOHN"])
@pytest.mark.parametrize("day", [True, False])
def test_few_people_make_nothing_likelier_than_many(name: str, day: bool) -> None:
    """The same two in a new archive, and in a large one which has seen as many of the name as there should be."""
    people = SETTINGS.population
    counted = round(people * expected(folded(name))) + 2
    small, large = (compared(name, *size, day=day).likelihood for size in ((2, 2), (people, counted)))
    assert small <= large + 1


def test_what_the_archive_has_counted_takes_over() -> None:
    name = folded("SMITH JOHN")
    here = [share(name, round(people * 0.01), people) for people in (0, 1000, 20_000, 1_000_000)]
    assert here == sorted(here)
    assert here[-1] == pytest.approx(0.01, rel=0.05)
    assert share(folded(FREQUENT), 0, 10_000_000) < expected(folded(FREQUENT)) / 100


def test_shipped_shares_are_near_those_of_the_generated_province() -> None:
    people = persons.make(30_000, 0, 20_000, np.random.default_rng(1))
    names = Counter(folded(people.name(each)) for each in range(len(people)))
    frequent = names.most_common(40)
    off = [np.log2(expected(name) / (count / len(people))) for name, count in frequent]
    assert max(map(abs, off)) < 3
    assert abs(float(np.mean(off))) < 1
