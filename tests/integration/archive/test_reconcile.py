"""Repairs after a crash, and the check of the store against the index."""

from __future__ import annotations

import threading

import pytest
from pydicom.dataset import Dataset

from archive.core import Archive
from archive.errors import IndexUnavailable
from archive.index_session import IndexSession
from archive.maintenance import Maintenance
from archive.models import KeyBlock
from archive.reconcile import Repairs
from archive.records import Level, Outcome, Query
from archive.standard.file_format import encode_file_meta
from config.settings import Settings
from storage.errors import StorageUnavailable
from tests.factories import ct_image, encode, store
from tests.integration.archive.support import assert_sound, sql, stored_keys, studies


def _block(archive: Archive, prefix: str, writer: int, state: str = "open", size: int = 4) -> None:
    sql(
        archive,
        "INSERT INTO key_block (prefix, size, writer, state) VALUES (%s, %s, %s, %s)",
        prefix,
        size,
        writer,
        state,
    )


def _object(archive: Archive, key: str, data: bytes) -> None:
    with archive.store.create(key) as writer:
        writer.write(data)
        writer.commit()


def _stored(archive: Archive, image: Dataset) -> bytes:
    """The bytes of a stored image."""
    (instance,) = archive.locate(image.StudyInstanceUID)
    with archive.store.open(instance.object.key) as reader:
        return reader.read()


def test_the_block_of_a_dead_writer_is_settled(archive: Archive) -> None:
    store(archive, image := ct_image())
    copy = _stored(archive, image)
    _block(archive, "2026/01/01/dead", writer=17)
    _object(archive, "2026/01/01/dead/001", copy)
    _object(archive, "2026/01/01/dead/003", copy)
    unfinished = archive.store.create("2026/01/01/dead/002")
    unfinished.write(b"half")
    repairs = archive.reconcile()
    assert (repairs.blocks, repairs.orphans, repairs.failed) == (1, 4, 0)
    unfinished.abort()
    assert sql(archive, "SELECT count(*) FROM key_block WHERE writer = 17") == [0]
    assert_sound(archive)
    assert archive.reconcile() == Repairs()


def test_a_living_writer_is_left_alone_and_its_rows_stay(settings: Settings, archive: Archive) -> None:
    store(archive, ct_image())
    with Archive.open(settings, application="second") as second:
        store(second, ct_image())
        before = sql(archive, "SELECT prefix, state FROM key_block ORDER BY 1")
        assert archive.reconcile().blocks == 0
        assert second.reconcile().blocks == 0
        assert sql(archive, "SELECT prefix, state FROM key_block ORDER BY 1") == before
        assert store(second, ct_image()).outcome is Outcome.STORED
    assert_sound(archive)


def test_a_block_that_a_living_writer_failed_to_settle_is_taken_over(settings: Settings, archive: Archive) -> None:
    writer = IndexSession(settings.database, "living")
    writer.run(lambda connection: connection.execute("SELECT 1"))
    _block(archive, "2026/01/01/given", writer.writer, state="settling")
    _block(archive, "2026/01/01/used", writer.writer)
    _object(archive, "2026/01/01/given/000", b"given up")
    assert archive.reconcile().blocks == 1
    assert not stored_keys(archive)
    assert sql(archive, "SELECT prefix FROM key_block") == ["2026/01/01/used"]
    writer.close()
    assert archive.reconcile().blocks == 1


