"""The panels of the dashboard: what each asks the figures, and its table. Charts are drawn of the tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from archive.core import Archive
from archive.figures.question import Answer, By, Measure
from archive.figures.words import word
from config import clock
from viewer_api.pages.dashboard_numbers import Numbers
from viewer_api.pages.dashboard_wanted import Wanted
from viewer_api.pages.language import Texts

Facilities = frozenset[str] | None
_ABBREVIATIONS: Final = (
    ("Bệnh viện Đa khoa", "BVĐK"), ("Bệnh viện", "BV"), ("Trung tâm Y tế thành phố", "TTYT TP"),
    ("Trung tâm Y tế huyện", "TTYT"), ("Trung tâm Y tế", "TTYT"),
    ("Trạm Y tế xã", "TYT"), ("Trạm Y tế", "TYT"),
)  # fmt: skip
_REMARK: Final = re.compile(r" \([^()]*\)$")
"""Such as what the names of the demo say of themselves."""
_COMPARED: Final = 20
"""So many studies must have been before, or what changed since is told as an absurd share."""
_TOTALS: Final = (
    Measure.STUDIES, Measure.PATIENTS, Measure.BYTES, Measure.REPORTED, Measure.UNREAD, Measure.DELIVERED,
    Measure.FILMLESS, Measure.IMAGES_TO_REPORT, Measure.ORDER_TO_IMAGES, Measure.DUPLICATES_FOUND,
    Measure.DUPLICATES_AVOIDED, Measure.CROSS_VIEWS, Measure.COMPLETE,
)  # fmt: skip
_OF_FACILITY: Final = (
    Measure.STUDIES, Measure.PATIENTS, Measure.UNREAD, Measure.IMAGES_TO_REPORT, Measure.FILMLESS, Measure.DELIVERED,
    Measure.COMPLETE, Measure.CROSS_VIEWS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of a table: as it is read, and as a chart takes it."""

    text: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    cells: list[Cell]
    link: str = ""
    """Where the same is seen for this row alone."""
    name: str = ""
    """Of a code, what charts call it."""

    @property
    def short(self) -> str:
        """For charts, in which names that all begin alike would be cut where they differ."""
        if self.name:
            return self.name
        label = _REMARK.sub("", self.label)
        for long, abbreviation in _ABBREVIATIONS:
            if label.startswith(long):
                return abbreviation + label.removeprefix(long)
        return label


@dataclass(frozen=True, slots=True)
class Panel:
    """A table, and how it is drawn. `kind` is ``bars``, ``lines``, ``columns``, ``heat`` or ``map``."""

    name: str
    kind: str
    title: str
    head: str
    columns: list[str]
    rows: list[Row]
    note: str = ""
    unit: str = ""
    files: list[tuple[str, str]] = field(default_factory=list)
    drawn: int = 1
    """How many of the columns the chart shows."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One large number."""

    name: str
    label: str
    text: str
    note: str = ""
    alert: bool = False


