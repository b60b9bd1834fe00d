"""Plots of results, by matplotlib from the extra ``bench``: cost against size, against associations and the archive."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.command import say
from benchmarks.results import TARGET, Measure, Report

Points = dict[str, list[tuple[float, float]]]
"""What is drawn: for each label its points."""


def draw(reports: Mapping[str, Report], folder: Path = TARGET) -> list[Path]:
    """Draw what there are results for; the files. Without matplotlib none, and a sentence says so."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        say("no plots: matplotlib is not installed (pip install -c constraints.txt matplotlib, the extra 'bench')")
        return []
    drawn = []
    for name, (title, across, along, points) in figures(reports, folder).items():
        figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
        for label, found in points.items():
            xs, ys = zip(*sorted(found), strict=True)
            axes.plot(xs, ys, marker="o", label=label)
        axes.set(title=title, xlabel=across, ylabel=along, xscale="log", yscale="log")
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend(fontsize="small")
        path = folder / f"{name}.svg"
        figure.savefig(path)
        pyplot.close(figure)
        drawn.append(path)
    return drawn


def figures(reports: Mapping[str, Report], folder: Path) -> dict[str, tuple[str, str, str, Points]]:
    """By name of the file: title, names of the axes, and the points."""
    found: dict[str, tuple[str, str, str, Points]] = {}
    for name in ("receive", "receive-s3"):
        if report := reports.get(name):
            by_size, by_associations = against_size(report), against_associations(report)
            found[f"{name}-size"] = (
                f"{report.title}: time of an object against its size",
                "bytes",
                "ms per object",
                by_size,
            )
            found[f"{name}-associations"] = (
                f"{report.title}: objects against associations",
                "associations",
                "objects/s",
                by_associations,
            )
    if points := against_archive(folder):
        found["query-archive"] = ("Searches: p99 against the archive", "studies", "p99 ms", points)
    return {name: each for name, each in found.items() if each[3]}


def against_size(report: Report) -> Points:
    """Milliseconds of an object against its bytes, for each server and number of associations."""
    points: Points = defaultdict(list)
    for each in _rates(report):
        count = f"{each.parameters['associations']:.0f}"
        points[f"{each.server}, {count} at once"].append((each.parameters["bytes"], 1000 / _objects(each)))
    return dict(points)


def against_associations(report: Report) -> Points:
    """Objects a second against associations, for each server and size."""
    points: Points = defaultdict(list)
    for each in _rates(report):
        label = f"{each.server}, {each.case.partition(',')[0]}"
        points[label].append((each.parameters["associations"], _objects(each)))
    return dict(points)


def against_archive(folder: Path) -> Points:
    """p99 of searches against studies of the index, of all the files that ``query`` wrote."""
    points: Points = defaultdict(list)
    for path in sorted(folder.glob("query*.json")):
        content: dict[str, Any] = json.loads(path.read_text())
        studies = content.get("facts", {}).get("study", 0)
        worst: dict[str, float] = {}
        for each in content.get("measured", []):
            if each["clients"] == 1:
                label = f"{each['kind']}, {each['by']}"
                worst[label] = max(worst.get(label, 0.0), each["p99"])
        for label, p99 in worst.items():
            if studies:
                points[label].append((studies, p99))
    return {label: each for label, each in points.items() if len(each) > 1}


def _rates(report: Report) -> list[Measure]:
    return [
        each for each in report.measures if each.quantity in ("objects/s", "MB/s") and "associations" in each.parameters
    ]


def _objects(measure: Measure) -> float:
    """Objects a second."""
    return measure.median * (1e6 / measure.parameters["bytes"] if measure.quantity == "MB/s" else 1)
