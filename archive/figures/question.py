"""What is asked of the figures, and what comes back. Pages, API, exports and pushes all speak this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Measure(StrEnum):
    """What is counted."""

    STUDIES = "studies"
    PATIENTS = "patients"
    """Distinct persons."""
    INSTANCES = "instances"
    BYTES = "bytes"
    ORDER_TO_IMAGES = "order_to_images"
    """Median minutes from the order to the first image."""
    IMAGES_TO_REPORT = "images_to_report"
    """Median minutes from the last image to the first signed report."""
    ORDER_TO_REPORT = "order_to_report"
    REPORTED = "reported"
    UNREAD = "unread"
    """Studies without a signed report."""
    DELIVERED = "delivered"
    FILMLESS = "filmless"
    """Of the delivered, those that went out without film."""
    DUPLICATES_FOUND = "duplicates_found"
    """Examinations of the same person, modality and body part shortly after another one."""
    DUPLICATES_AVOIDED = "duplicates_avoided"
    """Looks at an examination of another facility that no examination of the same kind followed."""
    CROSS_VIEWS = "cross_views"
    """Looks at studies of another facility."""
    COMPLETE = "complete"
    """Studies whose data is right, complete, clean and alive ("đúng, đủ, sạch, sống")."""


class By(StrEnum):
    """What the counts are broken down by."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    HOUR_OF_DAY = "hour_of_day"
    DAY_OF_WEEK = "day_of_week"
    FACILITY = "facility"
    DISTRICT = "district"
    CARE_LEVEL = "care_level"
    MODALITY = "modality"
    BODY_PART = "body_part"
    SEX = "sex"
    AGE_GROUP = "age_group"


@dataclass(frozen=True, slots=True)
class Question:
    """Counts of studies whose date lies in [since, until), each broken down by `by`."""

    measures: tuple[Measure, ...]
    since: datetime
    until: datetime
    by: tuple[By, ...] = ()
    where: Mapping[By, tuple[str, ...]] = field(default_factory=dict)
    """Only these values of a breakdown."""
    facilities: frozenset[str] | None = None
    """Those that the caller may count; None for all of the province."""
    public: bool = False
    """Whether small cells are suppressed, for figures that are given to anybody."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of values: those of `by`, then those of `measures`; None where there is nothing, or it is suppressed."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    as_of: datetime
    """Up to when changes are in the figures."""
    suppressed: int = 0
    """How many cells are held back because they are small."""
