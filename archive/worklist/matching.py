"""Which items a worklist query asks for, and what of them is returned (PS3.4 K.4.1.1, C.2.2.2). No SQL.

The rules are applied to each item as it is, so that a key matches at any depth of the item by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any, Final, Protocol

from archive.description import fold_name
from archive.errors import InvalidQuery
from archive.records import DicomJSON
from archive.standard import matching
from archive.standard.text import fold, parse_date, parse_time
from archive.worklist.attributes import ATTRIBUTES, STEP_ATTRIBUTE, Attribute

START_DATE: Final = 0x00400002
START_TIME: Final = 0x00400003
STATION: Final = 0x00400001
STATUS: Final = 0x00400020
_NOT_KEYS: Final = frozenset((0x00080005, 0x00080201))
"""Character set and time zone of the request: they tell of the query, nothing matches them."""
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_WHOLE_TEXT_VRS: Final = frozenset(("LT", "ST", "UT"))


class Keys(Protocol):
    """The keys of a query, or of an item of one of its sequences."""

    @property
    def keys(self) -> Mapping[int, str]: ...

    @property
    def sequences(self) -> Mapping[int, Sequence[Keys]]: ...


def step_keys(asked: Keys) -> Keys | None:
    """The keys of the scheduled step, None if the query has none."""
    items = asked.sequences.get(STEP_ATTRIBUTE.tag) or ()
    return items[0] if items else None


def check(asked: Keys, known: Mapping[int, Attribute] = ATTRIBUTES) -> bool:
    """Whether all keys are known (the answer is Pending without a warning). Raises `InvalidQuery`."""
    all_known = True
    for tag, value in asked.keys.items():
        attribute = known.get(tag)
        if attribute is None:
            all_known = all_known and tag in _NOT_KEYS
        elif attribute.vr != "SQ" and not matching.is_universal(value):
            _matches_value(attribute, value, {})  # a value that cannot be understood raises
    for tag, items in asked.sequences.items():
        if len(items) > 1:
            raise InvalidQuery(
                f"({tag >> 16:04X},{tag & 0xFFFF:04X}): a key that is a sequence has one item (C.2.2.2.6)"
            )
        if tag in known and items:
            all_known = check(items[0], known[tag].members) and all_known
    return all_known


def matches(asked: Keys, item: Mapping[str, Any], known: Mapping[int, Attribute] = ATTRIBUTES) -> bool:
    """Whether an item has what all keys ask for. Raises `InvalidQuery`."""
    combined = _combined(asked)
    if combined is not None and not _in_period(combined, item):
        return False
    for tag, value in asked.keys.items():
        attribute = known.get(tag)
        if attribute is None or attribute.vr == "SQ" or matching.is_universal(value):
            continue
        if combined is not None and tag in (START_DATE, START_TIME):
            continue
        if not _matches_value(attribute, value, item.get(attribute.key, {})):
            return False
    for tag, asked_items in asked.sequences.items():
        if tag in known and asked_items and not _matches_sequence(known[tag], asked_items[0], item):
            return False
    return True


def answer(asked: Keys, item: Mapping[str, Any], known: Mapping[int, Attribute] = ATTRIBUTES) -> DicomJSON:
    """What is asked for of an item: every known key, without a value where the item has none (K.4.1.1.3.2)."""
    found: DicomJSON = {}
    for tag in {*asked.keys, *asked.sequences}:
        attribute = known.get(tag)
        if attribute is None:
            continue
        element = item.get(attribute.key, {"vr": attribute.vr})
        if attribute.vr == "SQ":
            element = _answer_sequence(attribute, asked.sequences.get(tag) or (), element)
        found[attribute.key] = element
    return dict(sorted(found.items()))


def _answer_sequence(attribute: Attribute, asked: Sequence[Keys], element: Mapping[str, Any]) -> dict[str, Any]:
    items = element.get("Value") or []
    if asked and (asked[0].keys or asked[0].sequences):
        made = [answer(asked[0], item, attribute.members) for item in items]
    else:
        # A sequence without keys asks for all that its items hold (C.2.2.2.6).
        made = [_whole(attribute, item) for item in items]
    return {"vr": "SQ", "Value": made} if made else {"vr": "SQ"}


def _whole(attribute: Attribute, item: Mapping[str, Any]) -> DicomJSON:
    """An item with all that it must return (types 1 and 2 of Table K.6-1) and what else it holds."""
    due = {member.key: {"vr": member.vr} for member in attribute.members.values() if member.type in ("1", "2")}
    return dict(sorted({**due, **item}.items()))


# -- values ----------------------------------------------------------------------------------------------------------


def _matches_sequence(attribute: Attribute, asked: Keys, item: Mapping[str, Any]) -> bool:
    """Sequence matching (C.2.2.2.6): one of the items matches all keys."""
    items = item.get(attribute.key, {}).get("Value") or []
    if not _is_selective(asked):
        return True
    return any(matches(asked, each, attribute.members) for each in items)


def _is_selective(asked: Keys) -> bool:
    return any(not matching.is_universal(value) for value in asked.keys.values()) or any(
        _is_selective(each) for items in asked.sequences.values() for each in items
    )


def _matches_value(attribute: Attribute, value: str, element: Mapping[str, Any]) -> bool:
    vr, keyword = attribute.vr, attribute.keyword
    values = [each for each in element.get("Value") or () if each is not None]
    if vr == "DA":
        return _among(values, matching.date_range(value, keyword), parse_date)
    if vr == "TM":
        return _among(values, matching.time_range(value, keyword), parse_time)
    if vr == "UI":
        return not set(values).isdisjoint(matching.uid_list(value, keyword))
    if vr == "US":
        return matching.whole_number(value, keyword) in values
    if vr == "DS":
        return _decimal(value, keyword) in [float(each) for each in values]
    if attribute.tag == STATION and not values:
        return True  # scheduled on any station of the facility
    if vr == "PN":
        patterns = [_name_pattern(part) for part in value.split("\\") if part.strip()]
        groups = [fold_name(name.get(group, "")) for name in values for group in _GROUPS]
        return any(pattern.fullmatch(group) for pattern in patterns for group in groups if group)
    parts = [value] if vr in _WHOLE_TEXT_VRS else value.split("\\")
    text_patterns = [_pattern(part.strip()) for part in parts if part.strip()]
    return any(pattern.fullmatch(str(each)) for pattern in text_patterns for each in values)


def _among(values: Sequence[str], wanted: matching.Range[Any], read: Any) -> bool:
    found = [read(each) for each in values]
    return any(
        each is not None and (wanted.low is None or wanted.low <= each) and (wanted.high is None or each <= wanted.high)
        for each in found
    )


def _decimal(value: str, keyword: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InvalidQuery(f"{keyword}: {value[:40]!r} is not a number") from None


@lru_cache(maxsize=256)
def _pattern(value: str) -> re.Pattern[str]:
    """Single value and wildcard matching (C.2.2.2.1, C.2.2.2.4)."""
    return re.compile(
        "".join(".*" if part.startswith("*") else "." if part == "?" else re.escape(part) for part in _parts(value)),
        re.DOTALL,
    )


def _parts(value: str) -> list[str]:
    return re.findall(r"\*+|\?|[^*?]+", value)


@lru_cache(maxsize=256)
def _name_pattern(value: str) -> re.Pattern[str]:
    """Names without accents and case, their components separated by spaces, as `fold_name` writes them.

    ``NGUYEN^*`` is NGUYEN with anything behind it or with nothing, but not NGUYENX.
    """
    wanted = fold(value)
    whole = wanted
    while whole.endswith(" *"):
        whole = whole[:-2]
    pattern = _pattern(whole).pattern
    return re.compile(pattern if whole == wanted else f"{pattern}(?: .*)?", re.DOTALL)


# -- the start of a step ---------------------------------------------------------------------------------------------


def period(asked: Keys) -> tuple[date | None, date | None]:
    """The dates of start that can match at all. Raises `InvalidQuery`."""
    value = asked.keys.get(START_DATE, "")
    if matching.is_universal(value):
        return None, None
    wanted = matching.date_range(value, "ScheduledProcedureStepStartDate")
    return wanted.low, wanted.high


def _combined(asked: Keys) -> tuple[datetime | None, datetime | None] | None:
    """The period from the first date and time to the last, where both keys are ranges.

    Table K.6-1: the dates July 5 to July 7 with the times 10 a.m. to 6 p.m. are July 5, 10 a.m. to July 7, 6 p.m.
    """
    dates, times = asked.keys.get(START_DATE, ""), asked.keys.get(START_TIME, "")
    if matching.is_universal(dates) or matching.is_universal(times):
        return None
    if "-" not in dates or "-" not in times:
        return None
    day = matching.date_range(dates, "ScheduledProcedureStepStartDate")
    hour = matching.time_range(times, "ScheduledProcedureStepStartTime")
    low = None if day.low is None else datetime.combine(day.low, hour.low or time.min)
    high = None if day.high is None else datetime.combine(day.high, hour.high or time.max)
    return low, high


def _in_period(wanted: tuple[datetime | None, datetime | None], item: Mapping[str, Any]) -> bool:
    day, hour = (
        read((item.get(f"{tag:08X}", {}).get("Value") or [""])[0])
        for tag, read in ((START_DATE, parse_date), (START_TIME, parse_time))
    )
    if day is None:
        return False
    start = datetime.combine(day, hour or time.min)  # type: ignore[arg-type]
    low, high = wanted
    return (low is None or low <= start) and (high is None or start <= high)
