"""When people are examined: the seasons, Tết, the week, the day, and the growth of the years."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

TET: Final = ("2022-02-01", "2023-01-22", "2024-02-10", "2025-01-29", "2026-02-17", "2027-02-06", "2028-01-26")
"""First days of the lunar year."""
_HOLIDAYS: Final = ("01-01", "04-30", "05-01", "09-02", "09-03")
_WEEK: Final = np.array((1.32, 1.16, 1.1, 1.08, 1.06, 0.68, 0.42))
"""Monday first."""
_MONTHS: Final = np.array((1.05, 0.92, 1.03, 1.0, 0.97, 0.95, 0.98, 1.04, 1.08, 1.07, 1.02, 0.95))
_YEARLY_GROWTH: Final = 0.09

_PLANNED: Final = np.array(
    (0, 0, 0, 0, 0, 0.4, 2, 11, 14, 13.5, 10.5, 4.5, 1.6, 7, 9.5, 8.5, 5, 1.8, 0.8, 0.5, 0.3, 0.1, 0, 0)
)
_URGENT: Final = np.array(
    (1.6, 1.2, 1, 0.9, 1, 1.3, 2.2, 4, 5.5, 6, 6, 5, 4.2, 4.8, 5.2, 5, 4.6, 4.6, 5, 5.6, 5.4, 4.6, 3.4, 2.2)
)
PLANNED: Final = np.cumsum(_PLANNED / _PLANNED.sum())
URGENT: Final = np.cumsum(_URGENT / _URGENT.sum())


def weights(since: int, until: int) -> NDArray[np.float64]:
    """How much is examined on each day of [since, until), in no particular unit. Days count from 1970-01-01."""
    numbers = np.arange(since, until)
    days = numbers.astype("datetime64[D]")
    months = days.astype("datetime64[M]").astype(np.int64) % 12
    weight: NDArray[np.float64] = _WEEK[(numbers + 3) % 7] * _MONTHS[months]
    weight *= (1 + _YEARLY_GROWTH) ** ((numbers - since) / 365.25)
    for first in TET:
        distance = numbers - np.datetime64(first).astype(np.int64)
        weight[(distance >= -2) & (distance <= 4)] *= 0.25
        weight[(distance >= 5) & (distance <= 12)] *= 1.2
    holiday = np.isin([str(day)[5:] for day in days], _HOLIDAYS)
    weight[holiday] *= 0.35
    return weight


def per_day(count: int, since: int, until: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many of `count` studies fall on each day."""
    weight = weights(since, until) * rng.normal(1, 0.05, until - since).clip(0.8, 1.2)
    return rng.multinomial(count, weight / weight.sum())


def seconds_of_day(urgent: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """A time of the day for each."""
    uniform = rng.random(len(urgent))
    hour = np.where(urgent, np.searchsorted(URGENT, uniform), np.searchsorted(PLANNED, uniform))
    return np.minimum(hour, 23) * 3600 + rng.integers(0, 3600, len(urgent))
