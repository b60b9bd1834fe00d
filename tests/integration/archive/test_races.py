"""Many senders at the same moment: no duplicate parent, no failure, no wrong counter."""

from __future__ import annotations

import threading
from dataclasses import replace

import psycopg
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.records import Level, Query
from config.settings import Settings
from tests.factories import SOURCE, ct_image, encode, store, store_bytes
from tests.integration.archive.support import assert_sound, sql, start_sender, studies, together, url_of


def test_eight_threads_with_the_first_objects_of_the_same_parents(archive: Archive) -> None:
    for _ in range(10):
        study, series, patient = generate_uid(), generate_uid(), generate_uid()
        images = [ct_image(StudyInstanceUID=study, SeriesInstanceUID=series, PatientID=patient[-20:]) for _ in range(8)]
        assert not together(lambda n, images=images: store(archive, images[n]), 8)  # type: ignore[misc]
    for table in ("patient", "study", "series"):
        assert sql(archive, f"SELECT count(*) FROM {table}") == [10]
    assert_sound(archive)


def test_eight_threads_with_the_same_object(archive: Archive) -> None:
    for _ in range(10):
        image = ct_image()
        outcomes: list[str] = []

        def send(_: int, image: Dataset = image, outcomes: list[str] = outcomes) -> None:
            outcomes.append(store(archive, image).outcome)

        assert not together(send, 8)
        assert sorted(outcomes) == ["duplicate"] * 7 + ["stored"]
    assert_sound(archive)


def test_two_archives_with_the_first_objects_of_the_same_parents(settings: Settings, archive: Archive) -> None:
    with Archive.open(settings, application="second") as second:
        for _ in range(10):
            study, series = generate_uid(), generate_uid()
            images = [ct_image(StudyInstanceUID=study, SeriesInstanceUID=series) for _ in range(7)]
            images.append(images[0])
            assert not together(lambda n, images=images: store((archive, second)[n % 2], images[n]), 8)  # type: ignore[misc]
    assert sql(archive, "SELECT count(*) FROM study") == [10]
    assert sql(archive, "SELECT count(*) FROM patient") == [1]
    assert_sound(archive)


def test_two_processes_with_the_first_objects_of_the_same_parents(archive: Archive) -> None:
    study, series = generate_uid(), generate_uid()
    processes = [start_sender(archive, threads=4, count=10, study=study, series=series) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(lines) == 80
    assert sql(archive, "SELECT instance_count FROM study") == [80]
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    assert_sound(archive)


def test_searching_while_storing_never_fails_and_never_shows_half(archive: Archive) -> None:
    study, series = generate_uid(), [generate_uid() for _ in range(4)]
    stop = threading.Event()

    def work(n: int) -> None:
        if n < 4:
            try:
                for _ in range(8):
                    store(archive, ct_image(StudyInstanceUID=study, SeriesInstanceUID=series[n]))
                    store(archive, ct_image())
            finally:
                if n == 0:
                    stop.set()
            return
        while not stop.is_set():
            for level in Level:
                for match in archive.search(Query(level, include="all")).matches:
                    if level is not Level.PATIENT:
                        assert match["00201208"]["Value"][0] > 0

    assert not together(work, 8)
    assert_sound(archive)


def test_one_poisoned_arrival_does_not_take_down_the_others(archive: Archive) -> None:
    # A facility code with NUL cannot be in PostgreSQL; it never comes from a peer, and stands for whatever else.
    poison = replace(SOURCE, address="10.0.0.1\0")
    results: list[str] = []

    def work(n: int) -> None:
        for turn in range(5):
            try:
                results.append(store(archive, ct_image(), poison if n == turn else SOURCE).outcome)
            except Exception as error:
                results.append(type(error).__name__)

    assert not together(work, 8)
    assert results.count("stored") == 35
    assert len(results) == 40
    archive.close()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    assert_sound(archive)


def test_writers_that_update_the_same_studies_in_opposite_order(settings: Settings, archive: Archive) -> None:
    series = [(generate_uid(), generate_uid()) for _ in range(6)]

    def send(target: Archive, forwards: bool) -> None:
        chosen = series if forwards else series[::-1]
        images = [ct_image(StudyInstanceUID=study, SeriesInstanceUID=uid) for study, uid in chosen]
        # Six threads of each archive share its transactions, so that a transaction updates several studies.
        assert not together(lambda n: store(target, images[n]), len(images))

    with Archive.open(settings, application="second") as second:
        for _ in range(8):
            assert not together(lambda n: send((archive, second)[n], n == 0), 2)
    assert sql(archive, "SELECT instance_count FROM study") == [16] * 6
    assert_sound(archive)


def test_a_deadlock_is_tried_again(archive: Archive) -> None:
    """A session that holds a study and then wants the series makes a deadlock with the writer for certain."""
    image = ct_image()
    store(archive, image)
    again = ct_image(StudyInstanceUID=image.StudyInstanceUID, SeriesInstanceUID=image.SeriesInstanceUID)
    with psycopg.connect(url_of(archive)) as other:
        other.execute("SET deadlock_timeout = '10min'")  # so that the writer is the one that finds out
        other.execute("SELECT 1 FROM study FOR UPDATE")
        storing = threading.Thread(target=store, args=(archive, again))
        storing.start()
        blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'pacs writer'"
        while not other.execute(blocked).fetchall():
            other.execute("SELECT pg_stat_clear_snapshot()")
        other.execute("SELECT 1 FROM series FOR UPDATE")
        other.rollback()
        storing.join()
    assert sql(archive, "SELECT instance_count FROM study") == [2]
    assert_sound(archive)


def test_the_session_may_be_lost_while_keys_are_taken(settings: Settings, archive: Archive) -> None:
    """Settling the block of a writer while all its threads are at work: no deadlock, no loss, nothing left over."""
    images = [[ct_image() for _ in range(12)] for _ in range(8)]
    stored: list[str] = []

    def work(n: int) -> None:
        if n == 8:
            for _ in range(15):
                sql(archive, "UPDATE key_block SET state = 'settling' WHERE state = 'open'")
            return
        for image in images[n]:
            while image.SOPInstanceUID not in stored:
                try:
                    store(archive, image)
                    stored.append(image.SOPInstanceUID)
                except Exception as error:
                    assert type(error).__name__ == "StaleKey", error

    assert not together(work, 9)
    assert sql(archive, "SELECT count(*) FROM stored_object") == [96]
    archive.close()
    with Archive.open(settings) as again:
        again.reconcile()
        assert sql(again, "SELECT count(*) FROM key_block") == [0]
        assert_sound(again)


def test_two_contents_of_one_object_at_once(archive: Archive) -> None:
    image = ct_image()
    data = encode(image)
    changed = encode(
        ct_image(
            **{k: getattr(image, k) for k in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")},
            ImageComments="x",
        )
    )
    outcomes: list[str] = []
    assert not together(
        lambda n: outcomes.append(
            store_bytes(archive, (data, changed)[n % 2], image.SOPClassUID, image.SOPInstanceUID).outcome
        ),
        8,
    )
    assert sorted(outcomes) == ["duplicate"] * 6 + ["new_version", "stored"]
    assert len(studies(archive)) == 1
    assert_sound(archive)
