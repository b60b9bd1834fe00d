"""Plots of results, by matplotlib from the extra ``bench``: cost against size, associations, archive; goals, changes.

Points are medians, bars reach from the least run to the most. The background is white, so that a plot can be read on a
dark page, too; letters stay letters, so that files are small.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import bars
from benchmarks.changes import changes, of_queries
from benchmarks.command import say
from benchmarks.goals import QUERIES, QUERY_MS, worst_p99
from benchmarks.results import OURS, OURS_SPOOL, TARGET, Measure, Report, largest_index, number, read_all

BEFORE: Final = "ours, before"
_COLOURS: Final = {
    OURS: "#c1121f",
    OURS_SPOOL: "#e85d04",
    BEFORE: "#f4a3a8",
    "Orthanc": "#1d4e89",
    "Orthanc, index in PostgreSQL": "#5fa8d3",
    "storescp": "#6b7280",
    "probe": "#2a9d8f",
    "disk, write + fsync": "#111827",
}
_OTHER_COLOURS: Final = ("#c1121f", "#1d4e89", "#2a9d8f", "#e09f3e", "#7b2cbf", "#6b7280")


@dataclass(frozen=True)
class Point:
    """A median with the least and the most."""

    x: float
    y: float
    low: float
    high: float


Lines = dict[str, list[Point]]
"""By label."""


@dataclass(frozen=True)
class Figure:
    """Panels side by side, with the same axes."""

    title: str
    across: str
    along: str
    panels: dict[str, Lines]
    ticks: dict[float, str] = field(default_factory=dict)
    """Of the axis across: what is written where."""
    limit: float = 0
    """A line of the axis along that is not to be exceeded."""
    from_zero: bool = False
    """Whether the axis along begins with nothing, instead of powers of ten: where all is of the same size."""


def draw(folder: Path = TARGET, before: Path | None = None) -> list[Path]:
    """Draw what there are results for; the files. Without matplotlib none, and a sentence says so."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "plots", "savefig.facecolor": "white"})
    except ImportError:
        say("no plots: matplotlib is not installed (pip install -c constraints.txt matplotlib, the extra 'bench')")
        return []
    reports = read_all(folder)
    drawn = []
    for name, figure in figures(with_before(reports, before), folder).items():
        drawn.append(folder / f"{name}.svg")
        _draw(figure, drawn[-1])
    queries = largest_index(folder)
    changed = [*changes(read_all(before), reports), *of_queries(largest_index(before), queries)] if before else []
    for name, chart in bars.charts(reports, queries, changed).items():
        drawn.append(folder / f"{name}.svg")
        bars.draw(chart, drawn[-1])
    return drawn


def with_before(reports: Mapping[str, Report], before: Path | None) -> dict[str, Report]:
    """The reports, with ours of an earlier pass as one more server."""
    if before is None:
        return dict(reports)
    earlier = read_all(before)
    found = {}
    for name, report in reports.items():
        old = earlier[name].measures if name in earlier else []
        cases = {each.case for each in report.measures}
        mine = [replace(each, server=BEFORE) for each in old if each.server == OURS and each.case in cases]
        found[name] = replace(report, measures=[*report.measures, *mine])
    return found


def figures(reports: Mapping[str, Report], folder: Path) -> dict[str, Figure]:
    """What is drawn, by name of the file."""
    found: dict[str, Figure] = {}
    for name in ("receive", "receive-s3"):
        if report := reports.get(name):
            sizes = {each.parameters["bytes"]: each.case.partition(",")[0] for each in _rates(report)}
            counts = {
                each.parameters["associations"]: f"{each.parameters['associations']:.0f}" for each in _rates(report)
            }
            what = f"{report.title}: medians, least to most"
            found[f"{name}-size"] = Figure(
                f"Time of an object against its size. {what}", "size", "ms per object", against_size(report), sizes
            )
            found[f"{name}-associations"] = Figure(
                f"Rate against associations. {what}", "associations", "objects/s", against_associations(report), counts
            )
    archive = against_archive(folder)
    studies = {
        point.x: f"{point.x:,.0f}" for lines in archive.values() for found_ in lines.values() for point in found_
    }
    found["query-archive"] = Figure(
        "Searches against the size of the archive, one client: p99", "studies in the index", "p99 ms", archive, studies,
        QUERY_MS,
    )  # fmt: skip
    if report := reports.get("growth"):
        growth = against_growth(report)
        places = {point.x: point for points in growth.values() for point in points}
        found["growth-archive"] = Figure(
            "C-STORE of 33 kB against the size of the archive: medians, least to most", "studies in the index",
            "objects/s", {"": growth}, {x: f"{x:,.0f}" if x > min(places) else "0" for x in places}, from_zero=True,
        )  # fmt: skip
    return {name: each for name, each in found.items() if any(len(lines) for lines in each.panels.values())}


