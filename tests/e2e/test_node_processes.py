"""A node of several processes: one port, limits over all of them, and the death of any is a matter of its associations."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from archive.core import Archive
from config.settings import Settings
from tests.e2e.test_dimse_many import CONTEXTS, LOCAL_LIMIT_EXCEEDED, rejected
from tests.e2e.test_dimse_process import Sender, assert_nothing_acknowledged_is_lost, stored
from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import RawPeer
from tests.integration.dicom_node.process import NodeProcess, archive_command, node_process
from tests.integration.dicom_node.running import leftovers, sql, wait_until

PROCESSES = 3


def workers(node: NodeProcess) -> list[psutil.Process]:
    return psutil.Process(node.process.pid).children()


def served_by(worker: psutil.Process, port: int) -> int:
    """Associations that a process has open."""
    found = worker.net_connections("tcp")
    return sum(each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED for each in found)


def busy(node: NodeProcess) -> list[psutil.Process]:
    return [each for each in workers(node) if served_by(each, node.port)]


def all_listen(node: NodeProcess, times: int = PROCESSES) -> None:
    wait_until(lambda: node.log().count("DICOM node listens") >= times, "all processes listen", 120)


def test_limits_hold_over_all_processes_and_a_dead_one_gives_its_places_back(
    settings: Settings, tmp_path: Path
) -> None:
    with node_process(settings, tmp_path, processes=PROCESSES, maximum_associations=6) as node, ExitStack() as stack:
        all_listen(node)
        peers = [stack.enter_context(node.peer()).associate() for _ in range(6)]
        assert sum(served_by(each, node.port) for each in workers(node)) == 6
        assert rejected(node) == LOCAL_LIMIT_EXCEEDED
        image = ct_image()
        assert [peer.store(image.SOPInstanceUID, encode(image)) for peer in peers] == [0] * 6

        victim = max(workers(node), key=lambda each: served_by(each, node.port))
        lost = served_by(victim, node.port)
        victim.kill()
        again = [held(stack, node) for _ in range(lost)]
        assert rejected(node) == LOCAL_LIMIT_EXCEEDED
        all_listen(node, PROCESSES + 1)
        assert "a process of the service ended by itself and is started again" in node.log()
        assert len(workers(node)) == PROCESSES
        assert [peer.echo() for peer in again] == [0] * lost
        assert node.terminate() == 0
        assert "Traceback" not in node.log()


def held(stack: ExitStack, node: NodeProcess) -> RawPeer:
    """An association that stays, as soon as there is a place for it."""
    found: list[RawPeer] = []

    def associated() -> bool:
        peer = node.peer()
        try:
            found.append(peer.associate(CONTEXTS))
        except AssertionError:
            peer.close()
        return bool(found)

    wait_until(associated, "a place is free", 120)
    return stack.enter_context(found[0])


def test_several_processes_take_associations(settings: Settings, tmp_path: Path) -> None:
    with node_process(settings, tmp_path, processes=PROCESSES) as node, ExitStack() as stack:
        all_listen(node)

        def another() -> bool:
            assert stack.enter_context(node.peer()).associate().echo() == 0
            return len(busy(node)) == PROCESSES

        wait_until(another, "each process has one")
        assert node.terminate() == 0


@pytest.mark.parametrize("whole", [False, True], ids=["a process", "the node"])
def test_whoever_is_killed_loses_nothing_acknowledged(settings: Settings, tmp_path: Path, whole: bool) -> None:
    with node_process(settings, tmp_path, processes=2) as node:
        all_listen(node, 2)
        senders = [Sender(node.port, n) for n in range(4)]
        for sender in senders:
            sender.start()
        wait_until(lambda: stored(senders) >= 20, "some are stored")
        if whole:
            children = workers(node)
            node.kill()
            _, alive = psutil.wait_procs(children, timeout=120)
            assert not alive
        else:
            busy(node)[0].send_signal(signal.SIGKILL)
            all_listen(node, 3)
            for sender in senders:
                sender.enough.set()
        for sender in senders:
            sender.join()
        if not whole:
            assert node.terminate() == 0
    ended = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, %s)"
    wait_until(lambda: sql(settings, ended, "pacs dicom_node") == [], "the sessions of who was killed have ended")
    done = archive_command(settings, tmp_path, "reconcile", "--verify", "--content")
    assert done.returncode == 0, done.stdout + done.stderr
    with Archive.open(settings) as archive:
        assert assert_nothing_acknowledged_is_lost(settings, archive, senders) >= 20
        assert leftovers(settings, archive) == []


def test_a_node_that_cannot_start_says_so_and_ends(settings: Settings, tmp_path: Path) -> None:
    with node_process(settings, tmp_path, processes=2) as node:
        with pytest.raises(AssertionError, match=r"the DICOM node cannot start: .*Address already in use"):
            NodeProcess(settings, tmp_path, processes=2, port=node.port)
        assert node.terminate() == 0


def test_a_node_without_its_index_says_so_and_ends(settings: Settings, tmp_path: Path) -> None:
    url = type(settings.database.url)("postgresql://127.0.0.1:1/none")
    nowhere = settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})})
    with pytest.raises(AssertionError, match="the DICOM node cannot start"):
        NodeProcess(nowhere, tmp_path, processes=2)
