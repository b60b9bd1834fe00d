"""What many ask at once is made once, and told again while it holds."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from archive.errors import IndexUnavailable
from archive.figures.question import Answer
from archive.figures.recent import MOST_ROWS, Recent

LONG = 1e6


class Source:
    """What is asked; it counts how often."""

    def __init__(self) -> None:
        self.revision = 1
        self.asked = 0
        self.failing = False

    def make(self) -> int:
        self.asked += 1
        if self.failing:
            raise IndexUnavailable("nobody is there")
        return self.revision


@pytest.fixture
def source() -> Source:
    return Source()


def test_an_answer_is_told_again_until_something_changes(source: Source) -> None:
    recent = Recent(lambda: source.revision)
    assert [recent.get("a", source.make, 0, LONG) for _ in range(3)] == [1, 1, 1]
    assert source.asked == 1
    source.revision = 2
    assert [recent.get("a", source.make, 0, LONG) for _ in range(3)] == [2, 2, 2]
    assert (recent.get("b", source.make, 0, LONG), source.asked) == (2, 3)


def test_an_answer_is_told_for_a_while_though_something_changed(source: Source) -> None:
    recent = Recent(lambda: source.revision)
    recent.get("a", source.make, LONG, LONG)
    source.revision = 2
    assert recent.get("a", source.make, LONG, LONG) == 1
    assert recent.get("a", source.make, 0, LONG) == 2


def test_without_seconds_nothing_is_remembered(source: Source) -> None:
    recent = Recent(lambda: source.revision)
    for _ in range(3):
        recent.get("a", source.make, 0, 0)
    assert source.asked == 3


def test_many_who_ask_at_once_have_it_made_once(source: Source) -> None:
    recent = Recent(lambda: source.revision)
    all_there = threading.Barrier(9)
    may_end = threading.Event()
    found: list[int] = []

    def make() -> int:
        may_end.wait(120)
        return source.make()

    def ask() -> None:
        all_there.wait(120)
        found.append(recent.get("a", make, LONG, LONG))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    all_there.wait(120)
    may_end.set()
    for thread in threads:
        thread.join(120)
    assert (found, source.asked) == ([1] * 8, 1)


def test_a_failure_is_told_to_who_waited_and_is_not_remembered(source: Source) -> None:
    recent = Recent(lambda: source.revision)
    source.failing = True
    for _ in range(2):
        with pytest.raises(IndexUnavailable):
            recent.get("a", source.make, LONG, LONG)
    source.failing = False
    assert recent.get("a", source.make, LONG, LONG) == 1
    # What was told before a failure holds after it.
    source.failing = True
    assert recent.get("a", source.make, LONG, LONG) == 1


def test_it_remembers_so_many_and_nothing_huge(source: Source) -> None:
    recent = Recent(lambda: source.revision, most=2)
    for key in ("a", "b", "c", "b", "c"):
        recent.get(key, source.make, LONG, LONG)
    assert source.asked == 3
    recent.get("a", source.make, LONG, LONG)
    assert source.asked == 4
    made = []

    def huge() -> Answer:
        made.append(1)
        return Answer(("studies",), [(1,)] * (MOST_ROWS + 1), datetime.now(UTC))

    for _ in range(2):
        recent.get("huge", huge, LONG, LONG)
    assert len(made) == 2
