"""Figures for anybody: a fixed set of tables, each of whole periods that are over, with what is small held back.

Nobody chooses what is asked. Periods overlap nowhere and are told once they are over, so that the difference of two
answers is never a smaller count than those that are held back; and a table is made once and told for hours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from archive.errors import IndexUnavailable
from archive.figures.periods import Period, begins, shifted
from archive.figures.question import Answer, By, Measure, Question
from archive.figures.recent import Recent

AFTER: Final = timedelta(days=3)
"""After the end of a period, so that late images are in."""
SECONDS: Final = 6 * 3600.0
"""For which the tables stay as they are."""
_RESULTS: Final = (Measure.STUDIES, Measure.REPORTED, Measure.ORDER_TO_REPORT, Measure.DELIVERED, Measure.FILMLESS)


class Told(NamedTuple):
    """A table that is told to anybody."""

    name: str
    vi: str
    en: str
    period: Period
    periods: int
    measures: tuple[Measure, ...]
    by: tuple[By, ...]


TOLD: Final = (
    Told("months", "Theo tháng", "By month", "month", 24, (Measure.STUDIES, Measure.PATIENTS), (By.MONTH,)),
    Told("modalities", "Theo loại máy", "By modality", "quarter", 8, (Measure.STUDIES,), (By.QUARTER, By.MODALITY)),
    Told("districts", "Theo địa bàn", "By district", "quarter", 8, (Measure.STUDIES,), (By.QUARTER, By.DISTRICT)),
    Told(
        *("care_levels", "Theo cấp chuyên môn", "By level of care", "quarter", 8, (Measure.STUDIES,)),
        (By.QUARTER, By.CARE_LEVEL),
    ),
    Told("age_groups", "Theo nhóm tuổi", "By age group", "year", 3, (Measure.STUDIES,), (By.YEAR, By.AGE_GROUP)),
    Told("results", "Trả kết quả", "Results", "quarter", 8, _RESULTS, (By.QUARTER,)),
)


@dataclass(frozen=True, slots=True)
class Table:
    """What is told, what was asked for it, and what came back."""

    told: Told
    question: Question
    answer: Answer


class PublicFigures:
    """The tables, made once in some hours. Used by all threads of a process."""

    def __init__(self, ask: Callable[[Question], Answer]) -> None:
        self._ask = ask
        self._recent = Recent(lambda: None)

    def tables(self, now: datetime) -> Sequence[Table]:
        """All of them; `now` is on the hospitals' clocks. Raises `IndexUnavailable`, also while figures are built."""
        until = now - AFTER
        key = begins("month", until)
        return self._recent.get(key, lambda: [self._table(told, until) for told in TOLD], SECONDS, SECONDS)

    def _table(self, told: Told, now: datetime) -> Table:
        until = begins(told.period, now)
        question = Question(told.measures, shifted(told.period, until, -told.periods), until, told.by, public=True)
        answer = self._ask(question)
        if not answer.whole:
            # What is half counted would be told as if it were small, and its growth would tell the rest.
            raise IndexUnavailable("figures are being built; please try again later")
        return Table(told, question, answer)
