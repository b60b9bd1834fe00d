"""Metadata made before anybody asks: of complete studies, whoever dies meanwhile, and never of what is hidden."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.feed import record as feed
from archive.index_session import IndexSession
from archive.ready_metadata import Addresses
from config.feed import FeedSettings
from config.settings import Settings
from storage.errors import ObjectNotFound
from tests.factories import ct_image, store
from tests.integration.archive.support import sql, url_of
from tests.integration.dicom_node.running import wait_until
from tests.rejection_notes import QUALITY, note
from tests.web_server import serving
from viewer_api.app import create_app
from viewer_api.metadata_ahead import MetadataAhead, Position, waiting
from viewer_api.metrics import Metrics

PUBLIC = "https://pacs.tiengiang.vn"
PATIENCE = 120.0
AT_ONCE = FeedSettings(quiet=0.001)


@pytest.fixture
def recorded(settings: Settings) -> Iterator[tuple[Archive, IndexSession]]:
    """An archive with an address, and a session that writes its change feed."""
    web = settings.web.model_copy(update={"public_url": f"{PUBLIC}/", "metadata_ahead": 1.0})
    session = IndexSession(settings.database, "pacs test")
    try:
        feed.begin(session)
        with Archive.open(settings.model_copy(update={"web": web})) as archive:
            yield archive, session
    finally:
        session.close()


def study(count: int, **values: Any) -> list[Dataset]:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    return [ct_image(InstanceNumber=n, **uids, **values) for n in range(1, count + 1)]


def tell(archive: Archive, session: IndexSession) -> None:
    """Write the feed up to the end, completion of studies included."""
    left = "SELECT (SELECT count(*) FROM change_gathering) + (SELECT count(*) FROM change_pending)"
    wait_until(
        lambda: not feed.record(session, AT_ONCE).behind and sql(archive, left) == [0], "the feed tells all", PATIENCE
    )


@contextmanager
def ahead(archive: Archive) -> Iterator[Metrics]:
    metrics = Metrics()
    with MetadataAhead(archive, metrics, interval=0.01):
        yield metrics


def catch_up(archive: Archive, session: IndexSession) -> int:
    """Have all made that the feed tells of; give of how many instances something was made."""
    tell(archive, session)
    with ahead(archive) as metrics:
        wait_until(lambda: waiting(archive) == 0, "all is made", PATIENCE)
    return int(metrics.registry.get_sample_value("pacs_metadata_made_ahead_total") or 0)


def read(archive: Archive, uid: str, monkeypatch: pytest.MonkeyPatch, host: str = "") -> tuple[list[Any], int]:
    """What a client gets, and how many objects were opened for it."""
    opened: list[str] = []
    open_range = archive.store.open_range

    def counted(key: str, offset: int, length: int) -> Any:
        opened.append(key)
        return open_range(key, offset, length)

    with serving(create_app(archive)) as url, monkeypatch.context() as patched:
        patched.setattr(archive.store, "open_range", counted)
        answer = httpx.get(f"{url}/dicom-web/studies/{uid}/metadata", headers={"Host": host} if host else {})
    assert answer.status_code == 200
    return answer.json(), len(opened)


def test_who_opens_a_complete_study_first_has_nothing_read_for_him(
    recorded: tuple[Archive, IndexSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, session = recorded
    images = study(40)
    for image in images:
        store(archive, image)
    assert catch_up(archive, session) == 40
    found, opened = read(archive, images[0].StudyInstanceUID, monkeypatch)
    assert ([each["00200013"]["Value"][0] for each in found], opened) == ([*range(1, 41)], 0)
    address = f"{PUBLIC}/dicom-web/studies/{images[0].StudyInstanceUID}/series/{images[0].SeriesInstanceUID}/instances/"
    assert all(each["7FE00010"]["BulkDataURI"].startswith(address) for each in found)


@pytest.mark.parametrize("host", ["pacs.tiengiang.vn", "10.0.0.5:8080"])
def test_without_an_address_in_the_settings_they_are_right_for_each_client(
    settings: Settings, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = IndexSession(settings.database, "pacs test")
    feed.begin(session)
    images = study(10)
    with Archive.open(settings) as archive:
        for image in images:
            store(archive, image)
        assert catch_up(archive, session) == 10
        found, opened = read(archive, images[0].StudyInstanceUID, monkeypatch, host)
    session.close()
    assert (len(found), opened) == (10, 0)
    assert all(each["7FE00010"]["BulkDataURI"].startswith(f"http://{host}/dicom-web/studies/") for each in found)


def test_what_is_hidden_or_shown_again_is_made_anew(
    recorded: tuple[Archive, IndexSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, session = recorded
    images = study(8)
    for image in images:
        store(archive, image)
    catch_up(archive, session)
    rejected = note(images[:3], QUALITY)
    store(archive, rejected)
    catch_up(archive, session)
    found, opened = read(archive, images[0].StudyInstanceUID, monkeypatch)
    assert ([each["00200013"]["Value"][0] for each in found], opened) == ([4, 5, 6, 7, 8], 0)
    archive.rejections.undo(rejected.SOPInstanceUID, who="BS Lan", why="chụp đúng bên")
    catch_up(archive, session)
    found, opened = read(archive, images[0].StudyInstanceUID, monkeypatch)
    assert ([each["00200013"]["Value"][0] for each in found], opened) == ([*range(1, 9)], 0)


def test_what_was_made_is_not_made_again_and_few_instances_are_not_kept(
    recorded: tuple[Archive, IndexSession],
) -> None:
    archive, session = recorded
    many, few = study(5), study(2)
    for image in [*many, *few]:
        store(archive, image)
    assert catch_up(archive, session) == 5
    store(archive, many[0])  # a duplicate
    assert catch_up(archive, session) == 0
    # Whoever deletes the cache deletes what says how far it was filled.
    shutil.rmtree(archive.settings.cache_dir)
    assert catch_up(archive, session) == 5


def test_one_instance_with_a_long_header_is_worth_keeping(
    recorded: tuple[Archive, IndexSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, session = recorded
    (image,) = study(1)
    frames = [Dataset() for _ in range(2000)]
    for number, frame in enumerate(frames, 1):
        position = Dataset()
        position.ImagePositionPatient = [0, 0, number]
        frame.PlanePositionSequence = [position]
    image.PerFrameFunctionalGroupsSequence = frames
    store(archive, image)
    assert catch_up(archive, session) == 1
    found, opened = read(archive, image.StudyInstanceUID, monkeypatch)
    items = found[0]["52009230"]["Value"]
    assert (len(found), opened) == (1, 0)
    assert [item["00209113"]["Value"][0]["00200032"]["Value"][2] for item in items] == [*range(1, 2001)]


def test_one_process_works_and_another_goes_on_when_it_ends(recorded: tuple[Archive, IndexSession]) -> None:
    archive, _ = recorded
    first, second = Position(archive.settings.cache_dir), Position(archive.settings.cache_dir)
    assert first.claim()
    assert first.claim()
    assert not second.claim()
    first.write(7)
    first.release()
    assert second.claim()
    assert second.read() == 7
    second.release()


@pytest.mark.parametrize("damage", ["", "no number", "99999999"])
def test_a_position_that_cannot_be_means_the_beginning_of_the_feed(
    recorded: tuple[Archive, IndexSession], damage: str
) -> None:
    archive, session = recorded
    for image in study(4):
        store(archive, image)
    archive.settings.cache_dir.mkdir(parents=True, exist_ok=True)
    (archive.settings.cache_dir / "metadata.position").write_text(damage)
    tell(archive, session)
    with ahead(archive) as metrics:
        made = partial(metrics.registry.get_sample_value, "pacs_metadata_made_ahead_total")
        wait_until(lambda: made() == 4, "all is made", PATIENCE)


def test_an_object_that_is_lost_holds_up_no_other_study(
    recorded: tuple[Archive, IndexSession], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive, session = recorded
    lost, whole = study(4), study(4)
    for image in [*lost, *whole]:
        store(archive, image)
    (first, *_) = archive.locate(lost[0].StudyInstanceUID)
    open_range = archive.store.open_range

    def broken(key: str, offset: int, length: int) -> Any:
        if key == first.object.key:
            raise ObjectNotFound(key)
        return open_range(key, offset, length)

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(archive.store, "open_range", broken)
        assert catch_up(archive, session) == 4
    assert "metadata of a study cannot be made ahead" in caplog.text
    assert read(archive, whole[0].StudyInstanceUID, monkeypatch)[1] == 0


@pytest.mark.parametrize("values", [{"metadata_ahead": 0.0}, {"metadata_cache_bytes": 0}])
def test_it_can_be_turned_off(settings: Settings, values: dict[str, Any]) -> None:
    web = settings.web.model_copy(update=values)
    with Archive.open(settings.model_copy(update={"web": web})) as archive:
        assert waiting(archive) == 0
        with ahead(archive):
            pass
        assert not (archive.settings.cache_dir / "metadata.lock").exists()


def test_nothing_is_made_while_the_disk_has_no_room_and_nothing_is_passed_over(
    recorded: tuple[Archive, IndexSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, session = recorded
    for image in study(4):
        store(archive, image)
    tell(archive, session)
    asked = threading.Event()

    def full() -> bool:
        asked.set()
        return False

    with monkeypatch.context() as patched:
        patched.setattr(archive.metadata, "has_room", full)
        with ahead(archive):
            assert asked.wait(60)
    assert waiting(archive) > 0
    assert catch_up(archive, session) == 4


def test_a_position_that_cannot_be_written_is_told_and_holds_nothing_up(
    recorded: tuple[Archive, IndexSession], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive, session = recorded
    images = study(4)
    for image in images:
        store(archive, image)
    tell(archive, session)

    def refused(self: Position, number: int) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(Position, "write", refused)
        with ahead(archive):
            wait_until(lambda: "cache cannot be written" in caplog.text, "it is told", PATIENCE)
    assert read(archive, images[0].StudyInstanceUID, monkeypatch)[1] == 0


KILLED = """
import sys
from archive.core import Archive
from archive.ready_metadata import ReadyMetadata
from config.settings import load
from viewer_api.metadata_ahead import MetadataAhead
from viewer_api.metrics import Metrics