def against_size(report: Report) -> dict[str, Lines]:
    """Milliseconds of an object against its bytes: for each number of associations, by server."""
    panels: dict[str, Lines] = defaultdict(lambda: defaultdict(list))
    for each in _rates(report):
        count = each.parameters["associations"]
        panel = f"{count:.0f} association{'s' if count > 1 else ''}"
        times = [1000 / rate for rate in _objects(each)]
        panels[panel][each.server].append(_point(each.parameters["bytes"], times, 1000 / _median(each)))
    return {panel: dict(lines) for panel, lines in panels.items()}


def against_associations(report: Report) -> dict[str, Lines]:
    """Objects a second against associations: for each size, by server."""
    panels: dict[str, Lines] = defaultdict(lambda: defaultdict(list))
    for each in _rates(report):
        panel = each.case.partition(",")[0]
        panels[panel][each.server].append(_point(each.parameters["associations"], _objects(each), _median(each)))
    return {panel: dict(lines) for panel, lines in panels.items()}


def against_archive(folder: Path) -> dict[str, Lines]:
    """p99 of the searches that goals name, against studies of the index: by way, of all the files of ``query``."""
    panels: dict[str, Lines] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("query*.json")):
        content: dict[str, Any] = json.loads(path.read_text())
        studies = content.get("facts", {}).get("study", 0)
        for (kind, by), p99 in worst_p99(content).items() if content.get("measured") else ():
            if studies and kind in QUERIES:
                panels[by][kind].append(Point(studies, p99, p99, p99))
    return {panel: dict(lines) for panel, lines in panels.items()}


def against_growth(report: Report) -> Lines:
    """Objects a second against studies of the index, by associations. An axis of powers of ten has no place for an
    empty index: it stands a power of ten before the smallest."""
    rates = [each for each in report.measures if each.quantity == "objects/s" and "studies" in each.parameters]
    empty = min((each.parameters["studies"] for each in rates if each.parameters["studies"]), default=10) / 10
    lines: Lines = defaultdict(list)
    for each in rates:
        label = each.case.partition(", ")[2] + (", before" if each.server == BEFORE else "")
        lines[label].append(_point(each.parameters["studies"] or empty, each.runs, each.median))
    return dict(lines)


def _rates(report: Report) -> list[Measure]:
    return [
        each for each in report.measures if each.quantity in ("objects/s", "MB/s") and "associations" in each.parameters
    ]


def _objects(measure: Measure) -> list[float]:
    """Objects a second of each run."""
    return [rate * _factor(measure) for rate in measure.runs]


def _median(measure: Measure) -> float:
    return measure.median * _factor(measure)


def _factor(measure: Measure) -> float:
    return 1e6 / measure.parameters["bytes"] if measure.quantity == "MB/s" else 1


def _point(x: float, runs: Sequence[float], median: float) -> Point:
    return Point(x, median, min(runs), max(runs))


def _draw(figure: Figure, path: Path) -> None:
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    drawing, all_axes = pyplot.subplots(
        1, len(figure.panels), figsize=(max(4.6 * len(figure.panels) + 0.6, 7), 5.2), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    others = iter(_OTHER_COLOURS * 4)
    labels = list(dict.fromkeys(label for lines in figure.panels.values() for label in lines))
    colours = {label: _COLOURS.get(label) or next(others) for label in labels}
    handles: dict[str, Any] = {}
    for axes, (panel, lines) in zip(all_axes[0], figure.panels.items(), strict=True):
        for label, points in lines.items():
            ordered = sorted(points, key=_across)
            xs, ys = [p.x for p in ordered], [p.y for p in ordered]
            spread = [p.y - p.low for p in ordered], [p.high - p.y for p in ordered]
            thick = 2.4 if label == OURS else 1.4
            handles[label] = axes.errorbar(
                xs, ys, spread, marker="o", markersize=5, capsize=3, linewidth=thick, color=colours[label]
            )
        if figure.limit:
            axes.axhline(figure.limit, color="black", linestyle=":")
            axes.annotate(f"goal: {number(figure.limit)} ms", (0.02, figure.limit), (0, 3),
                          xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8)  # fmt: skip
        axes.set(title=panel, xlabel=figure.across, xscale="log", yscale="log")
        ticks = sorted(figure.ticks)
        axes.set_xticks(ticks, [figure.ticks[each] for each in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)
        if figure.from_zero:
            axes.set_yscale("linear")
            axes.set_ylim(bottom=0)
        else:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(_plain)
            axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelleft=True)
        axes.grid(visible=True, which="major", alpha=0.35)
    all_axes[0][0].set_ylabel(figure.along)
    drawing.suptitle(figure.title, fontsize=12)
    drawing.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=9)
    drawing.savefig(path, metadata={"Date": None})
    pyplot.close(drawing)


def _plain(value: float, _: object) -> str:
    return f"{value:g}"


def _across(point: Point) -> float:
    return point.x
