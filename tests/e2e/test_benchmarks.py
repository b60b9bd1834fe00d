"""The benchmark of C-STORE, on ours and the probe, as small as can be: it must not rot between measurements."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.results import read
from benchmarks.servers import ROOT


def test_receive_measures_the_spool_until_s3_has_all(tmp_path: Path) -> None:
    command = ["receive", "--store", "s3", "--quick", "--rounds", "1", "--sizes", "33 kB", "--associations", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *command, "--objects", "8", "--servers", "ours, spool"],
        cwd=ROOT,
        env={**os.environ, "BENCH_TARGET": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = read(tmp_path / "receive-s3.json")
    assert not report.failures
    stored, uploaded = (
        report.find("33 kB, 2 associations", "ours, spool", quantity) for quantity in ("objects/s", "uploaded/s")
    )
    assert stored is not None and uploaded is not None
    assert stored.median > uploaded.median > 0


def test_receive_measures_ours_and_the_floor(tmp_path: Path) -> None:
    command = ["receive", "--quick", "--rounds", "1", "--sizes", "33 kB", "--associations", "2", "--objects", "8"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *command, "--servers", "ours", "probe"],
        cwd=ROOT,
        env={**os.environ, "BENCH_TARGET": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = read(tmp_path / "receive.json")
    assert not report.failures
    found = [each for each in report.measures if each.quantity == "objects/s"]
    assert [each.server for each in found] == ["ours", "probe"]
    for measure in found:
        assert (measure.case, len(measure.runs)) == ("33 kB, 2 associations", 1)
        assert measure.median > 0
    assert "| 33 kB, 2 associations | ours |" in done.stdout
