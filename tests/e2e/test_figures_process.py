"""A process that keeps the figures and is killed in the middle of what it does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
import pytest

from archive.core import Archive
from archive.figures.question import Measure
from config.settings import Settings
from tests.integration.archive.support import url_of
from tests.integration.dicom_node.process import ROOT, archive_command, environment
from tests.integration.dicom_node.running import sql, wait_until
from tests.kept_figures import FAR, NEAR, YEAR, Kept

PATIENCE: Final = 120.0
TABLES: Final = ("study_fact", "study_spread", "study_person", "figure_source")
"""What a step writes to; each is where one is killed."""
_WAITING: Final = """
SELECT count(*) FROM pg_stat_activity
 WHERE application_name = 'pacs figures' AND wait_event_type = 'Lock' AND position(%s IN query) > 0
"""
_THERE: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pacs figures'"


@pytest.fixture
def kept(archive: Archive) -> Iterator[Kept]:
    found = Kept(archive)
    yield found
    found.close()


def _happens(kept: Kept, number: int) -> None:
    """New studies, and old ones that become others."""
    studies = [
        kept.store(
            *(NEAR if each % 2 else FAR,),
            PatientID=f"P{each % 3}",
            StudyDate=f"2026{1 + (number + each) % 9:02}{10 + each}",
            BodyPartExamined="CHEST",
            AccessionNumber=f"{number}-{each}",
        )
        for each in range(4)
    ]
    kept.report(studies[0], datetime.now(UTC).isoformat())
    kept.deliver(studies[1], "qr")
    kept.look(studies[1])
    kept.archive.rejections.reject(studies[2], code="113001", who="x", why="x")
    kept.link("P0", "P1", person=f"one {number}")
    kept.record()


def _killed_at(table: str, settings: Settings, kept: Kept, folder: Path) -> None:
    """Start one that follows what happened, and kill it where it writes to this table."""
    with psycopg.connect(url_of(kept.archive)) as lock:
        lock.execute(f"LOCK TABLE {table} IN SHARE MODE")
        process = subprocess.Popen(
            [sys.executable, "-m", "archive", "figures", "rebuild", "--resume"],
            cwd=ROOT,
            env=environment(settings, folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: sql(settings, _WAITING, table) == [(1,)], f"it writes to {table}", PATIENCE)
        finally:
            process.kill()
            process.wait(PATIENCE)
    # The server notices that it is gone when it has the lock.
    wait_until(lambda: sql(settings, _THERE) == [(0,)], "its session has ended", PATIENCE)


def test_figures_are_right_after_any_number_of_deaths(settings: Settings, kept: Kept, tmp_path: Path) -> None:
    for number, table in enumerate(TABLES):
        # The first of these die while they build the figures, the others while they follow what happens.
        before = kept.tables()
        _happens(kept, number)
        _killed_at(table, settings, kept, tmp_path)
        assert kept.tables() == before, f"half a step was left when it died at {table}"
        if number == 1:
            done = archive_command(settings, tmp_path, "figures", "rebuild", "--resume")
            assert done.returncode == 0, done.stderr
            assert done.stdout.endswith("sums that were wrong: 0\n")
    kept.keep()
    assert kept.wrong() == 0
    assert kept.one(Measure.STUDIES, **YEAR) == 3 * len(TABLES)
    figures = kept.tables()
    kept.from_scratch()
    assert kept.tables() == figures
