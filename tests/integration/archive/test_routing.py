"""The queues in the database: nothing is passed over, nothing is held by the dead, nothing is done twice at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from archive.core import Archive
from archive.index_session import IndexSession
from archive.routing import scan
from archive.routing.commitment import follow_commitment
from archive.routing.groups import ripen
from archive.routing.queue import Queue, Task
from archive.routing.rules import rules_of
from config.peers import Peer
from config.routes import ForwardSettings, Route
from config.settings import Settings
from tests.factories import SOURCE, ct_image, store
from tests.integration.archive.support import sql, together, url_of
from tests.integration.dicom_node.running import wait_until


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With two destinations and a route to one of them."""
    peers = [
        Peer(ae_title=title, facility="86001", host="127.0.0.1", port=port) for title, port in (("VIEWER", 1), ("B", 2))
    ]
    return Settings.model_validate(
        {
            **settings.model_dump(),
            "peers": [*settings.peers, *peers],
            "routes": [Route(name="all", destinations=("VIEWER",))],
            "forward": ForwardSettings(tries=2, first_wait=10, longest_wait=100),
        }
    )


@pytest.fixture
def session(archive: Archive) -> Iterator[IndexSession]:
    opened = archive.routing.open_session()
    scan.begin(opened)
    yield opened
    opened.close()


def look(archive: Archive, session: IndexSession) -> int:
    """Hold everything new against the routes; how many objects that were."""
    rules, seen = rules_of(archive.settings), 0
    while True:
        step = scan.scan(session, rules)
        seen += step.objects
        if not step.behind:
            return seen


def tasks(archive: Archive) -> list[Any]:
    return sql(archive, "SELECT object_id FROM route_task ORDER BY object_id")


def test_a_row_that_is_committed_after_a_younger_one_is_not_passed_over(
    archive: Archive, session: IndexSession
) -> None:
    """The writer of the lower id is slow; meanwhile the higher one is there. Nothing may be passed over."""
    store(archive, ct_image())
    (template,) = sql(archive, "SELECT to_jsonb(stored_object) FROM stored_object")
    assert look(archive, session) == 1
    with psycopg.connect(url_of(archive)) as slow:
        row = slow.execute(
            """INSERT INTO stored_object (instance_id, version, current, key, size, digest, transfer_syntax_uid,
                   dataset_offset, header_length, facility_id, transport, calling_ae_title, address, received_at)
               SELECT instance_id, 2, false, 'slow', size, digest, transfer_syntax_uid, dataset_offset, header_length,
                   facility_id, transport, calling_ae_title, address, received_at FROM stored_object RETURNING id"""
        ).fetchone()
        assert row is not None
        slow.execute("UPDATE stored_object SET current = id = %s", (row[0],))
        store(archive, ct_image(seed=1))
        rules = rules_of(archive.settings)
        for _ in range(5):
            step = scan.scan(session, rules)
            assert (step.objects, step.behind) == (0, True), "the scan must wait for who may still commit"
        slow.commit()
    assert look(archive, session) == 2
    assert len(tasks(archive)) == 3
    assert template["version"] == 1


def test_a_transaction_that_is_rolled_back_leaves_a_gap_that_holds_nobody_up(
    archive: Archive, session: IndexSession
) -> None:
    with psycopg.connect(url_of(archive)) as doomed:
        doomed.execute("SELECT nextval('stored_object_id_seq') FROM generate_series(1, 5)")
        doomed.rollback()
    store(archive, ct_image())
    assert look(archive, session) == 1
    assert look(archive, session) == 0


def test_many_writers_and_two_scans_make_one_task_for_each_object(archive: Archive, session: IndexSession) -> None:
    rules = rules_of(archive.settings)
    other = archive.routing.open_session()
    done = threading.Event()

    def scanning(which: IndexSession) -> None:
        while not done.is_set():
            scan.scan(which, rules)

    threads = [threading.Thread(target=scanning, args=(each,)) for each in (session, other)]
    for thread in threads:
        thread.start()
    errors = together(lambda n: [store(archive, ct_image(seed=n)) for _ in range(15)] and None, 4)
    done.set()
    for thread in threads:
        thread.join()
    other.close()
    look(archive, session)
    assert errors == []
    assert tasks(archive) == sql(archive, "SELECT id FROM stored_object ORDER BY id")
    assert len(tasks(archive)) == 60


