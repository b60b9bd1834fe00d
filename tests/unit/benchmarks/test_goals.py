"""Goals: what is reached, missed and not measured."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.goals import GOALS, Goal, verdicts, write_summary
from benchmarks.receive import ASSOCIATIONS, DISK, SIZES, case_name
from benchmarks.results import Report

FASTER = Goal("faster", "receive", "33 kB", "objects/s", "Orthanc", 4)
SOONER = Goal("sooner", "receive", "33 kB", "p99 ms", "Orthanc", 1)
SMALL = Goal("small", "memory", "many", "RSS MB", most=300)


def _reports() -> dict[str, Report]:
    receive, memory = Report("receive", ""), Report("memory", "")
    receive.add("33 kB", "ours", {"objects/s": [300, 400, 500], "p99 ms": [9]})
    receive.add("33 kB", "Orthanc", {"objects/s": [100], "p99 ms": [8]})
    memory.add("many", "ours", {"RSS MB": [250]})
    return {"receive": receive, "memory": memory}


def test_ratios_and_limits() -> None:
    faster, sooner, small = verdicts(_reports(), [FASTER, SOONER, SMALL])
    assert (faster.is_reached, faster.measured) == (True, "4 x (400 (300-500) against 100 objects/s)")
    assert (sooner.is_reached, sooner.wanted) == (False, "at least 1 x Orthanc")
    assert (small.is_reached, small.wanted, small.measured) == (True, "at most 300 MB", "250 MB")


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    reports = _reports()
    del reports["memory"]
    (small,) = verdicts(reports, [SMALL])
    (alone,) = verdicts(reports, [Goal("x", "receive", "33 kB", "objects/s", "storescp", 1)])
    assert small.is_reached is None
    assert alone.measured == "not measured"


def test_every_case_of_a_goal_is_one_that_is_measured() -> None:
    cases = {case_name(label, number) for label in SIZES for number in ASSOCIATIONS}
    for goal in GOALS:
        if goal.benchmark.startswith("receive"):
            assert goal.case in cases, goal
            assert goal.against in ("Orthanc", "storescp", DISK)


def test_summary_counts_what_was_measured_and_takes_in_searches(tmp_path: Path) -> None:
    measured = [
        {"kind": "name prefix", "by": "QIDO-RS", "clients": 1, "p99": 40.0},
        {"kind": "name prefix", "by": "QIDO-RS", "clients": 1, "p99": 51.0},
        {"kind": "name prefix", "by": "QIDO-RS", "clients": 4, "p99": 500.0},
        {"kind": "accession", "by": "C-FIND", "clients": 1, "p99": 2.0},
    ]
    (tmp_path / "query.json").write_text(json.dumps({"facts": {"study": 1_000_000}, "measured": measured}))
    lines = write_summary(_reports(), {"on": "a machine"}, tmp_path)
    assert "| QIDO-RS, name prefix: p99 in an index of 1,000,000 studies | at most 50 ms | 51.0 ms | **no** |" in lines
    assert any(line.startswith("| C-FIND, accession") and line.endswith("| yes |") for line in lines)
    assert "1 of 2 goals that were measured are reached." in lines
    assert (tmp_path / "summary.md").read_text() == "\n".join(lines) + "\n"
    assert len(json.loads((tmp_path / "summary.json").read_text())) == len(lines) - 8
