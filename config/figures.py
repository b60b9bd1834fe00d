"""The province's figures: what counts as what, reports that are made by themselves, indicators that are pushed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from config.receivers import Subscriber
from config.section import Section

RequiredField = Literal[
    "patient_id",
    "name",
    "birth_date",
    "sex",
    "date",
    "time",
    "accession_number",
    "modality",
    "body_part",
    "description",
]


Period = Literal["month", "quarter", "year"]


MeasureName = Literal[
    "studies", "patients", "instances", "bytes", "reported", "unread", "tele_read", "delivered", "filmless",
    "order_to_images", "images_to_report", "order_to_report", "order_to_images_p90", "images_to_report_p90",
    "order_to_report_p90", "duplicates_found", "duplicates_avoided", "cross_views", "data_right", "data_whole",
    "data_clean", "data_alive", "complete",
]  # fmt: skip
BreakdownName = Literal[
    "hour_of_day", "day_of_week", "facility", "district", "care_level", "modality", "body_part", "sex", "age_group"
]


class FigureReports(Section):
    """Reports that are made by themselves when a period has ended."""

    every: tuple[Period, ...] = ("quarter",)
    """For which periods; none for no reports."""
    after_days: float = Field(default=3, ge=0, le=60)
    """Days after the end of a period, so that late images and results are in."""


class FigurePush(Subscriber):
    """A receiver of indicators, such as the IOC of the province behind its LGSP."""

    every: Literal["hour", "day", "week", "month", "quarter", "year"] = "day"
    after_minutes: float = Field(default=15, ge=0, le=60 * 24 * 31)
    """Minutes after the end of a period until its figures are sent."""
    periods: int = Field(default=1, ge=1, le=400)
    """How many periods each request tells of, so that what changed later is told of again."""
    measures: tuple[MeasureName, ...] = (
        "studies",
        "patients",
        "reported",
        "unread",
        "order_to_report",
        "filmless",
        "delivered",
    )
    by: tuple[BreakdownName, ...] = ("facility", "modality")
    """Breakdowns beside the period."""
    public: bool = False
    """Whether small counts are held back; only of months, quarters and years."""
    give_up_days: float = Field(default=7, gt=0)
    """Days after which a request that was not taken is not tried again."""

    @model_validator(mode="after")
    def _public_figures_are_coarse(self) -> Self:
        if self.public and self.every in ("hour", "day", "week"):
            raise ValueError("public figures are pushed by the month, quarter or year")
        return self


class FiguresSettings(Section):
    """How the figures are counted (docs/indicators.md). After a change: ``python -m archive figures rebuild``."""

    duplicate_days: int = Field(default=30, ge=1, le=365)
    """Days within which a second examination of the same person, modality and body part counts as a duplicate."""
    duplicates: Literal["other_facility", "any"] = "other_facility"
    """Whether only repetitions at another facility count, or those at the same one, too."""
    required: tuple[RequiredField, ...] = (
        *("patient_id", "name", "birth_date", "sex"),
        *("date", "time", "accession_number", "modality"),
    )
    """What a study must have to count as complete ("đủ")."""
    alive_hours: float = Field(default=24, gt=0)
    """Hours after the examination within which its images must have arrived to count as alive ("sống")."""
    backlog_days: int = Field(default=90, ge=1)
    """Studies without a report count as unread backlog for so many days after they arrived."""
    silent_hours: float = Field(default=24, gt=0)
    """Hours without an image after which a facility is reported to be silent, without a message an HL7 sender."""
    never_heard_hours: float = Field(default=72, gt=0)
    """Hours for which a facility, device or HL7 sender may be listed in the settings and not be heard of at all."""
    queue_hours: float = Field(default=1, gt=0)
    """Hours that the oldest object or message of a queue may wait until the queue is reported."""
    queue_growth: int = Field(default=200, ge=1)
    """Objects or messages by which a queue may become longer within `growth_hours` until that is reported."""
    growth_hours: float = Field(default=3, ge=0.5, le=168)
    """Hours within which a queue is looked at to tell whether it grows."""
    failed_hours: float = Field(default=72, gt=0)
    """Hours for which HL7 messages that were refused or set aside are reported, unless they are done again before."""
    backlog_growth: float = Field(default=0.5, gt=0)
    """Share by which a facility's studies without a report may be more than a week ago until that is reported."""
    backlog_least: int = Field(default=50, ge=1)
    """A facility with fewer studies without a report is not reported for that."""
    behind_hours: float = Field(default=0.5, gt=0)
    """Hours for which something new may not be counted, forwarded or on record until that is reported."""
    forecast_days: int = Field(default=180, ge=1)
    """Days ahead of which it is reported that storage will be full."""
    capacity_bytes: int = Field(default=0, ge=0)
    """Bytes that the object store can hold, for the forecast; 0: what is free on its disk, or unknown with S3."""
    small: int = Field(default=5, ge=1, le=100)
    """Public figures: counts of patients or studies below are held back."""
    round_to: int = Field(default=5, ge=1, le=100)
    """Public figures: counts are rounded to a multiple; 1: they are not."""
    public: bool = False
    """Whether anybody may read the tables of `archive.figures.public`, without signing in."""
    page_seconds: float = Field(default=30, ge=0, le=600)
    """Seconds for which the dashboard may tell again what it told another reader; 0: always the newest."""
    reports: FigureReports = FigureReports()
    pushes: tuple[FigurePush, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [push.name for push in self.pushes]
        if len(set(names)) < len(names):
            raise ValueError("two pushes of figures have the same name")
        return self
