"""What a benchmark found: runs of each server in each case, as JSON and as a Markdown table under `TARGET`."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.command import say

Given = TypeVar("Given")

TARGET: Final = Path(os.environ.get("BENCH_TARGET") or Path(__file__).parents[1] / "build" / "benchmarks")
"""Folder of all results; the environment may name another."""
CODE: Final = Path(os.environ.get("BENCH_CODE") or Path(__file__).parents[1]).resolve()
"""The checkout whose archive is measured as ours: an older one for the figures of before."""
_STEPS: Final = "steps.json"
OURS: Final = "ours"
OURS_SPOOL: Final = "ours, spool"
"""With ``storage.s3.write_back``: Success when an object is durable in the spool, from which it goes up to S3."""


@dataclass(frozen=True)
class Measure:
    """Runs of one server in one case."""

    case: str
    server: str
    quantity: str
    """What was measured, with its unit: ``objects/s``, ``p99 ms``."""
    runs: tuple[float, ...]
    parameters: dict[str, float] = field(default_factory=dict)
    """What the case differs in from others, for plots: ``bytes``, ``associations``."""

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def shown(self) -> str:
        """Median with the least and the most."""
        if len(self.runs) == 1:
            return number(self.median)
        return f"{number(self.median)} ({number(min(self.runs))}-{number(max(self.runs))})"


@dataclass
class Report:
    """All that one benchmark measured."""

    name: str
    title: str
    measures: list[Measure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What could not be measured, and why."""
    is_quick: bool = False
    machine: dict[str, str] = field(default_factory=dict)

    def add(self, case: str, server: str, found: Mapping[str, Sequence[float]], **parameters: float) -> None:
        """Take in the runs of a server in a case, by quantity; the first quantity is the one that is compared."""
        for quantity, runs in found.items():
            self.measures.append(Measure(case, server, quantity, tuple(runs), parameters))

    def find(self, case: str, server: str, quantity: str) -> Measure | None:
        """The runs of a server in a case, if it was measured."""
        wanted = (case, server, quantity)
        return next((each for each in self.measures if (each.case, each.server, each.quantity) == wanted), None)

    def attempt(self, what: str, act: Callable[[], Given]) -> Given | None:
        """What `act` gives; None if it fails: then that is noted, and the others can go on."""
        try:
            return act()
        except SystemExit as error:
            if not isinstance(error.code, str):  # we are told to stop
                raise
            reason = error.code
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        self.failures.append(f"{what}: {reason}")
        say(f"FAILED, going on without: {self.failures[-1]}")
        return None

    def write(self, folder: Path = TARGET) -> None:
        """Write ``NAME.json`` and ``NAME.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.machine = self.machine or machine()
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False))
        (folder / f"{self.name}.md").write_text("\n".join(self.lines()) + "\n")

    def lines(self) -> list[str]:
        """Title, where and when, notes, and the table, as Markdown."""
        told = [f"# {self.title}", "", ", ".join(f"{name} {value}" for name, value in self.machine.items()), ""]
        told += [f"- {note}" for note in self.notes]
        told += [f"- **Failed**: {failure}" for failure in self.failures]
        return [*told, *([""] if self.notes or self.failures else []), *table(self.measures)]


def read(path: Path) -> Report:
    """The report of a JSON file that `Report.write` made. Raises `ValueError` if it is not one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        measures = [Measure(**{**each, "runs": tuple(each["runs"])}) for each in content.pop("measures")]
        return Report(**{**content, "measures": measures})
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not the result of a benchmark of this release: {error}") from error


def read_all(folder: Path = TARGET) -> dict[str, Report]:
    """The reports that are there, by name; other files are left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            report = read(path)
        except ValueError:
            continue
        found[report.name] = report
    return found


def largest_index(folder: Path = TARGET) -> dict[str, Any] | None:
    """What ``query`` wrote of the largest index that it asked."""
    found = [json.loads(path.read_text()) for path in folder.glob("query*.json")]
    asked = [each for each in found if each.get("measured")]
    return max(asked, key=lambda each: each["facts"].get("study", 0), default=None)


def note_step(name: str, seconds: float, failure: str, folder: Path = TARGET) -> None:
    """Write down how long a step of a pass took, and why it failed, if it did."""
    noted = [each for each in steps(folder) if each["name"] != name]
    noted.append({"name": name, "seconds": round(seconds), "failure": failure})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STEPS).write_text(json.dumps(noted, indent=1))


def steps(folder: Path = TARGET) -> list[dict[str, Any]]:
    """Name, seconds and failure of each step that was run."""
    path = folder / _STEPS
    return list(json.loads(path.read_text())) if path.exists() else []


def more_is_better(quantity: str) -> bool:
    """Of rates more is better (``objects/s``, ``MB/s sent``); of all others, less."""
    return quantity.partition(" ")[0].endswith("/s")


def times_better(ours: Measure, other: Measure) -> float:
    """How many times better we are: above 1 is better, whichever way the quantity runs."""
    mine, theirs = ours.median, other.median
    above, below = (mine, theirs) if more_is_better(ours.quantity) else (theirs, mine)
    return above / below if below else float("inf")


def spread(ours: Measure, other: Measure) -> tuple[float, float]:
    """How many times better we are in our worst and in our best round: both took their turns in each of them.

    With fewer rounds of one than of the other nobody knows which belong together: then the ratio of medians, twice.
    """
    if len(ours.runs) != len(other.runs):
        return (times_better(ours, other),) * 2
    rounds = [
        times_better(replace(ours, runs=(mine,)), replace(other, runs=(theirs,)))
        for mine, theirs in zip(ours.runs, other.runs, strict=True)
    ]
    return min(rounds), max(rounds)


def table(measures: Sequence[Measure]) -> list[str]:
    """A line for each case and server; tables of their own where cases were measured by other quantities."""
    by_case: dict[str, dict[str, list[Measure]]] = {}
    for each in measures:
        by_case.setdefault(each.case, {}).setdefault(each.server, []).append(each)
    lines: list[str] = []
    last: list[str] = []
    for case, servers in by_case.items():
        quantities = list(dict.fromkeys(each.quantity for found in servers.values() for each in found))
        if quantities != last:
            head = ["case", "server", *quantities, "ours is better by"]
            lines += [*([""] if lines else []), row(head), row("---" for _ in head)]
            last = quantities
        for server, found in servers.items():
            by_quantity = {each.quantity: each for each in found}
            cells = [by_quantity[each].shown if each in by_quantity else "" for each in quantities]
            lines.append(row([case, server, *cells, _ratio(servers.get(OURS_SPOOL, servers.get(OURS)), found)]))
    return lines


def _ratio(ours: list[Measure] | None, found: list[Measure]) -> str:
    if not ours or ours is found or ours[0].quantity != found[0].quantity:
        return ""
    return f"{times_better(ours[0], found[0]):.2f}"


def row(cells: Iterable[str]) -> str:
    """A line of a table, as Markdown."""
    return "| " + " | ".join(cells) + " |"


def number(value: float) -> str:
    """With three digits that count, never in powers of ten."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which this share of them lies (nearest rank). Raises `ValueError` if there is none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def machine() -> dict[str, str]:
    """What was measured, when, and on what."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) >> 20 for line in _lines(Path("/proc/meminfo")) if "MemTotal" in line), 0)
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "of": _revision(),
        "on": f"{os.cpu_count()} x {model} with {memory} GiB",
        "under": f"Linux {platform.release()}, Python {platform.python_version()}",
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=CODE, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "a tree without history"