prepare = ReadyMetadata.prepare

def told(self, found, addresses=None):
    for count in prepare(self, found, addresses):
        print("made", flush=True)
        sys.stdin.read()  # for ever: what follows is not made
        yield count

ReadyMetadata.prepare = told
with Archive.open(load()) as archive, MetadataAhead(archive, Metrics(), 0.01):
    sys.stdin.read()
"""


def test_who_is_killed_in_the_middle_leaves_the_rest_to_the_next(
    recorded: tuple[Archive, IndexSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, session = recorded
    studies = [study(6), study(6)]
    for image in [*studies[0], *studies[1]]:
        store(archive, image)
    tell(archive, session)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PACS_")}
    environment |= {
        "PACS_DATA_DIR": str(archive.settings.data_dir),
        "PACS_DATABASE__URL": url_of(archive),
        "PACS_STORAGE__MINIMUM_FREE_BYTES": "0",
        "PACS_WEB__PUBLIC_URL": f"{PUBLIC}/",
    }
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"made\n"
        assert not Position(archive.settings.cache_dir).claim()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    # At least one group of the twelve instances was there already.
    assert 0 < catch_up(archive, session) < 12
    for images in studies:
        found, opened = read(archive, images[0].StudyInstanceUID, monkeypatch)
        assert (len(found), opened) == (6, 0)


def test_answers_under_a_new_address_are_one_gzip_member(
    recorded: tuple[Archive, IndexSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, session = recorded
    images = study(300)
    for image in images:
        store(archive, image)
    assert catch_up(archive, session) == 300
    found = archive.locate(images[0].StudyInstanceUID)
    made = b"".join(archive.metadata.gzipped(found, Addresses("http://other", "?view=quality")))
    assert gzip.decompress(made) == b"".join(archive.metadata.plain(found, Addresses("http://other", "?view=quality")))
    assert len(json.loads(gzip.decompress(made))) == 300
