"""Answers questions: from kept sums where they tell apart what is asked for, else from the facts.

The result is the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Engine, text

from archive.database import fetch
from archive.figures.plan import CLOCK, PEOPLE, TIMES, Piece, bounds, pieces, whole_months
from archive.figures.question import Answer, By, Measure, Question
from archive.figures.spread import SPANS, quantile
from archive.figures.sums import EVENTS
from archive.figures.suppress import suppressed

FEW: Final = 5
"""Of fewer durations, no median is made public."""
TOO_SLOW: Final = "this takes too long: ask about a shorter time, or with fewer breakdowns"

_TRUNCATED: Final = {
    By.HOUR: "hour",
    By.DAY: "day",
    By.WEEK: "week",
    By.MONTH: "month",
    By.QUARTER: "quarter",
    By.YEAR: "year",
}
_FORMATS: Final = {By.HOUR: "%Y-%m-%dT%H", By.DAY: "%Y-%m-%d", By.WEEK: "%G-W%V", By.MONTH: "%Y-%m", By.YEAR: "%Y"}
_OF_FACILITY: Final = {
    By.FACILITY: "facility.code",
    By.DISTRICT: "facility.district",
    By.CARE_LEVEL: "facility.care_level",
}
_SPREAD_MEASURES: Final = {
    Measure.ORDER_TO_IMAGES: (1, 0.5),
    Measure.IMAGES_TO_REPORT: (2, 0.5),
    Measure.ORDER_TO_REPORT: (3, 0.5),
    Measure.ORDER_TO_IMAGES_P90: (1, 0.9),
    Measure.IMAGES_TO_REPORT_P90: (2, 0.9),
    Measure.ORDER_TO_REPORT_P90: (3, 0.9),
}
_FROM: Final = "{source} AS event JOIN facility ON facility.id = event.facility_id"
# What is not in the figures yet: the oldest note that is due, the oldest change that was not read.
_STATE: Final = text("""
SELECT least(now(), (SELECT noted_at FROM figure_dirty WHERE due_at <= now() ORDER BY due_at, id LIMIT 1),
             (SELECT at FROM change WHERE sequence > position ORDER BY sequence LIMIT 1)) AS as_of, swept_at
  FROM figure_cursor
""")

_TOOK: Final = f"""
(SELECT studied_at AS at, facility_id, modality, body_part, sex, age_group, span, bucket, 1 AS studies
   FROM study_fact CROSS JOIN LATERAL (VALUES {", ".join(f"({span}, {name})" for span, name in SPANS.items())})
        AS took (span, bucket)
  WHERE bucket IS NOT NULL)