def test_a_store_that_cannot_delete_keeps_the_block_for_later(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    _block(archive, "2026/01/01/dead", writer=17)

    def refuse(key: str) -> None:
        raise StorageUnavailable("injected")

    with monkeypatch.context() as patched:
        patched.setattr(archive.store, "delete", refuse)
        repairs = archive.reconcile()
    assert (repairs.blocks, repairs.failed) == (0, 1)
    assert sql(archive, "SELECT state FROM key_block") == ["settling"]
    assert archive.reconcile().blocks == 1


def test_many_reconcile_at_once(settings: Settings, archive: Archive) -> None:
    store(archive, image := ct_image())
    copy = _stored(archive, image)
    for n in range(6):
        _block(archive, f"2026/01/01/dead{n}", writer=n + 1)
        _object(archive, f"2026/01/01/dead{n}/000", copy)
    threads = [threading.Thread(target=archive.reconcile) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sql(archive, "SELECT count(*) FROM key_block WHERE writer < 10") == [0]
    assert len(stored_keys(archive)) == 1
    assert_sound(archive)


def test_whole_objects_of_a_dead_writer_get_the_row_that_they_lack(archive: Archive) -> None:
    """The crash came between the bytes and the row, or the row was lost with the database."""
    lost, first, second = ct_image(seed=1), ct_image(seed=2), ct_image(seed=3)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    _block(archive, "2026/01/01/dead", writer=17)
    for n, image in enumerate((lost, first, second)):
        meta = encode_file_meta(image.SOPClassUID, image.SOPInstanceUID, "1.2.840.10008.1.2.1", "US2")
        _object(archive, f"2026/01/01/dead/00{n}", meta + encode(image))
    _object(archive, "2026/01/01/dead/003", b"no DICOM")
    repairs = archive.reconcile()
    assert (repairs.adopted, repairs.orphans, repairs.failed) == (3, 0, 0)
    assert archive.search(Query(Level.STUDY)).owners == ["86002", "86002"]
    (shown,) = archive.locate(first.StudyInstanceUID)
    assert (shown.object.key, shown.version) == ("2026/01/01/dead/002", 2)
    # What cannot be read is not ours to delete either: it may be the ruin of an acknowledged object.
    assert "2026/01/01/dead/003" in stored_keys(archive)
    assert archive.reconcile() == Repairs()


def test_a_refused_object_of_a_dead_writer_is_neither_shown_nor_deleted(settings: Settings) -> None:
    rejecting = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"conflict": "reject"})})
    first, second = ct_image(seed=2), ct_image(seed=3)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    with Archive.open(rejecting) as archive:
        store(archive, first)
        _block(archive, "2026/01/01/dead", writer=17)
        meta = encode_file_meta(second.SOPClassUID, second.SOPInstanceUID, "1.2.840.10008.1.2.1", "CT1")
        _object(archive, "2026/01/01/dead/000", meta + encode(second))
        assert archive.reconcile().adopted == 0
        (shown,) = archive.locate(first.StudyInstanceUID)
        assert shown.version == 1
        assert "2026/01/01/dead/000" in stored_keys(archive)


def test_empty_parents_are_removed_when_older_than_a_day(archive: Archive) -> None:
    images = [ct_image(PatientID=f"P{n}") for n in range(3)]
    for image in images:
        store(archive, image)
    empty = "DELETE FROM stored_object WHERE instance_id IN (SELECT instance.id FROM instance JOIN series ON series.id = series_id JOIN study ON study.id = series.study_id WHERE study_instance_uid <> %s)"
    sql(archive, empty, images[0].StudyInstanceUID)
    sql(archive, "DELETE FROM instance WHERE id NOT IN (SELECT instance_id FROM stored_object)")
    sql(archive, "UPDATE series SET instance_count = 0 WHERE id NOT IN (SELECT series_id FROM instance)")
    sql(
        archive,
        "UPDATE study SET instance_count = 0, series_count = 0, byte_count = 0, modalities_in_study = '{}', sop_classes_in_study = '{}' WHERE study_instance_uid <> %s",
        images[0].StudyInstanceUID,
    )
    assert archive.reconcile().empty == 0
    assert len(studies(archive)) == 1
    for table in ("patient", "study", "series"):
        sql(archive, f"UPDATE {table} SET created_at = now() - interval '25 hours'")
    assert archive.reconcile(empty_parents=False).empty == 0
    assert archive.reconcile().empty == 6
    assert [sql(archive, f"SELECT count(*) FROM {table}") for table in ("patient", "study", "series")] == [[1]] * 3
    # The writer still believes that it knows these series.
    again = ct_image(
        PatientID="P1", StudyInstanceUID=images[1].StudyInstanceUID, SeriesInstanceUID=images[1].SeriesInstanceUID
    )
    assert store(archive, again).outcome is Outcome.STORED
    assert len(studies(archive)) == 2
    for key in stored_keys(archive) - set(sql(archive, "SELECT key FROM stored_object")):
        archive.store.delete(key)
    assert_sound(archive)


