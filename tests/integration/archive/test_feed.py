"""The change feed in the database: in order, without gaps, nothing forgotten, nothing of a patient."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import orjson
import psycopg
import pytest

from archive.core import Archive
from archive.errors import Forgotten
from archive.feed import record as feed
from archive.feed.feed import WINDOW, ChangeRecord, Wanted
from archive.index_session import IndexSession
from archive.records import Scope
from archive.rejection.causes import View
from archive.rejection.quarantine import Decision
from config.feed import FeedSettings
from tests.factories import SOURCE, ct_image, store
from tests.integration.archive.support import sql, together, url_of
from tests.integration.dicom_node.running import wait_until
from tests.rejection_notes import SAFETY, note

SETTINGS = FeedSettings(quiet=1000)
CLINICAL = Wanted(scope=Scope(view=View.CLINICAL))


@pytest.fixture
def session(archive: Archive) -> Iterator[IndexSession]:
    opened = IndexSession(archive.settings.database, "feed of the test")
    feed.begin(opened)
    yield opened
    opened.close()


def catch_up(session: IndexSession, settings: FeedSettings = SETTINGS) -> int:
    """Record all there is; how many changes that were."""
    count = 0
    while True:
        step = feed.record(session, settings)
        count += step.objects
        if not step.behind:
            return count


def told(archive: Archive, wanted: Wanted = CLINICAL, since: int = 0) -> list[ChangeRecord]:
    """Everything behind a number, page by page."""
    found: list[ChangeRecord] = []
    while True:
        page = archive.feed.read(since, wanted, 7)
        found += page.changes
        if page.next == page.latest and not page.changes:
            return found
        since = page.next


def brief(archive: Archive, wanted: Wanted = CLINICAL) -> list[tuple[str, str | None]]:
    return [(change.kind, change.sop_instance_uid) for change in told(archive, wanted)]


def test_what_is_stored_and_replaced_and_what_is_only_held(archive: Archive, session: IndexSession) -> None:
    image = ct_image()
    store(archive, image)
    catch_up(session)
    image.StudyDescription = "CT ngực"
    store(archive, image)
    store(archive, image)
    catch_up(session)
    image.StudyDescription = "CT bụng"
    store(archive, image, replace(SOURCE, facility="86002", calling_ae_title="US2"))
    catch_up(session)
    changes = told(archive)
    assert [(change.sequence, change.kind) for change in changes] == [(1, "stored"), (2, "replaced")]
    for change in changes:
        assert change.facility == "86001"
        assert change.study_instance_uid == image.StudyInstanceUID
        assert change.series_instance_uid == image.SeriesInstanceUID
        assert change.sop_instance_uid == image.SOPInstanceUID
        assert change.sop_class_uid == image.SOPClassUID
        text = orjson.dumps(change.to_json()).decode()
        for uid in (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID):
            text = text.replace(uid, "")  # their digits are random
        assert not any(value in text for value in ("BN0001", "Nguy", "A1", "1962", "CT "))


def test_a_study_is_complete_when_it_is_quiet_and_again_when_more_came(archive: Archive, session: IndexSession) -> None:
    soon = FeedSettings(quiet=1e-6)
    image = ct_image()
    store(archive, image)
    catch_up(session, SETTINGS)
    assert [change.kind for change in told(archive)] == ["stored"]
    store(archive, ct_image(StudyInstanceUID=image.StudyInstanceUID, seed=1))
    catch_up(session, soon)
    catch_up(session, soon)
    assert [change.kind for change in told(archive)] == ["stored", "stored", "complete"]
    last = told(archive)[-1]
    assert asdict(last) | {"at": None, "sequence": 3} == {
        "sequence": 3,
        "kind": "complete",
        "at": None,
        "facility": "86001",
        "study_instance_uid": image.StudyInstanceUID,
        "series_instance_uid": None,
        "sop_instance_uid": None,
        "sop_class_uid": None,
    }
    store(archive, ct_image(StudyInstanceUID=image.StudyInstanceUID, seed=2))
    catch_up(session, soon)
    catch_up(session, soon)
    assert [change.kind for change in told(archive)] == ["stored", "stored", "complete", "stored", "complete"]


def test_what_is_rejected_is_hidden_and_its_note_is_not_told_of(archive: Archive, session: IndexSession) -> None:
    first, second = ct_image(), ct_image(seed=1)
    store(archive, first)
    store(archive, second)
    catch_up(session)
    rejection = note([first], SAFETY)
    store(archive, rejection)
    catch_up(session)
    hidden, shown = first.SOPInstanceUID, second.SOPInstanceUID
    # What is hidden now does not appear but as hidden.
    assert brief(archive) == [("stored", shown), ("hidden", hidden)]
    everything = Wanted(scope=Scope(view=View.EVERYTHING))
    assert brief(archive, everything) == [
        ("stored", hidden),
        ("stored", shown),
        ("stored", rejection.SOPInstanceUID),
    ]
    archive.rejections.undo(rejection.SOPInstanceUID, who="test", why="wrong image")
    catch_up(session)
    assert brief(archive)[-1] == ("shown", hidden)
    assert [each for each in brief(archive) if each[1] == hidden] == [
        ("stored", hidden),
        ("hidden", hidden),
        ("shown", hidden),
    ]


def test_an_image_that_is_rejected_before_it_comes_is_never_told_of(archive: Archive, session: IndexSession) -> None:
    first, late = ct_image(), ct_image(seed=1)
    store(archive, first)
    store(archive, note([late], SAFETY, study=late.StudyInstanceUID))
    store(archive, late)
    catch_up(session)
    assert brief(archive) == [("stored", first.SOPInstanceUID)]


def test_quarantine_is_told_of_when_it_is_released(archive: Archive, session: IndexSession) -> None:
    stranger = replace(SOURCE, calling_ae_title="STRANGER", address="10.0.0.9", quarantined=True, facility="UNKNOWN")
    kept, thrown = ct_image(), ct_image(seed=1)
    store(archive, kept, stranger)
    store(archive, thrown, stranger)
    catch_up(session, FeedSettings(quiet=1e-6))
    catch_up(session, FeedSettings(quiet=1e-6))
    assert told(archive) == []
    sender = "STRANGER@10.0.0.9"
    archive.quarantine.discard(Decision(sender, thrown.StudyInstanceUID, "test"))
    archive.quarantine.release(Decision(sender, kept.StudyInstanceUID, "test"), "86001")
    catch_up(session)
    assert brief(archive) == [("stored", kept.SOPInstanceUID)]
    everything = Wanted(scope=Scope(view=View.EVERYTHING))
    assert brief(archive, everything)[-2:] == [("stored", kept.SOPInstanceUID), ("hidden", thrown.SOPInstanceUID)]


def test_filters(archive: Archive, session: IndexSession) -> None:
    here, there = ct_image(), ct_image(seed=1)
    store(archive, here)
    store(archive, there, replace(SOURCE, facility="86002", calling_ae_title="US2"))
    catch_up(session, FeedSettings(quiet=1e-6))
    catch_up(session, FeedSettings(quiet=1e-6))
    assert [change.kind for change in told(archive, Wanted(kinds=["complete"]))] == ["complete"] * 2
    assert [change.study_instance_uid for change in told(archive, Wanted(facilities=["86002"]))] == [
        there.StudyInstanceUID
    ] * 2
    assert {change.facility for change in told(archive, Wanted(scope=Scope(facilities=frozenset({"86001"}))))} == {
        "86001"
    }


def test_a_slow_commit_holds_the_feed_and_is_not_passed_over(archive: Archive, session: IndexSession) -> None:
    store(archive, ct_image())
    assert catch_up(session) == 1
    with psycopg.connect(url_of(archive)) as slow:
        slow.execute(
            """INSERT INTO stored_object (instance_id, version, current, key, size, digest, transfer_syntax_uid,
                   dataset_offset, header_length, facility_id, transport, calling_ae_title, address, received_at)
               SELECT instance_id, 2, false, 'slow', size, digest, transfer_syntax_uid, dataset_offset, header_length,
                   facility_id, transport, calling_ae_title, address, received_at FROM stored_object"""
        )
        slow.execute("UPDATE stored_object SET current = version = 2")
        store(archive, ct_image(seed=1))
        for _ in range(5):
            step = feed.record(session, SETTINGS)
            assert (step.objects, step.behind) == (0, True)
        slow.commit()
    assert catch_up(session) == 2
    assert [change.kind for change in told(archive)] == ["stored", "replaced", "stored"]


def test_eight_writers_two_recorders_and_a_reader(archive: Archive, session: IndexSession) -> None:
    """The reader remembers one number and must see everything once, whatever commits late."""
    other = IndexSession(archive.settings.database, "other feed of the test")
    done = threading.Event()
    seen: list[ChangeRecord] = []

    def recording(which: IndexSession) -> None:
        while not done.is_set():
            feed.record(which, SETTINGS)

    def reading() -> None:
        since = 0
        while not done.is_set() or since < archive.feed.state().latest:
            page = archive.feed.read(since, CLINICAL, 5)
            seen.extend(page.changes)
            since = page.next

    def slow(n: int) -> None:
        """Draws an id early and commits it late, after others of higher ids."""
        image = ct_image(seed=n)
        store(archive, image)
        for version in range(2, 6):
            with psycopg.connect(url_of(archive)) as connection:
                connection.execute(
                    """INSERT INTO stored_object (instance_id, version, current, key, size, digest,
                           transfer_syntax_uid, dataset_offset, header_length, facility_id, transport,
                           calling_ae_title, address, received_at)
                       SELECT instance_id, %(v)s, false, %(key)s, size, stored_object.digest, transfer_syntax_uid,
                           dataset_offset, header_length, facility_id, transport, calling_ae_title, address, received_at
                         FROM stored_object JOIN instance ON instance.id = instance_id
                        WHERE sop_instance_uid = %(uid)s AND version = 1""",
                    {"v": version, "key": f"slow {n} {version}", "uid": image.SOPInstanceUID},
                )
                connection.execute(
                    """UPDATE stored_object SET current = version = %s FROM instance
                        WHERE instance.id = instance_id AND sop_instance_uid = %s AND version = 1""",
                    (version, image.SOPInstanceUID),
                )
                store(archive, ct_image(seed=100 * n + version))

    recorders = [threading.Thread(target=recording, args=(each,)) for each in (session, other)]
    reader = threading.Thread(target=reading)
    for thread in (*recorders, reader):
        thread.start()
    errors = together(
        lambda n: slow(n) if n < 4 else [store(archive, ct_image(seed=1000 * n + k)) for k in range(12)] and None, 8
    )
    wait_until(lambda: archive.feed.state().latest >= 4 * 5 + 4 * 12, "all is recorded")
    done.set()
    for thread in (*recorders, reader):
        thread.join()
    other.close()
    assert errors == []
    catch_up(session)
    assert [change.sequence for change in seen] == list(range(1, archive.feed.state().latest + 1))
    stored = sql(archive, "SELECT sop_instance_uid FROM instance ORDER BY 1")
    assert sorted(str(change.sop_instance_uid) for change in seen if change.kind == "stored") == stored
    times = [change.at for change in seen]
    assert all(before <= after for before, after in pairwise(times))


_DIES = """
import sys
from pathlib import Path
from archive.feed import record as feed
from archive.index_session import IndexSession
from config.feed import FeedSettings
from config.settings import load
settings = load(environ={}, database={"url": sys.argv[1]})
session = IndexSession(settings.database, "dies")
feed.begin(session)
print("begun", flush=True)
while True:
    feed.record(session, FeedSettings(quiet=1000))
