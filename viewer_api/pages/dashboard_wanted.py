"""What the address of the dashboard asks for: a stretch of time and what it is narrowed down to. No patient data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Final
from urllib.parse import urlencode

from archive.figures.question import By, Measure, Question

RANGES: Final = ("today", "7", "30", "90", "12m", "36m")
DEFAULT_RANGE: Final = "12m"
NARROWING: Final = (By.FACILITY, By.DISTRICT, By.CARE_LEVEL, By.MODALITY, By.BODY_PART, By.SEX, By.AGE_GROUP)
_LONGEST: Final = 64
_EARLIEST: Final = date(1990, 1, 1)
_DAYS_BY_DAY: Final = 62
_DAYS_BY_WEEK: Final = 190


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at: the days of [since, until)."""

    since: date
    until: date
    range: str = ""
    """One of `RANGES`, or empty for chosen days."""
    where: Mapping[By, str] = field(default_factory=dict)
    wall: bool = False

    @property
    def unit(self) -> By:
        """In which steps a course of time is shown."""
        days = (self.until - self.since).days
        return (
            By.HOUR if days <= 1 else By.DAY if days <= _DAYS_BY_DAY else By.WEEK if days <= _DAYS_BY_WEEK else By.MONTH
        )

    def question(
        self, facilities: frozenset[str] | None, measures: tuple[Measure, ...], by: tuple[By, ...] = ()
    ) -> Question:
        return Question(
            measures=measures,
            by=by,
            since=datetime.combine(self.since, time()),
            until=datetime.combine(self.until, time()),
            where={name: (value,) for name, value in self.where.items()},
            facilities=facilities,
        )

    def before(self) -> Wanted:
        """The same stretch right before, to compare with; of whole months if it is of months."""
        days = self.until - self.since
        return replace(self, since=self.since - days, until=self.since, range="")

    def narrowed(self, name: By, value: str) -> Wanted:
        return replace(self, where={**self.where, name: value})

    def widened(self, name: By) -> Wanted:
        return replace(self, where={each: value for each, value in self.where.items() if each is not name})

    def between(self, since: date, until: date) -> Wanted:
        return replace(self, since=since, until=until, range="")

    def over(self, name: str, today: date) -> Wanted:
        """The same over one of `RANGES`."""
        since, until = days_of(name, today)
        return replace(self, since=since, until=until, range=name)

    def address(self) -> str:
        """Where this is seen."""
        return f"/dashboard?{self.query()}"

    def query(self) -> str:
        values: dict[str, str] = {}
        if self.range:
            values["range"] = self.range
        else:
            values |= {"since": self.since.isoformat(), "until": (self.until - timedelta(days=1)).isoformat()}
        values |= {name.value: value for name, value in self.where.items()}
        if self.wall:
            values["view"] = "wall"
        return urlencode(values)

    def file(self, measures: tuple[Measure, ...], by: tuple[By, ...], form: str, language: str) -> str:
        """Where the figures of a table are got as a file (``/index/figures``)."""
        values = {
            "measure": ",".join(measures),
            "by": ",".join(by),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            **{name.value: value for name, value in self.where.items()},
            "format": form,
            "language": language,
        }
        return f"/index/figures?{urlencode(values)}"


def days_of(name: str, today: date) -> tuple[date, date]:
    """First day, and the day behind the last. Months are whole ones, with this one as far as it has come."""
    until = today + timedelta(days=1)
    if name == "today":
        return today, until
    if name.endswith("m"):
        months = today.year * 12 + today.month - int(name[:-1])
        return date(months // 12, months % 12 + 1, 1), until
    return until - timedelta(days=int(name)), until


def read(parameters: Mapping[str, str], today: date) -> Wanted:
    """What the address says; what makes no sense in it is left out."""
    where = {
        name: value
        for name in NARROWING
        if (value := parameters.get(name.value, "").strip()) and len(value) <= _LONGEST and value.isprintable()
    }
    name = parameters.get("range", "")
    wall = parameters.get("view") == "wall"
    since, last = _day(parameters.get("since", "")), _day(parameters.get("until", ""))
    if name not in RANGES and since is not None and last is not None and _EARLIEST <= since <= last:
        return Wanted(since, last + timedelta(days=1), "", where, wall)
    name = name if name in RANGES else DEFAULT_RANGE
    return Wanted(*days_of(name, today), name, where, wall)


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if found.year < 2190 else None
