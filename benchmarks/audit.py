"""``python -m benchmarks audit``: what it costs that everything is on record.

One archive in this process with a real PostgreSQL; the same work with the trail and without it, in turns. Prints a
Markdown table and writes it to ``build/benchmarks/audit.md``.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn

from archive.audit.events import Action, AuditEvent
from archive.audit.upkeep import AuditUpkeep
from archive.core import Archive, migrate, with_database
from archive.people.caller import Caller, Kind
from benchmarks.asking import rate
from benchmarks.frames import OCTETS
from benchmarks.huge import Huge, native
from benchmarks.images import ct_objects
from benchmarks.memory import store_dimse
from benchmarks.sender import send
from config.settings import load
from dicom_node.__main__ import services
from dicom_node.server import DicomServer
from viewer_api.app import create_app

JSON: Final = "application/dicom+json"
HEAD: Final = "| work | with the trail | without | ratio |\n|---|---|---|---|"
_DOCTOR: Final = Caller(Kind.ACCOUNT, "bs.lan", account=7, address="10.1.2.3")


class _Silent:
    """In place of what puts acts on record."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks audit", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each work, interleaved")
    parser.add_argument("--objects", type=int, default=300, help="objects of each run of C-STORE")
    given = parser.parse_args(arguments)
    lines = [HEAD]
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="audit") as name:
        Path(name).chmod(0o755)
        for line in _measured(Path(name), given):
            lines.append(line)
            print(line, flush=True)
    target = Path("build/benchmarks/audit.md")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    return 0


def _measured(folder: Path, given: argparse.Namespace) -> Iterator[str]:
    settings = load(
        environ={},
        data_dir=folder,
        storage={"minimum_free_bytes": 0},
        node={"host": "127.0.0.1", "port": 0},
        unknown_peers="accept",
        audit={"anchor_seconds": 1},
        access={"sign_in": "off"},
    )
    embedded, settings = with_database(settings)
    migrate(settings)
    with Archive.open(settings) as archive:
        server = DicomServer(settings.node, archive.peers, services(archive))
        server.start()
        huge = native(1)
        store_dimse(server.port, huge)
        with _serving(archive) as port:
            yield from _web(archive, port, huge, given)
        yield from _stores(archive, server.port, given)
        yield from _records(archive, given.seconds)
        server.stop()
    if embedded is not None:
        embedded.stop()


def _web(archive: Archive, port: int, huge: Huge, given: argparse.Namespace) -> Iterator[str]:
    frame = f"/dicom-web{huge.path}/frames/1"
    asked = (
        ("frames of 512 KiB", frame, OCTETS, (1, 4)),
        ("QIDO-RS, the same question", "/dicom-web/studies?PatientID=P1", JSON, (1, 4)),
        ("QIDO-RS, another question each time", "/dicom-web/studies?PatientID=P{n}", JSON, (1, 4, 16)),
    )
    for name, address, accept, clients in asked:
        for number in clients:

            def work(address: str = address, accept: str = accept, number: int = number) -> float:
                return rate(port, number, given.seconds, address, accept)

            yield _line(f"{name}, {number} at once, requests/s", _interleaved(archive, given.rounds, work))


def _interleaved(archive: Archive, rounds: int, work: Callable[[], float]) -> tuple[list[float], list[float]]:
    real, looks = archive.audit, archive.looks
    on: list[float] = []
    off: list[float] = []
    silent: Any = _Silent()
    for _ in range(rounds):
        on.append(work())
        archive.audit, archive.looks = silent, silent
        off.append(work())
        archive.audit, archive.looks = real, looks
    return on, off


def _stores(archive: Archive, port: int, given: argparse.Namespace) -> Iterator[str]:
    for associations in (1, 4):
        on: list[float] = []
        off: list[float] = []
        for number in range(given.rounds):
            for rates in (on, off):
                objects = ct_objects(128, given.objects, seed=number)
                if rates is on:
                    with AuditUpkeep(archive, "benchmark"):
                        rates.append(given.objects / send("127.0.0.1", port, "PACS", objects, associations).seconds)
                else:
                    rates.append(given.objects / send("127.0.0.1", port, "PACS", objects, associations).seconds)
        yield _line(f"C-STORE of 33 kB, {associations} at once, objects/s", (on, off))


def _records(archive: Archive, seconds: float) -> Iterator[str]:
    for threads in (1, 4, 16, 64):
        counts = [0] * threads
        end = time.perf_counter() + seconds

        def work(number: int, counts: list[int] = counts, end: float = end) -> None:
            while time.perf_counter() < end:
                archive.audit.record(AuditEvent(Action.VIEW, _DOCTOR, studies=("1.2.3",), detail={"what": "images"}))
                counts[number] += 1

        running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        yield f"| durable records of {threads} threads, records/s | {sum(counts) / seconds:.0f} | | |"


def _line(name: str, rates: tuple[list[float], list[float]]) -> str:
    on, off = (statistics.median(each) for each in rates)
    ratio = statistics.median(with_it / without for with_it, without in zip(*rates, strict=True))
    return f"| {name} | {on:.0f} | {off:.0f} | {ratio:.2f} |"


@contextmanager
def _serving(archive: Archive) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(create_app(archive), log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
