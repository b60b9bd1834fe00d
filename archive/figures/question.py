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
    ORDER_TO_IMAGES_P90 = "order_to_images_p90"
    """Minutes that nine of ten did not exceed."""
    IMAGES_TO_REPORT_P90 = "images_to_report_p90"
    ORDER_TO_REPORT_P90 = "order_to_report_p90"
    REPORTED = "reported"
    UNREAD = "unread"
    """Studies without a signed report."""
    TELE_READ = "tele_read"
    """Of the reported, those whose report was signed at another facility."""
    DELIVERED = "delivered"
    FILMLESS = "filmless"
    """Of the delivered, those that went out without film."""
    DUPLICATES_FOUND = "duplicates_found"
    """Examinations of the same person, modality and body part shortly after another one."""
    DUPLICATES_AVOIDED = "duplicates_avoided"
    """Looks at an examination of another facility that no examination of the same kind followed."""
    CROSS_VIEWS = "cross_views"
    """Looks at studies of another facility; counted at the time of the look."""
    DATA_RIGHT = "data_right"
    """Đúng."""
    DATA_WHOLE = "data_whole"
    """Đủ."""
    DATA_CLEAN = "data_clean"
    """Sạch."""
    DATA_ALIVE = "data_alive"
    """Sống."""
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
    """Counts of studies whose date lies in [since, until), each broken down by `by`.

    Times without a zone are those of the hospitals.
    """

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
    """Rows of values: those of `by`, then those of `measures`; None where there is nothing, or it is suppressed.

    Hours are texts such as ``2026-11-22T14``, days ``2026-11-22``, weeks ``2026-W47``, months ``2026-11``, quarters
    ``2026-Q4``, years ``2026``; hours of the day and days of the week (1 is Monday) are numbers, the rest is text.
    Rows come in the order of these. What has no studies has no row. Values of unknown modality, body part, sex, age
    group, district or care level are empty.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    as_of: datetime
    """Up to when changes are in the figures."""
    suppressed: int = 0
    """How many cells are held back because they are small, or would give away one that is."""
    whole: bool = True
    """Whether all studies have been counted; false while the figures are being built."""
