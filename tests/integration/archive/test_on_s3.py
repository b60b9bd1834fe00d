"""The archive with its objects on a real S3 server: in, found, out, repaired."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archive.core import Archive
from archive.errors import StoreUnavailable
from archive.records import Level, Outcome, Query
from archive.retrieve import read_frames, read_object
from config.settings import S3Settings, Settings, StorageSettings
from tests.factories import ct_image, encode, store
from tests.integration.archive.support import assert_sound
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
