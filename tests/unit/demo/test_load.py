"""Loading the demo province into a real archive."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from archive.core import Archive
from archive.demo import SETTINGS, accounts, load, reports
from archive.demo.datasets import count
from archive.demo.orders import orders
from archive.demo.province import DISTRICT, PROVINCIAL, STUDIES
from archive.errors import NotPermitted
from archive.people.commands import OPERATOR
from archive.records import Level, Query
from archive.worklist.listing import ItemSearch
from config import clock
from config.settings import load as load_settings

PATIENT_NAME, PATIENT_ID, ISSUER, INSTANCES = 0x00100010, 0x00100020, 0x00100021, "00201208"


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


def stored(archive: Archive) -> Counter[str]:
    """Objects in each study."""
    matches = archive.search(Query(level=Level.STUDY)).matches
    return Counter({match["0020000D"]["Value"][0]: match[INSTANCES]["Value"][0] for match in matches})


def test_an_empty_archive_gets_the_whole_province_and_a_second_load_changes_nothing(demo_archive: Archive) -> None:
    assert load.is_empty(demo_archive)
    assert load.load(demo_archive) == count()
    first = stored(demo_archive)
    assert set(first) == {study.uid for study in STUDIES}
    assert first.total() == count()
    assert not load.is_empty(demo_archive)

    files = sorted((demo_archive.settings.objects_dir).rglob("*"))
    load.load(demo_archive)
    assert stored(demo_archive) == first
    assert sorted(demo_archive.settings.objects_dir.rglob("*")) == files, "duplicates leave nothing behind"

    hoa = demo_archive.search(Query(level=Level.STUDY, keys={PATIENT_NAME: "nguyen thi hoa"}, fuzzy=True))
    assert {match["00100021"]["Value"][0] for match in hoa.matches} == {"CCCD"}
    assert len(hoa.matches) == 2, "one patient, examined in two hospitals"

    old_number = demo_archive.search(Query(level=Level.STUDY, keys={PATIENT_ID: "BN24-001873", ISSUER: DISTRICT}))
    assert len(old_number.matches) == 1, "a hospital's own number is issued by the hospital"


def test_an_archive_of_other_hospitals_is_not_touched(archive: Archive) -> None:
    with pytest.raises(NotPermitted, match="facility 99001 of the demo is not in the settings"):
        load.load(archive)
    assert load.is_empty(archive)


def test_today_s_orders_are_on_the_worklist_once(demo_archive: Archive) -> None:
    load.load(demo_archive)
    first, total = demo_archive.worklist.search(ItemSearch(first=clock.today(), last=clock.today()))
    assert total == len(first) == len(orders())
    assert {entry.facility for entry in first} == {PROVINCIAL, DISTRICT}
    load.load(demo_archive)
    assert demo_archive.worklist.search(ItemSearch())[0] == first


def test_reports_are_written_once_and_the_radiologist_can_sign(demo_archive: Archive) -> None:
    accounts.make(demo_archive)
    load.load(demo_archive)
    reports.write(demo_archive)
    reports.write(demo_archive)
    kinds = [event.kind for event in demo_archive.reports.events(0)]
    assert kinds == ["final", "preliminary"]
    account = demo_archive.people.accounts.named(OPERATOR, "bs.songxanh").id
    assert demo_archive.reports.writers.licence(account)
