"""The archive with its objects on a real S3 server: in, found, out, repaired."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset

from archive.core import Archive
from archive.errors import StoreUnavailable
from archive.records import Level, Outcome, Query
from archive.retrieve import read_frames, read_object
from config.settings import S3Settings, Settings, StorageSettings
from storage.uploader import Waiting, waiting
from tests.factories import ct_image, encode, store
from tests.integration.archive.support import assert_sound
from tests.integration.archive.test_cli import run
from tests.s3_server import S3Server, local_server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def on_s3(settings: Settings, server: S3Server) -> Settings:
    return _on(settings, server)


def _on(settings: Settings, server: S3Server) -> Settings:
    s3 = S3Settings(
        endpoint=server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        secure=False,
        bucket=f"archive-{settings.data_dir.name.replace('_', '-')[-40:].strip('-')}",
    )
    return settings.model_copy(update={"storage": StorageSettings(backend="s3", s3=s3)})


def test_an_object_goes_in_and_comes_out_as_it_was(on_s3: Settings) -> None:
    image = ct_image(rows=512, columns=512)
    with Archive.open(on_s3) as archive:
        assert store(archive, image).outcome is Outcome.STORED
        assert store(archive, image).outcome is Outcome.DUPLICATE
        assert archive.check() == {"index": None, "store": None}
        assert archive.search(Query(Level.STUDY)).total == 1
        (stored,) = archive.locate(image.StudyInstanceUID)
        whole = b"".join(read_object(archive.store, stored))
        assert whole[stored.object.dataset_offset :] == encode(image)
        assert list(read_frames(archive.store, stored, [1])) == [image.PixelData]
        assert_sound(archive)


def test_a_lost_object_is_noticed_and_repaired_by_a_resend(on_s3: Settings) -> None:
    image = ct_image()
    with Archive.open(on_s3) as archive:
        store(archive, image)
        (stored,) = archive.locate(image.StudyInstanceUID)
        archive.store.delete(stored.object.key)
        with pytest.raises(StoreUnavailable):
            list(read_object(archive.store, stored))
        assert store(archive, image).outcome is Outcome.REPAIRED
        assert_sound(archive)


def test_with_a_spool_objects_are_acknowledged_before_s3_has_them(settings: Settings) -> None:
    """S3 is away while they come; they are found, read and verified all the same, and go up when it is back."""
    first, *more = [ct_image() for _ in range(4)]
    with local_server() as server:
        spooled = _spooled(_on(settings, server))
        with Archive.open(spooled) as archive:
            assert archive.waiting_for_s3() == Waiting()
            server.stop()
            for image in (first, *more):
                assert store(archive, image).outcome is Outcome.STORED
            assert store(archive, first).outcome is Outcome.DUPLICATE
            assert_read(archive, first)
            found = waiting(spooled.waiting_dir)
            assert found.objects >= 4
            assert found.bytes > 4 * len(first.PixelData)
            assert archive.check()["store"] is not None
        # Its spool is left to whoever starts next.
        server.start()
        with Archive.open(spooled) as again:
            assert again.waiting_for_s3() is not None
            again.reconcile()
            assert_sound(again)
            assert emptied(again.settings).startswith("waiting for S3: ")
            assert waiting(spooled.waiting_dir) == Waiting()
            assert again.check() == {"index": None, "store": None}
            assert_sound(again)
    assert waiting(spooled.waiting_dir) == Waiting()


def test_a_spool_that_is_turned_off_is_emptied(on_s3: Settings) -> None:
    image, another = ct_image(), ct_image()
    with Archive.open(_spooled(on_s3)) as archive:
        store(archive, image)
    with Archive.open(on_s3) as archive:
        assert on_s3.spools
        before = waiting(on_s3.waiting_dir).objects
        store(archive, another)
        assert waiting(on_s3.waiting_dir).objects <= before <= 1
        assert emptied(on_s3).endswith("waiting for S3: 0 objects, 0 bytes\n")
        assert waiting(on_s3.waiting_dir) == Waiting()
        assert_read(archive, image)
        assert_sound(archive)


def emptied(settings: Settings) -> str:
    """What an operator is told who has the spool emptied."""
    s3 = settings.storage.s3
    variables = {
        "PACS_STORAGE__BACKEND": "s3",
        "PACS_STORAGE__S3__ENDPOINT": s3.endpoint,
        "PACS_STORAGE__S3__ACCESS_KEY": s3.access_key.get_secret_value(),
        "PACS_STORAGE__S3__SECRET_KEY": s3.secret_key.get_secret_value(),
        "PACS_STORAGE__S3__SECURE": "false",
        "PACS_STORAGE__S3__BUCKET": s3.bucket,
        "PACS_STORAGE__S3__WRITE_BACK": str(s3.write_back),
    }
    assert run(settings, "spool", **variables).stdout.startswith("waiting for S3: ")
    done = run(settings, "spool", "--empty", **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_read(archive: Archive, image: Dataset) -> None:
    (stored,) = archive.locate(image.StudyInstanceUID)
    whole = b"".join(read_object(archive.store, stored))
    assert whole[stored.object.dataset_offset :] == encode(image)


def _spooled(settings: Settings) -> Settings:
    s3 = settings.storage.s3.model_copy(
        update={"write_back": True, "connect_timeout": 1.0, "read_timeout": 5.0, "retries": 0}
    )
    return settings.model_copy(update={"storage": StorageSettings(backend="s3", s3=s3, minimum_free_bytes=0)})


def test_nothing_is_acknowledged_while_the_server_is_away(settings: Settings) -> None:
    first, second = ct_image(), ct_image()
    # A server of its own, also where the others use a given one: this test takes it down.
    with local_server() as server, Archive.open(_impatient(_on(settings, server))) as archive:
        store(archive, first)
        server.stop()
        try:
            with pytest.raises(StoreUnavailable):
                store(archive, second)
            assert archive.check()["store"] is not None
            assert archive.search(Query(Level.STUDY)).total == 1
        finally:
            server.start()
        assert store(archive, second).outcome is Outcome.STORED
        assert_sound(archive)


def _impatient(settings: Settings) -> Settings:
    s3 = settings.storage.s3.model_copy(update={"connect_timeout": 1.0, "read_timeout": 2.0, "retries": 0})
    return settings.model_copy(update={"storage": StorageSettings(backend="s3", s3=s3)})