def test_tasks_of_the_dead_are_free_at_once_and_those_of_the_living_are_not(
    archive: Archive, session: IndexSession
) -> None:
    for n in range(4):
        store(archive, ct_image(seed=n))
    look(archive, session)
    dying, queue = archive.routing.open_session(), archive.routing.queue(session)
    held = archive.routing.queue(dying).claim("VIEWER", [], 2)
    mine = queue.claim("VIEWER", [], 10)
    assert len(held) == len(mine) == 2
    assert queue.free_dead() == 0
    assert queue.claim("VIEWER", []) == []
    dying.close()
    # The server may need a moment to see that the session has ended.
    wait_until(lambda: queue.free_dead() == 2, "they are free")
    again = queue.claim("VIEWER", [])
    assert {task.id for task in again} == {task.id for task in held}


def test_tasks_that_no_thread_of_ours_knows_of_are_free_again(archive: Archive, session: IndexSession) -> None:
    """The session was lost behind the commit of a claim, and the next one before it could be repeated."""
    for n in range(4):
        store(archive, ct_image(seed=n))
    look(archive, session)
    queue = archive.routing.queue(session)
    known, lost = queue.claim("VIEWER", [], 2, 17), queue.claim("VIEWER", [], 2, 18)
    assert queue.free_lost(lambda: [17]) == 2
    assert {task.id for task in queue.claim("VIEWER", [], 10, 19)} == {task.id for task in lost}
    assert queue.free_lost(lambda: [17, 19]) == 0
    assert queue.free_lost(list) == len(known) + len(lost)


def test_two_processes_never_hold_the_same_task(archive: Archive, session: IndexSession) -> None:
    for n in range(30):
        store(archive, ct_image(seed=n))
    look(archive, session)
    sessions = [archive.routing.open_session() for _ in range(4)]
    taken: list[Task] = []

    def take(n: int) -> None:
        queue = archive.routing.queue(sessions[n])
        while found := queue.claim("VIEWER", [], 2):
            taken.extend(found)

    assert together(take, 4) == []
    for each in sessions:
        each.close()
    assert len(taken) == 30 == len({task.id for task in taken})


def queue_with(archive: Archive, session: IndexSession, count: int = 1) -> tuple[Queue, list[Task]]:
    for n in range(count):
        store(archive, ct_image(seed=n))
    look(archive, session)
    queue = archive.routing.queue(session)
    return queue, queue.claim("VIEWER", [])


def state(archive: Archive) -> list[Any]:
    return sql(archive, "SELECT state, refusals, status, holder IS NULL FROM route_task ORDER BY id")


def test_refusals_are_counted_and_end_in_failure(archive: Archive, session: IndexSession) -> None:
    queue, (task,) = queue_with(archive, session)
    assert queue.refused(task, 0xC001, "no") is False
    assert state(archive) == [("waiting", 1, 0xC001, True)]
    assert queue.claim("VIEWER", []) == [], "not due yet"
    sql(archive, "UPDATE route_task SET due_at = now()")
    (task,) = queue.claim("VIEWER", [])
    assert queue.refused(task, 0xC001, "no") is True
    assert state(archive) == [("failed", 2, 0xC001, True)]


def test_waits_grow_with_failures_up_to_the_longest(archive: Archive, session: IndexSession) -> None:
    queue, _ = queue_with(archive, session)
    waits = [queue.unreached("VIEWER", "away") for _ in range(8)]
    for wait, expected in zip(waits, (10, 20, 40, 80, 100, 100, 100, 100), strict=True):
        assert 0.75 * expected <= wait <= 1.25 * expected
    assert queue.ready({"VIEWER"}, [], 10) == []
    queue.sent("VIEWER", [])
    (found,) = archive.routing.queues()
    assert (found.state, found.failures) == ("failing", 8)


def test_one_process_probes_a_destination_that_was_away(archive: Archive, session: IndexSession) -> None:
    queue, tasks_ = queue_with(archive, session)
    queue.unreached("VIEWER", "away")
    queue.give_back(tasks_)
    sql(archive, "UPDATE route_destination SET retry_at = now()")
    other = archive.routing.open_session()
    assert [work.probing for work in queue.ready({"VIEWER"}, [], 10)] == [True]
    assert [queue.probe("VIEWER"), archive.routing.queue(other).probe("VIEWER")] == [True, False]
    other.close()


