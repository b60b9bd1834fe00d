"""``python -m benchmarks growth``: C-STORE into a filled index, against an empty one.

Two of ours take turns with the same objects of 33 kB: one whose index was filled (`python -m archive.demo.generated`),
and one that begins with nothing. A named index keeps what is sent: some thousand objects of a benchmark.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from archive.embedded import EmbeddedPostgres
from benchmarks.command import Parser, scratch
from benchmarks.contenders import Contender, interleaved
from benchmarks.images import ct_objects
from benchmarks.query import filled, largest_facility, write_settings
from benchmarks.receive import case_name
from benchmarks.results import OURS, Report, percentile, table
from benchmarks.sender import Object, send
from benchmarks.servers import postmaster, service

EMPTY: Final = "ours, empty index"
LABEL: Final = "33 kB"
ASSOCIATIONS: Final = (1, 4)


def main(arguments: list[str]) -> int:
    parser = Parser("growth", __doc__)
    parser.add("--rounds", 7, 3, type=int, help="counted runs of each case")
    parser.add("--objects", 1600, 480, type=int, help="of each run")
    parser.add("--studies", 100_000, 10_000, type=int, help="in the index that is filled")
    parser.add_argument("--database", default="", help="URL of a filled index, instead of one that is made")
    given = parser.read(arguments)
    report = Report("growth", "C-STORE into a filled index", is_quick=given.quick)
    with scratch() as folder:
        for name in ("filled", "empty", "index"):
            (folder / name).mkdir()
            (folder / name).chmod(0o755)
        if given.database:
            _measure(report, folder, given.database, 0, given)
        else:
            with filled(given.studies, folder / "index") as url:
                _measure(report, folder, url, postmaster(folder / "index" / "postgres"), given)
    return 1 if report.failures else 0


def _measure(report: Report, folder: Path, url: str, database: int, given: argparse.Namespace) -> None:
    studies = _prepared(url, folder / "pacs.toml")
    report.notes.append(f"{OURS}: {studies:,} studies in the index before; {EMPTY}: none.")
    with _server(OURS, folder / "filled", folder, url, database) as full, _empty(folder) as empty:
        for associations in ASSOCIATIONS:
            _case(report, (full, empty), associations, studies, given)
            report.write()


def _prepared(url: str, settings: Path) -> int:
    """How many studies the index has; its facilities are written down as settings."""
    with psycopg.connect(url, autocommit=True) as connection:
        write_settings(connection, settings, largest_facility(connection))
        (studies,) = connection.execute("SELECT count(*) FROM study").fetchone() or (0,)
    return int(studies)


@contextmanager
def _empty(folder: Path) -> Iterator[Contender]:
    postgres = EmbeddedPostgres(folder / "empty" / "postgres")
    try:
        process = postmaster(folder / "empty" / "postgres")
        with _server(EMPTY, folder / "empty", folder, postgres.url, process) as running:
            yield running
    finally:
        postgres.stop()


@contextmanager
def _server(name: str, place: Path, folder: Path, url: str, database: int) -> Iterator[Contender]:
    with service(place / "data", url, web=False, PACS_CONFIG=str(folder / "pacs.toml")) as running:
        roots = tuple(each for each in (running.node, database) if each)
        yield Contender(name, running.dicom_port, 0, roots)


def _case(
    report: Report, running: Sequence[Contender], associations: int, studies: int, given: argparse.Namespace
) -> None:
    case = case_name(LABEL, associations)

    def prepare(number: int) -> list[Object]:
        return ct_objects(128, given.objects, number)

    def run(server: Contender, objects: list[Object]) -> dict[str, float]:
        before = server.processor_seconds()
        result = send("127.0.0.1", server.dicom_port, "PACS", objects, associations)
        if result.failures:
            raise SystemExit(f"refused {result.failures} objects")
        return {
            "objects/s": len(objects) / result.seconds,
            "p99 ms": percentile(result.latencies, 0.99) * 1000,
            "processor ms": (server.processor_seconds() - before) / len(objects) * 1000,
        }

    for name, found in interleaved(report, running, given.rounds, case, prepare, run).items():
        report.add(case, name, found, associations=associations, studies=studies if name == OURS else 0)
    print("\n".join(table([each for each in report.measures if each.case == case])), flush=True)
