"""Whether the data of a study is right, complete, clean and alive: "đúng, đủ, sạch, sống" (docs/indicators.md)."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from config.figures import FiguresSettings

if TYPE_CHECKING:
    from archive.figures.fact import Raw

OLDEST_PERSON: Final = 130
EARLIEST: Final = date(1980, 1, 1)
"""Digital images are no older; before, a date is a clock that was never set."""
_CITIZEN_ID: Final = re.compile(r"^\d{3}(\d)(\d\d)\d{6}$")
_SEX_OF_DIGIT: Final = "MF"


def examined_at(found: Raw, first_image_at: datetime) -> datetime | None:
    """When the study was done by its own account, if that can be. `first_image_at` is without a zone, too."""
    if found.study_date is None or not found.study_date >= EARLIEST:
        return None
    moment = datetime.combine(found.study_date, found.study_time or time())
    # The clocks of devices are wrong by hours, not by days.
    return moment if moment <= first_image_at + timedelta(days=1) else None


def is_right(found: Raw, examined: datetime | None) -> bool:
    """Đúng: identifiers and dates agree with each other."""
    if examined is None or not found.number or found.sex not in ("M", "F", "O"):
        return False
    born = found.birth_date
    if born is None or not born <= examined.date() or examined.year - born.year > OLDEST_PERSON:
        return False
    return _agrees_with_citizen_id(found.number, born, found.sex)


def _agrees_with_citizen_id(number: str, born: date, sex: str) -> bool:
    """Số định danh cá nhân: province, a digit for century and sex, two of the year of birth, six others."""
    match = _CITIZEN_ID.match(number)
    if match is None:
        return True
    digit = int(match[1])
    year = 1900 + 100 * (digit // 2) + int(match[2])
    return year == born.year and sex in (_SEX_OF_DIGIT[digit % 2], "O")


def is_whole(found: Raw, modality: str, body_part: str, settings: FiguresSettings) -> bool:
    """Đủ: what is required is there."""
    there = {
        "patient_id": bool(found.number),
        "name": bool(found.name.strip("^ =")),
        "birth_date": found.birth_date is not None,
        "sex": bool(found.sex),
        "date": found.study_date is not None,
        "time": found.study_time is not None,
        "accession_number": bool(found.accession_number),
        "modality": bool(modality),
        "body_part": bool(body_part),
        "description": bool(found.study_description),
    }
    return all(there[name] for name in settings.required)


def is_clean(found: Raw) -> bool:
    """Sạch: nothing in it was doubtful, repaired, or there twice with other bytes."""
    return not (found.warned or found.repaired or found.versions)


def is_alive(examined: datetime | None, first_image_at: datetime, settings: FiguresSettings) -> bool:
    """Sống: the images came soon after the examination."""
    return examined is not None and first_image_at - examined <= timedelta(hours=settings.alive_hours)
