"""Arguments of benchmarks, and the plots' points."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.command import QUICK, SCRATCH, Parser, scratch
from benchmarks.every import STEPS, set_aside
from benchmarks.plots import BEFORE, Point, against_associations, against_size, figures, with_before
from benchmarks.receive import SIZES
from benchmarks.results import Report


def _parser() -> Parser:
    parser = Parser("x", "What it does.")
    parser.add("--rounds", 5, 3, type=int, help="runs")
    return parser


def test_quick_changes_defaults_and_nothing_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(QUICK, raising=False)
    assert _parser().read([]).rounds == 5
    assert _parser().read(["--quick"]).rounds == 3
    assert _parser().read(["--quick", "--rounds", "9"]).rounds == 9
    monkeypatch.setenv(QUICK, "1")
    assert _parser().read([]).rounds == 3
    monkeypatch.setenv(QUICK, "0")
    assert _parser().read([]).rounds == 5


def test_each_association_sends_the_same_number() -> None:
    for size in SIZES.values():
        for associations in (1, 3, 4, 16, 50):
            for quick in (True, False):
                count = size.count(associations, quick=quick)
                assert count >= associations
                assert count % associations == 0


def test_points_of_plots(tmp_path: Path) -> None:
    report = Report("receive", "C-STORE")
    report.add("33 kB, 1 association", "ours", {"objects/s": [500], "p99 ms": [3]}, bytes=33_000, associations=1)
    report.add("100 MB, 1 association", "ours", {"MB/s": [200]}, bytes=100e6, associations=1)
    report.add("33 kB, 4 associations", "ours", {"objects/s": [500, 1000, 2000]}, bytes=33_000, associations=4)
    assert against_size(report) == {
        "1 association": {"ours": [Point(33_000, 2, 2, 2), Point(100e6, 500, 500, 500)]},
        "4 associations": {"ours": [Point(33_000, 1, 0.5, 2)]},
    }
    assert against_associations(report) == {
        "33 kB": {"ours": [Point(1, 500, 500, 500), Point(4, 1000, 500, 2000)]},
        "100 MB": {"ours": [Point(1, 2, 2, 2)]},
    }
    assert set(figures({"receive": report}, tmp_path)) == {"receive-size", "receive-associations"}
    report.write(tmp_path)
    both = with_before({"receive": report}, tmp_path)["receive"]
    assert {each.server for each in both.measures} == {"ours", BEFORE}


def test_what_servers_wrote_is_emptied_and_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCRATCH, str(tmp_path))
    with scratch() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("content")
        (folder / "link").symlink_to("gone")
    assert folder.parent == tmp_path
    assert (folder / "deep" / "file").stat().st_size == 0


def test_a_benchmark_is_stopped_late_enough() -> None:
    assert len({each.name for each in STEPS}) == len(STEPS)
    for step in STEPS:
        assert step.limit(quick=True) >= 2 * step.quick
        assert step.limit(quick=False) >= 2 * step.full


def test_earlier_results_are_set_aside(tmp_path: Path) -> None:
    set_aside(tmp_path / "none")
    Report("stow", "STOW").write(tmp_path)
    set_aside(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["before"]
    assert (tmp_path / "before" / "stow.json").exists()
