"""Calendar periods on the hospitals' clocks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

Period = Literal["hour", "day", "week", "month", "quarter", "year"]
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_SPANS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}


def begins(period: Period, moment: datetime) -> datetime:
    """The beginning of the period that a moment is in."""
    if period == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return day
    if period == "week":
        return day - timedelta(days=day.weekday())
    length = _MONTHS[period]
    return day.replace(day=1, month=(day.month - 1) // length * length + 1)


def shifted(period: Period, beginning: datetime, count: int) -> datetime:
    """The beginning of the period so many later; earlier if below 0."""
    if period in _SPANS:
        return beginning + count * _SPANS[period]
    months = beginning.year * 12 + beginning.month - 1 + count * _MONTHS[period]
    return beginning.replace(year=months // 12, month=months % 12 + 1)


def title(period: Period, beginning: datetime) -> str:
    """What a period is called in Vietnamese."""
    if period == "year":
        return f"năm {beginning.year}"
    if period == "quarter":
        return f"quý {(beginning.month + 2) // 3} năm {beginning.year}"
    if period == "month":
        return f"tháng {beginning.month} năm {beginning.year}"
    return beginning.strftime("%d/%m/%Y %H:%M" if period == "hour" else "%d/%m/%Y")
