"""The demo's past: images that can be shown, people who do not exist, times that make sense, loaded once."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom.uid import UID

from archive.core import Archive
from archive.demo import SETTINGS, past_load
from archive.demo.past import EXAMINATIONS, FACILITIES, visits
from archive.demo.past_load import begin, image, is_wanted, load, study_uid
from archive.figures.question import By, Measure
from archive.records import Level, Query
from config.settings import load as load_settings
from tests.kept_figures import Kept

NOW = datetime(2026, 11, 22, 10, 30)
INSTANCES = "00201208"


@pytest.fixture
def demo_archive(database_url: str, tmp_path: Path):
    settings = load_settings(
        SETTINGS,
        environ={},
        data_dir=tmp_path,
        database={"url": database_url, "pool_size": 4},
        storage={"minimum_free_bytes": 0},
    )
    with Archive.open(settings) as opened:
        yield opened


def test_the_same_past_is_drawn_again() -> None:
    assert visits(50, NOW) == visits(50, NOW)


def test_times_follow_each_other_and_reach_until_now() -> None:
    found = visits(400, NOW)
    assert {visit.facility for visit in found} == {*FACILITIES}
    assert {visit.what for visit in found} == {*EXAMINATIONS}
    for visit in found:
        assert visit.studied_at <= visit.arrived_at < NOW
        assert visit.ordered_at is None or visit.ordered_at < visit.studied_at
        assert visit.reported_at is None or visit.arrived_at < visit.reported_at < NOW
        assert visit.person.birth_date < f"{visit.studied_at:%Y%m%d}"
        assert visit.person.patient_id.startswith("099"), "nobody's number"
        assert len(visit.person.patient_id) == 12
        assert len(visit.station) <= 16
    assert found[0].studied_at < NOW - timedelta(days=300)
    assert any(visit.studied_at.date() == NOW.date() for visit in found)
    unread = sum(visit.reported_at is None for visit in found)
    assert 4 <= unread <= 60, "a few wait to be read"
    assert len({study_uid(visit) for visit in found}) == 400


@pytest.mark.parametrize("what", EXAMINATIONS, ids=lambda each: each.picture)
def test_images_are_whole_and_show_something(what) -> None:
    visit = next(visit for visit in visits(400, NOW) if visit.what is what)
    made = image(visit, 0)
    assert UID(made.SOPClassUID).is_valid
    assert UID(made.SOPInstanceUID).is_valid
    assert len(made.PixelData) == made.Rows * made.Columns * made.BitsAllocated // 8
    made.file_meta = past_load.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = past_load.ExplicitVRLittleEndian
    pixels = made.pixel_array
    assert pixels.max() < 1 << made.BitsStored
    assert pixels.std() > 5, "not empty"
    assert image(visit, 0).PixelData == made.PixelData, "made again, it is the same"
    assert len(made.PixelData) <= 131_072, "small"


def test_it_is_loaded_once_and_dated_back(demo_archive: Archive) -> None:
    folder = demo_archive.settings.data_dir
    begin(folder, 24)
    steps: list[tuple[int, int]] = []

    def stopped(done: int, total: int) -> None:
        steps.append((done, total))
        if done == 10:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        load(demo_archive, stopped)
    assert is_wanted(folder)
    assert load(demo_archive) == 24
    assert not is_wanted(folder)
    found = demo_archive.search(Query(level=Level.STUDY)).matches
    assert len(found) == 24
    kept = Kept(demo_archive)
    kept.keep()
    asked = {"since": datetime(2020, 1, 1), "until": datetime(2100, 1, 1)}
    measures = (Measure.STUDIES, Measure.REPORTED, Measure.DELIVERED, Measure.ORDER_TO_REPORT)
    ((studies, reported, delivered, minutes),) = kept.ask(*measures, **asked).rows
    assert studies == 24
    assert 0 < delivered <= reported <= 24
    assert 0 < minutes < 3000, "orders, images and reports are dated as they were"
    assert len(kept.ask(Measure.STUDIES, by=(By.MONTH,), **asked).rows) > 3
    assert kept.wrong() == 0
    events = demo_archive.reports.events(0)
    assert len(events) == reported
    kept.close()
