"""Plots with a bar for each case: how much of each goal is reached, and how many times better ours is than before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.changes import Change
from benchmarks.goals import GOALS, QUERIES, QUERY_MS, Goal, worst_p99
from benchmarks.results import Report, number, times_better

_GOOD: Final = "#2a9d8f"
_BAD: Final = "#c1121f"
_LEAST: Final = 1e-3


@dataclass(frozen=True)
class Bar:
    """One line of the plot."""

    text: str
    ratio: float
    """From 1 to the left it is worse, to the right better."""
    label: str
    rival: float | None = None
    """The same of somebody else, as a mark."""


@dataclass(frozen=True)
class Chart:
    """Bars below each other."""

    title: str
    across: str
    bars: Sequence[Bar]


def charts(
    reports: Mapping[str, Report], queries: Mapping[str, Any] | None, changed: Sequence[Change]
) -> dict[str, Chart]:
    """What is drawn, by name of the file; what nothing was measured of is left out."""
    found = {
        "goals": Chart(
            "Each goal that was measured: how much of it is reached",
            "share of the goal (1: reached)",
            of_goals(reports, queries),
        ),
        "changes": Chart(
            "Ours, before and now; black marks: what a rival changed by meanwhile, which is the machine's",
            "times better than before (1: no change)",
            of_changes(changed),
        ),
    }
    return {name: chart for name, chart in found.items() if chart.bars}


def of_goals(
    reports: Mapping[str, Report], queries: Mapping[str, Any] | None = None, goals: Sequence[Goal] = GOALS
) -> list[Bar]:
    """How much of each goal is reached that was measured and is judged: 1 is all of it."""
    found = [bar for goal in goals if (bar := _of_goal(goal, reports.get(goal.benchmark)))]
    for (kind, by), p99 in worst_p99(queries).items() if queries else ():
        if kind in QUERIES and p99:
            found.append(Bar(f"{by}, {kind}: p99", QUERY_MS / p99, f"{number(p99)} ms (goal: {number(QUERY_MS)} ms)"))
    return found


def _of_goal(goal: Goal, report: Report | None) -> Bar | None:
    ours = report.find(goal.case, goal.ours, goal.quantity) if report else None
    other = report.find(goal.case, goal.against, goal.quantity) if report and goal.against else None
    if ours and not goal.against:
        return Bar(goal.text, goal.most / ours.median, f"{number(ours.median)} (goal: {goal.wanted})")
    if not ours or not other or not goal.least:
        return None
    ratio = times_better(ours, other)
    label = (
        f"{number(ratio)} x (goal: {number(goal.least)} x)"
        if goal.least > 1
        else f"{ratio:.0%} (goal: {goal.least:.0%})"
    )
    return Bar(f"{goal.text} / {goal.against}", ratio / goal.least, label)


def of_changes(found: Sequence[Change]) -> list[Bar]:
    """How many times better ours is, by the quantity that is compared in each case."""
    return [
        Bar(
            f"{each.benchmark}: {each.case}",
            each.ratio,
            f"{number(each.ratio)} x ({each.before.partition(' ')[0]} → {each.now.partition(' ')[0]} {each.quantity})",
            each.rival_ratio,
        )
        for each in found
        if each.is_first
    ]


def _limits(bars: Sequence[Bar]) -> tuple[float, float]:
    """Ends of the axis, with a third of its width for the words behind the longest bar."""
    ratios = [1.0, *(each.ratio for each in bars), *(each.rival for each in bars if each.rival)]
    low, high = max(min(ratios), _LEAST) / 1.1, max(ratios) * 1.02
    return low, low * (high / low) ** 1.5


def draw(chart: Chart, path: Path) -> None:
    """Write the plot; matplotlib is there."""
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter

    drawing, axes = pyplot.subplots(figsize=(11, 0.27 * len(chart.bars) + 1.4), layout="constrained")
    for place, bar in enumerate(chart.bars):
        ratio = max(bar.ratio, _LEAST)
        axes.barh(place, ratio - 1, left=1, color=_GOOD if ratio >= 1 else _BAD)
        if bar.rival:
            axes.plot(bar.rival, place, marker="|", markersize=11, markeredgewidth=2.2, color="black")
        end = max(ratio, bar.rival or 0, 1)
        axes.annotate(bar.label, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(chart.bars)), [bar.text for bar in chart.bars], fontsize=7.5)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=chart.across)
    axes.set_axisbelow(True)
    drawing.suptitle(chart.title, fontsize=11)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.01)
    axes.set_xlim(*_limits(chart.bars))
    axes.grid(visible=True, axis="x", alpha=0.3)
    drawing.savefig(path, metadata={"Date": None})
    pyplot.close(drawing)
