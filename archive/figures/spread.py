"""Durations by buckets that grow by a factor: medians of any part can be had by adding up its buckets.

A bucket is an eighth of an octave wide. A median that is read from it lies at most `ERROR` from the true one; it is the
same whichever sums it was read from.
"""

from __future__ import annotations

import math
from datetime import datetime
from functools import cache
from typing import Final

PER_OCTAVE: Final = 8
LONGEST: Final = PER_OCTAVE * 20
"""About two years; what took longer counts as this."""
ERROR: Final = 2 ** (0.5 / PER_OCTAVE) - 1
"""4.4 %, of durations of a minute and more; shorter ones are half a minute."""
SPANS: Final = {1: "order_to_images", 2: "images_to_report", 3: "order_to_report"}


def bucket(start: datetime | None, end: datetime | None) -> int | None:
    """The bucket of a duration; None where one of the ends is not known, or the end comes first."""
    if start is None or end is None or end < start:
        return None
    minutes = (end - start).total_seconds() / 60
    return 0 if minutes < 1 else min(LONGEST, 1 + math.floor(PER_OCTAVE * math.log2(minutes)))


@cache
def told_minutes(number: int) -> float:
    """The middle of a bucket, in minutes, as answers have it."""
    return round(0.5 if number == 0 else 2 ** ((number - 0.5) / PER_OCTAVE), 1)