def test_verify_finds_what_is_lost_and_what_is_whole_again(settings: Settings, archive: Archive) -> None:
    for _ in range(5):
        store(archive, ct_image())
    paths = [settings.objects_dir / key for key in sql(archive, "SELECT key FROM stored_object ORDER BY id")]
    original = [path.read_bytes() for path in paths]
    for path in paths:
        path.chmod(0o600)
    paths[0].unlink()
    paths[1].write_bytes(original[1][:-2])
    paths[2].write_bytes(original[2][:-1] + bytes([original[2][-1] ^ 1]))
    paths[3].write_bytes(b"")
    seen: list[int] = []
    archive.verify(by_size := archive.reconcile(), progress=seen.append)
    assert (by_size.checked, by_size.missing, by_size.corrupt, by_size.recovered) == (5, 1, 2, 0)
    assert seen == [5]
    archive.verify(by_content := archive.reconcile(), content=True)
    assert (by_content.missing, by_content.corrupt) == (1, 3)
    states = "SELECT state FROM stored_object ORDER BY id"
    assert sql(archive, states) == ["missing", "corrupt", "corrupt", "corrupt", "available"]
    for path, data in zip(paths, original, strict=True):
        if path != paths[2]:
            path.write_bytes(data)
    # A check by size alone does not say of damaged content that it is whole.
    archive.verify(by_size := archive.reconcile())
    assert sql(archive, states) == ["available", "available", "corrupt", "available", "available"]
    paths[2].write_bytes(original[2])
    archive.verify(whole := archive.reconcile(), content=True)
    assert (whole.missing, whole.corrupt, whole.recovered) == (0, 0, 1)
    assert sql(archive, states) == ["available"] * 5
    assert_sound(archive)


def test_a_store_that_cannot_tell_changes_no_state(settings: Settings, archive: Archive) -> None:
    store(archive, ct_image())
    path = settings.objects_dir / sql(archive, "SELECT key FROM stored_object")[0]
    path.rename(aside := path.with_name("aside"))
    path.symlink_to(path.name)
    archive.verify(repairs := archive.reconcile(), content=True)
    assert (repairs.failed, repairs.missing, repairs.corrupt) == (1, 0, 0)
    assert sql(archive, "SELECT state FROM stored_object") == ["available"]
    path.unlink()
    aside.rename(path)


def test_maintenance_starts_stops_and_repairs(archive: Archive) -> None:
    before = threading.active_count()
    for _ in range(3):
        _block(archive, "2026/01/01/dead", writer=17)
        with Maintenance(archive, interval=3600):
            while sql(archive, "SELECT count(*) FROM key_block") != [0]:
                pass
    assert threading.active_count() == before


def test_maintenance_outlives_every_error(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [IndexUnavailable("injected"), ValueError("injected")]
    done = threading.Event()

    def reconcile(*, empty_parents: bool = True) -> Repairs:
        if errors:
            raise errors.pop()
        done.set()
        return Repairs()

    monkeypatch.setattr(archive, "reconcile", reconcile)
    with Maintenance(archive, interval=0):
        assert done.wait(120)


def test_every_state_of_a_block_is_in_the_models() -> None:
    (check,) = [each for each in KeyBlock.__table__.constraints if "state" in str(each.name)]  # type: ignore[attr-defined]
    assert "'open', 'settling'" in str(check.sqltext)  # type: ignore[attr-defined]
