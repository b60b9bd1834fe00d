"""``python -m benchmarks growth``: C-STORE into a filled index, against an empty one.

Two of ours take turns with the same objects of 33 kB: one whose index was filled (`python -m archive.demo.generated`),
and one that begins with nothing; with ``--small`` a third between them, to show what the size of the archive does. A
named index keeps what is sent: some thousand objects of a benchmark.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from archive.embedded import EmbeddedPostgres
from benchmarks.command import Parser, scratch
from benchmarks.contenders import Contender, interleaved
from benchmarks.goals import EMPTY
from benchmarks.images import ct_objects
from benchmarks.query import filled, largest_facility, write_settings
from benchmarks.receive import case_name
from benchmarks.results import OURS, Report, percentile, table
from benchmarks.sender import Object, send
from benchmarks.servers import postmaster, service

LABEL: Final = "33 kB"
ASSOCIATIONS: Final = (1, 4)


def main(arguments: list[str]) -> int:
    parser = Parser("growth", __doc__)
    parser.add("--rounds", 7, 3, type=int, help="counted runs of each case")
    parser.add("--objects", 1600, 480, type=int, help="of each run")
    parser.add("--studies", 100_000, 10_000, type=int, help="in the index that is filled")
    parser.add_argument("--database", default="", help="URL of a filled index, instead of one that is made")
    parser.add_argument("--small", action="store_true", help="send to the one that is made, too, beside a named one")
    given = parser.read(arguments)
    report = Report("growth", "C-STORE into a filled index", is_quick=given.quick)
    with scratch() as folder, ExitStack() as stack:
        running = [stack.enter_context(each) for each in _indexes(folder, given)]
        studies = {server.name: count for server, count in running}
        report.notes.append("; ".join(f"{name}: {count:,} studies before" for name, count in studies.items()) + ".")
        for associations in ASSOCIATIONS:
            _case(report, [server for server, _ in running], associations, studies, given)
            report.write()
    return 1 if report.failures else 0


Index = AbstractContextManager[tuple[Contender, int]]
"""A server of ours, and the studies in its index before."""


def _indexes(folder: Path, given: argparse.Namespace) -> Iterator[Index]:
    """The largest first, which is ours of the goals; the empty one last."""
    if given.database:
        yield _server(OURS, _made(folder / "named"), given.database, _process(given.database))
    if given.small or not given.database:
        name = f"ours, {given.studies:,} studies" if given.database else OURS
        yield _filled(name, _made(folder / "filled"), given.studies)
    yield _empty(_made(folder / "empty"))


def _process(url: str) -> int:
    """The first process of a PostgreSQL on this machine whose socket is in its folder, as the embedded one's is; 0 for
    any other, whose processor time is not counted."""
    folder = Path(str(conninfo_to_dict(url).get("host", "")))
    return postmaster(folder) if (folder / "postmaster.pid").exists() else 0


def _made(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@contextmanager
def _filled(name: str, folder: Path, studies: int) -> Iterator[tuple[Contender, int]]:
    with filled(studies, folder) as url, _server(name, folder, url, postmaster(folder / "postgres")) as found:
        yield found


@contextmanager
def _empty(folder: Path) -> Iterator[tuple[Contender, int]]:
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        with _server(EMPTY, folder, postgres.url, postmaster(folder / "postgres")) as found:
            yield found
    finally:
        postgres.stop()


@contextmanager
def _server(name: str, folder: Path, url: str, database: int) -> Iterator[tuple[Contender, int]]:
    settings = folder.parent / "pacs.toml"  # the same facilities for all
    studies = 0 if name == EMPTY else _prepared(url, settings)
    with service(folder / "data", url, web=False, PACS_CONFIG=str(settings)) as running:
        roots = tuple(each for each in (running.node, database) if each)
        yield Contender(name, running.dicom_port, 0, roots), studies


def _prepared(url: str, settings: Path) -> int:
    """How many studies the index has; its facilities are written down as settings."""
    with psycopg.connect(url, autocommit=True) as connection:
        write_settings(connection, settings, largest_facility(connection))
        (studies,) = connection.execute("SELECT count(*) FROM study").fetchone() or (0,)
    return int(studies)


def _case(
    report: Report,
    running: Sequence[Contender],
    associations: int,
    studies: Mapping[str, int],
    given: argparse.Namespace,
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
        report.add(case, name, found, associations=associations, studies=studies[name])
    print("\n".join(table([each for each in report.measures if each.case == case])), flush=True)
