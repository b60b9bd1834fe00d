"""``python -m benchmarks [--quick] [--only NAME ...]``: all that the goals ask for, then plots and one summary.

Each benchmark is a process of its own: one that fails is told at the end, and loses nobody else's results.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from typing import Final

from benchmarks import goals, plots
from benchmarks.command import QUICK, Parser, say
from benchmarks.results import TARGET, machine, read_all
from benchmarks.servers import ROOT

DATABASE: Final = "BENCH_DATABASE"
"""Environment variable: URL of a filled index that `query` asks, instead of a small one of its own."""

ALL: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "limits": ((), "what the machine does by itself: files, commits, echoes"),
    "receive": ((), "C-STORE against Orthanc and storescp; --store s3 for ours on S3"),
    "stow": ((), "STOW-RS against Orthanc's plugin"),
    "retrieve": ((), "a series by WADO-RS against Orthanc's plugin"),
    "metadata": ((), "metadata of a large study against Orthanc's plugin"),
    "frames": ((), "single frames against Orthanc's plugin"),
    "viewer": ((), "a large CT in OHIF, served by us and by Orthanc"),
    "memory": ((), "what the processes take: many large objects at once, and huge ones"),
    "query": ((), "QIDO-RS and C-FIND"),
    "scale": ((), "measured costs carried to years and provinces; writes docs/scale.md"),
}
"""Arguments and purpose of each, in the order in which they run."""


def main(arguments: list[str]) -> int:
    """Exit code 0; 1 if one failed."""
    parser = Parser("", __doc__)
    steps = {name: [name, *options] for name, (options, _) in ALL.items() if _is_there(name)}
    steps = _with_s3(steps)
    parser.add_argument("--only", nargs="+", choices=[*steps], default=[*steps], help="of all")
    given = parser.read(arguments)
    if "query" in steps:
        steps["query"] += _query(quick=given.quick)
    failed = []
    for number, name in enumerate(given.only, 1):
        say(f"=== {name} ({number} of {len(given.only)})")
        begun = time.monotonic()
        if not _run(steps[name], quick=given.quick):
            failed.append(name)
        say(f"=== {name}: {'failed' if name in failed else 'done'} after {time.monotonic() - begun:.0f} s")
    reports = read_all()
    for path in plots.draw(reports):
        say(f"plot: {path}")
    print("\n".join(goals.write_summary(reports, machine())))
    say(f"results are in {TARGET}")
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _with_s3(steps: dict[str, list[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, command in steps.items():
        found[name] = command
        if name == "receive":
            found["receive-s3"] = [*command, "--store", "s3"]
    return found


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(f"benchmarks.{name}") is not None


def _query(*, quick: bool) -> list[str]:
    if url := os.environ.get(DATABASE):
        return ["--database", url]
    return ["--studies", "5000", "--draws", "40"] if quick else []


def _run(command: list[str], *, quick: bool) -> bool:
    environment = {**os.environ, QUICK: "1" if quick else "0"}
    process = subprocess.Popen([sys.executable, "-m", "benchmarks", *command], cwd=ROOT, env=environment)
    try:
        return process.wait() == 0
    finally:
        # Whoever stops us stops it, too; it stops its servers.
        if process.poll() is None:
            process.terminate()
            process.wait()
