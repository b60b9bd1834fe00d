"""``python -m benchmarks summary [--before FOLDER]``: what lies in the folder of results, on one page, and plots.

Goals reached and missed, C-STORE against all others and what the machine allows at all, what could not be measured, and
what changed since an earlier pass. Nothing is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.command import Parser, say
from benchmarks.goals import DISK, Verdict, of_queries, verdicts
from benchmarks.results import OURS, OURS_SPOOL, TARGET, Measure, Report, machine, number, read_all, row, times_better

_AT_A_GLANCE: Final = ("receive", "receive-s3", "stow", "retrieve", "growth")


def main(arguments: list[str]) -> int:
    from benchmarks import plots

    parser = Parser("summary", __doc__)
    parser.add_argument("--folder", type=Path, default=TARGET, help=f"of results ({TARGET})")
    parser.add_argument("--before", type=Path, help="folder of an earlier pass")
    given = parser.read(arguments)
    lines = write(given.folder, given.before)
    for path in plots.draw(given.folder, given.before):
        say(f"plot: {path}")
    print("\n".join(lines))
    return 0


def write(folder: Path = TARGET, before: Path | None = None) -> list[str]:
    """Write ``summary.md`` and ``summary.json`` of what lies in the folder; the lines of the first."""
    reports = read_all(folder)
    found = verdicts(reports)
    if content := largest_index(folder):
        found += of_queries(content)
    lines = [*_goals(found), *_failures(reports)]
    for name in _AT_A_GLANCE:
        if name in reports:
            lines += ["", f"## {reports[name].title}", "", *glance(reports[name], reports.get("limits"))]
    if before is not None:
        lines += ["", "## Ours, before and now", "", *changes(read_all(before), reports)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.md").write_text("\n".join([*lines, *_contents(folder)]) + "\n")
    (folder / "summary.json").write_text(json.dumps([asdict(each) for each in found], indent=1, ensure_ascii=False))
    return lines


def largest_index(folder: Path) -> dict[str, Any] | None:
    """What ``query`` wrote of the largest index."""
    found = [json.loads(path.read_text()) for path in folder.glob("query*.json")]
    asked = [each for each in found if each.get("measured")]
    return max(asked, key=lambda each: each["facts"].get("study", 0), default=None)


def _goals(found: Sequence[Verdict]) -> list[str]:
    reached = sum(each.is_reached is True for each in found)
    measured = sum(each.is_reached is not None for each in found)
    return [
        "# Goals",
        "",
        ", ".join(f"{name} {value}" for name, value in machine().items()),
        "",
        f"{reached} of {measured} goals that were measured are reached.",
        "",
        "| what | goal | measured: medians (least-most) | reached? |",
        "|---|---|---|---|",
        *(row([each.text, each.wanted, each.measured, _answer(each)]) for each in found),
    ]


def _answer(verdict: Verdict) -> str:
    return {True: "yes", False: "**no**", None: "-"}[verdict.is_reached]


def _failures(reports: Mapping[str, Report]) -> list[str]:
    found = [f"- {name}: {failure}" for name, report in reports.items() for failure in report.failures]
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


def changes(before: Mapping[str, Report], now: Mapping[str, Report]) -> list[str]:
    """Ours in each case that both passes measured, beside what the first rival of that case changed by: that much of it
    is the machine's."""
    lines = [row(["benchmark", "case", "quantity", "before", "now", "better by", "a rival by"]), row(["---"] * 7)]
    for name, report in now.items():
        for each in report.measures:
            old = before[name].find(each.case, each.server, each.quantity) if name in before else None
            if each.server in (OURS, OURS_SPOOL) and old:
                cells = [
                    name,
                    f"{each.case}{', spool' * (each.server == OURS_SPOOL)}",
                    each.quantity,
                    old.shown,
                    each.shown,
                    f"{times_better(each, old):.2f}",
                ]
                lines.append(row([*cells, _rival(before[name], report, each)]))
    return lines


_NO_RIVALS: Final = (OURS, OURS_SPOOL, DISK)


def _rival(before: Report, now: Report, ours: Measure) -> str:
    """The first server of the case, but ours, that both passes measured: how many times better it is now."""
    wanted = (ours.case, ours.quantity)
    rivals = [each for each in now.measures if (each.case, each.quantity) == wanted and each.server not in _NO_RIVALS]
    for each in rivals:
        if old := before.find(each.case, each.server, each.quantity):
            return f"{times_better(each, old):.2f} ({each.server})"
    return ""


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
