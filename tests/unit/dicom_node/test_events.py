"""The outbox of an association: requests of the node on an association that the peer opened (PS3.7 10.1.1)."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

import pytest

from dicom_node.commands import MESSAGE_ID
from dicom_node.events import Event, Outbox


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    made = Outbox()
    made.open()
    yield made
    made.close()


def event(done: list[int | None], number: int = 1) -> Event:
    return Event(number, {MESSAGE_ID: 0}, None, done.append)


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_what_is_posted_wakes_the_association_and_is_taken_once(outbox: Outbox) -> None:
    done: list[int | None] = []
    assert not is_readable(outbox.wakeup)
    outbox.post(event(done, 1))
    outbox.post(event(done, 3))
    assert is_readable(outbox.wakeup)
    assert [(number, each.context_id) for number, each in outbox.take()] == [(1, 1), (2, 3)]
    assert not is_readable(outbox.wakeup)
    assert outbox.take() == []
    assert done == []


def test_answers_find_their_events_in_any_order(outbox: Outbox) -> None:
    first: list[int | None] = []
    second: list[int | None] = []
    outbox.post(event(first))
    outbox.post(event(second))
    (one, _), (two, _) = outbox.take()
    outbox.answered(two, 0x0110)
    outbox.answered(one, 0)
    assert (first, second) == ([0], [0x0110])
    # A second answer, and one to nothing.
    outbox.answered(one, 0x0110)
    outbox.answered(77, 0)
    assert (first, second) == ([0], [0x0110])


def test_an_answer_before_the_event_was_sent_is_no_answer(outbox: Outbox) -> None:
    done: list[int | None] = []
    outbox.post(event(done))
    outbox.answered(1, 0)
    assert done == []
    assert len(outbox.take()) == 1


def test_message_ids_go_round_without_zero(outbox: Outbox) -> None:
    done: list[int | None] = []
    outbox._last_message_id = 0xFFFE
    for _ in range(3):
        outbox.post(event(done))
    assert [number for number, _ in outbox.take()] == [0xFFFF, 1, 2]


def test_the_end_of_the_association_tells_all_who_wait(outbox: Outbox) -> None:
    sent: list[int | None] = []
    waiting: list[int | None] = []
    late: list[int | None] = []
    outbox.post(event(sent))
    outbox.take()
    outbox.post(event(waiting))
    descriptor = outbox.wakeup
    outbox.close()
    assert (sent, waiting) == ([None], [None])
    assert not outbox.is_open
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    outbox.post(event(late))
    assert late == [None]
    outbox.close()
    assert (sent, waiting, late) == ([None], [None], [None])


def test_nothing_can_be_posted_where_nobody_listens() -> None:
    done: list[int | None] = []
    outbox = Outbox()
    assert not outbox.is_open
    outbox.post(event(done))
    assert done == [None]
    outbox.close()


def test_opening_twice_is_opening_once(outbox: Outbox) -> None:
    descriptor = outbox.wakeup
    outbox.open()
    assert outbox.wakeup == descriptor


def test_every_event_ends_exactly_once_whoever_posts_while_it_closes() -> None:
    """Many threads post while the association takes, answers, and goes."""
    for _ in range(20):
        outbox = Outbox()
        outbox.open()
        ends: list[list[int | None]] = [[] for _ in range(80)]
        started = threading.Barrier(9)

        def post(mine: list[list[int | None]], outbox: Outbox = outbox, started: threading.Barrier = started) -> None:
            started.wait()
            for done in mine:
                outbox.post(event(done))

        threads = [threading.Thread(target=post, args=(ends[n * 10 : n * 10 + 10],)) for n in range(8)]
        for thread in threads:
            thread.start()
        started.wait()
        for _ in range(5):
            for number, _ in outbox.take():
                outbox.answered(number, 0)
        outbox.close()
        for thread in threads:
            thread.join()
        assert all(len(done) == 1 for done in ends)
