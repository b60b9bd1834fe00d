"""What changed since an earlier pass: ours in each case that both measured, and what a rival of that case changed by.

Both passes ran on the same kind of machine, at different hours: what the rival changed by is the machine's, not ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.goals import DISK, EMPTY, worst_p99
from benchmarks.results import OURS, OURS_SPOOL, Measure, Report, number, row, times_better

_NO_RIVALS: Final = (OURS, OURS_SPOOL, DISK, EMPTY)
_ALIKE: Final = 1.1
"""Indexes are compared where one has at most so many times the studies of the other."""


@dataclass(frozen=True)
class Change:
    """One quantity of ours in one case."""

    benchmark: str
    case: str
    quantity: str
    before: str
    now: str
    ratio: float
    """How many times better it is now."""
    is_first: bool
    """Whether it is the quantity by which servers are compared in this case."""
    rival: str = ""
    """The first server of the case, but ours, that both passes measured."""
    rival_ratio: float | None = None
    """How many times better that is now."""


def changes(before: Mapping[str, Report], now: Mapping[str, Report]) -> list[Change]:
    """Each quantity of ours that both passes measured."""
    found, seen = [], set()
    for name, report in now.items():
        for each in report.measures:
            is_first = (name, each.case, each.server) not in seen
            seen.add((name, each.case, each.server))
            old = before[name].find(each.case, each.server, each.quantity) if name in before else None
            if each.server in (OURS, OURS_SPOOL) and old:
                case = f"{each.case}{', spool' * (each.server == OURS_SPOOL)}"
                rival = _rival(before[name], report, each)
                better = times_better(each, old)
                found.append(Change(name, case, each.quantity, old.shown, each.shown, better, is_first, *rival))
    return found


def _rival(before: Report, now: Report, ours: Measure) -> tuple[str, float | None]:
    wanted = (ours.case, ours.quantity)
    rivals = [each for each in now.measures if (each.case, each.quantity) == wanted and each.server not in _NO_RIVALS]
    for each in rivals:
        if old := before.find(each.case, each.server, each.quantity):
            return each.server, times_better(each, old)
    return "", None


def of_queries(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[Change]:
    """p99 of each kind of search with one client, if both passes asked an index of about the same size."""
    if not before or not now:
        return []
    smaller, larger = sorted(each["facts"].get("study", 0) for each in (before, now))
    if not smaller or larger > smaller * _ALIKE:
        return []
    earlier = worst_p99(before)
    return [
        Change(
            "query", f"{by}, {kind}", "p99 ms", number(earlier[kind, by]), number(p99), earlier[kind, by] / p99, True
        )
        for (kind, by), p99 in worst_p99(now).items()
        if p99 and (kind, by) in earlier
    ]


def lines(found: Sequence[Change]) -> list[str]:
    """A table, as Markdown."""
    return [
        row(["benchmark", "case", "quantity", "before", "now", "better by", "a rival by"]),
        row(["---"] * 7),
        *(row([each.benchmark, each.case, each.quantity, each.before, each.now, *_by(each)]) for each in found),
    ]


def _by(change: Change) -> tuple[str, str]:
    rival = "" if change.rival_ratio is None else f"{change.rival_ratio:.2f} ({change.rival})"
    return f"{change.ratio:.2f}", rival
