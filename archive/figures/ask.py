"""Answers questions: from kept sums where they tell apart what is asked for, else from the facts.

The result is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import Engine, text

from archive.database import fetch, fetch_many
from archive.figures import distinct
from archive.figures.plan import (
    CLOCK,
    LATEST,
    PEOPLE,
    TIMES,
    Piece,
    bounds,
    month_down,
    month_up,
    months_between,
    pieces,
    whole_months,
)
from archive.figures.question import Answer, By, Measure, Question
from archive.figures.spread import SPANS, told_minutes
from archive.figures.statements import Statement, level_of
from archive.figures.sums import EVENTS
from archive.figures.suppress import suppressed

FEW: Final = 5
"""Of fewer durations, no median is made public."""
TOO_SLOW: Final = "this takes too long: ask about a shorter time, or with fewer breakdowns"

_FORMATS: Final = {By.HOUR: "%Y-%m-%dT%H", By.DAY: "%Y-%m-%d", By.WEEK: "%G-W%V", By.MONTH: "%Y-%m", By.YEAR: "%Y"}
# Which duration, and in which column of `_RANKED` the quantile is.
_SPREAD_MEASURES: Final = {
    Measure.ORDER_TO_IMAGES: (1, "half"),
    Measure.IMAGES_TO_REPORT: (2, "half"),
    Measure.ORDER_TO_REPORT: (3, "half"),
    Measure.ORDER_TO_IMAGES_P90: (1, "most"),
    Measure.IMAGES_TO_REPORT_P90: (2, "most"),
    Measure.ORDER_TO_REPORT_P90: (3, "most"),
}
# What is not in the figures yet: the oldest note that is due, the oldest change that was not read.
_STATE: Final = text("""
SELECT least(now(), (SELECT noted_at FROM figure_dirty WHERE due_at <= now() ORDER BY due_at, id LIMIT 1),
             (SELECT at FROM change WHERE sequence > position ORDER BY sequence LIMIT 1)) AS as_of, swept_at,
       greatest((SELECT max(studied_at) FROM study_fact), (SELECT max(looked_at) FROM study_look)) AS last
  FROM figure_cursor
""")

_FACTS_IN: Final = text("""
SELECT coalesce(sum(studies), 0)::bigint AS studies FROM study_sum WHERE cube = 2 AND day >= :since AND day < :until
""")
_PLACES: Final = text("SELECT id, code, district, care_level FROM facility")

# The bucket that half of all, or nine of ten, did not exceed.
_RANKED: Final = """
SELECT {keys} span, total, min(bucket) FILTER (WHERE 2 * upto >= total) AS half,
       min(bucket) FILTER (WHERE 10 * upto >= 9 * total) AS most
  FROM (SELECT {keys} span, bucket, sum(studies) OVER of_all AS total,
               sum(studies) OVER (of_all ORDER BY bucket) AS upto
          FROM ({counted}) AS counted WINDOW of_all AS (PARTITION BY {keys} span)) AS ranked
 GROUP BY {keys} span, total
"""

Key = tuple[Any, ...]
Found = Mapping[Key, Sequence[Any]]
"""Values of some measures, by the breakdowns."""


def ask(engine: Engine, question: Question, small: int, round_to: int) -> Answer:
    """The answer. Raises `InvalidQuery`, `TooManyMatches` for what takes too long, `IndexUnavailable`."""
    since, until = bounds(question)
    state = fetch(engine, _STATE)
    if state and state[0].last is not None and state[0].last < until:
        # Up to now is as good as up to the end of the month, of which there are sums.
        until = min(month_up(until), LATEST)
    wanted = list(dict.fromkeys((*question.measures, *((Measure.STUDIES,) if question.public else ()))))
    values = _values(engine, question, since, until, wanted)
    held = 0
    if question.public:
        columns, held = suppressed(
            {name: {key: row[number] for key, row in values.items()} for number, name in enumerate(wanted)},
            sorted(values),
            small,
            round_to,
        )
        values = {key: [columns[name].get(key) for name in wanted] for key in values}
    asked = len(question.measures)
    named = _Names(question.by)
    return Answer(
        columns=(*(by.value for by in question.by), *(measure.value for measure in question.measures)),
        rows=[(*named.of(key), *values[key][:asked]) for key in sorted(values)],
        as_of=state[0].as_of if state else datetime.fromtimestamp(0, UTC),
        suppressed=held,
        whole=bool(state) and state[0].swept_at is not None,
    )


def _values(
    engine: Engine, question: Question, since: datetime, until: datetime, wanted: Sequence[Measure]
) -> dict[Key, Sequence[Any]]:
    """All that is wanted, in this order; None where there is nothing."""
    kinds: dict[Any, list[Measure]] = {}
    for measure in wanted:
        kind = _spreads if measure in _SPREAD_MEASURES else _patients if measure is Measure.PATIENTS else _sums
        kinds.setdefault(kind, []).append(measure)
    found = [(names, kind(engine, Statement(question, since, until), question, names)) for kind, names in kinds.items()]
    if len(found) == 1 and found[0][0] == wanted:
        return dict(found[0][1])
    values: dict[Key, Sequence[Any]] = {}
    for names, rows in found:
        places = [wanted.index(name) for name in names]
        for key, row in rows.items():
            known: Any = values.setdefault(key, [None] * len(wanted))
            for place, value in zip(places, row, strict=True):
                known[place] = value
    return values


def _sums(engine: Engine, statement: Statement, question: Question, wanted: Sequence[Measure]) -> Found:
    counters = sorted({"studies", "reported", *(measure.value for measure in set(wanted) - {Measure.UNREAD})})
    parts = [
        statement.part(piece, EVENTS, "study_sum", counters, "" if piece.cube is None else f"cube = {int(piece.cube)}")
        for piece in pieces(*statement.stretch, (*question.by, *question.where))
    ]
    keys = statement.keys
    told = [f"{name} AS told_{number}" for number, name in enumerate(_UNREAD.get(each, each.value) for each in wanted)]
    # A look at a study of another time makes a row without studies; it is one only where looks are asked for.
    counted = f"""
