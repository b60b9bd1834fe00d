"""Values of VR DT as moments (PS3.5 6.2, Table 6.2-1; PS3.4 C.2.2.2.5).

A value without an offset is in the time zone of the province.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from archive.errors import InvalidQuery
from archive.standard.matching import Range

LOCAL: Final = timezone(timedelta(hours=7))
"""Indochina Time; there is no daylight saving time in Viet Nam."""
_DT: Final = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?", re.ASCII
)


def parse(text: str) -> datetime | None:
    """The first moment that a value stands for; None for what is no DT."""
    found = _span(text.strip())
    return found[0] if found else None


def now() -> str:
    """This moment as a value of VR DT."""
    return datetime.now(UTC).astimezone(LOCAL).strftime("%Y%m%d%H%M%S.%f%z")


def moment_range(value: str, what: str) -> Range[datetime]:
    """The moments that a matching value stands for, with both ends. Raises `InvalidQuery`."""
    text = value.strip()
    whole = _span(text)
    if whole is not None:
        return Range(*whole)
    for at, char in enumerate(text):
        # The hyphen of a range, not the sign of an offset: what is left of it is whole (C.2.2.2.5.1).
        if char == "-" and len(text) > 1:
            low, high = text[:at], text[at + 1 :]
            first, last = _span(low), _span(high)
            if (first or not low) and (last or not high):
                return Range(first[0] if first else None, last[1] if last else None)
    raise InvalidQuery(f"{what}: {text[:60]!r} is neither a date and time (YYYYMMDDHHMMSS) nor a range of them")


def _span(text: str) -> tuple[datetime, datetime] | None:
    """From the first to the last moment of a value, which may leave out its end."""
    parts = _DT.fullmatch(text)
    if parts is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = parts.groups()
    try:
        zone = LOCAL if offset is None else _zone(offset)
        low = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), min(int(second or 0), 59),
            int((fraction or "").ljust(6, "0")), zone,
        )  # fmt: skip
        high = low.replace(
            month=low.month if month else 12,
            hour=low.hour if hour else 23,
            minute=low.minute if minute else 59,
            second=low.second if second else 59,
            microsecond=int((fraction or "").ljust(6, "9")),
        )
        if not day:
            high = high.replace(day=monthrange(high.year, high.month)[1])
        return low.astimezone(UTC), high.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(offset: str) -> timezone:
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    if int(offset[3:]) > 59 or minutes > 14 * 60:
        raise ValueError("no such offset")
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
