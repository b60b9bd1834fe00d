"""Rows that PostgreSQL adds while their objects are made durable."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg
import pytest
from pydicom.dataset import Dataset

from archive.core import Archive
from archive.errors import StoreUnavailable
from archive.index_insert import Inserts, Sent
from archive.index_session import IndexSession
from archive.index_writer import IndexWriter
from archive.ingest_together import finish_all
from archive.records import Outcome
from config.settings import Settings
from storage.segments import Record, Segment
from tests.factories import ct_image, store
from tests.integration.archive.held_up import HeldUp, at_once, held_keys, outcomes
from tests.integration.archive.support import assert_sound, begun, of_one_series, sql, url_of, use_journal
from tests.rejection_notes import QUALITY, note

LOCKS = """
SELECT count(*) FROM pg_locks WHERE relation = 'stored_object'::regclass AND mode = 'RowExclusiveLock' AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
ROWS = "SELECT count(*) FROM stored_object"
TERMINATE = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'pacs writer'"


class Watched:
    """What was sent ahead, and what was done before the flush of the journal that follows."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.committed: list[list[bool]] = []
        self.failed: list[type[BaseException]] = []
        self.rolled_back = 0
        self.ordinary = 0
        commit, roll_back, insert = Sent.commit, Sent.roll_back, IndexWriter._insert

        def watched_commit(sent: Sent) -> list[bool]:
            try:
                self.committed.append(commit(sent))
            except BaseException as error:
                self.failed.append(type(error))
                raise
            return self.committed[-1]

        def watched_roll_back(sent: Sent) -> None:
            self.rolled_back += 1
            roll_back(sent)

        def watched_insert(index: IndexWriter, connection: Any, tickets: Any) -> list[bool]:
            self.ordinary += 1
            return insert(index, connection, tickets)

        patch.setattr(Sent, "commit", watched_commit)
        patch.setattr(Sent, "roll_back", watched_roll_back)
        patch.setattr(IndexWriter, "_insert", watched_insert)

    def before_flush(self, step: Callable[[], object]) -> None:
        """Do this before each flush of the journal."""
        append = Segment.append

        def stepped(segment: Segment, records: Sequence[Record], first: int) -> None:
            step()
            append(segment, records, first)

        self.patch.setattr(Segment, "append", stepped)


@pytest.fixture
def archive(settings: Settings) -> Iterator[Archive]:
    """With the receive journal in use."""
    with Archive.open(settings) as opened:
        use_journal(opened)
        yield opened


@pytest.fixture
def images(archive: Archive) -> list[Dataset]:
    """Of a series of which one is stored."""
    first, *others = of_one_series(5)
    assert store(archive, first).outcome is Outcome.STORED
    return others


@pytest.fixture
def watched(images: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def waits_for_rows(archive: Archive) -> None:
    """Until PostgreSQL has added rows that are not committed."""
    with psycopg.connect(url_of(archive), autocommit=True) as connection:
        while connection.execute(LOCKS).fetchone() != (1,):
            pass


def test_rows_are_added_before_the_flush_and_committed_after_it(
    archive: Archive, images: list[Dataset], watched: Watched
) -> None:
    seen: list[int] = []

    def look() -> None:
        waits_for_rows(archive)
        seen.extend(sql(archive, ROWS))

    watched.before_flush(look)
    assert [store(archive, image).outcome for image in images[:2]] == [Outcome.STORED] * 2
    assert seen == [1, 2], "nobody sees a row before its object is durable"
    assert (watched.committed, watched.ordinary) == ([[True], [True]], 0)
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_an_object_that_cannot_be_made_durable_has_no_row(
    archive: Archive, images: list[Dataset], watched: Watched
) -> None:
    def fails() -> None:
        waits_for_rows(archive)
        raise OSError(errno.EIO, "medium error")

    watched.before_flush(fails)
    with pytest.raises(StoreUnavailable, match="input/output error"):
        store(archive, images[0])
    watched.patch.undo()
    assert (watched.rolled_back, watched.committed, watched.ordinary) == (1, [], 0)
    assert sql(archive, ROWS) == [1]
    assert sql(archive, LOCKS) == [0], "the transaction has ended"
    assert archive._session.opened == 1, "the session goes on"
    assert store(archive, images[0]).outcome is Outcome.STORED
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_one_that_the_store_refuses_takes_no_other_down(
    archive: Archive, images: list[Dataset], watched: Watched
) -> None:
    receivings = [begun(archive, each) for each in images[:3]]
    (archive.settings.objects_dir / receivings[1].placed[1].text).write_bytes(b"somebody has its name")
    told = HeldUp(archive).others(receivings)
    assert outcomes(told) == [Outcome.STORED, StoreUnavailable, Outcome.STORED]
    assert watched.rolled_back == 1
    assert held_keys(archive) == 0
    assert store(archive, images[1]).outcome is Outcome.STORED
    assert_sound(archive)


def test_each_hears_of_its_own_row_whatever_the_order_of_their_studies(archive: Archive, watched: Watched) -> None:
    series = [
        [ct_image(StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1") for _ in range(3)] for uid in ("1.9", "1.8")
    ]
    for images in series:
        store(archive, images[0])
    watched.committed.clear()
    (known, new, _), (other_known, other_new, _) = series
    told = at_once(archive, [new, other_known, known, other_new])
    assert outcomes(told) == [Outcome.STORED, Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.STORED]
    assert watched.committed == [[False, True, True, False]], "in the order of their studies"
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_the_same_object_twice_among_those_of_one_moment(
    archive: Archive, images: list[Dataset], watched: Watched
) -> None:
    told = at_once(archive, [images[0], images[0], images[1]])
    assert outcomes(told) == [Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED]
    assert watched.committed == [[True, False, True]]
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_many_are_added_by_one_statement_each_heard_of(archive: Archive, watched: Watched) -> None:
    series = of_one_series(12)
    for image in (series[0], series[7]):
        store(archive, image)
    watched.committed.clear()
    told = at_once(archive, series)
    assert outcomes(told) == [Outcome.DUPLICATE if n in (0, 7) else Outcome.STORED for n in range(12)]
    assert watched.committed == [[n not in (0, 7) for n in range(12)]]
    assert held_keys(archive) == 0
    assert_sound(archive)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_session_that_forgot_what_was_prepared(archive: Archive, watched: Watched, count: int) -> None:
    series = of_one_series(1 + 3 * count)
    store(archive, series[0])
    for n, expected in enumerate(([[True] * count], [], [[True] * count])):
        watched.committed.clear()
        if n == 1:
            archive._session.run(lambda connection: connection.execute("DEALLOCATE ALL"))
        told = finish_all([begun(archive, image) for image in series[1 + n * count :][:count]])
        assert outcomes(told) == [Outcome.STORED] * count
        assert watched.committed == expected
    assert watched.failed == [psycopg.errors.InvalidSqlStatementName]
    assert_sound(archive)


def test_a_note_that_came_since_the_series_was_looked_up(
    archive: Archive, images: list[Dataset], watched: Watched
) -> None:
    store(archive, images[0])
    store(archive, note([images[0], images[1]], QUALITY))
    assert store(archive, images[1]).outcome is Outcome.STORED
    assert watched.failed == [psycopg.errors.NotNullViolation]
    hidden = sql(archive, "SELECT sop_instance_uid FROM instance WHERE hidden <> 0")
    assert {images[0].SOPInstanceUID, images[1].SOPInstanceUID} < set(hidden), "and the note itself"
    assert store(archive, images[2]).outcome is Outcome.STORED, "of a study that a note names: nothing is sent ahead"
    assert len(watched.failed) == 1
    assert_sound(archive)


def test_a_session_that_is_lost_meanwhile(archive: Archive, images: list[Dataset], watched: Watched) -> None:
    lost: list[Any] = []

    def lose() -> None:
        if not lost:
            waits_for_rows(archive)
            lost.extend(sql(archive, TERMINATE))

    watched.before_flush(lose)
    assert store(archive, images[0]).outcome is Outcome.STORED
    assert (lost, watched.committed, len(watched.failed)) == ([1], [], 1)
    assert archive._session.opened == 2
    assert store(archive, images[1]).outcome is Outcome.STORED
    assert watched.committed == [[True]], "on the new session too"
    assert_sound(archive)


def test_a_session_that_is_lost_between_the_commit_and_the_news(
    archive: Archive, images: list[Dataset], watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Sent.commit

    def lose(sent: Sent) -> list[bool]:
        monkeypatch.setattr(Sent, "commit", commit)
        assert commit(sent) == [True]
        sql(archive, TERMINATE)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Sent, "commit", lose)
    assert store(archive, images[0]).outcome is Outcome.STORED
    assert sql(archive, ROWS) == [2]
    assert watched.ordinary >= 1
    assert held_keys(archive) == 0
    assert_sound(archive)


def test_values_that_cannot_be_sent(
    archive: Archive, images: list[Dataset], watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("not for PostgreSQL")

    monkeypatch.setattr(Inserts, "send", refuse)
    assert store(archive, images[0]).outcome is Outcome.STORED
    assert (watched.committed, watched.ordinary) == ([], 1)
    assert_sound(archive)


def test_nothing_is_sent_while_another_thread_uses_the_index(archive: Archive, images: list[Dataset]) -> None:
    begun_, go = Event(), Event()

    def use(_: Any) -> bool:
        begun_.set()
        return go.wait(120)

    with ThreadPoolExecutor(1) as threads:
        used = threads.submit(archive._session.run, use)
        try:
            assert begun_.wait(120)
            assert archive._session.take() is None
        finally:
            go.set()
        assert used.result(120)
    taken = archive._session.take()
    assert taken is not None
    archive._session.give_back()


def test_nothing_is_sent_without_a_session(settings: Settings) -> None:
    session = IndexSession(settings.database, "none")
    assert session.take() is None
    with ThreadPoolExecutor(1) as threads:  # the lock is free
        assert threads.submit(session.run, lambda connection: connection.execute("SELECT 1").fetchone()).result(120)
    session.close()


@pytest.mark.parametrize("step", ["flush", "commit", "after the commit"])
def test_an_interrupt_loses_nothing_and_leaves_the_session_free(
    archive: Archive, images: list[Dataset], watched: Watched, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Above all, it does not delete the bytes of an object whose row may be committed."""
    commit = Sent.commit

    def interrupt(*some: Any) -> Any:
        if step == "after the commit":
            assert commit(*some) == [True]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step == "flush":
            patched.setattr(Segment, "append", interrupt)
        else:
            patched.setattr(Sent, "commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store(archive, images[0])
    stored = 2 if step == "after the commit" else 1
    assert sql(archive, ROWS) == [stored]
    assert held_keys(archive) == 0
    with ThreadPoolExecutor(1) as threads:
        again = threads.submit(store, archive, images[0]).result(120)
    assert again.outcome is (Outcome.DUPLICATE if stored == 2 else Outcome.STORED)
    archive.close()
    with Archive.open(archive.settings) as again:
        again.reconcile()
    assert sql(archive, "SELECT count(*) FROM key_block") == [0]
    assert_sound(archive)
