"""Rows whose commit did not wait for PostgreSQL's log: a crash of the server takes them, and nothing that was acknowledged.

The server is killed with all its processes, so that what only its memory had is gone, as after a power cut; and it is
kept from writing its log by itself, so that something is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from pydicom.uid import generate_uid

from archive import keys
from archive.core import Archive, migrate
from archive.embedded import EmbeddedPostgres
from archive.records import Outcome, Source, Transport
from config.settings import Settings
from tests.factories import MODALITY, SOURCE, ct_image, encode, store, store_bytes
from tests.integration.archive.support import assert_sound, sql
from tests.integration.archive.test_power_cut import journaled, killed_sender


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    folder = tmp_path_factory.mktemp("crashes")
    for parent in (folder, *folder.parents[:3]):
        if parent.owner() == Path.home().owner() and parent != Path("/tmp"):
            parent.chmod(0o755)
    server = EmbeddedPostgres(folder / "postgres")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.stop()


@pytest.fixture
def settings(server: EmbeddedPostgres, settings: Settings) -> Settings:
    own = settings.model_copy(
        update={"database": settings.database.model_copy(update={"url": type(settings.database.url)(server.url)})}
    )
    migrate(own)
    return own


def crash(server: EmbeddedPostgres) -> None:
    """End all its processes at once, and start it again."""
    postmaster = psutil.Process(int((Path(server._server.pgdata) / "postmaster.pid").read_text().split()[0]))
    postmaster.suspend()  # no more children come while they are counted; some end by themselves
    everyone = [postmaster, *postmaster.children(recursive=True)]
    for each in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(everyone, timeout=120)
    server._server.ensure_postgres_running()


def rows(archive: Archive) -> dict[str, str]:
    found = sql(
        archive, "SELECT sop_instance_uid, digest FROM instance JOIN stored_object ON instance_id = instance.id"
    )
    return {uid: bytes(digest).hex() for uid, digest in found}


def receive(archive: Archive, count: int, source: Source = MODALITY, **attributes: Any) -> set[str]:
    """Store images of one series, of which the first makes patient, study and series."""
    uids = set()
    for _ in range(count):
        image = ct_image(**attributes)
        assert store(archive, image, source).outcome is Outcome.STORED
        uids.add(str(image.SOPInstanceUID))
    return uids


def test_rows_that_a_crash_of_the_server_takes_are_made_again(archive: Archive, server: EmbeddedPostgres) -> None:
    series = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    acknowledged = receive(archive, 6, **series)
    crash(server)
    assert len(rows(archive)) < 6  # or this test shows nothing
    acknowledged |= receive(archive, 1, **series)
    archive.reconcile()
    assert set(rows(archive)) == acknowledged
    assert_sound(archive)
    acknowledged |= receive(archive, 2, **series)
    archive.close()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    assert set(rows(archive)) == acknowledged


def test_what_is_made_again_is_whose_it_was(archive: Archive, server: EmbeddedPostgres) -> None:
    series = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    receive(archive, 2, **series)
    crash(server)
    archive.reconcile()
    of = "SELECT facility.code, calling_ae_title FROM stored_object JOIN facility ON facility.id = facility_id"
    assert sql(archive, of) == [("86001", "CT1")] * 2


@pytest.mark.parametrize("transport", ["stow", "import"])
def test_rows_of_which_the_file_does_not_tell_all_wait_for_the_log(
    archive: Archive, server: EmbeddedPostgres, transport: Transport
) -> None:
    series = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    acknowledged = receive(archive, 4, replace(SOURCE, transport=transport), **series)
    crash(server)
    assert set(rows(archive)) == acknowledged


def test_rows_of_a_process_that_does_nothing_more_are_made_by_another(
    archive: Archive, server: EmbeddedPostgres, settings: Settings
) -> None:
    acknowledged = receive(archive, 5, StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid())
    crash(server)
    assert len(rows(archive)) < 5
    with Archive.open(settings) as another:
        another.reconcile()
        assert set(rows(another)) == acknowledged
        assert_sound(another)


def test_a_block_is_not_forgotten_by_whoever_does_not_know_of_the_crash_yet(
    archive: Archive, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object whose session finds the server crashed is the last of its block, all of whose keys are used then."""
    monkeypatch.setattr(keys, "BLOCK_SIZE", 4)
    series = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    acknowledged = receive(archive, 3, **series)
    crash(server)
    assert len(rows(archive)) < 3
    acknowledged |= receive(archive, 1, **series)
    archive.reconcile()
    assert set(rows(archive)) == acknowledged
    assert_sound(archive)


def test_given_a_failed_write_in_the_block_then_it_is_not_forgotten_either(
    archive: Archive, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block with a key that was left behind is settled by its writer, who looks at that key alone."""
    monkeypatch.setattr(keys, "BLOCK_SIZE", 4)
    series = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    acknowledged = receive(archive, 2, **series)
    archive._keys.release(archive._keys.take(), settled=False)
    crash(server)
    assert len(rows(archive)) < 2
    acknowledged |= receive(archive, 1, **series)
    archive.reconcile()
    assert set(rows(archive)) == acknowledged
    assert_sound(archive)


def test_who_sends_again_is_answered_when_the_log_has_the_first_row(archive: Archive, server: EmbeddedPostgres) -> None:
    image = ct_image()
    data = encode(image)
    receive(archive, 1, StudyInstanceUID=image.StudyInstanceUID, SeriesInstanceUID=image.SeriesInstanceUID)
    for outcome in (Outcome.STORED, Outcome.DUPLICATE):
        receipt = store_bytes(archive, data, image.SOPClassUID, image.SOPInstanceUID, source=MODALITY)
        assert receipt.outcome is outcome
    crash(server)
    assert str(image.SOPInstanceUID) in rows(archive)
    archive.reconcile()
    assert_sound(archive)


def test_a_power_cut_takes_rows_files_and_processes_and_nothing_that_was_acknowledged(
    archive: Archive, server: EmbeddedPostgres, settings: Settings
) -> None:
    receipts = killed_sender(archive)
    crash(server)
    assert not receipts.items() <= rows(archive).items()  # or this test shows nothing
    root = settings.objects_dir
    for each in journaled(root):
        (root / each.path).unlink(missing_ok=True)
    with Archive.open(settings) as again:
        again.reconcile()
        assert receipts.items() <= rows(again).items()
        assert_sound(again)
        assert sql(again, "SELECT count(*) FROM key_block") == [0]