class Panels:
    """Makes them for one reader."""

    def __init__(
        self, archive: Archive, wanted: Wanted, facilities: Facilities, text: Texts, name_of: Callable[[str], str]
    ) -> None:
        self._figures = archive.figures.recent
        self._wanted = wanted
        self._facilities = facilities
        self._text = text
        self._numbers = Numbers(text)
        self._name_of = name_of

    def _ask(self, measures: tuple[Measure, ...], *by: By, wanted: Wanted | None = None) -> Answer:
        return self._figures.ask((wanted or self._wanted).question(self._facilities, measures, by))

    def _files(self, measures: tuple[Measure, ...], *by: By) -> list[tuple[str, str]]:
        language = self._text.language
        return [(form.upper(), self._wanted.file(measures, by, form, language)) for form in ("csv", "xlsx")]

    # -- numbers -----------------------------------------------------------------------------------------------------

    def tiles(self) -> list[Tile]:
        """The whole stretch in numbers."""
        text, numbers = self._text, self._numbers
        values = _single(self._ask(_TOTALS))
        before = _single(self._ask((Measure.STUDIES,), wanted=self._wanted.before()))
        studies, delivered = values[Measure.STUDIES] or 0, values[Measure.DELIVERED] or 0

        def tile(measure: Measure, shown: str, note: str = "", *, alert: bool = False) -> Tile:
            return Tile(measure.value, text(f"figure_{measure.value}"), shown, note, alert)

        unread = values[Measure.UNREAD] or 0
        return [
            tile(Measure.STUDIES, numbers.count(studies), self._change(studies, before[Measure.STUDIES] or 0)),
            tile(Measure.PATIENTS, numbers.count(values[Measure.PATIENTS])),
            tile(Measure.IMAGES_TO_REPORT, numbers.minutes(values[Measure.IMAGES_TO_REPORT]), text("dash_median")),
            tile(Measure.ORDER_TO_IMAGES, numbers.minutes(values[Measure.ORDER_TO_IMAGES]), text("dash_median")),
            tile(Measure.UNREAD, numbers.count(unread), numbers.part(unread, studies), alert=unread > studies * 0.1),
            tile(Measure.FILMLESS, numbers.part(values[Measure.FILMLESS], delivered), numbers.of(delivered)),
            tile(Measure.DUPLICATES_FOUND, numbers.count(values[Measure.DUPLICATES_FOUND])),
            tile(Measure.DUPLICATES_AVOIDED, numbers.count(values[Measure.DUPLICATES_AVOIDED])),
            tile(Measure.CROSS_VIEWS, numbers.count(values[Measure.CROSS_VIEWS])),
            tile(Measure.COMPLETE, numbers.part(values[Measure.COMPLETE], studies)),
            tile(Measure.BYTES, numbers.size(values[Measure.BYTES])),
        ]

    def _change(self, now: int, before: int) -> str:
        if before < _COMPARED:
            return ""
        percent = (now - before) / before * 100
        return self._text("dash_change", percent=f"{percent:+.1f}".replace(".", self._numbers.point))

    # -- charts ------------------------------------------------------------------------------------------------------

    def trend(self) -> Panel:
        """Studies and reports over time; a click leads into the month, the week, the day."""
        unit = self._wanted.unit
        measures = (Measure.STUDIES, Measure.REPORTED)
        rows = []
        for moment, *counts in self._ask(measures, unit).rows:
            link = "" if unit is By.HOUR else self._wanted.between(*_stretch(unit, str(moment))).address()
            rows.append(self._row(self._moment(unit, str(moment)), counts, link))
        return self._panel("trend", "lines", f"dash_unit_{unit.value}", measures, rows, (unit,), drawn=2)

    def filmless(self) -> Panel:
        """The share of results that went out without film."""
        unit = self._wanted.unit if self._wanted.unit is not By.HOUR else By.DAY
        measures = (Measure.FILMLESS, Measure.DELIVERED)
        rows = []
        for moment, without, delivered in self._ask(measures, unit).rows:
            share = None if not delivered else (without or 0) / delivered * 100
            cells = [Cell(self._numbers.part(without, delivered), share), *map(self._cell, (without, delivered))]
            rows.append(Row(self._moment(unit, str(moment)), cells))
        panel = self._panel("filmless", "lines", f"dash_unit_{unit.value}", measures, rows, (unit,))
        panel.columns.insert(0, self._text("dash_share"))
        return _with(panel, unit="%")

    def heat(self) -> Panel:
        """Studies by day of the week and hour."""
        text = self._text
        counts = {
            (int(day), int(hour)): count
            for day, hour, count in self._ask((Measure.STUDIES,), By.DAY_OF_WEEK, By.HOUR_OF_DAY).rows
        }
        rows = [
            Row(text(f"dash_weekday_{day}"), [self._cell(counts.get((day, hour), 0)) for hour in range(24)])
            for day in range(1, 8)
        ]
        files = self._files((Measure.STUDIES,), By.DAY_OF_WEEK, By.HOUR_OF_DAY)
        hours = [f"{hour:02d}" for hour in range(24)]
        return Panel("heat", "heat", text("dash_heat"), text("dash_weekday"), hours, rows, files=files, drawn=24)

    def facilities(self) -> Panel:
        """Facilities in the order of their studies, with what is compared."""
        numbers = self._numbers
        rows = []
        answer = self._ask(_OF_FACILITY, By.FACILITY)
        for code, *values in sorted(answer.rows, key=lambda row: -(row[1] or 0)):
            of = dict(zip(_OF_FACILITY, values, strict=True))
            studies, delivered = of[Measure.STUDIES] or 0, of[Measure.DELIVERED]
            rows.append(
                Row(
                    self._name_of(str(code)),
                    [
                        self._cell(studies),
                        self._cell(of[Measure.PATIENTS]),
                        Cell(numbers.part(of[Measure.UNREAD], studies), _share(of[Measure.UNREAD], studies)),
                        Cell(numbers.minutes(of[Measure.IMAGES_TO_REPORT]), of[Measure.IMAGES_TO_REPORT]),
                        Cell(numbers.part(of[Measure.FILMLESS], delivered), _share(of[Measure.FILMLESS], delivered)),
                        Cell(numbers.part(of[Measure.COMPLETE], studies), _share(of[Measure.COMPLETE], studies)),
                        self._cell(of[Measure.CROSS_VIEWS]),
                    ],
                    self._wanted.narrowed(By.FACILITY, str(code)).address(),
                )
            )
        shown = [measure for measure in _OF_FACILITY if measure is not Measure.DELIVERED]
        return Panel(
            "facilities",
            "bars",
            self._text("dash_facilities"),
            self._text("dash_by_facility"),
            [self._text(f"figure_{measure.value}") for measure in shown],
            rows,
            files=self._files(_OF_FACILITY, By.FACILITY),
        )

    def districts(self) -> Panel:
        """Districts as tiles, the darker the more."""
        return self._ordered("districts", "map", By.DISTRICT, (Measure.STUDIES, Measure.PATIENTS))

    def modalities(self) -> Panel:
        return self._ordered("modalities", "bars", By.MODALITY, (Measure.STUDIES, Measure.PATIENTS))

    def body_parts(self) -> Panel:
        return self._ordered("body_parts", "bars", By.BODY_PART, (Measure.STUDIES,))

    def turnaround(self) -> Panel:
        """How long it takes by modality: half are quicker, nine of ten are."""
        measures = (Measure.IMAGES_TO_REPORT, Measure.IMAGES_TO_REPORT_P90, Measure.ORDER_TO_IMAGES)
        rows = []
        for modality, *minutes in sorted(self._ask(measures, By.MODALITY).rows, key=lambda row: -(row[1] or 0)):
            cells = [Cell(self._numbers.minutes(value), None if value is None else value / 60) for value in minutes]
            link = self._wanted.narrowed(By.MODALITY, str(modality)).address()
            rows.append(Row(str(modality), cells, link, modality_name(str(modality), self._text)))
        return _with(
            self._panel("turnaround", "bars", "dash_by_modality", measures, rows, (By.MODALITY,), drawn=2), unit="h"
        )

    def repeated(self) -> Panel:
        """Examinations made twice, those that were not, and looks at what others have."""
        unit = self._wanted.unit if self._wanted.unit is not By.HOUR else By.DAY
        measures = (Measure.CROSS_VIEWS, Measure.DUPLICATES_FOUND, Measure.DUPLICATES_AVOIDED)
        rows = [self._row(self._moment(unit, str(at)), counts) for at, *counts in self._ask(measures, unit).rows]
        return self._panel("repeated", "lines", f"dash_unit_{unit.value}", measures, rows, (unit,), drawn=3)

    def backlog(self) -> Panel:
        """Studies without a report at the end of each of the last days."""
        last = self._wanted.until - timedelta(days=1)
        first = max(self._wanted.since, last - timedelta(days=89))
        days = self._figures.backlog(first, last, self._of_where())
        rows = [Row(self._numbers.day(day), [self._cell(count)]) for day, count in days]
        columns = [self._text("figure_unread")]
        return Panel("backlog", "lines", self._text("dash_backlog"), self._text("dash_unit_day"), columns, rows)

    def storage(self) -> Panel:
        """What was used at the end of each month, and what is foreseen."""
        text, numbers = self._text, self._numbers
        found = self._figures.forecast()
        scale, unit = numbers.scale(max((used for _, used in found.history), default=0))
        rows = [Row(f"{day:%m/%Y}", [Cell(numbers.size(used), used / scale), Cell("")]) for day, used in found.history]
        note = text("dash_storage_used", size=numbers.size(found.used_bytes))
        if found.per_day:
            note += " " + text("dash_storage_rate", size=numbers.size(found.per_day))
            today = clock.today()
            for months in range(1, 13):
                foreseen = found.used_bytes + found.per_day * 30.4 * months
                day = today + timedelta(days=round(30.4 * months))
                rows.append(Row(f"{day:%m/%Y}", [Cell(""), Cell(numbers.size(foreseen), foreseen / scale)]))
        if found.full_at:
            note += " " + text("dash_storage_full", day=numbers.day(found.full_at))
        columns = [text("dash_used"), text("dash_foreseen")]
        return Panel(
            "storage", "lines", text("dash_storage"), text("dash_unit_month"), columns, rows, note, f" {unit}", drawn=2
        )

    # -- parts -------------------------------------------------------------------------------------------------------

    def _ordered(self, name: str, kind: str, by: By, measures: tuple[Measure, ...]) -> Panel:
        rows = []
        for value, *counts in sorted(self._ask(measures, by).rows, key=lambda row: -(row[1] or 0)):
            label = body_part(str(value), self._text) if by is By.BODY_PART else str(value)
            link = self._wanted.narrowed(by, str(value)).address() if value else ""
            drawn = modality_name(str(value), self._text) if by is By.MODALITY else ""
            rows.append(Row(label or self._text("dash_unknown"), [self._cell(count) for count in counts], link, drawn))
        return self._panel(name, kind, f"dash_by_{by.value}", measures, rows, (by,))

    def _panel(
        self,
        name: str,
        kind: str,
        head: str,
        measures: tuple[Measure, ...],
        rows: list[Row],
        by: tuple[By, ...],
        drawn: int = 1,
    ) -> Panel:
        columns = [self._text(f"figure_{measure.value}") for measure in measures]
        files = self._files(measures, *by)
        return Panel(name, kind, self._text(f"dash_{name}"), self._text(head), columns, rows, files=files, drawn=drawn)

    def _row(self, label: str, counts: Sequence[Any], link: str = "") -> Row:
        return Row(label, [self._cell(count) for count in counts], link)

    def _cell(self, count: Any) -> Cell:
        return Cell(self._numbers.count(count), count)

    def _moment(self, unit: By, value: str) -> str:
        if unit is By.HOUR:
            return f"{datetime.fromisoformat(value):%H}h"
        if unit is By.DAY:
            return self._numbers.day(date.fromisoformat(value))
        if unit is By.MONTH:
            return f"{value[5:]}/{value[:4]}"
        return self._numbers.day(_monday(value))

    def _of_where(self) -> Facilities:
        """Backlog is told by facility only."""
        code = self._wanted.where.get(By.FACILITY)
        if code is None:
            return self._facilities
        return frozenset((code,)) if self._facilities is None else self._facilities & {code}


