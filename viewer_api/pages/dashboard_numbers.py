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

    def size(self, value: Any) -> str:
        if value is None:
            return NOTHING
        number, unit = float(value), 0
        while number >= 1000 and unit < len(_UNITS) - 1:
            number, unit = number / 1000, unit + 1
        digits = 0 if number >= 100 or not unit else 1
        return f"{number:.{digits}f} {_UNITS[unit]}".replace(".", self.point)

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
