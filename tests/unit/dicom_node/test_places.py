"""Places of a node of one process and of several."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.peers import Limits, Peer
from dicom_node.front import Board
from dicom_node.negotiation import Rejection
from dicom_node.places import Places, SharedPlaces, ledger

FREE = Peer(ae_title="FREE", facility="1")
ONE = Peer(ae_title="ONE", facility="1", limits=Limits(maximum_associations=1))
MAKERS = [Places, lambda maximum: SharedPlaces(maximum, ledger())]
Make = Callable[[int], Places | SharedPlaces]


@pytest.mark.parametrize("make", MAKERS, ids=["one process", "several"])
def test_places_are_counted_for_the_peer_and_for_the_node(make: Make) -> None:
    places = make(3)
    assert [places.take(ONE), places.take(ONE)] == [None, Rejection.TOO_MANY_OF_PEER]
    assert [places.take(FREE) for _ in range(3)] == [None, None, Rejection.TOO_MANY_ASSOCIATIONS]
    places.give_back(ONE)
    assert [places.take(ONE), places.take(FREE)] == [None, Rejection.TOO_MANY_ASSOCIATIONS]


@pytest.mark.parametrize("make", MAKERS, ids=["one process", "several"])
def test_places_of_many_threads_are_never_more_than_there_are(make: Make) -> None:
    places, taken, most = make(5), [0], []

    def use(_: int) -> None:
        if places.take(FREE) is None:
            taken.append(1)
            most.append(sum(taken))
            taken.append(-1)
            places.give_back(FREE)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(use, range(2000)))
    assert max(most) <= 5
    assert [places.take(FREE) for _ in range(6)] == [None] * 5 + [Rejection.TOO_MANY_ASSOCIATIONS]


def test_a_place_refused_by_the_node_is_not_taken_from_the_peer() -> None:
    places = SharedPlaces(1, ledger())
    assert places.take(FREE) is None
    assert places.take(ONE) is Rejection.TOO_MANY_ASSOCIATIONS
    places.give_back(FREE)
    assert places.take(ONE) is None


def test_places_are_shared_by_processes_and_free_when_one_dies() -> None:
    file = ledger()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        places = SharedPlaces(3, file)
        given = [places.take(ONE), places.take(FREE)]
        os.write(ready[1], b"1" if given == [None, None] else b"0")
        os.read(done[0], 1)
        os._exit(0)
    assert os.read(ready[0], 1) == b"1"
    places = SharedPlaces(3, file)
    assert places.take(ONE) is Rejection.TOO_MANY_OF_PEER
    assert [places.take(FREE), places.take(FREE)] == [None, Rejection.TOO_MANY_ASSOCIATIONS]
    os.write(done[1], b"1")
    os.waitpid(child, 0)
    assert [places.take(ONE), places.take(FREE), places.take(FREE)] == [None, None, Rejection.TOO_MANY_ASSOCIATIONS]
    for each in (*ready, *done, file):
        os.close(each)


def test_a_connection_is_left_to_who_has_fewer_and_never_to_who_is_absent() -> None:
    board = Board(3)
    board.tell(0, 5)
    assert not board.is_busiest(0)
    board.tell(1, 4)
    assert [board.is_busiest(0), board.is_busiest(1)] == [True, False]
    board.leave(1)
    assert not board.is_busiest(0)