def test_a_route_outside_its_hours_is_left_alone(archive: Archive, session: IndexSession) -> None:
    queue, tasks_ = queue_with(archive, session)
    queue.give_back(tasks_)
    assert queue.claim("VIEWER", ["all"]) == []
    assert queue.ready({"VIEWER"}, ["all"], 10) == []
    queue.postpone(archive.settings.routes[0], 3600)
    (found,) = archive.routing.queues()
    assert (found.waiting, found.later, found.state) == (1, 1, "waiting")
    assert queue.claim("VIEWER", []) == []


def test_a_destination_that_is_not_in_the_settings_any_more_is_not_sent_to(
    archive: Archive, session: IndexSession
) -> None:
    queue, tasks_ = queue_with(archive, session)
    queue.give_back(tasks_)
    assert queue.ready({"B"}, [], 10) == []


def test_old_ends_are_forgotten_and_failures_are_not(archive: Archive, session: IndexSession) -> None:
    queue, (first, second) = queue_with(archive, session, 2)
    queue.sent("VIEWER", [(first, 0, "")])
    queue.refused(second, None, "no")
    assert queue.prune() == 0
    sql(
        archive,
        "UPDATE route_task SET ended_at = now() - interval '31 days', state = CASE state WHEN 'waiting' THEN 'failed' ELSE state END",
    )
    assert queue.prune() == 1
    assert state(archive) == [("failed", 1, None, True)]


def test_what_was_rejected_in_its_turn_is_sent_when_it_is_shown_again(archive: Archive, session: IndexSession) -> None:
    from archive.routing.queue import NOT_SHOWN

    queue, (task,) = queue_with(archive, session)
    sql(archive, "UPDATE instance SET hidden = 2")
    assert archive.routing.instances([task.object_id or 0]) == {}
    queue.skipped([task], NOT_SHOWN)
    assert queue.revive() == 0
    sql(archive, "UPDATE instance SET hidden = 0")
    assert queue.revive() == 1
    assert state(archive) == [("waiting", 0, None, True)]


def test_what_is_in_quarantine_is_sent_nowhere(archive: Archive, session: IndexSession) -> None:
    store(archive, ct_image(), replace(SOURCE, quarantined=True, calling_ae_title="STRANGER"))
    assert look(archive, session) == 1
    assert tasks(archive) == []


def test_a_study_whose_route_is_gone_is_dropped(archive: Archive, session: IndexSession) -> None:
    sql(
        archive,
        "INSERT INTO route_group (destination, route, what, parent_id, due_at) VALUES ('VIEWER', 'old', 'study', 1, now())",
    )
    assert ripen(session, archive.settings.routes, archive.routing.place_of) == 1
    assert sql(archive, "SELECT count(*) FROM route_group") == [0]


@pytest.mark.parametrize("reason", [0, 0x0110])
def test_what_a_destination_does_not_commit_to_is_sent_again(
    archive: Archive, session: IndexSession, reason: int
) -> None:
    from archive.commitment.records import Result

    queue, (task,) = queue_with(archive, session)
    sql(archive, "UPDATE route_task SET commitment = true")
    queue.sent("VIEWER", [(task, 0, "")])
    follow_commitment(session, archive.commitments, 5)
    assert sql(archive, "SELECT count(*) FROM commitment_order") == [0], "it may still get more"
    sql(archive, "UPDATE route_destination SET sent_at = now() - interval '1 hour'")
    follow_commitment(session, archive.commitments, 5)
    ((uid, sop_class, instance),) = sql(
        archive,
        "SELECT transaction_uid, sop_class_uid, sop_instance_uid FROM commitment_order "
        "JOIN commitment_order_item ON order_id = commitment_order.id",
    )
    follow_commitment(session, archive.commitments, 5)
    assert sql(archive, "SELECT count(*) FROM commitment_order") == [1]
    archive.commitments.orders.answer("VIEWER", uid, [Result(sop_class, instance, reason)])
    follow_commitment(session, archive.commitments, 5)
    expected = ("waiting", 1, "not committed: processing failure (0110)") if reason else ("sent", 0, "")
    assert sql(archive, "SELECT state, refusals, error FROM route_task") == [expected]
