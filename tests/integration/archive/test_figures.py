"""Figures against data that was counted by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from archive.core import Archive
from archive.feed.record import begin as begin_feed
from archive.feed.record import record
from archive.figures.keep import begin, step
from archive.figures.question import Answer, By, Measure, Question
from archive.figures.sums import wrong
from archive.index_session import IndexSession
from archive.records import Source
from tests.factories import ct_image, store
from tests.integration.archive.support import sql

NEAR = Source(facility="86001", issuer_of_patient_id="86001", transport="import", calling_ae_title="CT1")
FAR = Source(facility="86002", issuer_of_patient_id="86002", transport="import", calling_ae_title="US2")
YEAR = {"since": datetime(2026, 1, 1), "until": datetime(2027, 1, 1)}
LATER = datetime(2030, 1, 1, tzinfo=UTC)


class Kept:
    """An archive whose figures are kept when it is told to."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.session = IndexSession(archive.settings.database, "test figures")
        begin_feed(self.session)
        begin(self.session)

    def keep(self, now: datetime | None = None) -> None:
        """Until nothing is left to do."""
        while record(self.session, self.archive.settings.feed).behind:
            pass
        sql(self.archive, "UPDATE change_gathering SET due_at = now() - interval '1 hour'")
        while record(self.session, self.archive.settings.feed).behind:
            pass
        while step(self.session, self.archive.settings.figures, now).behind:
            pass

    def ask(self, *measures: Measure, **question: Any) -> Answer:
        return self.archive.figures.ask(Question(measures, **{**YEAR, **question}))

    def one(self, measure: Measure, **question: Any) -> Any:
        rows = self.ask(measure, **question).rows
        return rows[0][0] if rows else 0

    def wrong(self) -> int:
        return self.session.run(wrong)


@pytest.fixture
def kept(archive: Archive) -> Iterator[Kept]:
    found = Kept(archive)
    yield found
    found.session.close()


def test_studies_are_counted_by_time_facility_and_modality(kept: Kept) -> None:
    store(kept.archive, ct_image(StudyDate="20260105", StudyTime="080000"), NEAR)
    store(kept.archive, ct_image(StudyDate="20260131", StudyTime="235959"), NEAR)
    store(kept.archive, ct_image(StudyDate="20260201", StudyTime="000000", Modality="MR"), FAR)
    kept.keep()
    answer = kept.ask(Measure.STUDIES, Measure.INSTANCES, by=(By.MONTH, By.FACILITY, By.MODALITY))
    assert answer.columns == ("month", "facility", "modality", "studies", "instances")
    assert answer.rows == [("2026-01", "86001", "CT", 2, 2), ("2026-02", "86002", "MR", 1, 1)]
    assert answer.whole
    assert kept.ask(Measure.STUDIES, by=(By.DAY,)).rows == [("2026-01-05", 1), ("2026-01-31", 1), ("2026-02-01", 1)]
    assert kept.ask(Measure.STUDIES, by=(By.QUARTER,)).rows == [("2026-Q1", 3)]
    assert kept.ask(Measure.STUDIES, by=(By.HOUR,), until=datetime(2026, 2, 2)).rows == [
        ("2026-01-05T08", 1),
        ("2026-01-31T23", 1),
        ("2026-02-01T00", 1),
    ]
    assert kept.wrong() == 0
