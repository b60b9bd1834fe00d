"""Threads that finish objects at the same moment, as associations do: one of them does it for all.

The first is held up when it is stored, until all others wait for it (`HeldUp`); what they bring is one group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.errors import ConflictingDuplicate, NotFound, StoreUnavailable
from archive.index_insert import Sent
from archive.index_writer import IndexWriter
from archive.records import Outcome, Receipt
from config.settings import Settings
from storage.segments import Record, Segment
from tests.factories import ct_image, store
from tests.integration.archive.held_up import HeldUp, at_once, finish, held_keys, outcomes
from tests.integration.archive.support import (
    assert_sound,
    begun,
    of_one_series,
    sql,
    stored_keys,
    together,
    use_journal,
)
from tests.rejection_notes import QUALITY, note


@pytest.fixture(params=["version"])
def archive(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Archive]:
    """With the receive journal in use."""
    ingest = settings.ingest.model_copy(update={"conflict": request.param})
    with Archive.open(settings.model_copy(update={"ingest": ingest})) as opened:
        use_journal(opened)
        yield opened


class Counted:
    """How many records each flush of the journal had, and how many rows each transaction."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.flushes: list[int] = []
        self.transactions: list[int] = []
        append, insert, commit = Segment.append, IndexWriter._insert, Sent.commit

        def counted_append(segment: Segment, records: Sequence[Record], first: int) -> None:
            self.flushes.append(len(records))
            append(segment, records, first)

        def counted_insert(index: IndexWriter, connection: Any, tickets: Any) -> list[bool]:
            self.transactions.append(len(tickets))
            return insert(index, connection, tickets)

        def counted_commit(sent: Sent) -> list[bool]:
            added = commit(sent)
            self.transactions.append(len(added))
            return added

        patch.setattr(Segment, "append", counted_append)
        patch.setattr(Sent, "commit", counted_commit)
        patch.setattr(IndexWriter, "_insert", counted_insert)


