"""``python -m benchmarks receive``: C-STORE against Orthanc (SQLite, and index in PostgreSQL) and ``storescp``.

All servers get the same objects in turns; the others are held still meanwhile, and nothing waits to be written. What
comes first on each server, in each case, is not counted. With ``--store s3`` ours keeps its objects in SeaweedFS on
this machine, the others on local files: once told stored when S3 has them, and once, with the spool, when they are
durable on the local disk; then ``uploaded/s`` counts until S3 has them all, and a turn ends only then. Large objects
are also compared with the disk: files of the same size written one after the other, each with fsync. ``processor ms``
is what an object takes of all processes of a server.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.command import Parser, say, scratch
from benchmarks.contenders import ORTHANC, ORTHANC_POSTGRESQL, PROBE, STORESCP, Contender, interleaved, started
from benchmarks.disk import write_rate
from benchmarks.images import ct_objects
from benchmarks.results import OURS, OURS_SPOOL, Report, percentile, table
from benchmarks.sender import Object, send
from benchmarks.stores import STORES
from storage.uploader import objects as objects_in

DISK: Final = "disk, write + fsync"
SERVERS: Final = (OURS, OURS_SPOOL, ORTHANC, ORTHANC_POSTGRESQL, STORESCP, PROBE)
ASSOCIATIONS: Final = (1, 4, 16)
_SPARE: Final = 4_000_000_000
"""Bytes of the disk that are left free."""


@dataclass(frozen=True)
class Size:
    """Objects of one size."""

    label: str
    rows: int
    columns: int
    full: int
    """Objects of a run with one or four associations."""
    quick: int
    most: int = 1 << 30
    """Objects of a run at most for each association."""

    @property
    def size(self) -> int:
        return self.rows * self.columns * 2

    @property
    def is_large(self) -> bool:
        """Whether it is the disk that limits."""
        return self.size >= 10_000_000

    def count(self, associations: int, *, quick: bool) -> int:
        """Objects of a run: each association sends the same number."""
        wanted = self.quick if quick else self.full
        return max(1, min(wanted // associations, self.most)) * associations


SIZES: Final = {
    each.label: each
    for each in (
        Size("33 kB", 128, 128, 1600, 480),
        Size("0.5 MB", 512, 512, 400, 320),
        Size("100 MB", 10_000, 5000, 4, 4, most=4),
    )
}


_SPOOL: Final = (
    f"{OURS_SPOOL}: Success when the object is durable in the spool on the local disk and its row is committed, as"
    " storage.s3.write_back lets an operator choose; until it is uploaded it is as safe as that disk. Uploads let"
    " arrivals go first for ten seconds: of what comes for longer, uploaded/s tells what is taken in the end. It counts"
    " from the first object sent until S3 has confirmed all; processor ms count the upload.",
    f"{OURS}: Success when S3 has confirmed the object.",
)


def case_name(label: str, associations: int) -> str:
    return f"{label}, {associations} association{'s' if associations > 1 else ''}"


def main(arguments: list[str]) -> int:
    parser = Parser("receive", __doc__)
    parser.add("--rounds", 5, 3, type=int, help="counted runs of each case and server")
    parser.add_argument("--sizes", nargs="+", choices=[*SIZES], help="of objects; all, but on S3 no large ones")
    parser.add("--associations", list(ASSOCIATIONS), list(ASSOCIATIONS), nargs="+", type=int, help="at once")
    parser.add_argument("--objects", type=int, default=0, help="of each run, instead of what fits the size")
    parser.add_argument("--store", choices=[*STORES], default="filesystem", help="of ours")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=None, help="all, or for S3 ours and Orthanc")
    given = parser.read(arguments)
    if given.sizes is None:
        given.sizes = [each.label for each in SIZES.values() if given.store != "s3" or not each.is_large]
    if given.servers is None:
        on_s3 = given.store == "s3"
        given.servers = [OURS, OURS_SPOOL, ORTHANC] if on_s3 else [each for each in SERVERS if each != OURS_SPOOL]
    return 1 if measure(given).failures else 0


def measure(given: argparse.Namespace) -> Report:
    """Measure all cases; the report is printed and written while it grows."""
    on_s3 = given.store == "s3"
    report = Report(
        "receive-s3" if on_s3 else "receive",
        "C-STORE into S3 (SeaweedFS on this machine)" if on_s3 else "C-STORE",
        is_quick=given.quick,
        notes=[
            "Ours answers Success when the object is durable and its index row is committed; should a crash take a"
            " row, it is made again from its object (ADR 13). Orthanc flushes the file alone; storescp flushes nothing"
            " and keeps no index.",
            "The probe is the floor: the least that a receiver in plain Python does (benchmarks/probe.py): fdatasync of"
            " each object, one row committed and flushed, and no look at what it takes.",
            *(_SPOOL if on_s3 else ()),
            "Sender: 16 KiB PDUs, TCP_NODELAY, quick ACKs, on the same machine. Medians (least-most).",
        ],
    )
    for label in given.sizes:
        # A turn ends when S3 has all, some dozen objects a second: half as many are enough for a quick pass.
        size = replace(SIZES[label], quick=SIZES[label].quick // 2) if on_s3 else SIZES[label]
        # Servers of their own, and so the disk as it was: for each size, and where they would fill it, for each case.
        together = [[each] for each in given.associations] if size.is_large else [given.associations]
        for cases in together:
            with scratch() as folder, _servers(report, folder, given, size) as running:
                counts = {each: given.objects or size.count(each, quick=given.quick) for each in cases}
                writers = len(running) + size.is_large  # the disk by itself is one
                rounds = _rounds(report, folder, given.rounds, writers * sum(counts.values()) * size.size)
                for associations, count in counts.items():
                    before = len(report.measures)
                    _case(report, folder, list(running.values()), size, associations, count, rounds)
                    print("\n".join(table(report.measures[before:])), flush=True)
                    report.write()
    return report


def _rounds(report: Report, folder: Path, wanted: int, each: int) -> int:
    """As many counted rounds of so many bytes as the disk has room for: what is stored stays until all is measured."""
    room = shutil.disk_usage(folder).free - _SPARE
    fitting = max(1, min(wanted, room // each - 1))
    if fitting < wanted:
        report.notes.append(f"Only {fitting} rounds instead of {wanted} of some cases: the disk has no room for more.")
        say(report.notes[-1])
    return fitting


@contextmanager
def _servers(report: Report, folder: Path, given: argparse.Namespace, size: Size) -> Iterator[dict[str, Contender]]:
    # Large objects are compared with the disk; in a quick pass with nothing else but the floor.
    left_out = (
        [] if not size.is_large else [ORTHANC, ORTHANC_POSTGRESQL, STORESCP] if given.quick else [ORTHANC_POSTGRESQL]
    )
    names = [each for each in given.servers if each not in left_out]
    say(f"starting {', '.join(names)}")
    with ExitStack() as stack:
        variables = stack.enter_context(STORES[given.store]()) if {OURS, OURS_SPOOL} & {*names} else {}
        yield stack.enter_context(started(report, folder, names, web=False, **variables))


def _case(
    report: Report,
    folder: Path,
    running: Sequence[Contender],
    size: Size,
    associations: int,
    count: int,
    rounds: int,
) -> None:
    name = case_name(size.label, associations)

    def prepare(number: int) -> list[Object]:
        return ct_objects(size.rows, count, number, columns=size.columns)

    def run(server: Contender, objects: list[Object]) -> dict[str, float]:
        if server.name == DISK:
            return {"MB/s": write_rate(folder, size.size, len(objects)) / 1e6}
        before, begun = server.processor_seconds(), time.monotonic()
        result = send("127.0.0.1", server.dicom_port, "PACS", objects, associations)
        if result.failures:
            raise SystemExit(f"{server.name} refused {result.failures} objects")
        uploaded = _uploaded(server.spool, len(objects), begun) if server.spool else {}
        rate, late = len(objects) / result.seconds, percentile(result.latencies, 0.99)
        processor = {"processor ms": (server.processor_seconds() - before) / len(objects) * 1000}
        if size.is_large:
            return {"MB/s": rate * size.size / 1e6, **uploaded, **processor}
        return {"objects/s": rate, "p99 ms": late * 1000, **uploaded, **processor}

    # The disk is one of those that take turns.
    everyone = [*running, Contender(DISK, 0, 0, ())] if size.is_large else running
    for server_name, quantities in interleaved(report, everyone, rounds, name, prepare, run).items():
        report.add(name, server_name, quantities, bytes=size.size, associations=associations)


def _uploaded(spool: Path, count: int, begun: float) -> dict[str, float]:
    """Wait until S3 has all that waits for it."""
    while any(True for _ in objects_in(str(spool))):
        time.sleep(0.01)
    return {"uploaded/s": count / (time.monotonic() - begun)}
