"""Values of search parameters, read from text (FHIR R4, search.html 3.1.1.4). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from archive.errors import InvalidQuery
from config.clock import VIETNAM

PREFIXES: Final = ("eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap")
LONGEST: Final = 2000
MOST_VALUES: Final = 100
ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_MOMENT = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?)?)?)?"
)
_SEPARATED = re.compile(r"(?:\\.|[^\\,])*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """``system|code``. `system` is None where any will do, and empty where there must be none."""

    system: str | None
    code: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A date or time with what stands in front of it: all that it may mean, from `low` up to and without `high`.

    Both are with the zone of the hospitals.
    """

    prefix: str
    low: datetime
    high: datetime

    @property
    def whole_days(self) -> bool:
        """Whether nothing is said of the time of day."""
        return all((end.hour, end.minute, end.second, end.microsecond) == (0, 0, 0, 0) for end in (self.low, self.high))


@dataclass(frozen=True, slots=True)
class Reference:
    """``Patient/17``, a bare id, or the address of one; `kind` is empty for a bare id."""

    kind: str
    id: str


def separated(text: str) -> list[str]:
    r"""The values between commas; ``\,`` is none. They stay escaped. Raises `InvalidQuery`."""
    if len(text) > LONGEST * 10:
        raise InvalidQuery("a value is too long")
    found, at = [], 0
    while at <= len(text):
        match = _SEPARATED.match(text, at)
        assert match is not None
        if match[0]:
            found.append(match[0])
        # A backslash at the very end escapes nothing.
        at = match.end() + 1
    if len(found) > MOST_VALUES:
        raise InvalidQuery(f"more than {MOST_VALUES} values in one parameter")
    if any(len(each) > LONGEST or "\0" in each for each in found):
        raise InvalidQuery("a value is too long, or holds a NUL")
    return found


def plain(text: str) -> str:
    r"""Without the escapes of ``\,``, ``\|``, ``\$`` and ``\\``."""
    return _ESCAPED.sub(r"\1", text)


def token(text: str) -> Token:
    """Read a token. Raises `InvalidQuery`."""
    parts = re.split(r"(?<!\\)\|", text)
    if len(parts) > 2:
        raise InvalidQuery("a token is code, system|code, |code or system|")
    if len(parts) == 1:
        return Token(None, plain(parts[0]))
    system, code = map(plain, parts)
    if not system and not code:
        raise InvalidQuery("a token is code, system|code, |code or system|")
    return Token(system, code)


def moment(text: str) -> Moment:
    """Read a date or time with its prefix. Raises `InvalidQuery`."""
    # A "+" of a zone that was not percent-encoded reaches us as a space.
    text = re.sub(r"(?<=\d) (?=\d\d:\d\d$)", "+", text.strip())
    prefix = text[:2] if text[:2].isalpha() else "eq"
    found = _MOMENT.fullmatch(text.removeprefix(prefix) if text[:2].isalpha() else text)
    if prefix not in PREFIXES or found is None:
        raise InvalidQuery("a date is such as 2026, 2026-03, ge2026-03-01 or lt2026-03-01T08:00:00+07:00")
    try:
        low, high = _range(found)
    except (ValueError, OverflowError):
        raise InvalidQuery("there is no such date or time") from None
    return Moment(prefix, low, high)


def _range(found: re.Match[str]) -> tuple[datetime, datetime]:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    start = date(int(year), int(month or 1), int(day or 1))
    if hour is None:
        if day is not None:
            following = start + timedelta(days=1)
        elif month is not None:
            following = date(start.year + start.month // 12, start.month % 12 + 1, 1)
        else:
            following = date(start.year + 1, 1, 1)
        return _midnight(start), _midnight(following)
    low = datetime(
        start.year, start.month, start.day, int(hour), int(minute), int(second or 0), tzinfo=_zone(zone)
    ) + timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0")))
    length = timedelta(minutes=1) if second is None else timedelta(seconds=1)
    if fraction is not None:
        length = timedelta(microseconds=10 ** (6 - min(len(fraction), 6)))
    return low.astimezone(VIETNAM), (low + length).astimezone(VIETNAM)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=VIETNAM)


def _zone(text: str | None) -> timezone:
    if text is None:
        return VIETNAM
    if text == "Z":
        return UTC
    hours, minutes = map(int, text[1:].split(":"))
    length = timedelta(hours=hours, minutes=minutes)
    return timezone(-length if text[0] == "-" else length)


def reference(text: str, base: str) -> Reference | None:
    """Read a reference. None for what is somewhere else than below `base`: nothing here refers to it."""
    text = plain(text)
    if "://" in text:
        if not text.startswith(base + "/"):
            return None
        text = text.removeprefix(base + "/")
    kind, slash, identifier = text.partition("/")
    if not slash:
        kind, identifier = "", text
    identifier = identifier.partition("/_history/")[0]
    if not ID.fullmatch(identifier) or (slash and not re.fullmatch(r"[A-Z][A-Za-z]{1,63}", kind)):
        raise InvalidQuery("a reference is such as Patient/17")
    return Reference(kind, identifier)


def row_number(identifier: str) -> int | None:
    """The row that an id of ours means; None for what can be none."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", identifier):
        return None
    return int(identifier)
