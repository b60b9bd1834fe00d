"""Data types of HL7 as values of DICOM attributes: names, dates, identifiers, codes (HL7 v2.5.1 2.A)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from archive.hl7.message import NULL, Segment
from archive.standard.text import parse_date
from config.clock import VIETNAM

_TIME: Final = re.compile(
    r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.\d{1,6})?)?)?)?(?:([+-])(\d{2})(\d{2}))?"
)
_DAY_FIRST: Final = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")
SEXES: Final[Mapping[str, str]] = {
    "M": "M", "F": "F", "O": "O", "A": "O", "N": "O", "U": "", "NAM": "M", "NỮ": "F", "NU": "F", "MALE": "M",
    "FEMALE": "F",
}  # fmt: skip
"""HL7 table 0001, and what is written instead."""


def clean(text: str) -> str:
    """Text for one line of DICOM: no controls, no backslash, which separates values there."""
    return " ".join("".join(char if char.isprintable() else " " for char in text.replace("\\", "/")).split())


def paragraphs(text: str) -> str:
    """Text of several lines."""
    lines = (
        "".join(char for char in line if char.isprintable() or char == "\t").rstrip() for line in text.splitlines()
    )
    return "\r\n".join(lines).strip()


def point_of_time(text: str) -> datetime | None:
    """A TS or DTM on the clock of the hospitals; None if it is none. A date without a time is its beginning."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    try:
        moment = datetime(year, month, day, min(hour, 23), minute, min(second, 59))
        if found[7]:
            offset = timedelta(hours=int(found[8]), minutes=int(found[9]))
            zone = timezone(offset if found[7] == "+" else -offset)
            moment = moment.replace(tzinfo=zone).astimezone(VIETNAM).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return moment


def birth_date(text: str) -> str | None:
    """YYYYMMDD; None if it is no whole date. Days first are read, too, as they are written in Vietnam."""
    text = text.strip()
    if found := _DAY_FIRST.fullmatch(text):
        text = f"{found[3]}{int(found[2]):02}{int(found[1]):02}"
    head = text.replace("-", "")[:8] if re.match(r"\d{4}-\d{2}-\d{2}", text) else text[:8]
    if not re.fullmatch(r"\d{8}", head) or (made := parse_date(head)) is None:
        return None
    return made.isoformat().replace("-", "")


def person(parts: Sequence[str]) -> str:
    """A name of DICOM (PS3.5 6.2.1) from family, given, middle, suffix, prefix of XPN or XCN."""
    family, given, middle, suffix, prefix = (
        re.sub(r"[\^=]", " ", clean("" if part == NULL else part)) for part in (*parts, *[""] * 5)[:5]
    )
    return "^".join((family, given, middle, prefix, suffix)).rstrip("^ ")


def xpn(segment: Segment, number: int) -> str:
    """The legal name of a field of XPN; the first if none says that it is."""
    names = segment.repetitions(number)
    legal = [each for each in names if segment.get(number, 7, of=each).upper() in ("L", "D")]
    chosen = (legal or names or [""])[0]
    return person([segment.get(number, component, of=chosen) for component in range(1, 6)])


def xcn(segment: Segment, number: int) -> str:
    """The name of a physician: ``number^family^given...``, or just a name where a number should stand."""
    name = person([segment.get(number, component) for component in range(2, 7)])
    alone = segment.get(number, 1)
    if name or not re.search(r"[^\W\d_]{2,}", alone) or not (" " in alone or alone.isalpha()):
        return name
    return person([alone])


def phones(segment: Segment, number: int) -> list[str]:
    """Telephone numbers of a field of XTN."""
    found = []
    for each in segment.repetitions(number):
        whole = segment.get(number, 1, of=each) or segment.get(number, 12, of=each)
        whole = whole or segment.get(number, 6, of=each) + segment.get(number, 7, of=each)
        if whole and whole != NULL:
            found.append(clean(whole))
    return found


def address(segment: Segment, number: int) -> str:
    """An address of XAD in one line."""
    parts = (clean(segment.value(number, component)) for component in (1, 2, 3, 4))
    return ", ".join(part for part in parts if part)


def code(segment: Segment, number: int) -> list[dict[str, Any]]:
    """The code of a field of CE or CWE as an item of a code sequence (PS3.3 8.8); none if it has no code."""
    value, meaning, scheme = (clean(segment.value(number, component)) for component in (1, 2, 3))
    if not value or len(value) > 16:
        return []
    scheme = scheme if 0 < len(scheme) <= 16 else "L"
    return [{"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": (meaning or value)[:64]}]
