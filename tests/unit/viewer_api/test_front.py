"""What the processes of a web service share."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from config.board import Board, Cells
from config.settings import load
from viewer_api.front import LEAST_CONNECTIONS, LEAST_THREADS, Front, Revision
from viewer_api.sign_in.throttle import _ROWS, _WAYS, Table, Throttle


def in_a_process(work: Callable[[], None]) -> None:
    """Do it in a process that is forked here, and wait for its end."""
    process = os.fork()
    if process == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(process, 0)


def test_cells_and_boards_are_seen_by_processes_that_were_forked() -> None:
    cells, board = Cells(2), Board(2)
    board.tell(0, 3)

    def work() -> None:
        cells[1] = 7
        board.tell(1, 2)

    in_a_process(work)
    assert cells.all == [0, 7]
    assert board.counts == [3, 2]
    assert board.is_busiest(0) and not board.is_busiest(1)
    board.leave(1)
    assert board.counts == [3, 0]
    assert not board.is_busiest(0)


def test_a_change_in_any_process_makes_a_new_revision() -> None:
    changes = Revision(2)
    seen = {changes.now()}
    for number in (1, 0, 1):
        in_a_process(changes.of(number).changed)
        assert changes.now() not in seen
        seen.add(changes.now())


def test_failures_count_in_all_processes_and_a_dead_one_holds_nobody_up() -> None:
    table = Table(shared=True)
    throttle = Throttle(tries=3, table=table)
    for _ in range(2):
        in_a_process(lambda: throttle.failed("10.0.0.1"))
    assert not throttle.is_shut("10.0.0.1")

    def die_with_the_lock() -> None:
        with table._held():
            os._exit(0)

    in_a_process(die_with_the_lock)
    in_a_process(lambda: throttle.failed("10.0.0.1"))
    assert throttle.is_shut("10.0.0.1")
    assert not throttle.is_shut("10.0.0.2")


def test_the_table_of_failures_forgets_the_oldest_of_a_full_row() -> None:
    table = Table()
    for number in range(3 * _WAYS * _ROWS):
        table.change(f"address {number}", lambda times, since, at=number: (times + 1, float(at)))  # type: ignore[misc]
    newest = [table.get(f"address {number}") for number in range(3 * _WAYS * _ROWS - 100, 3 * _WAYS * _ROWS)]
    assert all(times == 1 for times, _ in newest)
    assert table.get("address 0") == (0, 0.0)


def test_processes_share_what_the_settings_allow() -> None:
    settings = load(environ={"PACS_WEB__HOST": "127.0.0.1"}, access={"sign_in": "off"}, storage={"backend": "memory"})
    assert settings.web_processes == 1
    front = Front.open(settings.model_copy(update={"web": settings.web.model_copy(update={"port": 0})}), 2)
    try:
        assert front.listener is not None
        assert front.listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
        shared = front.share(settings)
        assert (shared.web.threads, shared.database.pool_size) == (16, 8)
        front.processes = 60
        shared = front.share(settings)
        assert (shared.web.threads, shared.database.pool_size) == (LEAST_THREADS, LEAST_CONNECTIONS)
        assert not front.complete
        front.starts[0] = front.starts[1] = 1
        assert front.complete
        front.listening[1] = 5
        front.leave(1)
        assert front.complete
        assert front.listening.all == [0, 0]
    finally:
        front.close()
        front.clear()
    assert not os.path.exists(front.folder)


def test_there_are_as_many_processes_as_the_processors_can_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    web = load(environ={}).web
    for processors, expected in ((1, 1), (2, 1), (3, 1), (4, 2), (6, 3), (8, 4), (64, 4)):
        affinity = frozenset(range(processors))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, found=affinity: found)
        assert web.process_count == expected
