"""The page of results: what it says, which plots it shows, and what it leaves alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.bars import of_changes, of_goals
from benchmarks.changes import changes
from benchmarks.goals import GOALS, QUERIES, Goal
from benchmarks.plots import BEFORE, against_growth
from benchmarks.publish import _AREAS, _PLOTS, copied, main, page
from benchmarks.results import Report, note_step
from benchmarks.scale import COSTS, DOCUMENT


def _pass(folder: Path, rate: float) -> Path:
    """A folder with a little of everything."""
    folder.mkdir()
    receive = Report("receive", "C-STORE", is_quick=True)
    growth = Report("growth", "C-STORE into a filled index")
    for server, share in (("ours", 1), ("Orthanc", 5)):
        receive.add("33 kB, 4 associations", server, {"objects/s": [rate / share]}, bytes=33000, associations=4)
    for server, studies in (("ours", 1000), ("ours, empty index", 0)):
        growth.add("33 kB, 4 associations", server, {"objects/s": [rate]}, associations=4, studies=studies)
    for report in (receive, growth):
        report.write(folder)
    asked = [{"kind": kind, "by": "QIDO-RS", "clients": 1, "p99": rate / 10} for kind in QUERIES]
    (folder / "query.json").write_text(json.dumps({"facts": {"study": 1000}, "measured": asked}))
    note_step("receive", 600, "", folder)
    note_step("viewer", 60, "it ended with 1", folder)
    return folder


def test_the_page_says_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    now, before = _pass(tmp_path / "now", 400), _pass(tmp_path / "before", 200)
    text = "\n".join(page(now, before, ["goals", "changes", "query-archive"]))
    assert "(a quick pass of 11 minutes)" in text
    assert "| C-STORE: images from modalities | 0 | 1 | 14 |" in text
    assert "| C-STORE, 33 kB, 4 associations | at least 10 x Orthanc | 5 x: 400 against 80 objects/s | **no** |" in text
    assert "| C-STORE into a filled index, 33 kB, 4 associations | at least 90% of ours, empty index | 1 x" in text
    assert "- viewer: it ended with 1" in text
    assert "| receive | 33 kB, 4 associations | objects/s | 200 | 400 | 2.00 | 2.00 (Orthanc) |" in text
    assert "| query | QIDO-RS, name prefix | p99 ms | 20 | 40 | 0.50 |  |" in text
    assert re.findall(r"!\[[^]]*\]\(([^)]+)\)", text) == [
        f"images/performance/{name}.svg" for name in ("goals", "changes", "query-archive")
    ]


def test_every_goal_belongs_to_an_area_of_the_page() -> None:
    assert {goal.benchmark for goal in GOALS} | {"query"} == set(_AREAS)


def test_plots_are_written_beside_the_page_and_old_ones_do_not_stay(tmp_path: Path) -> None:
    now, before = _pass(tmp_path / "now", 400), _pass(tmp_path / "before", 200)
    kept = COSTS.read_bytes(), DOCUMENT.read_bytes()
    (tmp_path / "docs").mkdir()
    command = ["--folder", str(now), "--before", str(before), "--page", str(tmp_path / "docs" / "page.md")]
    assert main(command) == 0
    images = tmp_path / "docs" / "images" / "performance"
    found = {path.stem for path in images.iterdir()}
    assert found == {"goals", "changes", "receive-size", "receive-associations", "query-archive", "growth-archive"}
    assert found <= set(_PLOTS)
    assert BEFORE in (images / "receive-size.svg").read_text()
    for name in re.findall(r"\]\((images/[^)]+)\)", (tmp_path / "docs" / "page.md").read_text()):
        assert (tmp_path / "docs" / name).exists()
    assert (COSTS.read_bytes(), DOCUMENT.read_bytes()) == kept
    assert copied([images / "goals.svg"], tmp_path / "other") == ["goals"]
    (tmp_path / "other" / "changes.svg").touch()
    (tmp_path / "other" / "by-hand.svg").touch()
    assert copied([], tmp_path / "other") == []
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["by-hand.svg"]


def test_bars_are_shares_of_goals_and_changes_with_those_of_a_rival() -> None:
    now, before = Report("stow", ""), Report("stow", "")
    for report, mine, other in ((before, 100, 50), (now, 150, 40)):
        report.add("a", "ours", {"objects/s": [mine], "p99 ms": [mine]})
        report.add("a", "Orthanc", {"objects/s": [other]})
    (change,) = of_changes(changes({"stow": before}, {"stow": now}))
    assert (change.ratio, change.rival, change.label) == (1.5, 0.8, "1.50 x (100 → 150 objects/s)")
    goals = [
        Goal("faster", "stow", "a", "objects/s", "Orthanc", 3),
        Goal("near", "stow", "a", "objects/s", "Orthanc", 0),
        Goal("low", "stow", "a", "p99 ms", most=300),
        Goal("unknown", "stow", "b", "objects/s", "Orthanc", 3),
    ]
    faster, low = of_goals({"stow": now}, goals=goals)
    assert (faster.ratio, faster.label) == (1.25, "3.75 x (goal: 3 x)")
    assert low.ratio == 2


def test_an_empty_index_has_its_place_before_the_smallest() -> None:
    growth = Report("growth", "")
    for server, studies, rate in (
        ("ours", 1_000_000, 90),
        ("ours, 10 studies", 1000, 95),
        ("ours, empty index", 0, 99),
    ):
        growth.add("33 kB, 1 association", server, {"objects/s": [rate], "p99 ms": [1]}, studies=studies)
    (points,) = against_growth(growth).values()
    assert [(point.x, point.y) for point in points] == [(1_000_000, 90), (1000, 95), (100, 99)]
