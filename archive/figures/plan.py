"""Which sums answer a question: whole months from the cubes of months, the rest from days or from the facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from archive.errors import InvalidQuery
from archive.figures.question import By, Question
from archive.figures.sums import Cube
from config.clock import VIETNAM

TIMES: Final = (By.HOUR, By.DAY, By.WEEK, By.MONTH, By.QUARTER, By.YEAR)
CLOCK: Final = frozenset((By.HOUR_OF_DAY, By.DAY_OF_WEEK))
PEOPLE: Final = frozenset((By.BODY_PART, By.SEX, By.AGE_GROUP))
_FINE: Final = frozenset((By.HOUR, By.DAY, By.WEEK))
EARLIEST: Final = datetime(1900, 1, 1)
LATEST: Final = datetime(2200, 1, 1)
MOST_HOURS: Final = timedelta(days=93)
"""The longest time that is told hour by hour."""


Edge = Callable[[datetime], datetime]


class Piece(NamedTuple):
    """A stretch of time and what it is counted from; None: from the facts."""

    cube: Cube | None
    since: datetime
    until: datetime


def bounds(question: Question) -> tuple[datetime, datetime]:
    """The stretch asked about, on the hospitals' clocks. Raises `InvalidQuery`."""
    since, until = (min(max(EARLIEST, _local(moment)), LATEST) for moment in (question.since, question.until))
    if since >= until:
        raise InvalidQuery("since must be before until")
    if By.HOUR in question.by and until - since > MOST_HOURS:
        raise InvalidQuery(f"hour by hour, at most {MOST_HOURS.days} days can be asked for")
    if len(set(question.by)) < len(question.by) or not question.measures:
        raise InvalidQuery("at least one measure is needed, and each breakdown only once")
    if sum(each in TIMES for each in question.by) > 1:
        raise InvalidQuery("only one of hour, day, week, month, quarter and year can be asked for")
    if times := [each for each in question.where if each in TIMES]:
        raise InvalidQuery(f"{times[0]} is narrowed down by since and until")
    if question.public:
        _check_public(question, since, until)
    return since, until


def _check_public(question: Question, since: datetime, until: datetime) -> None:
    """Shifted and narrowed questions together would tell what each of them holds back."""
    if any(moment not in (EARLIEST, LATEST) and month_down(moment) != moment for moment in (since, until)):
        raise InvalidQuery("public figures are of whole months")
    if question.where:
        raise InvalidQuery("public figures cannot be narrowed down; they can be broken down")
    if set(question.by) & (_FINE | CLOCK):
        raise InvalidQuery("public figures are not told by the day, week or hour")


def pieces(since: datetime, until: datetime, names: Iterable[By]) -> list[Piece]:
    """The fewest rows that answer, given all breakdowns that matter."""
    used = frozenset(names)
    if By.HOUR in used:
        return [Piece(None, since, until)]
    days = not used & (CLOCK | PEOPLE)
    if (used & CLOCK and used & PEOPLE) or (used & _FINE and not days):
        return [Piece(None, since, until)]
    months = Cube.CLOCK if used & CLOCK else Cube.PEOPLE if used & PEOPLE else Cube.MONTHS
    whole = None if used & _FINE else months
    return [
        part
        for piece in _split(whole, since, until, month_up, month_down)
        for part in (
            [piece] if piece.cube or not days else _split(Cube.DAYS, piece.since, piece.until, _day_up, _day_down)
        )
    ]


def months_between(since: datetime, until: datetime) -> Piece | None:
    """The whole months of a stretch, if there are any."""
    return next((piece for piece in whole_months(since, until) if piece.cube), None)


def whole_months(since: datetime, until: datetime) -> list[Piece]:
    """The same where there is nothing but months and facts."""
    return _split(Cube.MONTHS, since, until, month_up, month_down)


def _split(cube: Cube | None, since: datetime, until: datetime, up: Edge, down: Edge) -> list[Piece]:
    first, last = up(since), down(until)
    if cube is None or first >= last:
        return [Piece(None, since, until)]
    found = [Piece(None, since, first), Piece(cube, first, last), Piece(None, last, until)]
    return [piece for piece in found if piece.since < piece.until]


def _local(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(VIETNAM).replace(tzinfo=None)


def _day_down(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _day_up(moment: datetime) -> datetime:
    down = _day_down(moment)
    return down if down == moment else down + timedelta(days=1)


def month_down(moment: datetime) -> datetime:
    """The last beginning of a month that is not after."""
    return _day_down(moment).replace(day=1)


def month_up(moment: datetime) -> datetime:
    """The first beginning of a month that is not before."""
    down = month_down(moment)
    return down if down == moment else (down + timedelta(days=32)).replace(day=1)
