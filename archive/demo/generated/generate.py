"""Fills an empty index with the generated province."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from psycopg import Connection

from archive.database import connect
from archive.demo.generated import persons
from archive.demo.generated.copying import NULL, Batch, Copier, text
from archive.demo.generated.examinations import EXAMINATIONS, SHARES
from archive.demo.generated.exchange import Exchange
from archive.demo.generated.identities import Registers, Row, Truth
from archive.demo.generated.images import STUDY_COLUMNS, Imaging, Uids
from archive.demo.generated.paperwork import Paperwork, delays
from archive.demo.generated.places import PLACES, WEIGHT_OF
from archive.demo.generated.visits import DAY, OFFSET, ZONE, Diary, Visits
from archive.errors import Conflict
from config.settings import DatabaseSettings

BATCH: Final = 10_000
"""Studies of one transaction."""
_PATIENT_COLUMNS: Final = "id, issuer, identity, patient_id, name, name_fold, birth_date, sex, attributes, created_at"
_LOCK: Final = 0x70726F76696E6365
_FILLED: Final = (
    "patient", "study", "series", "instance", "stored_object", "worklist_item", "report", "report_version", "delivery",
    "access_grant", "sharing", "sharing_member",
)  # fmt: skip
_STUDIES_A_PERSON: Final = 2.7
Say = Callable[[str], None]


class NotEmpty(Conflict):
    """The index holds something already; the generated province is not mixed with real patients."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to generate."""

    studies: int
    years: float = 3
    seed: int = 1
    until: datetime | None = None
    """The moment at which the province is looked at; now if left out."""
    instances: int | None = None
    """About how many rows of instances and objects, two a study if left out. With 0 there are none, and the counters
    say what there would be; figures count only what has some."""
    truth: Path | None = None
    """Where to write whose each patient row truly is."""


def generate(database: DatabaseSettings, wanted: Wanted, say: Say = lambda _: None) -> int:
    """Generate; give the number of studies. Raises `NotEmpty`, `IndexUnavailable`."""
    connection: Connection[Any] = connect(database, "pacs generated province")
    try:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET statement_timeout = 0")
        (free,) = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() or (False,)
        if not free or any(_has_rows(connection, table) for table in _FILLED):
            raise NotEmpty("the index is not empty: generate into a new database")
        with _truth(wanted.truth) as truth:
            return _Province(connection, wanted, truth, say).fill()
    finally:
        connection.close()


class _Province:
    def __init__(self, connection: Connection[Any], wanted: Wanted, truth: Callable[[Sequence[Truth]], None], say: Say):
        self._connection = connection
        self._wanted = wanted
        self._truth = truth
        self._say = say
        until = (wanted.until or datetime.now(ZONE)).astimezone(ZONE)
        self._now = int(until.timestamp()) + OFFSET
        self._since = int((until - timedelta(days=365.25 * wanted.years)).timestamp() + OFFSET) // DAY
        self._rng = np.random.default_rng(wanted.seed)
        count = max(200, int(wanted.studies / _STUDIES_A_PERSON))
        self._people = persons.make(count, self._since, self._now // DAY, self._rng)
        self._diary = Diary(self._people, wanted.studies, self._since, until, self._rng)
        self._registers = Registers(self._people, wanted.seed)
        instances = 2 * wanted.studies if wanted.instances is None else wanted.instances
        self._instances = instances > 0
        scale = min(1.0, instances / (wanted.studies * images_per_study())) if instances else 1.0
        self._imaging = Imaging(Uids(wanted.seed), _name_facilities(connection), scale, self._rng)
        self._paperwork = Paperwork(self._people)
        (segment,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM audit_segment").fetchone() or (1,)
        self._exchange = Exchange(segment, self._rng)
        self._batch_size = max(500, int(BATCH / (1 + instances / wanted.studies / 20)))

    def fill(self) -> int:
        done, begun = 0, time.monotonic()
        with Copier(self._connection) as copier:
            for visits in self._diary.batches(self._batch_size):
                self._batch(copier, visits, done + 1)
                done += len(visits)
                rate = done / (time.monotonic() - begun)
                self._say(f"{done:>9,} / {self._wanted.studies:,} studies, {rate:,.0f}/s")
        self._finish()
        return done

    def _batch(self, copier: Copier, visits: Visits, first: int) -> None:
        uids = [self._imaging.uids.study(number) for number in range(first, first + len(visits))]
        known = self._registers.look_up(visits, uids, self._rng)
        self._truth(known.truths)
        born = self._people.born[visits.person].tolist()
        plans = self._imaging.plan(visits, first, uids, known.patients, born)
        when = delays(visits, [plan.ends for plan in plans], self._since, self._now, self._rng)
        exchanged, before, after = self._exchange.rows(plans, visits, known.ids)
        copier.put(
            Batch(
                {
                    "patient": (_PATIENT_COLUMNS, [_patient(row) for row in known.rows]),
                    "study": (STUDY_COLUMNS, list(self._imaging.study_rows(plans))),
                    **self._imaging.child_rows(plans, instances=self._instances),
                    **self._paperwork.rows(plans, visits, known.ids, when),
                    **exchanged,
                },
                before,
                after,
            )
        )

    def _finish(self) -> None:
        """Ids go on behind those given here; the planner learns what there is."""
        for table in _FILLED:
            self._connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), greatest(1, coalesce(max(id), 1)),"  # noqa: S608
                f" max(id) IS NOT NULL) FROM {table}"
            )
        self._say("ANALYZE")
        for table in (*_FILLED, "facility", "sharing_study", "audit_record", "audit_segment"):
            self._connection.execute(f"ANALYZE {table}".encode())


def images_per_study() -> float:
    """How many images a study has on average where nothing is scaled."""
    of_kind = [sum(series.mean * series.chance for series in examination.series) for examination in EXAMINATIONS]
    total = 0.0
    for place, weight in zip(PLACES, WEIGHT_OF, strict=True):
        shares = np.diff(SHARES[place.tier], prepend=0)
        total += weight * float(np.dot(shares, of_kind))
    return total / float(WEIGHT_OF.sum())


def _has_rows(connection: Connection[Any], table: str) -> bool:
    (some,) = connection.execute(f"SELECT EXISTS (SELECT FROM {table})").fetchone() or (True,)  # noqa: S608
    return bool(some)


def _name_facilities(connection: Connection[Any]) -> list[int]:
    """Give the province's facilities their names; return their ids."""
    for place in PLACES:
        connection.execute(
            "INSERT INTO facility (code, name, district, care_level) VALUES (%s, %s, %s, %s) ON CONFLICT (code)"
            " DO UPDATE SET name = EXCLUDED.name, district = EXCLUDED.district, care_level = EXCLUDED.care_level",
            (place.code, place.name, place.district, place.care_level),
        )
    found = dict(connection.execute("SELECT code, id FROM facility").fetchall())
    return [found[place.code] for place in PLACES]


def _patient(row: Row) -> tuple[str, ...]:
    return (
        str(row.id),
        row.issuer,
        row.identity,
        row.patient_id,
        text(row.name),
        text(row.name_fold),
        NULL if row.birth_date is None else row.birth_date.isoformat(),
        row.sex,
        text(row.attributes),
        row.created_at.isoformat(),
    )


@contextmanager
def _truth(path: Path | None) -> Iterator[Callable[[Sequence[Truth]], None]]:
    if path is None:
        yield lambda _: None
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield _writer(file)


def _writer(file: TextIO) -> Callable[[Sequence[Truth]], None]:
    writer = csv.writer(file)
    writer.writerow(Truth._fields)
    return writer.writerows
