"""The servers that are compared, each as a tree of processes that can be measured, and held still while others run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil

from archive.embedded import EmbeddedPostgres
from benchmarks.command import say
from benchmarks.results import OURS, OURS_SPOOL, Report
from benchmarks.servers import orthanc_web, postmaster, probe, service, storescp

Given = TypeVar("Given")

ORTHANC: Final = "Orthanc"
ORTHANC_POSTGRESQL: Final = "Orthanc, index in PostgreSQL"
STORESCP: Final = "storescp"
PROBE: Final = "probe"


@dataclass(frozen=True)
class Contender:
    """One running server."""

    name: str
    dicom_port: int
    web_port: int
    roots: tuple[int, ...]
    """Its first processes; what they start belongs to it."""
    spool: Path | None = None
    """Folder of objects that are stored and wait for S3."""

    def processes(self) -> list[psutil.Process]:
        """All that run now."""
        found: dict[int, psutil.Process] = {}
        for root in self.roots:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(root)
                for each in (process, *process.children(recursive=True)):
                    found[each.pid] = each
        return list(found.values())

    def processor_seconds(self) -> float:
        """User and system time of all its processes, of those that ended too."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])
        return total

    def resident(self) -> int:
        """Bytes of memory that belong to its processes alone, and those they share counted once each (PSS)."""
        total = 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
        return total

    def signal(self, number: int) -> None:
        """Send a signal to all its processes, twice, for what was started meanwhile."""
        for _ in range(2):
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)


@contextmanager
def alone(chosen: Contender, everyone: Iterable[Contender]) -> Iterator[None]:
    """Hold the others still, and let what is to be written reach the disk before; what one puts off it does in its
    own next turn, never in another's."""
    others = [each for each in everyone if each is not chosen]
    try:
        for each in others:
            each.signal(signal.SIGSTOP)
        os.sync()
        yield
    finally:
        for each in others:
            each.signal(signal.SIGCONT)


def interleaved(
    report: Report,
    running: Sequence[Contender],
    rounds: int,
    case: str,
    prepare: Callable[[int], Given],
    run: Callable[[Contender, Given], Mapping[str, float]],
) -> dict[str, dict[str, list[float]]]:
    """Run all servers in turns with the same that was prepared for the round: what each run gave, by server.

    Round 0 is for warming up and is not counted. A server that fails is noted in the report and left out from then on.
    """
    found: dict[str, dict[str, list[float]]] = {server.name: {} for server in running}
    standing = list(running)
    for number in range(rounds + 1):
        say(f"{case}: {f'run {number} of {rounds}' if number else 'warming up'}")
        given = prepare(number)
        for server in standing[:]:
            with alone(server, running):
                taken = report.attempt(f"{case}, {server.name}", partial(run, server, given))
            if taken is None:
                standing.remove(server)
            elif number:
                for quantity, value in taken.items():
                    found[server.name].setdefault(quantity, []).append(value)
    return found


@contextmanager
def started(
    report: Report, folder: Path, names: Iterable[str], *, web: bool, **variables: str
) -> Iterator[dict[str, Contender]]:
    """These servers, each in a folder of its own, with or without DICOMweb; `variables` are settings of ours.

    One that does not start is noted in the report and left out."""
    folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
    with ExitStack() as stack:
        found: dict[str, Contender] = {}
        for number, name in enumerate(names):
            place = folder / str(number)
            place.mkdir()
            place.chmod(0o755)
            given: dict[str, Any] = variables if name in (OURS, OURS_SPOOL) else {}
            start = partial(stack.enter_context, STARTERS[name](place, web, **given))
            if server := report.attempt(f"start of {name}", start):
                found[name] = server
        yield found


@contextmanager
def _ours(folder: Path, web: bool, **variables: str) -> Iterator[Contender]:
    """As shipped: embedded PostgreSQL with its default durability, filesystem store unless the variables say other."""
    with service(folder, web=web, **variables) as running:
        roots = tuple(each for each in (running.node, running.web, running.database) if each)
        yield Contender(OURS, running.dicom_port, running.web_port, roots)


@contextmanager
def _ours_spool(folder: Path, web: bool, **variables: str) -> Iterator[Contender]:
    """On S3, with a spool in front."""
    more = {"PACS_STORAGE__S3__WRITE_BACK": "true", "PACS_STORAGE__S3__BUCKET": "spooled"}
    with _ours(folder, web, **{**variables, **more}) as found:
        yield replace(found, name=OURS_SPOOL, spool=folder / "spool" / "waiting")


@contextmanager
def _orthanc(folder: Path, web: bool) -> Iterator[Contender]:
    with orthanc_web(folder, web=web) as running:
        yield Contender(ORTHANC, running.dicom_port, running.web_port, (running.process,))


@contextmanager
def _orthanc_postgresql(folder: Path, web: bool) -> Iterator[Contender]:
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        with orthanc_web(folder, database_url=postgres.url, web=web) as running:
            roots = (running.process, postmaster(folder / "postgres"))
            yield Contender(ORTHANC_POSTGRESQL, running.dicom_port, running.web_port, roots)
    finally:
        postgres.stop()


@contextmanager
def _storescp(folder: Path, web: bool) -> Iterator[Contender]:
    assert not web, "storescp has no web service"
    with storescp(folder) as (port, process):
        yield Contender(STORESCP, port, 0, (process,))


@contextmanager
def _probe(folder: Path, web: bool) -> Iterator[Contender]:
    assert not web, "the probe has no web service"
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        with probe(folder, postgres.url) as (port, process):
            yield Contender(PROBE, port, 0, (process, postmaster(folder / "postgres")))
    finally:
        postgres.stop()


STARTERS: Final[dict[str, Callable[..., AbstractContextManager[Contender]]]] = {
    OURS: _ours,
    OURS_SPOOL: _ours_spool,
    ORTHANC: _orthanc,
    ORTHANC_POSTGRESQL: _orthanc_postgresql,
    STORESCP: _storescp,
    PROBE: _probe,
}
