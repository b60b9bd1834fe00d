"""What one line of the study list shows, from the attributes of a match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from archive.core import Archive
from archive.records import DicomJSON
from viewer_api.pages.language import Texts

_AGE = re.compile(r"(\d{3})([DWMY])")
_AGE_UNITS: Final = {"D": "age_days", "W": "age_weeks", "M": "age_months", "Y": "age_years"}
_MONTHS_UNTIL_YEARS: Final = 36
"""Vietnamese practice: the age of children under three is given in months."""


@dataclass(frozen=True, slots=True)
class Row:
    """A study as text, not yet escaped."""

    study: str
    name: str
    patient_id: str
    sex: str
    age: str
    birth_date: str
    date: str
    time: str
    modalities: tuple[str, ...]
    description: str
    accession: str
    facility: str
    series: str
    images: str


def row(match: DicomJSON, facility: str, text: Texts) -> Row:
    """The line of one match; `facility` is who owns it."""
    born, taken = _text(match, "00100030"), _text(match, "00080020")
    sex = _text(match, "00100040")
    return Row(
        study=_text(match, "0020000D"),
        name=_name(match) or text("no_name"),
        patient_id=_text(match, "00100020"),
        sex=text.get(f"sex_{sex}") or sex,
        age=_age(_text(match, "00101010"), read_date(born), read_date(taken), text),
        birth_date=shown_date(born, text.language),
        date=shown_date(taken, text.language),
        time=shown_time(_text(match, "00080030")),
        modalities=tuple(str(value) for value in _values(match, "00080061") if value),
        description=_text(match, "00081030"),
        accession=_text(match, "00080050"),
        facility=facility,
        series=_text(match, "00201206"),
        images=_text(match, "00201208"),
    )


def facility_name(archive: Archive, code: str) -> str:
    """The name of a facility; its code, if it was taken out of the settings."""
    facility = archive.peers.facilities.get(code)
    return facility.name if facility else code


def _values(match: DicomJSON, key: str) -> list[Any]:
    return match.get(key, {}).get("Value") or []


def _text(match: DicomJSON, key: str) -> str:
    values = _values(match, key)
    return "" if not values or values[0] is None else str(values[0]).strip()


def _name(match: DicomJSON) -> str:
    """The name as it is spoken: components of PS3.5 6.2.1 joined by spaces."""
    values = _values(match, "00100010")
    groups = values[0] if values and isinstance(values[0], dict) else {}
    return spoken_name(groups.get("Alphabetic") or groups.get("Ideographic") or groups.get("Phonetic") or "")


def spoken_name(name: str) -> str:
    """One group of a person name as it is spoken: its components joined by spaces (PS3.5 6.2.1)."""
    return " ".join(part for part in name.replace("^", " ").split(" ") if part)


def read_date(text: str) -> date | None:
    """A date of eight digits, None if it is none."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 else None
    except ValueError:
        return None


def shown_date(text: str, language: str) -> str:
    """A date of eight digits as people write it."""
    found = read_date(text)
    if found is None:
        return text
    return found.strftime("%d/%m/%Y") if language == "vi" else found.isoformat()


def shown_time(text: str) -> str:
    """Hours and minutes of a time of at least four digits."""
    digits = text[:4]
    return f"{digits[:2]}:{digits[2:]}" if len(digits) == 4 and digits.isdigit() else ""


def _age(stated: str, born: date | None, taken: date | None, text: Texts) -> str:
    """The age at the study: as stated (PS3.5 6.2, AS), else by the dates."""
    if match := _AGE.fullmatch(stated):
        return text(_AGE_UNITS[match[2]], count=int(match[1]))
    return age_between(born, taken, text)


def age_between(born: date | None, taken: date | None, text: Texts) -> str:
    """The age on a day, empty if it cannot be told."""
    if born is None or taken is None or taken < born:
        return ""
    months = (taken.year - born.year) * 12 + taken.month - born.month - (taken.day < born.day)
    if months < 1:
        return text("age_days", count=(taken - born).days)
    if months < _MONTHS_UNTIL_YEARS:
        return text("age_months", count=months)
    return text("age_years", count=months // 12)
