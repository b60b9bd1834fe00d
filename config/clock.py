"""The time of day in the hospitals. Vietnam has one time zone and no summer time; the clock of a container is UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

VIETNAM: Final = timezone(timedelta(hours=7))


def now() -> datetime:
    """The date and time that a clock on the wall of a hospital shows, without a zone, as DICOM writes it."""
    return datetime.now(UTC).astimezone(VIETNAM).replace(tzinfo=None)


def today() -> date:
    """The date in the hospitals."""
    return now().date()
