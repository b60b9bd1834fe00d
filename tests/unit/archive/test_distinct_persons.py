"""Distinct persons that are told apart here are those of a naive count."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from archive.figures.distinct import PACKED, TEXTS, Packed, count
from archive.figures.question import By

PLACES = {
    7: {By.FACILITY: "A", By.DISTRICT: "north", By.CARE_LEVEL: "basic"},
    90: {By.FACILITY: "B", By.DISTRICT: "north", By.CARE_LEVEL: ""},
    1 << 40: {By.FACILITY: "C", By.DISTRICT: "south", By.CARE_LEVEL: "basic"},
}
_FACT = st.fixed_dictionaries(
    {
        # Who nobody has looked at yet has a number below nought; numbers need not be near each other.
        "person": st.one_of(st.integers(-3, 3), st.sampled_from([-(1 << 62), 1 << 61, (1 << 62) - 1])),
        "at": st.datetimes(datetime(1987, 12, 30), datetime(2027, 1, 3)),
        "facility": st.sampled_from(sorted(PLACES)),
        "modality": st.sampled_from(["CT", "MR"]),
        "sex": st.sampled_from(["M", "F", ""]),
    }
)
_KEYS = {
    By.HOUR: lambda at: at.replace(minute=0, second=0, microsecond=0),
    By.DAY: lambda at: at.date(),
    By.WEEK: lambda at: at.date() - timedelta(days=at.weekday()),
    By.MONTH: lambda at: at.date().replace(day=1),
    By.QUARTER: lambda at: at.date().replace(month=(at.month - 1) // 3 * 3 + 1, day=1),
    By.YEAR: lambda at: at.date().replace(month=1, day=1),
    By.HOUR_OF_DAY: lambda at: at.hour,
    By.DAY_OF_WEEK: lambda at: at.isoweekday(),
}
_OTHERS = [By.FACILITY, By.DISTRICT, By.CARE_LEVEL, By.MODALITY, By.SEX]


def _value(name: By, fact: dict[str, Any]) -> Any:
    if name in _KEYS:
        return _KEYS[name](fact["at"])
    return fact[name.value] if name in TEXTS else PLACES[fact["facility"]][name]


def _packed(facts: list[dict[str, Any]], by: tuple[By, ...]) -> Packed:
    """As PostgreSQL packs them."""
    texts = tuple(name for name in by if name in TEXTS)
    columns = ("person", *sorted({PACKED[name] for name in by if name not in TEXTS}))
    groups: dict[tuple[str, ...], bytearray] = defaultdict(bytearray)
    for fact in facts:
        since_2000 = (fact["at"] - datetime(2000, 1, 1)) // timedelta(microseconds=1)
        for column in columns:
            number = since_2000 if column == "at" else fact[column]
            groups[tuple(fact[name.value] for name in texts)] += number.to_bytes(8, "big", signed=True)
    return Packed(texts, columns, [(*key, bytes(blob)) for key, blob in groups.items()])


@given(st.lists(_FACT, max_size=30), st.sampled_from([None, *_KEYS]), st.lists(st.sampled_from(_OTHERS), unique=True))
def test_persons_are_counted_as_by_hand(facts: list[dict[str, Any]], time: By | None, others: list[By]) -> None:
    by = (*([time] if time else []), *others)
    if time is By.HOUR:  # of which few months can be asked for
        facts = [
            {**fact, "at": datetime(2026, 2, 28, 20) + (fact["at"] - fact["at"].min) % timedelta(9)} for fact in facts
        ]
    persons: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for fact in facts:
        persons[tuple(_value(name, fact) for name in by)].add(fact["person"])
    assert count(_packed(facts, by), by, PLACES) == {key: (len(seen),) for key, seen in persons.items()}
