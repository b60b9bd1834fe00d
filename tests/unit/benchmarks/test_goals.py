"""Goals: what is reached, missed and not measured."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.changes import changes, lines, of_queries
from benchmarks.goals import GOALS, QUERIES, Goal, verdicts
from benchmarks.questions import KINDS
from benchmarks.receive import ASSOCIATIONS, DISK, SIZES, case_name
from benchmarks.results import Report, note_step
from benchmarks.summary import glance, write

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
    assert (faster.is_reached, faster.measured) == (True, "4 x: 400 (300-500) against 100 objects/s")
    assert (sooner.is_reached, sooner.wanted) == (False, "better than Orthanc")
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


def _asked(kind: str, by: str, clients: int, p99: float) -> dict[str, object]:
    return {"kind": kind, "by": by, "clients": clients, "p99": p99}


def test_summary_counts_what_was_measured_and_takes_in_searches_of_the_largest_index(tmp_path: Path) -> None:
    measured = [
        _asked("name prefix", "QIDO-RS", 1, 40.0),
        _asked("name prefix", "QIDO-RS", 1, 51.0),
        _asked("name prefix", "QIDO-RS", 4, 500.0),
        _asked("AccessionNumber", "C-FIND", 1, 2.0),
        _asked("newest page", "C-FIND", 1, 70.0),
        _asked("StudyInstanceUID", "C-FIND", 1, 1.0),
    ]
    (tmp_path / "query-10.json").write_text(json.dumps({"facts": {"study": 10}, "measured": measured[:1]}))
    (tmp_path / "query.json").write_text(json.dumps({"facts": {"study": 1_000_000}, "measured": measured}))
    reports = _reports()
    reports["receive"].failures.append("start of storescp: it did not")
    for report in reports.values():
        report.write(tmp_path)
    for name, failure in (("limits", ""), ("receive", "it ended with 1"), ("viewer", "stopped: it took too long")):
        note_step(name, 3.4, failure, tmp_path)
    told = write(tmp_path)
    assert "| QIDO-RS, name prefix: p99 in an index of 1,000,000 studies | at most 50 ms | 51.0 ms | **no** |" in told
    assert any(line.startswith("| C-FIND, AccessionNumber") and line.endswith("| yes |") for line in told)
    assert any("1 of 2 are; not C-FIND, newest page (70 ms) | **no** |" in line for line in told)
    assert "1 of 3 goals that were measured are reached." in told
    assert "| C-FIND, PatientID: p99 in an index of 1,000,000 studies | at most 50 ms | not measured | - |" in told
    assert [line for line in told if line.startswith("- ")] == [
        "- receive: start of storescp: it did not",
        "- viewer: stopped: it took too long",
    ]
    assert (tmp_path / "summary.md").read_text().startswith("\n".join(told))
    assert len(json.loads((tmp_path / "summary.json").read_text())) == len(GOALS) + 2 * len(QUERIES) + 1


def test_searches_of_goals_are_asked() -> None:
    assert set(QUERIES) <= set(KINDS)


def test_all_servers_beside_ours_and_what_the_machine_allows() -> None:
    limits = Report("limits", "")
    limits.add("file of 33 kB + fdatasync + fsync of its folder, 4 at once", "this machine", {"files/s": [900]})
    receive = Report("receive", "")
    for server, rate in (("ours", 400), ("Orthanc", 100), ("probe", 800)):
        receive.add("33 kB, 4 associations", server, {"objects/s": [rate], "p99 ms": [1]})
    receive.add("33 kB, 16 associations", "ours", {"objects/s": [500]})
    head, _, four, sixteen = glance(receive, limits)
    assert head.startswith("| case | ours | Orthanc | ours is x | probe | ours is x | files/s")
    assert four == "| 33 kB, 4 associations | 400 objects/s | 100 | **4** | 800 | **0.500** | 900 |  |"
    assert sixteen == "| 33 kB, 16 associations | 500 objects/s |  |  |  |  |  |  |"


def test_on_s3_ours_with_the_spool_is_compared() -> None:
    on_s3 = Report("receive-s3", "")
    for server, rate in (("ours", 100), ("ours, spool", 600), ("Orthanc", 300)):
        on_s3.add("33 kB, 4 associations", server, {"objects/s": [rate], "uploaded/s": [1]})
    head, _, four = glance(on_s3)
    assert head == "| case | ours, spool | ours | ours, spool is x | Orthanc | ours, spool is x |"
    assert four == "| 33 kB, 4 associations | 600 objects/s | 100 | **6** | 300 | **2** |"
    (verdict,) = [each for each in verdicts({"receive-s3": on_s3}) if each.is_reached is not None]
    assert (verdict.text, verdict.is_reached) == (
        "C-STORE, S3 behind a spool (Success before the upload), 33 kB, 4 associations",
        True,
    )
    assert lines(changes({"receive-s3": on_s3}, {"receive-s3": on_s3}))[3:5] == [
        "| receive-s3 | 33 kB, 4 associations | uploaded/s | 1 | 1 | 1.00 | 1.00 (Orthanc) |",
        "| receive-s3 | 33 kB, 4 associations, spool | objects/s | 600 | 600 | 1.00 | 1.00 (Orthanc) |",
    ]


def test_changes_are_those_of_ours_that_both_passes_measured() -> None:
    before, now = Report("stow", ""), Report("stow", "")
    before.add("a", "ours", {"objects/s": [100], "processor ms": [4], "MB/s sent": [1]})
    before.add("a", "Orthanc", {"objects/s": [8]})
    now.add("a", "ours", {"objects/s": [150], "processor ms": [2], "MB/s sent": [3]})
    now.add("a", "Orthanc", {"objects/s": [10]})
    now.add("b", "ours", {"objects/s": [1]})
    found = changes({"stow": before}, {"stow": now, "new": now})
    assert [each.is_first for each in found] == [True, False, False]
    assert lines(found)[2:] == [
        "| stow | a | objects/s | 100 | 150 | 1.50 | 1.25 (Orthanc) |",
        "| stow | a | processor ms | 4 | 2 | 2.00 |  |",
        "| stow | a | MB/s sent | 1 | 3 | 3.00 |  |",
    ]


def test_the_spread_of_a_ratio_is_that_of_rounds_in_which_both_took_their_turns() -> None:
    receive = Report("receive", "")
    receive.add("33 kB", "ours", {"objects/s": [300, 400, 500]})
    receive.add("33 kB", "Orthanc", {"objects/s": [100, 80, 200]})
    receive.add("33 kB", "storescp", {"objects/s": [1000, 800]})
    near = Goal("near", "receive", "33 kB", "objects/s", "storescp", 0)
    faster, told = verdicts({"receive": receive}, [FASTER, near])
    assert faster.measured == "4 x (2.50-5): 400 (300-500) against 100 (80-200) objects/s"
    assert (told.is_reached, told.wanted) == (None, "towards storescp")
    assert told.measured == "0.444 x: 400 (300-500) against 900 (800-1000) objects/s"


def test_searches_are_compared_with_those_of_an_index_of_the_same_size() -> None:
    before = {"facts": {"study": 1_000_000}, "measured": [_asked("name prefix", "QIDO-RS", 1, 80.0)]}
    now = {"facts": {"study": 1_001_000}, "measured": [_asked("name prefix", "QIDO-RS", 1, 20.0)]}
    assert lines(of_queries(before, now))[2:] == ["| query | QIDO-RS, name prefix | p99 ms | 80 | 20 | 4.00 |  |"]
    assert of_queries({**before, "facts": {"study": 10_000}}, now) == []
    assert of_queries(None, now) == []
