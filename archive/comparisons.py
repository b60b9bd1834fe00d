"""Comparisons of an SQL expression with a matching value, whatever the expression stands for (PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, false, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from archive.standard import matching

Condition = ColumnElement[bool]

EMPTY: Final = '""'
"""The value that matches what has none (C.2.2.2.7)."""


def any_of(value: str, condition: Callable[[str], Condition]) -> Condition:
    """One of several values (C.2.2.2.8); those that are empty are none."""
    found = [condition(part) for part in value.split("\\") if part.strip()]
    return or_(*found) if found else true()


def equals(found: Any, value: object) -> Condition:
    equal: Condition = found == value
    return equal


def like(found: Any, pattern: str) -> Condition:
    """A pattern of ``LIKE`` with backslash as escape.

    On columns, which have the C collation, what it begins with is a range as well: row security lets ranges use an
    index, and ``LIKE`` not.
    """
    matches: Condition = found.like(pattern, escape="\\")
    wildcard = _WILDCARD.search(pattern)
    beginning = re.sub(r"\\(.)", r"\1", pattern[: wildcard.start()] if wildcard else pattern, flags=re.DOTALL)
    if not beginning or not isinstance(found, InstrumentedAttribute):
        return matches
    behind = _behind(beginning)
    within = and_(found >= beginning, found < behind) if behind else found >= beginning
    return within if wildcard and pattern[wildcard.start() :] == "%" else and_(within, matches)


_WILDCARD: Final = re.compile(r"(?<!\\)(?:\\\\)*[%_]")


def _behind(beginning: str) -> str:
    """The first text behind all that begin so, in the order of code points; empty if there is none."""
    kept = beginning.rstrip("\U0010ffff")
    if not kept:
        return ""
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)


def text_is(found: Any, value: str, vr: str = "LO") -> Condition:
    """One value as text, with wildcards where the VR has them (C.2.2.2.1, C.2.2.2.4)."""
    wanted = value.strip()
    if not matching.has_wildcard(wanted) or vr not in matching.WILDCARD_VRS:
        return equals(found, wanted)
    return like(found, matching.like_pattern(wanted))


def between(found: Any, wanted: matching.Range[Any]) -> Condition:
    """A range with both ends in it (C.2.2.2.5)."""
    if wanted.low is not None and wanted.low == wanted.high:
        return equals(found, wanted.low)
    parts = [found >= wanted.low] if wanted.low is not None else []
    if wanted.high is not None:
        parts.append(found <= wanted.high)
    return and_(*parts)


def moment_between(date: Any, time: Any, dates: matching.Range[Any], times: matching.Range[Any]) -> Condition:
    """From the first moment to the last one, instead of at these times on each of these days (C.2.2.2.5).

    What has no time matches on all days but the first and the last, if those begin or end at a time.
    """
    parts = [between(date, dates)]
    if dates.low is not None and times.low is not None:
        parts.append(or_(date > dates.low, time >= times.low))
    if dates.high is not None and times.high is not None:
        parts.append(or_(date < dates.high, time <= times.high))
    return and_(*parts)


def constant(value: str, wanted: str) -> Condition:
    """A value that everything has."""
    return true() if matching.text_matches(value, wanted) else false()
