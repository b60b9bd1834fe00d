"""``python -m benchmarks identity``: how well and how fast persons are found in a generated province, whose truth is
known.

Prints precision and recall of automatic links and of the review list, over pairs of rows that are the same person.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from archive.core import migrate, with_database
from archive.demo.generated.generate import Wanted, generate
from archive.identity.linker import Linker
from archive.identity.linking import look
from archive.identity.score import probability
from benchmarks.watch import parent, processors
from config.settings import Settings, load

THRESHOLDS: Final = (-2.0, 0.0, 2.0, 4.0, 6.0, 10.0, 15.0)
Pair = tuple[int, int]


def main(arguments: list[str]) -> int:
    """Exit code 0; 1 if automatic links are less precise than they must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks identity", description=__doc__)
    parser.add_argument("--studies", type=int, default=150_000, help="about 1.5 of them make a row of patients")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--review-bits", type=float, default=THRESHOLDS[0])
    parser.add_argument("--wrong", type=int, default=0, help="also print so many wrong and so many missed links")
    parser.add_argument("--new", type=int, default=300, help="patients that come afterwards, one by one")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pacs-bench-") as folder, _database(Path(folder), given) as settings:
        truth = Path(folder) / "truth.csv"
        taken = _Taken(settings)
        generate(settings.database, Wanted(given.studies, seed=given.seed, instances=0, truth=truth))
        rows = list(csv.DictReader(truth.open(encoding="utf-8")))
        taken.tell(f"{len(rows)} patients of {len({row['person'] for row in rows})} people generated")
        _link(settings)
        url = settings.database.url.get_secret_value()
        with psycopg.connect(url, autocommit=True) as connection:
            precise = _report(connection, rows, given.wrong)
        _one_by_one(settings, given.new)
    return 0 if precise else 1


@contextmanager
def _database(folder: Path, given: argparse.Namespace) -> Iterator[Settings]:
    folder.chmod(0o755)
    settings = load(
        environ={},
        data_dir=folder,
        # A run of hours may be stopped for a while, or have all others go first.
        database={"statement_timeout": 3600},
        storage={"minimum_free_bytes": 0},
        identity={"review_bits": given.review_bits},
    )
    embedded, settings = with_database(settings)
    try:
        migrate(settings)
        yield settings
    finally:
        if embedded is not None:
            embedded.stop()


class _Taken:
    """Tells what a step took: time by the clock, and of processors, ours and PostgreSQL's."""

    def __init__(self, settings: Settings) -> None:
        with psycopg.connect(settings.database.url.get_secret_value()) as connection:
            self._server = parent(connection.info.backend_pid)
        self._before = self._now()

    def tell(self, done: str) -> None:
        before, self._before = self._before, self._now()
        clock, ours, server = (now - then for now, then in zip(self._before, before, strict=True))
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        print(
            f"{done} in {clock:.0f} s; processors: {ours:.0f} s here, {server:.0f} s in PostgreSQL; load {load}",
            flush=True,
        )

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), time.process_time(), processors(self._server)


def _link(settings: Settings) -> None:
    linker = Linker(settings.database, settings.identity)
    taken = _Taken(settings)
    try:
        linker.begin()
        entered = linker.enter_all()
        taken.tell(f"entered {entered}")
        done, next_told = 0, 100_000
        while (looked := linker.look()).records:
            done += looked.records
            if done >= next_told:
                next_told += 100_000
                taken.tell(f"compared up to {done}")
        taken.tell(f"compared the rest of {done}")
    finally:
        linker.close()


def _one_by_one(settings: Settings, count: int) -> None:
    """What a new patient costs when all others are known."""
    linker = Linker(settings.database, settings.identity)
    url = settings.database.url.get_secret_value()
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "UPDATE identity_record SET due = true WHERE id IN"
                " (SELECT id FROM identity_record ORDER BY hashint8(id) LIMIT %s)",
                (count,),
            )
            times = []
            for _ in range(count):
                begun = time.perf_counter()
                with connection.transaction():
                    look(connection, settings.identity, 500_000, most=1)
                times.append((time.perf_counter() - begun) * 1000)
        times.sort()
        print(f"one patient: median {times[count // 2]:.1f} ms, 95 of 100 within {times[int(count * 0.95)]:.1f} ms")
    finally:
        linker.close()


