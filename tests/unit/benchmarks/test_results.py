"""Results of benchmarks: medians, ratios, tables, and files that are read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.results import Measure, Report, number, percentile, read, read_all, table, times_better


def _measure(server: str, quantity: str, *runs: float) -> Measure:
    return Measure("case", server, quantity, runs)


def test_median_with_least_and_most() -> None:
    assert _measure("ours", "objects/s", 300, 100, 200).shown == "200 (100-300)"
    assert _measure("ours", "p99 ms", 1.5, 2.25).shown == "1.88 (1.50-2.25)"
    assert _measure("ours", "objects/s", 12.34).shown == "12.3"


@pytest.mark.parametrize(
    ("value", "shown"), [(1234567.8, "1234568"), (100, "100"), (12.345, "12.3"), (1.2345, "1.23"), (0.12345, "0.123")]
)
def test_numbers_keep_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_more_objects_and_less_time_are_better() -> None:
    assert times_better(_measure("ours", "objects/s", 300), _measure("x", "objects/s", 100)) == 3
    assert times_better(_measure("ours", "p99 ms", 10), _measure("x", "p99 ms", 25)) == 2.5
    assert times_better(_measure("ours", "p99 ms", 0), _measure("x", "p99 ms", 25)) == float("inf")


def test_percentile_is_one_of_the_values() -> None:
    values = list(range(100, 0, -1))
    assert percentile(values, 0.99) == 100
    assert percentile(values, 0.5) == 51
    assert percentile([7.0], 0.99) == 7
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)


def test_table_compares_the_first_quantity_with_ours() -> None:
    report = Report("receive", "C-STORE")
    report.add("33 kB", "ours", {"objects/s": [100, 300, 200], "p99 ms": [2.0]})
    report.add("33 kB", "Orthanc", {"objects/s": [50], "p99 ms": [9.0]})
    report.add("33 kB", "disk", {"MB/s": [70]})
    report.add("100 MB", "ours", {"MB/s": [70]})
    assert table(report.measures) == [
        "| case | server | objects/s | p99 ms | MB/s | ours is better by |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 33 kB | ours | 200 (100-300) | 2 |  |  |",
        "| 33 kB | Orthanc | 50 | 9 |  | 4.00 |",
        "| 33 kB | disk |  |  | 70 |  |",
        "",
        "| case | server | MB/s | ours is better by |",
        "| --- | --- | --- | --- |",
        "| 100 MB | ours | 70 |  |",
    ]


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = Report("stow", "STOW-RS", notes=["a note"], is_quick=True)
    report.add("1000", "ours", {"objects/s": [1.5, 2.5]}, bytes=33000)
    report.write(tmp_path)
    assert read(tmp_path / "stow.json") == report
    assert report.machine["at"]
    told = (tmp_path / "stow.md").read_text()
    assert told.startswith("# STOW-RS\n")
    assert "- a note\n\n| case |" in told


def test_files_of_others_are_left_out(tmp_path: Path) -> None:
    Report("stow", "STOW-RS").write(tmp_path)
    (tmp_path / "older.json").write_text("[]")
    (tmp_path / "query.json").write_text('{"benchmark": "query", "measured": []}')
    (tmp_path / "cut.json").write_text('{"measures": [')
    assert list(read_all(tmp_path)) == ["stow"]
    with pytest.raises(ValueError, match="is not the result"):
        read(tmp_path / "older.json")


def test_what_fails_is_noted_and_the_others_go_on() -> None:
    report = Report("x", "X")
    assert report.attempt("one", lambda: 1) == 1

    def refuse() -> int:
        raise SystemExit("Orthanc refused 3 objects")

    def break_down() -> int:
        raise ConnectionError("closed by the server")

    assert report.attempt("two", refuse) is None
    assert report.attempt("three", break_down) is None
    assert report.failures == ["two: Orthanc refused 3 objects", "three: ConnectionError: closed by the server"]
    assert "- **Failed**: two: Orthanc refused 3 objects" in report.lines()

    def told_to_stop() -> int:
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        report.attempt("four", told_to_stop)
