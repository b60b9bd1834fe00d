"""The goals, and which of them the results reach; `benchmarks.summary` writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.results import OURS, OURS_SPOOL, Measure, Report, number, spread, times_better

EMPTY: Final = "ours, empty index"
ORTHANC: Final = "Orthanc"
DISK: Final = "disk, write + fsync"
NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True)
class Goal:
    """One figure of ours in one case, against another server or as it is."""

    text: str
    benchmark: str
    case: str
    quantity: str
    against: str = ""
    """The server that we are compared with; nothing: the figure itself counts."""
    least: float = 0
    """How many times better than the other we must be; 0: it is told how near we are, and not judged."""
    most: float = 0
    """What the figure must not exceed."""
    ours: str = OURS
    """Which of ours, where there are two."""

    @property
    def wanted(self) -> str:
        """The goal as a number."""
        if self.against and not self.least:
            return f"towards {self.against}"
        if self.against and self.least == 1:
            return f"better than {self.against}"
        if self.against:
            share = f"{self.least:.0%} of" if self.least < 1 else f"{number(self.least)} x"
            return f"at least {share} {self.against}"
        return f"at most {number(self.most)} {_unit(self.quantity)}"


@dataclass(frozen=True)
class Verdict:
    """What was measured of a goal."""

    benchmark: str
    text: str
    wanted: str
    measured: str
    is_reached: bool | None
    """None: it was not measured, or is not judged."""

    @property
    def was_measured(self) -> bool:
        return self.measured != NOT_MEASURED


def _unit(quantity: str) -> str:
    return quantity.rpartition(" ")[2]


def _receive() -> list[Goal]:
    goals = []
    for label, least in (("33 kB", {1: 6, 4: 10, 16: 10}), ("0.5 MB", {1: 4, 4: 4, 16: 4})):
        for associations, times in least.items():
            case = f"{label}, {associations} association{'s' if associations > 1 else ''}"
            goals.append(Goal(f"C-STORE, {case}", "receive", case, "objects/s", ORTHANC, times))
            # Towards, not above, where one association sends large objects: it has nothing to flush together with.
            above = 0 if (label, associations) == ("0.5 MB", 1) else 1
            goals.append(Goal(f"C-STORE, {case}", "receive", case, "objects/s", "storescp", above))
    for associations in (1, 4, 16):
        case = f"100 MB, {associations} association{'s' if associations > 1 else ''}"
        goals.append(Goal(f"C-STORE, {case}", "receive", case, "MB/s", DISK, 0.7))
    for label in ("33 kB", "0.5 MB"):
        for associations in (1, 4, 16):
            case = f"{label}, {associations} association{'s' if associations > 1 else ''}"
            text = f"C-STORE, S3 behind a spool (Success before the upload), {case}"
            goals.append(Goal(text, "receive-s3", case, "objects/s", ORTHANC, 2, ours=OURS_SPOOL))
    return goals


GOALS: Final[Sequence[Goal]] = (
    *_receive(),
    Goal("STOW-RS, 1,000 objects in a request", "stow", "1000 objects of 33 kB in 1 request", "objects/s", ORTHANC, 3),
    Goal(
        "STOW-RS, 1,000 objects in 8 requests at once",
        "stow",
        "1000 objects of 33 kB in 8 requests",
        "objects/s",
        ORTHANC,
        3,
    ),
    Goal("WADO-RS, series of 300 slices", "retrieve", "series of 300 slices", "MB/s", ORTHANC, 1.5),
    Goal("Metadata of 1,500 instances", "metadata", "1500 instances", "last byte ms", "Orthanc", 20),
    Goal("One frame, 1 connection", "frames", "512 KiB, an object each, 1 connection", "requests/s", ORTHANC, 3),
    Goal("One frame, 4 connections", "frames", "512 KiB, an object each, 4 connections", "requests/s", ORTHANC, 3),
    Goal("One frame, p99, 1 connection", "frames", "512 KiB, an object each, 1 connection", "p99 ms", ORTHANC, 1),
    Goal("One frame, p99, 4 connections", "frames", "512 KiB, an object each, 4 connections", "p99 ms", ORTHANC, 1),
    *(
        Goal(f"OHIF, {case}: {what}", "viewer", case, quantity, ORTHANC, 2)
        for case in ("link", "open")
        for what, quantity in (("first image", "first image ms"), ("full stack", "full stack ms"))
    ),
    *(
        Goal(f"C-STORE into a filled index, {case}", "growth", case, "objects/s", EMPTY, 0.9)
        for case in ("33 kB, 1 association", "33 kB, 4 associations")
    ),
    Goal("Memory of the node, 50 associations of 100 MB", "memory", "50 associations of 100 MB", "RSS MB", "", 0, 300),
)
QUERY_MS: Final = 50.0
QUERIES: Final = (
    "name prefix",
    "PatientID",
    "AccessionNumber",
    "day + modality",
    "90 days + modality",
    "family name + year + modality + sex",
)
"""Searches that the goals name; the others are questions of our own, told together."""


def verdicts(reports: Mapping[str, Report], goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """What the reports say of each goal."""
    return [_verdict(goal, reports.get(goal.benchmark)) for goal in goals]


def _verdict(goal: Goal, report: Report | None) -> Verdict:
    ours = report.find(goal.case, goal.ours, goal.quantity) if report else None
    other = report.find(goal.case, goal.against, goal.quantity) if report and goal.against else None
    if ours is None or (goal.against and other is None):
        return Verdict(goal.benchmark, goal.text, goal.wanted, NOT_MEASURED, None)
    if other is None:
        shown = f"{ours.shown} {_unit(goal.quantity)}"
        return Verdict(goal.benchmark, goal.text, goal.wanted, shown, ours.median <= goal.most)
    ratio = times_better(ours, other)
    shown = f"{ratio_with_spread(ours, other)}: {ours.shown} against {other.shown} {goal.quantity}"
    return Verdict(goal.benchmark, goal.text, goal.wanted, shown, ratio >= goal.least if goal.least else None)


def ratio_with_spread(ours: Measure, other: Measure) -> str:
    """How many times better we are: of the medians, and of the worst and the best round."""
    low, high = (number(each) for each in spread(ours, other))
    ratio = number(times_better(ours, other))
    return f"{ratio} x" if low == high else f"{ratio} x ({low}-{high})"


def of_queries(content: Mapping[str, Any] | None) -> list[Verdict]:
    """The goals of searches, of what ``python -m benchmarks query`` wrote: p99 of each kind, with one client."""
    most = f"at most {QUERY_MS:.0f} ms"
    worst = worst_p99(content) if content else {}
    studies = content["facts"].get("study", 0) if content else 0
    where = f"p99 in an index of {studies:,} studies" if content else "p99"

    def verdict(by: str, kind: str) -> Verdict:
        p99 = worst.get((kind, by))
        shown = NOT_MEASURED if p99 is None else f"{p99:.1f} ms"
        return Verdict("query", f"{by}, {kind}: {where}", most, shown, None if p99 is None else p99 <= QUERY_MS)

    found = [verdict(by, kind) for kind in QUERIES for by in ("QIDO-RS", "C-FIND")]
    others = {key: p99 for key, p99 in worst.items() if key[0] not in QUERIES}
    if others:
        late = [f"{by}, {kind} ({p99:.0f} ms)" for (kind, by), p99 in others.items() if p99 > QUERY_MS]
        told = f"{len(others) - len(late)} of {len(others)} are" + (f"; not {', '.join(late)}" if late else "")
        found.append(Verdict("query", f"{len(others)} other searches: {where}", most, told, not late))
    return found


def worst_p99(content: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Milliseconds by kind of search and by way, of the caller who waits longest, with one client."""
    worst: dict[tuple[str, str], float] = {}
    for each in content["measured"]:
        if each["clients"] == 1:
            key = (each["kind"], each["by"])
            worst[key] = max(worst.get(key, 0.0), each["p99"])
    return worst