"""

Cells = dict[tuple[Any, ...], Any]


def ask(engine: Engine, question: Question, small: int, round_to: int) -> Answer:
    """The answer. Raises `InvalidQuery`, `TooManyMatches` for what takes too long, `IndexUnavailable`."""
    since, until = bounds(question)
    state = fetch(engine, _STATE)
    columns: dict[Measure, Cells] = {}
    wanted = set(question.measures) | ({Measure.STUDIES} if question.public else set())
    spreads = wanted & _SPREAD_MEASURES.keys()
    sums = wanted - spreads - {Measure.PATIENTS}
    if sums:
        columns.update(_sums(engine, question, since, until, sums))
    if spreads:
        columns.update(_spreads(engine, question, since, until, spreads))
    if Measure.PATIENTS in wanted:
        columns[Measure.PATIENTS] = _patients(engine, question, since, until)
    keys = sorted({key for cells in columns.values() for key in cells})
    held = 0
    if question.public:
        columns, held = suppressed(columns, keys, small, round_to)
    return Answer(
        columns=(*(by.value for by in question.by), *(measure.value for measure in question.measures)),
        rows=[(*_named(key, question.by), *(columns[name].get(key) for name in question.measures)) for key in keys],
        as_of=state[0].as_of if state else datetime.fromtimestamp(0, UTC),
        suppressed=held,
        whole=bool(state) and state[0].swept_at is not None,
    )


def _sums(
    engine: Engine, question: Question, since: datetime, until: datetime, wanted: set[Measure]
) -> dict[Measure, Cells]:
    counters = sorted({"studies", "reported", *(measure.value for measure in wanted - {Measure.UNREAD})})
    totals: dict[tuple[Any, ...], list[int]] = {}
    selected = ", ".join(f"sum({name})::bigint" for name in counters)
    for piece in pieces(since, until, (*question.by, *question.where)):
        for row in _rows(engine, question, piece, EVENTS, selected):
            key, values = tuple(row[: len(question.by)]), row[len(question.by) :]
            known = totals.setdefault(key, [0] * len(counters))
            for position, value in enumerate(values):
                known[position] += value
    # A look at a study of another time makes a row without studies; it is one only where looks are asked for.
    found = {key: dict(zip(counters, values, strict=True)) for key, values in totals.items() if any(values)}
    columns: dict[Measure, Cells] = {}
    for measure in wanted:
        if measure is Measure.UNREAD:
            columns[measure] = {key: values["studies"] - values["reported"] for key, values in found.items()}
        else:
            columns[measure] = {key: values[measure.value] for key, values in found.items()}
    return columns


def _spreads(
    engine: Engine, question: Question, since: datetime, until: datetime, wanted: set[Measure]
) -> dict[Measure, Cells]:
    spans = sorted({_SPREAD_MEASURES[measure][0] for measure in wanted})
    monthly = not {*question.by, *question.where} & (CLOCK | PEOPLE | {By.HOUR, By.DAY, By.WEEK})
    parts = whole_months(since, until) if monthly else [Piece(None, since, until)]
    buckets: dict[tuple[int, tuple[Any, ...]], Counter[int]] = defaultdict(Counter)
    for piece in parts:
        for *key, span, bucket, count in _rows(
            engine, question, piece, _TOOK, "span, bucket, sum(studies)::bigint", ("span", "bucket"), spans
        ):
            buckets[span, tuple(key)][bucket] += count
    small = question.public
    return {
        measure: {
            key: quantile(counts, part)
            for (number, key), counts in buckets.items()
            if number == span and not (small and sum(counts.values()) < FEW)
        }
        for measure in wanted
        for span, part in (_SPREAD_MEASURES[measure],)
    }


def _patients(engine: Engine, question: Question, since: datetime, until: datetime) -> Cells:
    """Distinct persons cannot be added up: they are counted, from an index alone where that has what is asked for."""
    names = [f"k{number}" for number in range(len(question.by))]
    by, conditions, parameters = _parts(question, Piece(None, since, until))
    inner = ", ".join((*(f"{each} AS {name}" for each, name in zip(by, names, strict=True)), "person_id"))
    source = "(SELECT studied_at AS at, * FROM study_fact)"
    keys = ", ".join(names)
    statement = (
        f"SELECT {', '.join((*names, 'count(*)'))} FROM (SELECT DISTINCT {inner} FROM {_FROM.format(source=source)}"
        f" WHERE {conditions}) AS persons" + (f" GROUP BY {keys}" if names else "")
    )
    rows = fetch(engine, text(statement), parameters, too_slow=TOO_SLOW)
    return {tuple(row[:-1]): row[-1] for row in rows if row[-1]}


def _rows(
    engine: Engine,
    question: Question,
    piece: Piece,
    events: str,
    selected: str,
    more: Sequence[str] = (),
    spans: Sequence[int] = (),
) -> Sequence[Any]:
    by, conditions, parameters = _parts(question, piece)
    if spans:
        source = events if piece.cube is None else "study_spread"
        conditions += " AND span = ANY(:spans)"
        parameters["spans"] = list(spans)
    else:
        source = events if piece.cube is None else "study_sum"
        conditions += "" if piece.cube is None else f" AND cube = {int(piece.cube)}"
    grouped = ", ".join((*by, *more))
    statement = f"SELECT {', '.join((*by, selected))} FROM {_FROM.format(source=source)} WHERE {conditions}" + (
        f" GROUP BY {grouped}" if grouped else " HAVING count(*) > 0"
    )
    return fetch(engine, text(statement), parameters, too_slow=TOO_SLOW)


def _parts(question: Question, piece: Piece) -> tuple[list[str], str, dict[str, object]]:
    """The breakdowns, the conditions and the parameters of a statement about a piece."""
    at = "at" if piece.cube is None else "day"
    conditions = [f"{at} >= :since AND {at} < :until"]
    parameters: dict[str, object] = {"since": piece.since, "until": piece.until}
    for name, values in question.where.items():
        conditions.append(f"{_expression(name, piece)} = ANY(:where_{name.value})")
        parameters[f"where_{name.value}"] = [int(value) for value in values] if name in CLOCK else list(values)
    if question.facilities is not None:
        conditions.append("facility.code = ANY(:facilities)")
        parameters["facilities"] = sorted(question.facilities)
    return [_expression(name, piece) for name in question.by], " AND ".join(conditions), parameters


def _expression(name: By, piece: Piece) -> str:
    if name in _OF_FACILITY:
        return _OF_FACILITY[name]
    if name in TIMES:
        return f"date_trunc('{_TRUNCATED[name]}', {'at' if piece.cube is None else 'day::timestamp'})"
    if name is By.HOUR_OF_DAY:
        return "extract(hour FROM at)::int" if piece.cube is None else "clock % 24"
    if name is By.DAY_OF_WEEK:
        return "extract(isodow FROM at)::int" if piece.cube is None else "clock / 24 + 1"
    return name.value


def _named(key: tuple[Any, ...], by: Sequence[By]) -> tuple[Any, ...]:
    return tuple(_text(value, name) if name in TIMES else value for value, name in zip(key, by, strict=True))


def _text(moment: datetime, name: By) -> str:
    if name is By.QUARTER:
        return f"{moment.year}-Q{(moment.month + 2) // 3}"
    return moment.strftime(_FORMATS[name])
