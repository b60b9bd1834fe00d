"""What is acknowledged is there, whatever is killed; what is not leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from archive.core import Archive, migrate
from archive.embedded import EmbeddedPostgres
from archive.errors import IndexUnavailable, StoreUnavailable, Unavailable
from archive.index_session import IndexSession
from archive.index_writer import StaleKey
from archive.keys import settle_block
from archive.maintenance import Maintenance
from archive.records import Outcome
from config.settings import Settings, load
from storage.base import Buffer, ObjectStat
from storage.errors import StorageUnavailable
from storage.files import FileWriter
from storage.filesystem import FilesystemStore
from tests.factories import SOURCE, ct_image, encode, store, store_bytes
from tests.integration.archive.support import (
    assert_sound,
    begun,
    sql,
    start_sender,
    stored_keys,
    studies,
    together,
    use_journal,
)


def _digests(archive: Archive) -> dict[str, bytes]:
    rows = sql(
        archive,
        "SELECT sop_instance_uid, digest FROM instance JOIN stored_object ON instance_id = instance.id AND current",
    )
    return {uid: bytes(digest) for uid, digest in rows}


def test_the_writer_s_session_may_be_ended_at_any_time(settings: Settings, archive: Archive) -> None:
    acknowledged: dict[str, bytes] = {}
    refused: list[str] = []
    done = threading.Event()
    study, series = generate_uid(), generate_uid()

    def work(n: int) -> None:
        if n == 6:
            chance = random.Random(1)
            while not done.wait(chance.random() / 20):
                sql(
                    archive,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pacs writer'",
                )
            return
        try:
            for _ in range(40):
                image = ct_image(StudyInstanceUID=study, SeriesInstanceUID=series)
                data = encode(image)
                try:
                    store_bytes(archive, data, image.SOPClassUID, image.SOPInstanceUID)
                    acknowledged[image.SOPInstanceUID] = hashlib.sha256(data).digest()
                except Unavailable as error:
                    refused.append(str(error))
        finally:
            if n == 0:
                done.set()

    assert not together(work, 7)
    assert acknowledged, refused[:3]
    assert len(acknowledged) + len(refused) == 240
    # Once it is left in peace, the next object goes through.
    assert store(archive, ct_image()).outcome is Outcome.STORED
    archive.close()
    with Archive.open(settings) as again:
        again.reconcile()
        assert acknowledged.items() <= _digests(again).items()
        assert sql(again, "SELECT count(*) FROM key_block") == [0]
        assert_sound(again)


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, Settings]]:
    """A server for one test, with fsync on, that may be stopped and started again."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    server = EmbeddedPostgres(tmp_path / "pg")
    settings = load(
        environ={},
        data_dir=tmp_path / "data",
        database={"url": server.url, "pool_size": 4, "connect_timeout": 2},
        storage={"minimum_free_bytes": 0},
        facilities=[{"code": "86001", "name": "A"}],
    )
    migrate(settings)
    yield server, settings
    server.stop()


def _restart(server: EmbeddedPostgres, pause: threading.Event | None = None) -> None:
    server._server.stop()
    if pause is not None:
        pause.wait()
    server._server.ensure_postgres_running()


def test_postgresql_restarts_under_load_and_maintenance_goes_on(
    own_postgres: tuple[EmbeddedPostgres, Settings],
) -> None:
    server, settings = own_postgres
    acknowledged: dict[str, bytes] = {}
    failed, restarted = threading.Event(), threading.Event()
    study = generate_uid()

    def work(n: int) -> None:
        if n == 4:
            _restart(server, failed)
            restarted.set()
            return
        left = 20
        while left:
            image = ct_image(StudyInstanceUID=study)
            data = encode(image)
            try:
                store_bytes(archive, data, image.SOPClassUID, image.SOPInstanceUID)
            except IndexUnavailable:
                failed.set()
            else:
                acknowledged[image.SOPInstanceUID] = hashlib.sha256(data).digest()
                left -= restarted.is_set()

    with Archive.open(settings) as archive:
        with Maintenance(archive, interval=0.02):
            assert not together(work, 5)
            assert studies(archive)
            # What a killed process left behind is settled by the thread that lived through the restart.
            sql(archive, "INSERT INTO key_block (prefix, size, writer) VALUES ('2026/01/01/dead', 4, 17)")
            while sql(archive, "SELECT count(*) FROM key_block WHERE writer = 17") != [0]:
                pass
        assert acknowledged.items() <= _digests(archive).items()
        assert archive.check() == {"index": None, "store": None}
        server._server.stop()
        assert "index" in str(archive.check()["index"])
        with pytest.raises(IndexUnavailable):
            studies(archive)
        with pytest.raises(IndexUnavailable):
            archive.locate("1.2.3")
        with pytest.raises(IndexUnavailable):
            store(archive, ct_image())
        server._server.ensure_postgres_running()
    with Archive.open(settings) as archive:
        archive.reconcile()
        assert sql(archive, "SELECT count(*) FROM key_block") == [0]
        assert_sound(archive)