def _report(connection: psycopg.Connection[Any], rows: list[dict[str, str]], wrong: int) -> bool:
    person = {int(row["patient"]): int(row["person"]) for row in rows}
    same = _pairs_of(person)
    linked: dict[int, int] = dict(connection.execute("SELECT patient_id, person_id FROM patient_person").fetchall())
    found = _pairs_of(linked)
    right = found & same
    print(f"true pairs: {len(same)}")
    precision = len(right) / len(found) if found else 1.0
    print(f"automatic: {len(found)} pairs, precision {precision:.6f}, recall {len(right) / len(same):.4f}")
    proposed = connection.execute(
        "SELECT one.patient_id, other.patient_id, likelihood, conflict FROM identity_candidate"
        " JOIN identity_record AS one ON one.id = record_id JOIN identity_record AS other ON other.id = other_id"
        " WHERE one.person_id <> other.person_id"
    ).fetchall()
    _review(proposed, same, found, linked)
    faults = {int(row["patient"]): row["faults"] for row in rows}
    _explain(connection, found - same, "wrongly linked", wrong, faults)
    listed = {(min(one, other), max(one, other)) for one, other, *_ in proposed}
    _explain(connection, _sample(same - found - listed, wrong), "missed", wrong, faults)
    _by_fault(same - found, faults)
    return precision >= 0.9999


def _review(proposed: list[Any], same: set[Pair], found: set[Pair], linked: dict[int, int]) -> None:
    """Pairs on the list join persons: what they bring is counted in pairs of rows."""
    members: dict[int, list[int]] = defaultdict(list)
    for patient, person in linked.items():
        members[person].append(patient)
    left = same - found
    titles = f"{'from bits':>9} {'likely':>7} {'pairs':>8} {'precision':>9} "
    print(f"{titles}{'recall of what is left':>22} {'with automatic':>14}")
    for threshold in THRESHOLDS:
        chosen = [each for each in proposed if each[2] >= threshold or each[3]]
        right = [each for each in chosen if (min(each[:2]), max(each[:2])) in same]
        brought = {
            (min(one, other), max(one, other))
            for first, second, *_ in right
            for one in members[linked[first]]
            for other in members[linked[second]]
        } & left
        share = len(brought) / len(left) if left else 1.0
        whole = (len(found & same) + len(brought)) / len(same)
        print(
            f"{threshold:9.1f} {probability(threshold):7.3f} {len(chosen):8d} {len(right) / max(1, len(chosen)):9.4f}"
            f" {share:22.4f} {whole:14.4f}"
        )


def _explain(
    connection: psycopg.Connection[Any], pairs: Iterable[Pair], title: str, most: int, faults: dict[int, str]
) -> None:
    for pair in sorted(pairs)[:most]:
        print(title)
        for patient in pair:
            (row,) = connection.execute(
                "SELECT issuer, number, name, birth_date, sex, (SELECT array_agg(kind || ' ' || value) FROM"
                " identity_identifier WHERE record_id = record.id) FROM identity_record AS record"
                " WHERE patient_id = %s",
                (patient,),
            ).fetchall()
            print("   ", *row, faults[patient])


def _by_fault(missed: set[Pair], faults: dict[int, str]) -> None:
    counted = Counter(fault for pair in missed for fault in {f for each in pair for f in faults[each].split("+")})
    print("not linked by themselves, by what is wrong with either row:")
    for fault, count in counted.most_common():
        print(f"    {fault or 'nothing':20} {count / max(1, len(missed)):.3f}")


def _sample(pairs: set[Pair], most: int) -> list[Pair]:
    return sorted(pairs, key=hash)[:most]


def _pairs_of(groups: dict[int, int]) -> set[Pair]:
    members: dict[int, list[int]] = defaultdict(list)
    for each, group in groups.items():
        members[group].append(each)
    return {
        (one, other) for each in members.values() for one in each for other in each if one < other and len(each) < 200
    }