def test_threads_that_finish_at_once_share_one_flush_and_one_transaction(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = of_one_series(12)
    counted = Counted(monkeypatch)
    told = at_once(archive, made)
    assert outcomes(told) == [Outcome.STORED] * 12
    assert [each.sop_instance_uid for each in told if isinstance(each, Receipt)] == [
        each.SOPInstanceUID for each in made
    ]
    assert counted.flushes == counted.transactions == [1, 12]
    assert len(archive.locate(made[0].StudyInstanceUID)) == 12
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_a_thread_alone_has_a_flush_and_a_transaction_for_each(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    for image in of_one_series(2):
        assert store(archive, image).outcome is Outcome.STORED
    assert counted.flushes == counted.transactions == [1, 1]


def test_more_than_may_be_together_are_several_groups(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive._ingest._finishing._group, "_most", 4)
    counted = Counted(monkeypatch)
    assert outcomes(at_once(archive, of_one_series(10))) == [Outcome.STORED] * 10
    assert counted.flushes == counted.transactions == [1, 4, 4, 2]
    assert_sound(archive)


def test_the_first_of_a_series_describes_it_whatever_their_uids(archive: Archive) -> None:
    made = []
    for n in range(4):
        study, series = generate_uid(), generate_uid()
        made += [
            ct_image(
                StudyInstanceUID=study, SeriesInstanceUID=series, PatientID=f"F{n}", StudyDescription=f"{n} {image}"
            )
            for image in range(3)
        ]
    assert outcomes(at_once(archive, made)) == [Outcome.STORED] * 12
    told = sql(archive, "SELECT study_instance_uid, study_description FROM study")
    assert {made[3 * n].StudyInstanceUID: f"{n} 0" for n in range(4)}.items() <= dict(told).items()


def test_the_same_object_at_once_is_stored_once(archive: Archive) -> None:
    image, before = ct_image(), len(stored_keys(archive))
    assert outcomes(at_once(archive, [image, image])) == [Outcome.STORED, Outcome.DUPLICATE]
    assert len(stored_keys(archive)) == before + 2, "the one that was held up, and this"
    assert held_keys(archive) == 0
    assert_sound(archive)


@pytest.mark.parametrize("archive", ["reject"], indirect=True)
def test_other_bytes_under_one_name_are_refused_alone(archive: Archive) -> None:
    made = of_one_series(4)
    changed = ct_image(
        SOPInstanceUID=made[1].SOPInstanceUID,
        StudyInstanceUID=made[1].StudyInstanceUID,
        SeriesInstanceUID=made[1].SeriesInstanceUID,
        ImageComments="changed",
    )
    told = at_once(archive, [*made[:2], changed, *made[2:]])
    assert outcomes(told) == [Outcome.STORED] * 2 + [ConflictingDuplicate] + [Outcome.STORED] * 2
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_bytes_that_the_store_refuses_harm_no_other(archive: Archive) -> None:
    made = of_one_series(5)
    receivings = [begun(archive, each) for each in made]
    key = receivings[2].placed[1].text
    taken = archive.settings.objects_dir / key
    taken.write_bytes(b"somebody has its name")
    told = HeldUp(archive).others(receivings)
    assert outcomes(told) == [Outcome.STORED] * 2 + [StoreUnavailable] + [Outcome.STORED] * 2
    assert key in str(told[2])
    assert held_keys(archive) == 0
    assert store(archive, made[2]).outcome is Outcome.STORED
    assert_sound(archive)


def test_all_but_one_that_fail_leave_that_one(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    made = of_one_series(3)
    receivings = [begun(archive, each) for each in made]
    for each in receivings[1:]:
        each.to_commit().abort()
    counted = Counted(monkeypatch)
    assert outcomes(HeldUp(archive).others(receivings)) == [Outcome.STORED, ValueError, ValueError]
    assert counted.transactions == [1, 1]
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_what_was_given_up_is_never_stored(archive: Archive) -> None:
    receivings = [begun(archive, each) for each in of_one_series(2)]
    held = HeldUp(archive)
    for each in receivings:
        each.abort()
    found = [held._threads.submit(finish, each) for each in receivings]
    queue = archive._ingest._finishing._group._queue
    while len(queue) < 2 and not all(each.done() for each in found):
        pass
    held.others([])
    assert outcomes([each.result(120) for each in found]) == [ValueError] * 2
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_a_rejection_note_goes_alone(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    held = HeldUp(archive)
    waiting = held._threads.submit(store, archive, note([image], QUALITY))
    try:
        assert waiting.result(120).outcome is Outcome.STORED
        assert not held.told.done()
        with pytest.raises(NotFound):
            archive.locate(image.StudyInstanceUID)
    finally:
        held.others([])


@pytest.mark.parametrize("step", ["journal", "first name", "third name", "row"])
def test_an_interrupt_leaves_nobody_waiting_and_no_key_held(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Only the thread that was interrupted hears of it; the others may have their objects sent again."""
    made = of_one_series(4)
    receivings = [begun(archive, each) for each in made]
    held = HeldUp(archive)
    with monkeypatch.context() as patched:

        def interrupt(*_: Any, **__: Any) -> Any:
            held.told.result(120)  # the thread that does it for all, and nobody else
            raise KeyboardInterrupt

        if step == "journal":
            patched.setattr(Segment, "append", interrupt)
        elif step.endswith("name"):
            named: Iterator[Any] = iter([os.link, os.link] if step == "third name" else [])
            patched.setattr("os.link", lambda *some, **more: next(named, interrupt)(*some, **more))
        else:
            interrupted = IndexWriter._insert

            def insert(index: IndexWriter, connection: Any, tickets: Any) -> list[bool]:
                return interrupted(index, connection, tickets) if len(tickets) == 1 else interrupt()

            patched.setattr(IndexWriter, "_insert", insert)
        told = held.others(receivings)
    assert outcomes(told) == [KeyboardInterrupt] + [StoreUnavailable] * 3
    assert held_keys(archive) == 0
    assert [store(archive, each).outcome for each in made] == [Outcome.STORED] * 4
    archive.close()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    assert_sound(archive)


def test_an_interrupt_after_the_rows_leaves_no_key_held(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    image = ct_image()
    store(archive, image)
    receivings = [begun(archive, each) for each in [*of_one_series(2), image, ct_image()]]

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archive._ingest, "_keep_or_discard", interrupt)
        told = HeldUp(archive).others(receivings)
    assert outcomes(told) == [KeyboardInterrupt] + [StoreUnavailable] * 3
    assert held_keys(archive) == 0
    assert store(archive, image).outcome is Outcome.DUPLICATE
    archive.close()
    assert_sound(archive)


def test_a_process_that_stores_from_many_threads_loses_and_mixes_nothing(archive: Archive) -> None:
    series = [of_one_series(12) for _ in range(4)]
    told: list[Receipt] = []

    def work(n: int) -> None:
        for image in series[n % 4][n // 4 :: 4]:
            receipt = store(archive, image)
            assert receipt.sop_instance_uid == image.SOPInstanceUID
            told.append(receipt)

    assert not together(work, 16)
    assert outcomes(told) == [Outcome.STORED] * 48
    assert [len(archive.locate(some[0].StudyInstanceUID)) for some in series] == [12] * 4
    assert held_keys(archive) == 0
    assert_sound(archive)