def modality_name(code: str, text: Texts) -> str:
    """Such as ``X-quang (DX)``; the code where there is no name."""
    name = text.get(f"modality_{code.lower()}")
    return code if not name else name if "(" in name or name == code else f"{name} ({code})"


def body_part(value: str, text: Texts) -> str:
    """In the language of the reader."""
    return word(By.BODY_PART, value, {}, text.language)


def _single(answer: Answer) -> dict[Measure, Any]:
    row = answer.rows[0] if answer.rows else (None,) * len(answer.columns)
    return {Measure(name): value for name, value in zip(answer.columns, row, strict=True)}


def _share(part: Any, whole: Any) -> float | None:
    return None if not whole or part is None else part / whole * 100


def _with(panel: Panel, *, unit: str) -> Panel:
    return replace(panel, unit=unit)


def _monday(week: str) -> date:
    return datetime.strptime(f"{week}-1", "%G-W%V-%u").date()


def _stretch(unit: By, value: str) -> tuple[date, date]:
    """The days of a step: first, and the one behind the last."""
    if unit is By.DAY:
        day = date.fromisoformat(value)
        return day, day + timedelta(days=1)
    if unit is By.WEEK:
        return _monday(value), _monday(value) + timedelta(days=7)
    first = date.fromisoformat(f"{value}-01")
    return first, (first + timedelta(days=32)).replace(day=1)