def test_an_idle_session_that_was_lost_costs_no_object(archive: Archive) -> None:
    store(archive, ct_image())
    sql(archive, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pacs writer'")
    assert store(archive, ct_image()).outcome is Outcome.STORED
    sql(archive, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pacs'")
    assert len(studies(archive)) == 2


def test_a_lost_connection_costs_no_retrieval(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    located = archive.locate(image.StudyInstanceUID)
    for _ in range(3):
        sql(archive, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pacs'")
        assert archive.locate(image.StudyInstanceUID) == located


@pytest.mark.parametrize("point", [0, 1, 7, 32])
def test_a_killed_process_keeps_what_it_acknowledged_and_nothing_else(archive: Archive, point: int) -> None:
    process = start_sender(archive, threads=3, count=1000, study=generate_uid(), series=generate_uid())
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(point)]
    process.kill()
    lines += process.communicate()[0].splitlines()
    receipts = dict(line.split()[1:3] for line in lines if line.count(" ") == 2 and len(line.split()[2]) == 64)
    assert len(receipts) >= point
    while sql(archive, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'sender writer'"):
        pass
    archive.reconcile()
    found = {uid: digest.hex() for uid, digest in _digests(archive).items()}
    assert receipts.items() <= found.items()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    # A second name of a whole object may stay (killed between naming it and removing the first name); half of one not.
    files = [path for path in archive.settings.objects_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.startswith(".") and path.stat().st_nlink == 1]
    assert_sound(archive)


def test_a_block_settled_behind_its_writer_is_found_out_by_the_first_row(settings: Settings, archive: Archive) -> None:
    store(archive, ct_image())
    image = ct_image()
    with archive.begin(
        SOURCE,
        sop_class_uid=image.SOPClassUID,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    ) as receiving:
        receiving.write(encode(image))
        session = IndexSession(settings.database, "other")
        (block,) = sql(archive, "SELECT id FROM key_block")
        assert settle_block(session.run, archive.store, block) == 1023
        assert settle_block(session.run, archive.store, block) == 0
        session.close()
        # The settler deleted the unfinished file, so this one does not get as far as the index.
        with pytest.raises(StoreUnavailable):
            receiving.finish()
    with pytest.raises(StaleKey):
        store(archive, image)
    assert len(stored_keys(archive)) == 1
    assert store(archive, image).outcome is Outcome.STORED
    archive.close()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    assert_sound(archive)


def test_what_is_stored_after_its_block_was_settled_is_refused_and_deleted(
    settings: Settings, archive: Archive
) -> None:
    """Its file has no name that the settler could have deleted."""
    use_journal(archive)
    image = ct_image()
    with begun(archive, image) as receiving:
        session = IndexSession(settings.database, "other")
        settle_block(session.run, archive.store, receiving.placed[1].block)
        session.close()
        with pytest.raises(StaleKey):
            receiving.finish()
    assert store(archive, image).outcome is Outcome.STORED
    archive.close()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    assert_sound(archive)


def test_a_row_is_refused_from_the_moment_its_block_is_settling(archive: Archive) -> None:
    """The bytes are committed after the settler looked: the row is refused, and they are deleted all the same."""
    image, versions = ct_image(), ct_image()
    store(archive, versions)
    versions.ImageComments = "x"
    for refused in (image, versions):
        sql(archive, "UPDATE key_block SET state = 'settling'")
        sql(archive, "DELETE FROM key_block")
        with pytest.raises(StaleKey):
            store(archive, refused)
        assert len(stored_keys(archive)) == 1
        store(archive, ct_image())
        sql(archive, "DELETE FROM stored_object WHERE id = (SELECT max(id) FROM stored_object)")
        for key in stored_keys(archive) - set(sql(archive, "SELECT key FROM stored_object")):
            archive.store.delete(key)
        sql(archive, "DELETE FROM instance WHERE id NOT IN (SELECT instance_id FROM stored_object)")
    assert store(archive, image).outcome is Outcome.STORED


class _FailingWriter:
    """A writer that fails at the step its store was told."""

    shares = False

    def __init__(self, writer: FileWriter, store: _Failing) -> None:
        self._writer = writer
        self._store = store
        self.key = writer.key
        self.read_back = writer.read_back

    def write(self, data: Buffer) -> None:
        self._store.fail("write")
        self._writer.write(data)

    def commit(self) -> ObjectStat:
        stat = self._writer.commit()
        self._store.fail("after commit")
        return stat

    def abort(self) -> None:
        self._writer.abort()


class _Failing(FilesystemStore):
    """Fails once at each of the steps; what it said it could not do, it may have done."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.steps: set[str] = set()

    def create(self, key: str, *, indexed: bool = False) -> Any:
        self.fail("create")
        return _FailingWriter(super().create(key), self)

    def delete(self, key: str) -> None:
        self.fail("delete")
        super().delete(key)

    def fail(self, step: str) -> None:
        if step in self.steps:
            self.steps.remove(step)
            raise StorageUnavailable(f"injected: {step}")


@pytest.mark.parametrize("step", ["create", "write", "after commit", "after commit,delete"])
def test_a_store_that_fails_leaves_nothing_visible_and_nothing_behind(settings: Settings, step: str) -> None:
    with Archive.open(settings) as archive:
        failing = archive.store = archive._keys._store = archive._ingest._store = _Failing(settings.objects_dir)
        store(archive, ct_image())
        failing.steps = set(step.split(","))
        image = ct_image()
        with pytest.raises(StoreUnavailable):
            store(archive, image)
        assert not failing.steps
        assert len(studies(archive)) == 1
        assert store(archive, image).outcome is Outcome.STORED
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    assert_sound(archive)


def test_the_store_cannot_say_whether_the_first_bytes_are_there(settings: Settings, archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    (key,) = sql(archive, "SELECT key FROM stored_object")
    # A loop of links: neither there nor not there.
    path = settings.objects_dir / key
    path.rename(aside := path.with_name("aside"))
    path.symlink_to(path.name)
    with pytest.raises(StoreUnavailable):
        store(archive, image)
    path.unlink()
    aside.rename(path)
    assert store(archive, image).outcome is Outcome.DUPLICATE
    archive.close()
    assert_sound(archive)


@contextlib.contextmanager
def _tiny_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_and_recovers(settings: Settings, tmp_path: Path) -> None:
    with _tiny_disk(tmp_path / "disk", "256k") as disk:
        full = settings.model_copy(update={"storage": settings.storage.model_copy(update={"root": disk})})
        with Archive.open(full) as archive:
            sent = 0
            with pytest.raises(StoreUnavailable):
                for _ in range(100):
                    store(archive, ct_image(rows=128, columns=128))
                    sent += 1
            assert sent >= 5
            assert len(stored_keys(archive)) == sent
            # Full to the last byte: not even the file meta information fits.
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    store(archive, ct_image())
            open_files = len(os.listdir("/proc/self/fd"))
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    store(archive, ct_image())
            assert len(os.listdir("/proc/self/fd")) <= open_files
            filler.unlink()
            assert store(archive, ct_image()).outcome is Outcome.STORED
        assert sql(archive, "SELECT count(*) FROM key_block") == [0]
        assert_sound(archive)


def test_a_folder_that_is_gone_or_a_file_refuses(settings: Settings, archive: Archive) -> None:
    store(archive, ct_image())
    aside = settings.objects_dir.with_name("aside")
    settings.objects_dir.rename(aside)
    settings.objects_dir.write_text("not a folder")
    with pytest.raises(StoreUnavailable):
        store(archive, ct_image())
    assert archive.check()["store"]
    settings.objects_dir.unlink()
    shutil.move(aside, settings.objects_dir)
    assert store(archive, ct_image()).outcome is Outcome.STORED
    assert_sound(archive)


def test_opening_fails_with_a_sentence_and_leaves_nothing_open(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bad_root = settings.model_copy(
        update={"storage": settings.storage.model_copy(update={"root": tmp_path / "file" / "x"})}
    )
    with pytest.raises(StoreUnavailable, match="object store"):
        Archive.open(bad_root)
    nowhere = load(environ={}, data_dir=tmp_path, database={"url": "postgresql://nobody@127.0.0.1:1/none"})
    with pytest.raises(IndexUnavailable):
        Archive.open(nowhere)
