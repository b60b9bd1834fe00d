"""The province's figures: what counts as what, reports that are made by themselves, indicators that are pushed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
    """Hours without an image after which a facility is reported to be silent."""
    queue_hours: float = Field(default=1, gt=0)
    """Hours that the oldest object of a forwarding queue may wait until the queue is reported."""
    forecast_days: int = Field(default=180, ge=1)
    """Days ahead of which it is reported that storage will be full."""
    capacity_bytes: int = Field(default=0, ge=0)
    """Bytes that the object store can hold, for the forecast; 0: what is free on its disk, or unknown with S3."""
    small: int = Field(default=5, ge=1, le=100)
    """Public figures: counts of patients or studies below are held back."""
    round_to: int = Field(default=5, ge=1, le=100)
    """Public figures: counts are rounded to a multiple; 1: they are not."""
