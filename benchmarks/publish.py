"""``python -m benchmarks publish [--before FOLDER]``: a page of the results for docs/, with its plots.

Writes ``docs/benchmarks.md`` and ``docs/images/performance/*.svg`` of what lies in the folder of results, beside an
earlier pass if one is named, and carries the costs that were measured into ``docs/scale.md`` and
``benchmarks/costs.json``. Nothing is measured. Why goals are missed is written by hand, in ``docs/performance.md``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import changes, plots, scale
from benchmarks.command import Parser, say
from benchmarks.goals import Verdict
from benchmarks.results import TARGET, largest_index, read_all, row, steps
from benchmarks.servers import ROOT
from benchmarks.summary import AT_A_GLANCE, failures, glance, goals, judged, measured_on

PAGE: Final = ROOT / "docs" / "benchmarks.md"
IMAGES: Final = "images/performance"
_AREAS: Final = {
    "receive": "C-STORE: images from modalities",
    "receive-s3": "C-STORE with S3 as store",
    "stow": "STOW-RS: images over the web",
    "retrieve": "WADO-RS: a whole series",
    "metadata": "WADO-RS: metadata of a large study",
    "frames": "WADO-RS: single images",
    "viewer": "OHIF: how long a doctor waits",
    "query": "searches (QIDO-RS, C-FIND)",
    "growth": "C-STORE into a large archive",
    "memory": "memory of the DICOM node",
}
"""What the goals are about, by benchmark."""
_PLOTS: Final = {
    "goals": "Each goal: bars to the right of the line are reached, to the left missed; the line is the goal itself.",
    "changes": "The archive now against an earlier revision of it. Where a rival, which is the same program in both"
    " passes, changed as much (black mark), it was the machine.",
    "receive-size": "How long an object takes, by its size: lower is better.",
    "receive-associations": "How many objects a second, by how many devices send at once: higher is better.",
    "receive-s3-associations": "The same with S3 as store, Orthanc on local files.",
    "query-archive": "How long the slowest of a hundred searches takes, by the size of the archive: lower is better.",
    "growth-archive": "How many objects a second, by the studies that are in the archive already.",
}
"""The plots of the page, by name of the file, each with what it shows."""
_HOW: Final = """\
Our archive, [Orthanc](https://www.orthanc-server.com/) (with its default index and with PostgreSQL) and `storescp` of
DCMTK run on the same machine and get the same generated images in turns; while one works the others are held still.
Shown are medians, with the least and the most in brackets. The archive runs as it is shipped: it answers Success
when an image is safe on the disk and entered in the index. Orthanc flushes the image alone; `storescp` flushes nothing
and keeps no index. The probe is the least that any receiver in Python must do. All run on one small machine, sender
included: ratios between servers say more than rates, and a server of a hospital is faster.
[benchmarks/README.md](../benchmarks/README.md) has the method, [performance](performance.md) what led to each change
and **why each goal that is missed is missed**, [scale](scale.md) what a province needs. `make bench` measures all of it
on your own machine."""


def main(arguments: list[str]) -> int:
    parser = Parser("publish", __doc__)
    parser.add_argument("--folder", type=Path, default=TARGET, help=f"of results ({TARGET})")
    parser.add_argument("--before", type=Path, help="folder of an earlier pass")
    parser.add_argument(
        "--page", type=Path, default=PAGE, help=f"that is written ({PAGE}); of another, docs/scale.md stays as it is"
    )
    given = parser.read(arguments)
    drawn = copied(plots.draw(given.folder, given.before), given.page.parent / IMAGES)
    given.page.write_text("\n".join(page(given.folder, given.before, drawn)) + "\n", encoding="utf-8")
    if given.page == PAGE:
        scale.document(scale.measured_costs(given.folder))
    say(f"written: {given.page} with {len(drawn)} plots; `git status` shows what changed")
    return 0


def copied(drawn: Sequence[Path], images: Path) -> list[str]:
    """Copy the plots of the page; their names. A plot of an earlier page that was not drawn now is removed."""
    images.mkdir(parents=True, exist_ok=True)
    by_name = {path.stem: path for path in drawn}
    for name in _PLOTS:
        (images / f"{name}.svg").unlink(missing_ok=True)
        if name in by_name:
            shutil.copyfile(by_name[name], images / f"{name}.svg")
    return [name for name in _PLOTS if name in by_name]


def page(folder: Path, before: Path | None, drawn: Sequence[str]) -> list[str]:
    """The page, as Markdown."""
    reports, verdicts = read_all(folder), judged(folder)
    lines = [
        "# Benchmarks: the archive beside Orthanc and DCMTK",
        "",
        "<!-- written by python -m benchmarks publish: what is changed here by hand is lost -->",
        "",
        f"Measured {measured_on(folder)}{_length(folder)}.",
        "",
        *areas(verdicts),
        *_plot("goals", drawn),
        "",
        "## How it is measured",
        "",
        *_HOW.splitlines(),
        "",
        "## Goals",
        "",
        *goals(verdicts),
        *failures(folder, reports),
    ]
    if before is not None:
        lines += ["", "## Before and now", "", *_before(folder, before), *_plot("changes", drawn)]
    lines += ["", "## Cost against size, devices and archive"]
    for name in _PLOTS:
        if name not in ("goals", "changes"):
            lines += _plot(name, drawn)
    for name in AT_A_GLANCE:
        if name in reports:
            lines += ["", f"## {reports[name].title}", "", *glance(reports[name], reports.get("limits"))]
            lines += ["", *(f"- {note}" for note in reports[name].notes)] if reports[name].notes else []
    return lines


def areas(verdicts: Sequence[Verdict]) -> list[str]:
    """How many goals of each kind are reached."""
    lines = [row(["what", "goals reached", "of", "not measured"]), row(["---", "--:", "--:", "--:"])]
    for name, text in _AREAS.items():
        mine = [each for each in verdicts if each.benchmark == name]
        asked = [each for each in mine if each.is_reached is not None]
        reached = sum(each.is_reached is True for each in asked)
        lines.append(row([text, str(reached), str(len(asked)), str(sum(not each.was_measured for each in mine))]))
    return lines


def _length(folder: Path) -> str:
    quick = any(report.is_quick for report in read_all(folder).values())
    minutes = sum(each["seconds"] for each in steps(folder)) / 60
    kind = "a quick pass" if quick else "a full pass"
    return f" ({kind} of {minutes:.0f} minutes)" if minutes >= 1 else f" ({kind})"


def _before(folder: Path, before: Path) -> list[str]:
    found = changes.changes(read_all(before), read_all(folder))
    found += changes.of_queries(largest_index(before), largest_index(folder))
    told = f"Before: measured {measured_on(before)}. Of each case the quantity is shown that servers are compared by."
    return [told, "", *changes.lines([each for each in found if each.is_first])]


def _plot(name: str, drawn: Sequence[str]) -> list[str]:
    return ["", _PLOTS[name], "", f"![{name}]({IMAGES}/{name}.svg)"] if name in drawn else []
