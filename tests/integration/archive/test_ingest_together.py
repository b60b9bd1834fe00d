"""Objects that are finished together: what comes of each is as if they came one after the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import psycopg
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.errors import BadObject, IndexUnavailable, StoreUnavailable
from archive.index_ahead import RowsAhead
from archive.index_writer import StaleKey
from archive.ingest_together import commit_all, finish_all
from archive.receiving import Receiving
from archive.records import Level, Outcome, Query, Receipt
from tests.factories import ct_image
from tests.integration.archive.held_up import outcomes
from tests.integration.archive.support import assert_sound, begun, of_one_series, sql, stored_keys, use_journal


@pytest.fixture(autouse=True)
def journal(archive: Archive) -> None:
    """The receive journal is in use, so that they share its flushes."""
    use_journal(archive)


def finished(archive: Archive, *datasets: Dataset) -> list[Receipt | Exception]:
    receivings = [begun(archive, each) for each in datasets]
    assert all(each.shares for each in receivings)
    return finish_all(receivings)


def made_durable(receivings: Sequence[Receiving]) -> list[Exception | None]:
    """As `finish_all` does before it adds rows, here none of them ahead."""
    return commit_all(receivings, RowsAhead(len(receivings)))


def test_all_are_stored_and_told_in_their_order(archive: Archive) -> None:
    made = of_one_series(20)
    found = finished(archive, *made)
    assert outcomes(found) == [Outcome.STORED] * 20
    assert [each.sop_instance_uid for each in found if isinstance(each, Receipt)] == [
        each.SOPInstanceUID for each in made
    ]
    assert len(archive.locate(made[0].StudyInstanceUID)) == 20
    assert_sound(archive)


def test_none_is_none(archive: Archive) -> None:
    assert finish_all([]) == made_durable([]) == []


def test_the_same_again_and_other_bytes_under_one_name(archive: Archive) -> None:
    image, other = ct_image(), ct_image()
    changed = ct_image(
        SOPInstanceUID=image.SOPInstanceUID,
        StudyInstanceUID=image.StudyInstanceUID,
        SeriesInstanceUID=image.SeriesInstanceUID,
        ImageComments="changed",
    )
    before = len(stored_keys(archive))
    found = finished(archive, image, image, changed, other, image, changed)
    expected = [Outcome.STORED, Outcome.DUPLICATE, Outcome.NEW_VERSION, Outcome.STORED, *[Outcome.DUPLICATE] * 2]
    assert outcomes(found) == expected
    assert len(stored_keys(archive)) == before + 3
    (shown,) = archive.locate(image.StudyInstanceUID)
    assert shown.version == 2
    assert_sound(archive)


def test_the_first_describes_patient_study_and_series_whatever_their_uids(archive: Archive) -> None:
    made = []
    for n in range(6):
        study, patient = generate_uid(), f"P{n // 2}"
        for series in (generate_uid(), generate_uid()):
            for image in range(3):
                told = f"{n} {len(made)} {image}"
                made.append(
                    ct_image(
                        StudyInstanceUID=study,
                        SeriesInstanceUID=series,
                        PatientID=patient,
                        PatientName=told,
                        StudyDescription=told,
                        SeriesDescription=told,
                    )
                )
    assert outcomes(finished(archive, *made)) == [Outcome.STORED] * len(made)
    first: dict[str, str] = {}
    for each in made:
        for uid in (each.PatientID, each.StudyInstanceUID, each.SeriesInstanceUID):
            first.setdefault(uid, each.StudyDescription)
    told = sql(
        archive,
        """SELECT patient_id, name FROM patient WHERE patient_id LIKE 'P%%'
           UNION ALL SELECT study_instance_uid, study_description FROM study
           UNION ALL SELECT series_instance_uid, series_description FROM series""",
    )
    assert {uid: text for uid, text in told if uid in first} == first


def test_what_postgresql_refuses_harms_no_other(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NUL that slipped through: in a row, and in what would describe a series of its own."""
    made = [*of_one_series(3), *of_one_series(2)]
    receivings = [begun(archive, each) for each in made]
    for n in (1, 3):
        arrival, _ = receivings[n].placed
        object.__setattr__(arrival.instance, "sop_class_uid", "1.2\0.3")
    made_durable(receivings)
    found = finish_all(receivings)
    assert [isinstance(each, Receipt) for each in found] == [True, False, True, False, True]
    assert all(isinstance(found[n], psycopg.DataError | BadObject | ValueError) for n in (1, 3)), found
    assert len(archive.locate(made[0].StudyInstanceUID)) == 2
    assert len(archive.locate(made[3].StudyInstanceUID)) == 1


def test_bytes_that_cannot_be_made_durable_harm_no_other(archive: Archive) -> None:
    made = of_one_series(5)
    receivings = [begun(archive, each) for each in made]
    # Somebody has taken its temporary file: it cannot get its name.
    receivings[2].to_commit().abort()
    failed = made_durable(receivings)
    assert [each is None for each in failed] == [True, True, False, True, True]
    rest = [each for each, error in zip(receivings, failed, strict=True) if error is None]
    assert outcomes(finish_all(rest)) == [Outcome.STORED] * 4
    assert len(archive.locate(made[0].StudyInstanceUID)) == 4
    assert_sound(archive)


def test_one_that_was_made_durable_alone_is_finished_with_the_others(archive: Archive) -> None:
    made = of_one_series(4)
    receivings = [begun(archive, each) for each in made]
    receivings[1].commit()
    assert outcomes(finish_all(receivings)) == [Outcome.STORED] * 4
    assert_sound(archive)


def test_without_an_index_none_is_acknowledged_and_all_are_taken_when_sent_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = of_one_series(3)
    receivings = [begun(archive, each) for each in made]
    made_durable(receivings)

    def away(*_: object) -> None:
        raise IndexUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(archive._ingest._index._session, "run", away)
        assert outcomes(finish_all(receivings)) == [IndexUnavailable] * 3
    assert archive.search(Query(Level.STUDY, {0x0020000D: made[0].StudyInstanceUID})).total == 0
    assert outcomes(finished(archive, *made)) == [Outcome.STORED] * 3
    assert len(archive.locate(made[0].StudyInstanceUID)) == 3


def test_a_block_that_was_settled_by_another_is_told_to_each(archive: Archive) -> None:
    receivings = [begun(archive, each) for each in of_one_series(3)]
    made_durable(receivings)
    sql(archive, "UPDATE key_block SET state = 'settling' WHERE id = %s", receivings[0].placed[1].block)
    assert outcomes(finish_all(receivings)) == [StaleKey] * 3


def test_threads_that_finish_some_each_make_one_series_of_them(archive: Archive) -> None:
    made = of_one_series(80)
    found: list[Receipt | Exception] = []

    def work(some: list[Dataset]) -> None:
        for start in range(0, len(some), 5):
            found.extend(finished(archive, *some[start : start + 5]))

    threads = [threading.Thread(target=work, args=(made[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert outcomes(found) == [Outcome.STORED] * 80
    assert len(archive.locate(made[0].StudyInstanceUID)) == 80
    assert_sound(archive)


def test_the_store_says_why_it_takes_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    receivings = [begun(archive, each) for each in of_one_series(2)]

    def refuse(*_: object) -> int:
        raise OSError(5, "Input/output error")

    before = len(stored_keys(archive))
    with monkeypatch.context() as patched:
        patched.setattr("os.pwritev", refuse)
        failed = made_durable(receivings)
    assert [type(each) for each in failed] == [StoreUnavailable] * 2
    assert len(stored_keys(archive)) == before
