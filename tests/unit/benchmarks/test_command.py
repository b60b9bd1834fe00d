"""Arguments of benchmarks, and the plots' points."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.command import QUICK, Parser
from benchmarks.plots import against_associations, against_size, figures
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
    report.add("33 kB, 4 associations", "ours", {"objects/s": [1000]}, bytes=33_000, associations=4)
    assert against_size(report) == {"ours, 1 at once": [(33_000, 2), (100e6, 500)], "ours, 4 at once": [(33_000, 1)]}
    assert against_associations(report) == {"ours, 33 kB": [(1, 500), (4, 1000)], "ours, 100 MB": [(1, 2)]}
    assert set(figures({"receive": report}, tmp_path)) == {"receive-size", "receive-associations"}
