"""How much storage is used, how much comes to it each day, and until when what is free lasts.

The trend is the median slope between the weeks of the last half year (Theil-Sen), which single odd weeks do not move;
its range is where eight of ten weeks lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from statistics import median, quantiles
from typing import Final

from sqlalchemy import Engine, text

from archive.database import fetch
from config import clock

WEEKS: Final = 26
_FEWEST_WEEKS: Final = 4
_LONGEST: Final = 3650
"""Days ahead that are looked at."""
_MONTHS: Final = text("SELECT day, sum(bytes)::bigint AS bytes FROM study_sum WHERE cube = 2 GROUP BY day ORDER BY day")
_BY_WEEK: Final = text("""
SELECT date_trunc('week', day)::date AS week, sum(bytes)::bigint AS bytes FROM study_sum
 WHERE cube = 1 AND day >= :since AND day < :until GROUP BY 1 ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Storage, in bytes of the shown objects as stored, by the dates of their studies."""

    used_bytes: int
    free_bytes: int | None
    """None where it is not known."""
    per_day: float | None
    """Bytes that come each day now; None with less than four weeks to go by."""
    per_day_low: float | None
    per_day_high: float | None
    growth_per_week: float | None
    """By how many bytes a day more each week."""
    full_at: date | None
    """When the storage will be full by the trend; None if not within ten years, or not known."""
    full_early: date | None
    full_late: date | None
    history: tuple[tuple[date, int], ...] = ()
    """What was used at the end of each month, by the first day of the month."""


def forecast(engine: Engine, free_bytes: int | None, capacity: int = 0, today: date | None = None) -> Forecast:
    """The forecast of today; with a `capacity`, what is free is the rest of it. Raises `IndexUnavailable`."""
    day = today or clock.today()
    until = day - timedelta(days=day.weekday())
    since = until - timedelta(weeks=WEEKS)
    rows = {row.week: row.bytes for row in fetch(engine, _BY_WEEK, {"since": since, "until": until})}
    weeks = [rows.get(since + timedelta(weeks=number), 0) / 7 for number in range(WEEKS)]
    total, history = 0, []
    for row in fetch(engine, _MONTHS):
        total += row.bytes
        history.append((row.day, total))
    free = max(0, capacity - total) if capacity else free_bytes
    return foreseen(total, free, weeks, day, history)


def foreseen(
    used: int, free: int | None, weeks: Sequence[float], today: date, history: Sequence[tuple[date, int]] = ()
) -> Forecast:
    """The same of what came in bytes a day in each week, the last one last; leading empty weeks are left out."""
    begun = next((number for number, each in enumerate(weeks) if each), len(weeks))
    known = list(weeks[begun:])
    if len(known) < _FEWEST_WEEKS:
        return Forecast(used, free, None, None, None, None, None, None, None, tuple(history))
    slope = median((known[j] - known[i]) / (j - i) for i, j in combinations(range(len(known)), 2))
    level = median(value - slope * number for number, value in enumerate(known))
    now = max(0.0, level + slope * len(known))
    off = [value - level - slope * number for number, value in enumerate(known)]
    tenths = quantiles(off, n=10, method="inclusive")
    low, high = max(0.0, now + tenths[0]), max(0.0, now + tenths[-1])
    full = [None if free is None else _full(free, rate, slope, today) for rate in (now, high, low)]
    return Forecast(used, free, now, low, high, slope, full[0], full[1], full[2], tuple(history))


def _full(free: int, per_day: float, slope: float, today: date) -> date | None:
    left = float(free)
    for day in range(_LONGEST):
        left -= max(0.0, per_day + slope * day / 7)
        if left <= 0:
            return today + timedelta(days=day)
    return None
