"""Matching values of a query (PS3.4 C.2.2.2) as data: what a value asks for, without SQL."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final, Generic, TypeVar

from archive.errors import InvalidQuery
from archive.standard.text import parse_date, parse_time
from archive.standard.uids import is_uid

T = TypeVar("T", date, datetime, time)

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""Value representations in which ``*`` and ``?`` are wildcards (C.2.2.2.4)."""
WHOLE_TEXT_VRS: Final = frozenset({"LT", "ST", "UR", "UT"})
"""In these a backslash is a character, there is one value (PS3.5 6.2)."""
_TIME: Final = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Range(Generic[T]):
    """Values from `low` to `high`, both included; None leaves that side open (C.2.2.2.5)."""

    low: T | None
    high: T | None


def is_universal(value: str) -> bool:
    """Whether the value matches everything: empty (C.2.2.2.3), or nothing but asterisks."""
    return not value.strip("* \0")


def has_universal(value: str, vr: str) -> bool:
    """Whether one of several values (C.2.2.2.8) is universal, which makes all of them so; empty ones are none."""
    if vr in WHOLE_TEXT_VRS:
        return is_universal(value)
    parts = [part for part in value.split("\\") if part.strip("\0 ")]
    return not parts or any(map(is_universal, parts))


def matching_text(value: str, what: str) -> str:
    """A matching value without padding, composed as the index holds text (NFC).

    Raises `InvalidQuery` for what is in no text: NUL in the middle, half a surrogate pair.
    """
    text = unicodedata.normalize("NFC", value.rstrip("\0 "))
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidQuery(f"{what}: the value holds characters that no text has")
    return text


def text_matches(text: str, value: str) -> bool:
    """Whether a text is what one value with or without wildcards asks for (C.2.2.2.1, C.2.2.2.4)."""
    parts = ("." if char == "?" else ".*" if char == "*" else re.escape(char) for char in value)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def has_wildcard(value: str) -> bool:
    return "*" in value or "?" in value


def like_pattern(value: str) -> str:
    """A wildcard value as the pattern of SQL's ``LIKE`` with backslash as escape (C.2.2.2.4)."""
    return re.sub(r"\*+", "%", like_literal(value)).replace("?", "_")


def like_literal(value: str) -> str:
    """A text that stands for itself in a pattern of SQL's ``LIKE`` with backslash as escape."""
    return value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def uid_list(value: str, what: str) -> list[str]:
    """A list of UIDs (C.2.2.2.2). Raises `InvalidQuery`."""
    uids = [part.strip(" \0") for part in value.split("\\")]
    for uid in uids:
        if not is_uid(uid):
            raise InvalidQuery(f"{what}: {uid[:70]!r} is not a UID")
    return uids


def date_range(value: str, what: str) -> Range[date]:
    """A date, or a range of dates (C.2.2.2.5). Raises `InvalidQuery`."""
    low, high = _sides(value, what)
    return Range(_date(low, what), _date(high, what))


def time_range(value: str, what: str) -> Range[time]:
    """A time, or a range of times. A time that leaves out its end stands for all times that begin so (C.2.2.2.5)."""
    low, high = _sides(value, what)
    return Range(_time(low, what), _last(high, what))


def whole_number(value: str, what: str) -> int:
    """A number (C.2.2.2.1). Raises `InvalidQuery`."""
    if not _INTEGER.fullmatch(value.strip()):
        raise InvalidQuery(f"{what}: {value[:40]!r} is not a whole number")
    number = int(value)
    if not -(1 << 31) <= number < 1 << 31:
        raise InvalidQuery(f"{what}: {value[:40]!r} is out of range")
    return number


def _sides(value: str, what: str) -> tuple[str, str]:
    text = value.strip()
    # ACR-NEMA dates and ISO ones have separators; a range has its hyphen between two digit groups of full length.
    if "-" not in text:
        return text, text
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise InvalidQuery(f"{what}: write dates without separators, such as {text.replace('-', '')}")
    low, _, high = text.partition("-")
    if not (low or high):
        raise InvalidQuery(f"{what}: a range needs at least one side")
    return low.strip(), high.strip()


def _date(text: str, what: str) -> date | None:
    if not text:
        return None
    found = parse_date(text)
    if found is None:
        raise InvalidQuery(f"{what}: {text[:40]!r} is not a date (YYYYMMDD)")
    return found


def _time(text: str, what: str) -> time | None:
    if not text:
        return None
    found = parse_time(text)
    if found is None or not _TIME.fullmatch(text):
        raise InvalidQuery(f"{what}: {text[:40]!r} is not a time (HHMMSS)")
    return found


def _last(text: str, what: str) -> time | None:
    """The last moment that a time stands for: ``10`` ends at 10:59:59.999999."""
    start = _time(text, what)
    if start is None:
        return None
    parts = _TIME.fullmatch(text)
    assert parts is not None
    _, minute, second, fraction = parts.groups()
    digits = fraction or ""
    return start.replace(
        minute=start.minute if minute else 59,
        second=start.second if second else 59,
        microsecond=int(digits.ljust(6, "9")) if second else 999_999,
    )
