"""``python -m benchmarks summary [--before FOLDER]``: what lies in the folder of results, on one page, and plots.

Goals reached and missed, C-STORE against all others and what the machine allows at all, what could not be measured, and
what changed since an earlier pass. Nothing is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks import changes, plots
from benchmarks.command import Parser, say
from benchmarks.goals import Verdict, of_queries, verdicts
from benchmarks.results import (
    OURS,
    OURS_SPOOL,
    TARGET,
    Measure,
    Report,
    largest_index,
    number,
    read_all,
    row,
    steps,
    times_better,
)

AT_A_GLANCE: Final = ("receive", "receive-s3", "stow", "retrieve", "metadata", "frames", "viewer", "growth")
"""Reports of which a line for each case is shown."""


def main(arguments: list[str]) -> int:
    parser = Parser("summary", __doc__)
    parser.add_argument("--folder", type=Path, default=TARGET, help=f"of results ({TARGET})")
    parser.add_argument("--before", type=Path, help="folder of an earlier pass")
    given = parser.read(arguments)
    finish(given.folder, given.before)
    return 0


def finish(folder: Path = TARGET, before: Path | None = None) -> None:
    """Draw the plots, write the page that shows them, and print it."""
    for path in plots.draw(folder, before):
        say(f"plot: {path}")
    print("\n".join(write(folder, before)))
    say(f"results are in {folder}, to be read from {folder / 'summary.md'}")


def write(folder: Path = TARGET, before: Path | None = None) -> list[str]:
    """Write ``summary.md`` and ``summary.json`` of what lies in the folder; the lines of the first."""
    reports, found = read_all(folder), judged(folder)
    lines = ["# Goals", "", measured_on(folder), "", *goals(found), *failures(folder, reports)]
    for name in AT_A_GLANCE:
        if name in reports:
            lines += ["", f"## {reports[name].title}", "", *glance(reports[name], reports.get("limits"))]
    if before is not None:
        lines += ["", "## Ours, before and now", "", f"Before: {measured_on(before)}", "", *_changes(before, folder)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.md").write_text("\n".join([*lines, *_contents(folder)]) + "\n")
    (folder / "summary.json").write_text(json.dumps([asdict(each) for each in found], indent=1, ensure_ascii=False))
    return lines


def judged(folder: Path) -> list[Verdict]:
    """What the results say of each goal."""
    return [*verdicts(read_all(folder)), *of_queries(largest_index(folder))]


def _changes(before: Path, now: Path) -> list[str]:
    found = changes.changes(read_all(before), read_all(now))
    return changes.lines([*found, *changes.of_queries(largest_index(before), largest_index(now))])


def measured_on(folder: Path) -> str:
    """When, which revision, and on what machine: of all results in the folder."""
    told = [report.machine for report in read_all(folder).values() if report.machine]
    if not told:
        return "nothing was measured"
    parts = {name: list(dict.fromkeys(each[name] for each in told if name in each)) for name in told[0]}
    times = sorted(parts.pop("at", []))
    when = [f"at {times[0]}" + (f" to {times[-1]}" if len(times) > 1 else "")] if times else []
    return ", ".join([*when, *(f"{name} {' and '.join(values)}" for name, values in parts.items())])


def goals(found: Sequence[Verdict]) -> list[str]:
    """How many are reached, and a table of all."""
    reached = sum(each.is_reached is True for each in found)
    measured = sum(each.is_reached is not None for each in found)
    return [
        f"{reached} of {measured} goals that were measured are reached.",
        "",
        "| what | goal | measured: ratio (worst-best round), medians (least-most) | reached? |",
        "|---|---|---|---|",
        *(row([each.text, each.wanted, each.measured, _answer(each)]) for each in found),
    ]


def _answer(verdict: Verdict) -> str:
    return {True: "yes", False: "**no**", None: "-"}[verdict.is_reached]


def failures(folder: Path, reports: Mapping[str, Report]) -> list[str]:
    """A chapter about what could not be measured, if there is anything."""
    found = [f"- {name}: {failure}" for name, report in reports.items() for failure in report.failures]
    told = {name for name, report in reports.items() if report.failures}
    # What ended before it could write down why.
    failed = {each["name"]: each["failure"] for each in steps(folder) if each["failure"]}
    found += [f"- {name}: {failure}" for name, failure in failed.items() if name not in told]
    return ["", "## What could not be measured", "", *found] if found else []


def glance(report: Report, limits: Report | None = None) -> list[str]:
    """A line for each case: ours, and each other server with how many times we are better."""
    by_case: dict[str, dict[str, Measure]] = {}
    for each in report.measures:
        by_case.setdefault(each.case, {}).setdefault(each.server, each)  # the first quantity is what is compared
    names = list(dict.fromkeys(name for found in by_case.values() for name in found))
    mine = OURS_SPOOL if OURS_SPOOL in names else OURS
    servers = [name for name in names if name != mine]
    flushed = limits is not None and report.name == "receive"
    head = ["case", mine, *(text for name in servers for text in (name, f"{mine} is x")), *(_LIMITS if flushed else ())]
    lines = [row(head), row("---" for _ in head)]
    for case, found in by_case.items():
        ours = found.get(mine)
        cells = [case, f"{ours.shown} {ours.quantity}" if ours else ""]
        for name in servers:
            other = found.get(name)
            cells.append(other.shown if other else "")
            cells.append(f"**{number(times_better(ours, other))}**" if ours and other else "")
        lines.append(row([*cells, *(_allowed(case, limits) if flushed and limits else ())]))
    return lines


_LIMITS: Final = ("files/s the disk flushes", "commits/s of PostgreSQL")


def _allowed(case: str, limits: Report) -> list[str]:
    """What the machine does by itself with as many threads: files of this size with their folder, and commits."""
    label, _, associations = case.partition(", ")
    at_once = f"{associations.partition(' ')[0]} at once"
    files = f"file of {label} + fdatasync + fsync of its folder, {at_once}"
    wanted = (files, "files/s"), (f"a row of PostgreSQL, committed, {at_once}", "commits/s")
    medians = {(each.case, each.quantity): each.median for each in limits.measures}
    return [number(medians[each]) if each in medians else "" for each in wanted]


def _contents(folder: Path) -> list[str]:
    tables = sorted(path.name for path in folder.glob("*.md") if path.name != "summary.md")
    plots = sorted(path.name for path in folder.glob("*.svg"))
    return [
        "",
        "## All tables and plots",
        "",
        *(f"- [{name}]({name})" for name in tables),
        *(f"\n![{name}]({name})" for name in plots),
    ]