"""


def test_a_recorder_that_is_killed_at_any_point_loses_and_doubles_nothing(
    archive: Archive, session: IndexSession
) -> None:
    for n in range(6):
        with subprocess.Popen([sys.executable, "-c", _DIES, url_of(archive)], stdout=subprocess.PIPE) as dying:
            assert dying.stdout is not None
            assert dying.stdout.readline() == b"begun\n"
            for k in range(5):
                store(archive, ct_image(seed=10 * n + k))
            dying.send_signal(signal.SIGKILL)
    # The lock of the dead is free when the server has seen that he is gone.
    wait_until(lambda: feed.record(session, SETTINGS).objects >= 0 and archive.feed.state().latest == 30, "all is told")
    changes = told(archive)
    assert [change.sequence for change in changes] == list(range(1, 31))
    assert sorted(str(change.sop_instance_uid) for change in changes) == sql(
        archive, "SELECT sop_instance_uid FROM instance ORDER BY 1"
    )


def test_what_is_too_old_is_deleted_and_said_to_be(archive: Archive, session: IndexSession) -> None:
    for n in range(5):
        store(archive, ct_image(seed=n))
    catch_up(session)
    sql(archive, "UPDATE change SET at = at - interval '3 days' WHERE sequence <= 3")
    assert feed.forget(session, FeedSettings(keep_days=2)) == 3
    assert feed.forget(session, FeedSettings(keep_days=2)) == 0
    with pytest.raises(Forgotten, match="up to 3 are not kept"):
        archive.feed.read(2, CLINICAL, 10)
    assert [change.sequence for change in archive.feed.read(3, CLINICAL, 10).changes] == [4, 5]
    assert [change.sequence for change in archive.feed.read(None, CLINICAL, 10).changes] == [4, 5]
    with pytest.raises(Forgotten, match="only come to 5"):
        archive.feed.read(6, CLINICAL, 10)
    sql(archive, "UPDATE change SET at = at - interval '3 days'")
    assert feed.forget(session, FeedSettings(keep_days=2)) == 2
    store(archive, ct_image(seed=9))
    catch_up(session)
    assert [change.sequence for change in archive.feed.read(None, CLINICAL, 10).changes] == [6]


def test_a_reader_who_wants_little_comes_on_in_steps(archive: Archive, session: IndexSession) -> None:
    store(archive, ct_image())
    catch_up(session)
    sql(
        archive,
        """INSERT INTO change (sequence, kind, facility_id, study_id, instance_id, study_instance_uid)
           SELECT n, 'stored', facility_id, study_id, instance_id, study_instance_uid
             FROM change, generate_series(2, %s) AS n""",
        WINDOW + 10,
    )
    sql(archive, "UPDATE feed_cursor SET last = %s", WINDOW + 10)
    page = archive.feed.read(0, Wanted(kinds=["complete"]), 10)
    assert (page.changes, page.next, page.latest) == ([], WINDOW, WINDOW + 10)


def test_nothing_of_before_the_feed_began_is_told(archive: Archive) -> None:
    store(archive, ct_image())
    opened = IndexSession(archive.settings.database, "late feed")
    feed.begin(opened)
    image: Any = ct_image(seed=1)
    store(archive, image)
    catch_up(opened)
    opened.close()
    assert brief(archive) == [("stored", image.SOPInstanceUID)]
