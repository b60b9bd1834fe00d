"""What the archive does with objects, orders, commitments and workitems, and how it logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.section import MEBIBYTE, Section


class IngestSettings(Section):
    """Rules for what comes in."""

    conflict: Literal["version", "reject"] = "version"
    """Same SOP Instance UID, other bytes. ``version``: keep both; the newer is shown if it comes from the facility
    that sent the first, else the first stays shown. ``reject``: refuse the newer (0111)."""
    query_limit: int = Field(default=1000, ge=1)
    """Most matches that one query gives."""
    expiry_notes: bool = False
    """Whether rejection notes with the title Data Retention Policy Expired (113039) hide what they name."""


class CommitmentSettings(Section):
    """Storage commitment."""

    read_rate: int = Field(default=100 * MEBIBYTE, ge=MEBIBYTE)
    """Bytes of stored objects that one process reads in a second to compare them, so that ingest is not held up."""
    give_up_days: float = Field(default=7, gt=0)
    """Days after which a result that no peer takes, or a request that no peer answers, is given up."""
    answer_timeout: float = Field(default=3600, gt=0)
    """Seconds that another archive has to answer a request of ours before it is asked again."""
    keep_days: float = Field(default=30, gt=0)
    """Days that requests are kept after their end, for questions."""


ItemStatus = Literal["SCHEDULED", "ARRIVED", "READY", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELLED"]


class WorklistSettings(Section):
    """The modality worklist and performed procedure steps."""

    listed: tuple[ItemStatus, ...] = ("SCHEDULED", "ARRIVED", "READY")
    """Items that a modality is given unless it asks for a status."""
    list_days: int = Field(default=30, ge=0)
    """Items that were due more days ago are not given to a modality that names neither date nor status; 0: all are."""
    close_by_images: bool = True
    """Whether an item that no MPPS tells about is complete when its images are in."""
    close_after_images: float = Field(default=600, ge=0)
    """Seconds without a new image in its study until then."""
    keep_days: int = Field(default=365, ge=0)
    """Items that were due more days ago are deleted; 0: never."""


class UPSSettings(Section):
    """Workitems of post-processing (UPS-RS)."""

    keep_days: int = Field(default=90, ge=0)
    """Workitems that ended more days ago are deleted, unless a deletion lock holds them; 0: never."""
    waiting_events: int = Field(default=10_000, ge=1)
    """Event reports that wait for a subscriber to open its channel; of more, the oldest are dropped."""


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "text"] = "json"
