"""``python -m benchmarks limits``: what this machine does by itself, without any archive.

Files written with ``fdatasync``, and with a flush of their folder, too; rows committed one by one by PostgreSQL with
its default durability; large files with ``fsync``; echoes over loopback. Whatever stores an object durably and commits
its row can be no faster than these allow. By 1, 4 and 16 threads of one process:
system calls leave the interpreter.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import psycopg

from archive.embedded import EmbeddedPostgres
from benchmarks.command import Parser, empty, say, scratch
from benchmarks.disk import write_rate
from benchmarks.results import Report, table

MACHINE: Final = "this machine"
THREADS: Final = (1, 4, 16)
SIZES: Final = {"33 kB": 33_000, "0.5 MB": 525_000}
LARGE: Final = 100_000_000
_PDU: Final = 16_384

Act = Callable[[], object]
"""What is done again and again by a thread."""


def main(arguments: list[str]) -> int:
    parser = Parser("limits", __doc__)
    parser.add("--rounds", 5, 3, type=int, help="counted runs of each case")
    parser.add("--seconds", 2.0, 1.0, type=float, help="of each run")
    given = parser.read(arguments)
    report = Report("limits", "Limits of the machine", is_quick=given.quick)
    with scratch() as folder:
        for act in (_files, _commits, _large, _echoes):
            before = len(report.measures)
            report.attempt(act.__name__.strip("_"), partial(act, report, folder, given.rounds, given.seconds))
            print("\n".join(table(report.measures[before:])), flush=True)
            report.write()
    return 1 if report.failures else 0


def _files(report: Report, folder: Path, rounds: int, seconds: float) -> None:
    names = count()
    for label, size in SIZES.items():
        data = os.urandom(size)
        for flushes_folder in (False, True):
            case = f"file of {label} + fdatasync" + (" + fsync of its folder" if flushes_folder else "")
            for threads in THREADS:

                def act() -> Act:
                    place = folder / f"files{next(names)}"
                    place.mkdir()
                    return partial(_write, place, names, data, flushes_folder)  # noqa: B023

                _measure(report, case, "files/s", threads, rounds, seconds, act, size, partial(_give_back, folder))


def _give_back(folder: Path) -> None:
    empty(folder)
    os.sync()


def _write(folder: Path, names: Iterator[int], data: bytes, flushes_folder: bool) -> None:
    file = os.open(folder / str(next(names)), os.O_CREAT | os.O_WRONLY)
    try:
        os.write(file, data)
        os.fdatasync(file)
    finally:
        os.close(file)
    if flushes_folder:
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def _commits(report: Report, folder: Path, rounds: int, seconds: float) -> None:
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE row (id bigserial PRIMARY KEY, content text)")

        def act() -> Act:
            connection = psycopg.connect(postgres.url, autocommit=True)
            return partial(connection.execute, "INSERT INTO row (content) VALUES (%s)", ("x" * 200,), prepare=True)

        for threads in THREADS:
            _measure(report, "a row of PostgreSQL, committed", "commits/s", threads, rounds, seconds, act)
    finally:
        postgres.stop()


def _large(report: Report, folder: Path, rounds: int, _: float) -> None:
    runs = [write_rate(folder, LARGE, 4) / 1e6 for _ in range(rounds + 1)][1:]
    report.add("4 files of 100 MB, each with fsync, one by one", MACHINE, {"MB/s": runs}, bytes=LARGE, threads=1)


def _echoes(report: Report, _: Path, rounds: int, seconds: float) -> None:
    for threads in (1, 4):
        with _echoing() as port:

            def act() -> Act:
                link = socket.create_connection(("127.0.0.1", port))
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return partial(_echo, link, bytes(_PDU))

            _measure(
                report, "16 KiB over loopback, answered by a byte", "echoes/s", threads, rounds, seconds, act, _PDU
            )


def _echo(link: socket.socket, data: bytes) -> None:
    link.sendall(data)
    link.recv(1)


@contextmanager
def _echoing() -> Iterator[int]:
    """A port that answers 16 KiB by a byte, in threads of this process."""

    def serve(link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with link:
            while link.recv(_PDU, socket.MSG_WAITALL):
                link.sendall(b"!")

    def listen() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(link,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _measure(
    report: Report,
    case: str,
    quantity: str,
    threads: int,
    rounds: int,
    seconds: float,
    act: Callable[[], Act],
    size: int = 0,
    after: Act = int,
) -> None:
    """Let so many threads act for this time, some rounds; the first does not count. `after` each is not measured."""
    case = f"{case}, {threads} at once"
    say(case)
    runs = []
    for number in range(rounds + 1):
        runs.append(_rate([act() for _ in range(threads)], seconds * (1 if number else 0.3)))
        after()
    report.add(case, MACHINE, {quantity: runs[1:]}, threads=threads, bytes=size)


def _rate(acts: list[Act], seconds: float) -> float:
    """Acts a second of all threads together."""
    done: list[tuple[int, float]] = []
    ready = threading.Barrier(len(acts))

    def work(act: Act) -> None:
        act()
        ready.wait()
        number, begun = 0, time.perf_counter()
        while (taken := time.perf_counter() - begun) < seconds:
            act()
            number += 1
        done.append((number, taken))

    workers = [threading.Thread(target=work, args=(act,)) for act in acts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(number / taken for number, taken in done)
