"""Work that threads share: each item is worked on once, and whoever brought it learns what became of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.group import Group, Ticket


class Doubling:
    """Work that can be held up; notes the groups."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, tickets: Sequence[Ticket[int, int]]) -> None:
        self.groups.append([ticket.item for ticket in tickets])
        self.begun.set()
        assert self.go.wait(120)
        for ticket in tickets:
            if ticket.item < 0:
                raise LookupError(f"{ticket.item}")
            ticket.result = 2 * ticket.item + 1


def tickets(*items: int) -> list[Ticket[int, int]]:
    return [Ticket(item) for item in items]


def test_some_that_come_together_are_one_group_in_their_order() -> None:
    work = Doubling()
    brought = tickets(3, 1, 2)
    Group(work, 8).add_all(brought)
    assert work.groups == [[3, 1, 2]]
    assert [each.result for each in brought] == [7, 3, 5]


def test_more_than_may_be_at_once_are_several_groups() -> None:
    work = Doubling()
    brought = tickets(*range(10))
    group = Group(work, 4)
    group.add_all(brought)
    group.add_all([])
    assert work.groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [each.result for each in brought] == [2 * n + 1 for n in range(10)]


def test_what_fails_is_told_to_all_of_its_group_and_to_no_other() -> None:
    work = Doubling()
    brought = tickets(-2, 1, 3, 4)
    group = Group(work, 2)
    group.add_all(brought)
    assert [type(each.error) for each in brought] == [LookupError, LookupError, type(None), type(None)]
    assert [each.result for each in brought[2:]] == [7, 9]
    with pytest.raises(LookupError):
        group.add(-1)
    assert group.add(5) == 11


def test_what_comes_meanwhile_is_the_next_group_whoever_brought_it() -> None:
    """Of one thread, some may be worked on by another, and the rest by itself."""
    work = Doubling()
    work.go.clear()
    group = Group(work, 4)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(group.add, 0)
        assert work.begun.wait(120)
        others = [threads.submit(group.add_all, brought) for brought in (tickets(1, 2, 3), tickets(4, 5, 6))]
        while len(group._queue) < 6:
            assert not any(each.done() for each in others)
        work.go.set()
        assert first.result(120) == 1
        for each in others:
            each.result(120)
    assert work.groups[0] == [0]
    assert [len(each) for each in work.groups[1:]] == [4, 2]
    assert sorted(item for each in work.groups for item in each) == list(range(7))


def test_many_threads_with_some_each_lose_nothing() -> None:
    work = Doubling()
    group = Group(work, 5)
    brought = [tickets(*range(n * 100, n * 100 + n % 9)) for n in range(60)]
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(group.add_all, brought))
    assert all(each.result == 2 * each.item + 1 for some in brought for each in some)
    assert sorted(item for each in work.groups for item in each) == sorted(
        each.item for some in brought for each in some
    )
    assert not group._led


def test_an_interrupted_thread_returns_when_nobody_works_on_its_item_any_more() -> None:
    """It is to give the item up, which must not happen under the hands of the thread that leads."""
    groups: list[list[int]] = []
    gates = {0: threading.Event(), 1: threading.Event()}
    interrupted = threading.Event()

    def work(some: Sequence[Ticket[int, int]]) -> None:
        groups.append([ticket.item for ticket in some])
        assert gates[some[0].item].wait(120)
        for ticket in some:
            ticket.result = 1

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def control() -> None:
        try:
            while len(group._queue) < 2:
                assert not mine.done
            gates[0].set()
            while len(groups) < 2:
                assert not mine.done
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert interrupted.wait(120)
        finally:
            gates[0].set()
            gates[1].set()

    group: Group[int, int] = Group(work, 4)
    mine: Ticket[int, int] = Ticket(2)
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with ThreadPoolExecutor(3) as threads:
            first = threads.submit(group.add, 0)
            while not groups:
                assert not first.done()
            second = threads.submit(group.add, 1)
            while not group._queue:
                assert not second.done()
            controlled = threads.submit(control)
            with pytest.raises(KeyboardInterrupt):
                group.add_all([mine])
            assert mine.done
            controlled.result(120)
            assert first.result(120) == second.result(120) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert groups == [[0], [1, 2]]
    assert not group._led


def test_an_interrupted_thread_takes_its_item_away_if_nobody_works_on_it() -> None:
    gate, interrupted = threading.Event(), threading.Event()
    groups: list[list[int]] = []

    def work(some: Sequence[Ticket[int, int]]) -> None:
        groups.append([ticket.item for ticket in some])
        assert gate.wait(120)
        for ticket in some:
            ticket.result = 1

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def control() -> None:
        while not group._queue:
            assert not gate.is_set()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert interrupted.wait(120)

    group: Group[int, int] = Group(work, 4)
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(group.add, 0)
            while not groups:
                assert not first.done()
            controlled = threads.submit(control)
            with pytest.raises(KeyboardInterrupt):
                group.add(1)
            controlled.result(120)
            gate.set()
            assert first.result(120) == 1
    finally:
        gate.set()
        signal.signal(signal.SIGINT, before)
    assert groups == [[0]]
    assert not group._led and not group._queue
