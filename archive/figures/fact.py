"""What is counted of one study, made of what the index has of it. Pure."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

from archive.figures.body_parts import body_part
from archive.figures.quality import examined_at, is_alive, is_clean, is_right, is_whole
from archive.figures.spread import bucket
from config.clock import VIETNAM
from config.figures import FiguresSettings

DOCUMENTS: Final = ("SR", "PR", "KO", "DOC", "REG", "SEG", "AU", "FID", "RTRECORD", "PLAN", "RWV", "SMR", "ASMT", "")
"""Modalities of what is made of images; a study has one of these only if it has nothing else."""
_FIRST: Final = {"PT": 0, "NM": 1}
"""A PET-CT is a PET, though it has more images of CT."""
_SAME: Final = {"CR": "DX", "DR": "DX", "MRI": "MR", "DS": "XA"}
"""Words for the same: a province that compares facilities does not care how an X-ray became digital."""
AGE_GROUPS: Final = ("0-5", "6-15", "16-29", "30-44", "45-59", "60-74", "75+")
_AGES: Final = (6, 16, 30, 45, 60, 75)
FILM: Final = "film"
DAY: Final = timedelta(days=1)


class Raw(NamedTuple):
    """A row of `archive.figures.sql.RAW`."""

    study_id: int
    facility_id: int
    study_date: date | None
    study_time: time | None
    accession_number: str
    study_description: str
    instances: int
    bytes: int
    patient_id: int
    patient_stamp: int
    person_id: int
    number: str
    name: str
    birth_date: date | None
    sex: str
    series: list[list[Any]]
    """Modality, body part, description and number of instances of each that is shown."""
    first_image_at: datetime
    last_image_at: datetime
    last_before_report: datetime | None
    warned: bool
    repaired: bool
    versions: bool
    ordered_at: datetime | None
    final_at: datetime | None
    tele_read: bool
    modes: list[str]


class Fact(NamedTuple):
    """A row of ``study_fact``, in the order of its columns."""

    study_id: int
    facility_id: int
    person_id: int
    patient_id: int
    patient_stamp: int
    modality: str
    body_part: str
    sex: str
    age_group: str
    studied_at: datetime
    ordered_at: datetime | None
    first_image_at: datetime
    last_image_at: datetime
    final_at: datetime | None
    order_to_images: int | None
    images_to_report: int | None
    order_to_report: int | None
    instances: int
    bytes: int
    reported: bool
    tele_read: bool
    delivered: bool
    filmless: bool
    duplicate: bool
    data_right: bool
    data_whole: bool
    data_clean: bool
    data_alive: bool

    @property
    def kind(self) -> tuple[int, str, str] | None:
        """Whose examination of what; None where that cannot be told, and nothing is a repetition of it."""
        known = bool(self.modality) and self.modality not in DOCUMENTS and self.body_part not in ("", "OTHER")
        return (self.person_id, self.modality, self.body_part) if known else None


def local(moment: datetime) -> datetime:
    """The same on the hospitals' clocks, without a zone."""
    return moment.astimezone(VIETNAM).replace(tzinfo=None)


def fact_of(found: Raw, ordered_before: datetime | None, settings: FiguresSettings) -> Fact:
    """`ordered_before` is what was known of the order before; duplicates are not decided here."""
    modality, of_series = main_modality(found.series)
    part = _part(found, of_series)
    arrived = local(found.first_image_at)
    examined = examined_at(found, arrived)
    ordered_at = found.ordered_at or ordered_before
    modes = frozenset(found.modes)
    sex = found.sex if found.sex in ("M", "F", "O") else ""
    return Fact(
        study_id=found.study_id,
        facility_id=found.facility_id,
        person_id=found.person_id,
        patient_id=found.patient_id,
        patient_stamp=found.patient_stamp,
        modality=modality,
        body_part=part,
        sex=sex,
        age_group=age_group(found.birth_date, (examined or arrived).date()),
        studied_at=examined or arrived,
        ordered_at=ordered_at,
        first_image_at=found.first_image_at,
        last_image_at=found.last_image_at,
        final_at=found.final_at,
        order_to_images=bucket(ordered_at, found.first_image_at),
        images_to_report=bucket(found.last_before_report, found.final_at),
        order_to_report=bucket(ordered_at, found.final_at),
        instances=found.instances,
        bytes=found.bytes,
        reported=found.final_at is not None,
        tele_read=found.tele_read,
        delivered=bool(modes),
        filmless=bool(modes) and FILM not in modes,
        duplicate=False,
        data_right=is_right(found, examined),
        data_whole=is_whole(found, modality, part, settings),
        data_clean=is_clean(found),
        data_alive=is_alive(examined, arrived, settings),
    )


def main_modality(series: list[list[Any]]) -> tuple[str, list[list[Any]]]:
    """The one modality under which a study counts, and its series: that with the most instances, PET before CT."""
    instances: dict[str, int] = {}
    for name, _, _, count in series:
        instances[name] = instances.get(name, 0) + count
    best = min(
        instances,
        default="",
        key=lambda name: (name in DOCUMENTS, name == "OT", _FIRST.get(name, 2), -instances[name], name),
    )
    return _SAME.get(best, best), [each for each in series if each[0] == best]


def age_group(born: date | None, day: date) -> str:
    """One of `AGE_GROUPS`, empty if it cannot be."""
    if born is None or born > day:
        return ""
    years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    return AGE_GROUPS[sum(years >= limit for limit in _AGES)]


def _part(found: Raw, series: list[list[Any]]) -> str:
    by_size = sorted(series, key=lambda each: -each[3])
    descriptions = [found.study_description, *(each[2] for each in by_size[:3])]
    for each in by_size:
        part = body_part(each[1])
        if part and part != "OTHER":
            return part
    return body_part(by_size[0][1] if by_size else "", descriptions)
