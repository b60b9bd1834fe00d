"""Numbers as people of Viet Nam and others write them: counts, shares, sizes, times."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

from config.clock import VIETNAM
from viewer_api.pages.language import Texts

_UNITS: Final = ("B", "KB", "MB", "GB", "TB", "PB")
NOTHING: Final = "–"


class Numbers:
    """Writes numbers in the language of the reader; a dash for what is not known."""

    def __init__(self, text: Texts) -> None:
        self._text = text
        self.point = "," if text.language == "vi" else "."
        self._thousands = "." if text.language == "vi" else ","

    def count(self, value: Any) -> str:
        return NOTHING if value is None else f"{round(value):,}".replace(",", self._thousands)

    def part(self, part: Any, whole: Any) -> str:
        """A share of a hundred."""
        if not whole or part is None:
            return NOTHING
        return f"{part / whole * 100:.1f}%".replace(".", self.point)

    def of(self, whole: Any) -> str:
        return self._text("dash_of", count=self.count(whole))

    def scale(self, most: float) -> tuple[float, str]:
        """The unit in which an amount of bytes is read best: how many bytes it is, and its name."""
        unit = 0
        while most >= 1000 and unit < len(_UNITS) - 1:
            most, unit = most / 1000, unit + 1
        return 1000.0**unit, _UNITS[unit]

    def size(self, value: Any) -> str:
        if value is None:
            return NOTHING
        scale, unit = self.scale(float(value))
        digits = 0 if value / scale >= 100 or scale == 1 else 1
        return f"{value / scale:.{digits}f} {unit}".replace(".", self.point)

    def minutes(self, value: Any) -> str:
        if value is None:
            return NOTHING
        if value < 100:
            return self._text("dash_minutes", count=round(value))
        if value < 60 * 48:
            return self._text("dash_hours", count=f"{value / 60:.1f}".replace(".", self.point))
        return self._text("dash_days", count=f"{value / 1440:.1f}".replace(".", self.point))

    def day(self, value: date) -> str:
        return f"{value:%d/%m/%Y}"

    def moment(self, value: datetime | None) -> str:
        return NOTHING if value is None else f"{value.astimezone(VIETNAM):%H:%M %d/%m}"

    def ago(self, value: datetime | None) -> str:
        """How long ago."""
        return NOTHING if value is None else self.minutes((datetime.now(UTC) - value).total_seconds() / 60)
