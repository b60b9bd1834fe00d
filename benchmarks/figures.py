"""``python -m benchmarks figures``: how long questions about a province take to answer.

The database is that of the settings, filled by ``python -m archive.demo.generated --studies 1000000`` and counted by
``python -m archive figures rebuild``. Each question is asked some times; the median and the longest are printed, with
what is asked of the same index by plain SQL beside the first one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import psycopg

from archive.core import Archive, with_database
from archive.database import database_url
from archive.figures.question import By, Measure, Question
from config.clock import now
from config.settings import load

PLAIN = """
SELECT date_trunc('month', study_date), facility_id, modalities_in_study[1], count(*) FROM study
 WHERE study_date >= %s AND study_date < %s GROUP BY 1, 2, 3
"""


def questions(today: datetime) -> list[tuple[str, Question]]:
    """What is asked, by name."""
    month = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    year = {"since": month.replace(year=month.year - 1), "until": month}
    odd = {"since": year["since"].replace(day=11, hour=7), "until": today}
    all_of_it = {"since": datetime(2000, 1, 1), "until": month}
    counts = (Measure.STUDIES, Measure.BYTES, Measure.UNREAD, Measure.FILMLESS, Measure.COMPLETE)
    asked = (
        ("year, month x facility x modality", Question(counts, **year, by=(By.MONTH, By.FACILITY, By.MODALITY))),
        (
            "all years, month x facility x modality",
            Question(counts, **all_of_it, by=(By.MONTH, By.FACILITY, By.MODALITY)),
        ),
        ("odd ends, month x facility x modality", Question(counts, **odd, by=(By.MONTH, By.FACILITY, By.MODALITY))),
        ("year, day x facility", Question(counts, **year, by=(By.DAY, By.FACILITY))),
        ("year, district", Question(counts, **year, by=(By.DISTRICT,))),
        ("year, heat map by hour and day of week", Question(counts, **year, by=(By.DAY_OF_WEEK, By.HOUR_OF_DAY))),
        ("year, body part x sex x age group", Question(counts, **year, by=(By.BODY_PART, By.SEX, By.AGE_GROUP))),
        ("31 days, hour by hour", Question(counts, month - timedelta(days=31), month, by=(By.HOUR,))),
        (
            "year, turnaround by month x facility x modality",
            Question(
                (Measure.ORDER_TO_REPORT, Measure.ORDER_TO_REPORT_P90), **year, by=(By.MONTH, By.FACILITY, By.MODALITY)
            ),
        ),
        (
            "year, turnaround by hour of day (from facts)",
            Question((Measure.ORDER_TO_REPORT,), **year, by=(By.HOUR_OF_DAY,)),
        ),
        (
            "year, distinct patients by month x facility",
            Question((Measure.PATIENTS,), **year, by=(By.MONTH, By.FACILITY)),
        ),
        ("year, distinct patients of the province", Question((Measure.PATIENTS,), **year)),
        ("year, sex x hour of day (from facts)", Question(counts, **year, by=(By.SEX, By.HOUR_OF_DAY))),
        ("year, public, quarter x district", Question(counts, **year, by=(By.QUARTER, By.DISTRICT), public=True)),
    )
    return list(asked)


def main(arguments: list[str]) -> int:
    """Measure; the exit code is 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks figures", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--times", type=int, default=7, metavar="N", help="how often each question is asked")
    given = parser.parse_args(arguments)
    embedded, settings = with_database(load())
    try:
        with Archive.open(settings, application="benchmark") as archive:
            today = now()
            studies = archive.figures.ask(Question((Measure.STUDIES,), datetime(2000, 1, 1), datetime(2100, 1, 1)))
            print(f"{studies.rows[0][0]:,} studies" if studies.rows else "no studies: rebuild the figures first")
            for name, question in questions(today):
                rows, taken = 0, []
                for _ in range(given.times):
                    begun = time.perf_counter()
                    rows = len(archive.figures.ask(question).rows)
                    taken.append(1000 * (time.perf_counter() - begun))
                told = f"median {statistics.median(taken):7.1f} ms  longest {max(taken):7.1f} ms"
                print(f"{name:<52} {rows:>6} rows  {told}")
            state = archive.figures
            for name, call in (("now", state.now), ("alerts", state.alerts), ("forecast", state.forecast)):
                _once(name, call)
        url = database_url(settings.database).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            month = today.replace(day=1).date()
            span = (month.replace(year=month.year - 1), month)
            _once("plain SQL over the studies, the first question", lambda: connection.execute(PLAIN, span).fetchall())
    finally:
        if embedded is not None:
            embedded.stop()
    return 0


def _once(name: str, call: Callable[[], object]) -> None:
    begun = time.perf_counter()
    call()
    print(f"{name:<52} {'':>11}  once   {1000 * (time.perf_counter() - begun):7.1f} ms")