SELECT {", ".join((*keys, *told))} FROM ({statement.total(parts, (), counters)}) AS counted
 WHERE {" OR ".join(f"{name} <> 0" for name in counters)}"""
    width = len(keys)
    return {tuple(row[:width]): row[width:] for row in _rows(engine, counted, statement)}


_UNREAD: Final = {Measure.UNREAD: "studies - reported"}


def _spreads(engine: Engine, statement: Statement, question: Question, wanted: Sequence[Measure]) -> Found:
    spans = sorted({_SPREAD_MEASURES[measure][0] for measure in wanted})
    monthly = not {*question.by, *question.where} & (CLOCK | PEOPLE | {By.HOUR, By.DAY, By.WEEK})
    since, until = statement.stretch
    parts = whole_months(since, until) if monthly else [Piece(None, since, until)]
    columns = ("span", "bucket", "studies")
    each = [
        statement.part(piece, _took(span), "study_spread", columns, f"span = {span}")
        for piece in parts
        for span in spans
    ]
    counted = statement.total(each, ("span", "bucket"), ("studies",))
    ranked = _RANKED.format(keys="".join(f"{name}, " for name in statement.keys), counted=counted)
    found: dict[Key, list[float | None]] = {}
    for *key, span, total, half, most in _rows(engine, ranked, statement):
        if question.public and total < FEW:
            continue
        row = found.setdefault(tuple(key), [None] * len(wanted))
        for place, measure in enumerate(wanted):
            if _SPREAD_MEASURES[measure][0] == span:
                row[place] = told_minutes(half if _SPREAD_MEASURES[measure][1] == "half" else most)
    return found


def _took(span: int) -> str:
    """Facts as rows of ``study_spread``."""
    return f"""
(SELECT studied_at AS at, facility_id, modality, body_part, sex, age_group, {span}::smallint AS span,
        {SPANS[span]} AS bucket, 1::bigint AS studies FROM study_fact WHERE {SPANS[span]} IS NOT NULL)"""


def _patients(engine: Engine, statement: Statement, question: Question, wanted: Sequence[Measure]) -> Found:
    """Distinct persons cannot be added up: from months that say who is new in them, else counted one by one."""
    del wanted  # the one
    level, months = level_of(question), months_between(*statement.stretch)
    if level is not None and months is not None:
        counted = statement.persons(months, level)
    elif _facts_in(engine, statement) <= distinct.MOST:
        return _told_apart(engine, statement, question)
    else:
        counted = statement.persons_of_facts(Piece(None, *statement.stretch))
    return {tuple(row[:-1]): row[-1:] for row in _rows(engine, counted, statement) if row[-1]}


def _facts_in(engine: Engine, statement: Statement) -> int:
    """How many facts there are at most in the stretch."""
    since, until = statement.stretch
    (row,) = fetch(engine, _FACTS_IN, {"since": month_down(since), "until": month_up(until)})
    return int(row.studies)


def _told_apart(engine: Engine, statement: Statement, question: Question) -> Found:
    with distinct.AT_ONCE:
        texts, columns, packed = statement.persons_packed(Piece(None, *statement.stretch))
        rows = _rows(engine, packed, statement)
        called = fetch(engine, _PLACES) if "facility" in columns else ()
        places = {
            row.id: {By.FACILITY: row.code, By.DISTRICT: row.district, By.CARE_LEVEL: row.care_level} for row in called
        }
        return distinct.count(distinct.Packed(texts, columns, rows), question.by, places)


def _rows(engine: Engine, statement: str, given: Statement) -> Sequence[Sequence[Any]]:
    return fetch_many(engine, statement, given.parameters, TOO_SLOW)


class _Names:
    """Writes times as answers do; each of them once, for there are many rows of each."""

    def __init__(self, by: Sequence[By]) -> None:
        self._place = next((place for place, name in enumerate(by) if name in TIMES), None)
        self._by = None if self._place is None else by[self._place]
        self._known: dict[Any, str] = {}

    def of(self, key: Key) -> Key:
        if self._by is None or self._place is None:
            return key
        moment = key[self._place]
        name = self._known.get(moment)
        if name is None:
            name = self._known[moment] = _text(moment, self._by)
        return (*key[: self._place], name, *key[self._place + 1 :])


def _text(moment: date, name: By) -> str:
    if name is By.QUARTER:
        return f"{moment.year}-Q{(moment.month + 2) // 3}"
    return moment.strftime(_FORMATS[name])
