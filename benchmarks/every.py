"""``python -m benchmarks [--quick] [--only NAME ...]``: all that the goals ask for, then plots and one summary.

Each benchmark is a process of its own, within a time: one that fails is told at the end, and loses nobody else's
results. Results of each are written while it runs. What servers wrote is deleted when all is measured. With
``--before`` tables and plots also show what an earlier pass found.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks import summary
from benchmarks.command import QUICK, SCRATCH, Parser, deleted_in_the_end, say
from benchmarks.disk import settle
from benchmarks.results import TARGET, note_step
from benchmarks.servers import ROOT

DATABASE: Final = "BENCH_DATABASE"
"""Environment variable: URL of a filled index, which `query` asks and `growth` sends to beside small ones."""
BEFORE: Final = "BENCH_BEFORE"
"""Environment variable: as ``--before``."""
_SLACK: Final = 300.0
_TIMES: Final = 3.0
"""A benchmark is stopped after so many times its estimate and this many seconds."""


@dataclass(frozen=True)
class Step:
    """One benchmark as it is run with all others."""

    name: str
    command: tuple[str, ...]
    purpose: str
    quick: float
    """Seconds of a quick pass on two processors, to tell how long all will take."""
    full: float

    def limit(self, *, quick: bool) -> float:
        """Seconds after which it is stopped."""
        return self.estimate(quick=quick) * _TIMES + _SLACK

    def estimate(self, *, quick: bool) -> float:
        """Seconds that it will take."""
        return self.quick if quick else self.full


STEPS: Final = (
    Step("limits", ("limits",), "what the machine does by itself: files, commits, echoes", 110, 300),
    Step("receive", ("receive",), "C-STORE against Orthanc and storescp; --store s3 for ours on S3", 380, 1500),
    Step("receive-s3", ("receive", "--store", "s3"), "", 180, 700),
    Step("stow", ("stow",), "STOW-RS against Orthanc's plugin", 35, 300),
    Step("retrieve", ("retrieve",), "a series by WADO-RS against Orthanc's plugin", 25, 120),
    Step("metadata", ("metadata",), "metadata of a large study against Orthanc's plugin", 90, 120),
    Step("frames", ("frames",), "single frames against Orthanc's plugin", 120, 420),
    Step("viewer", ("viewer",), "a large CT in OHIF, served by us and by Orthanc", 200, 300),
    Step("memory", ("memory",), "what the processes take: many large objects at once, and huge ones", 60, 900),
    Step("query", ("query",), "QIDO-RS and C-FIND", 200, 900),
    Step("growth", ("growth",), "C-STORE into a filled index, against an empty one", 90, 300),
    Step("scale", ("scale",), "measured costs carried to years and provinces; --document: into docs/scale.md", 15, 15),
)
"""In the order in which they run."""


def main(arguments: list[str]) -> int:
    """Exit code 0; 1 if something could not be measured."""
    parser = Parser("", __doc__)
    names = [each.name for each in STEPS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="of all")
    before = Path(os.environ[BEFORE]) if os.environ.get(BEFORE) else None
    told = f"folder of an earlier pass that is shown beside this one (or {BEFORE})"
    parser.add_argument("--before", type=Path, default=before, help=told)
    given = parser.read(arguments)
    if given.only == names:
        set_aside(TARGET)
    failed = _all([each for each in STEPS if each.name in given.only], quick=given.quick)
    summary.finish(TARGET, given.before)
    if failed:
        say(f"failed wholly or in parts: {', '.join(failed)}")
    return 1 if failed else 0


def set_aside(folder: Path) -> None:
    """Move earlier results into a folder ``before``: what fails now must not be shown with figures of another day."""
    earlier = [path for path in folder.glob("*") if path.is_file()]
    if earlier:
        place = folder / "before"
        place.mkdir(exist_ok=True)
        for path in earlier:
            path.replace(place / path.name)
        say(f"earlier results are in {place}")


def _all(steps: Sequence[Step], *, quick: bool) -> list[str]:
    """Run them one after the other; those that failed."""
    environment = {**os.environ, QUICK: "1" if quick else "0"}
    environment.setdefault(SCRATCH, deleted_in_the_end().name)
    settle(Path(environment[SCRATCH]))
    failed: list[str] = []
    begun, expected = time.monotonic(), 0.0
    for number, step in enumerate(steps):
        left = sum(each.estimate(quick=quick) for each in steps[number:])
        # What came before tells how fast this machine is.
        pace = (time.monotonic() - begun) / expected if expected > _SLACK else 1.0
        minutes = f"about {left * pace / 60:.0f} minutes to go"
        say(f"=== {step.name} ({number + 1} of {len(steps)}; {minutes})")
        started = time.monotonic()
        failure = _run(_command(step), environment, step.limit(quick=quick))
        if failure:
            failed.append(step.name)
        taken = time.monotonic() - started
        note_step(step.name, taken, failure)
        expected += step.estimate(quick=quick)
        say(f"=== {step.name}: {'FAILED, wholly or in parts' if step.name in failed else 'done'} after {taken:.0f} s")
    return failed


def _command(step: Step) -> list[str]:
    url = os.environ.get(DATABASE)
    return [*step.command, *(("--database", url, "--small") if url and step.name in ("query", "growth") else ())]


def _working_on(folder: str) -> Iterator[psutil.Process]:
    """Processes whose arguments name the folder: PostgreSQL leaves the family of whoever starts it."""
    for process in psutil.process_iter(["cmdline"]):
        if any(folder in each for each in process.info["cmdline"] or ()):
            yield process


def _end(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()
            process.kill()


def _run(command: list[str], environment: dict[str, str], limit: float) -> str:
    """Why it failed; nothing if it did not."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks", *command], cwd=ROOT, env=environment)
    try:
        code = process.wait(limit)
        return f"it ended with {code}, and its output says why" if code else ""
    except subprocess.TimeoutExpired:
        failure = f"stopped: it took longer than {limit:.0f} s"
        say(failure)
        return failure
    finally:
        # Whoever stops us stops it, too; it stops its servers. What is left would take time from the next.
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(120)
            process.kill()
            process.wait()
            _end([*family, *_working_on(environment[SCRATCH])])
