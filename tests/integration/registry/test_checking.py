"""Connection tests of peers: each way in which one can end, and that some node does what was asked for."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from archive.core import Archive
from archive.people.commands import OPERATOR
from archive.registry.checks import Outcome
from config.node import NodeSettings, TLSSettings
from config.peers import Peer
from config.settings import Settings
from dicom_node import checking
from tests.certificates import Authority
from tests.integration.archive.support import sql
from tests.integration.dicom_node.running import Node, running, wait_until
from tests.ports import free_port

PATIENCE = 120.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes its time to answer."""
    monkeypatch.setattr(checking, "PATIENCE", PATIENCE)


def peer_at(port: int, **more: Any) -> Peer:
    return Peer.model_validate({"ae_title": "STORE", "facility": "86001", "host": "127.0.0.1", "port": port, **more})


@contextmanager
def saying(answer: bytes | None) -> Iterator[int]:
    """Something that listens and says this to whoever comes, or nothing; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def serve() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    held.append(connection)
                    if answer is not None:
                        connection.recv(65536)
                        connection.sendall(answer)
                        if not answer:
                            connection.close()
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in held:
                each.close()


def check(peer: Peer | None, **node: Any) -> tuple[Outcome, str, int | None]:
    return checking.check(peer, NodeSettings(ae_title="PACS", artim_timeout=PATIENCE, **node))


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """A real receiver of DCMTK."""
    port = free_port()
    command = ["storescp", "-aet", "STORE", "-od", str(folder), *options, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _accepts(port), "the receiver listens", PATIENCE)
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _accepts(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def test_a_device_that_answers(tmp_path: Path) -> None:
    with storescp(tmp_path) as port:
        outcome, detail, milliseconds = check(peer_at(port))
    assert (outcome, detail) == (Outcome.OK, "") and milliseconds is not None


def test_a_device_that_takes_no_association(tmp_path: Path) -> None:
    with storescp(tmp_path, "--refuse") as port:
        outcome, detail, _ = check(peer_at(port))
    assert outcome is Outcome.REJECTED and "rejected" in detail


@pytest.mark.parametrize(
    ("source", "reason", "outcome"),
    [
        (1, 7, Outcome.CALLED_UNKNOWN),
        (1, 3, Outcome.CALLING_UNKNOWN),
        (3, 2, Outcome.REJECTED),
        (1, 1, Outcome.REJECTED),
    ],
)
def test_an_a_associate_rj_says_which_name_is_wrong(source: int, reason: int, outcome: Outcome) -> None:
    with saying(bytes((3, 0, 0, 0, 0, 4, 0, 1, source, reason))) as port:
        assert check(peer_at(port))[0] is outcome


def test_nothing_listens() -> None:
    assert check(peer_at(free_port()))[0] is Outcome.REFUSED


def test_a_name_that_nobody_knows() -> None:
    assert check(peer_at(104, host="no-such-host.invalid"))[0] is Outcome.NO_SUCH_HOST
    assert check(peer_at(104, host="a" * 80))[0] is Outcome.NO_SUCH_HOST


def test_no_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> socket.socket:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    outcome, detail, _ = check(peer_at(104, host="192.0.2.1"))
    assert outcome is Outcome.UNREACHABLE and "No route to host" in detail


def test_something_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "PATIENCE", 0.5)
    with saying(None) as port:
        assert check(peer_at(port))[0] is Outcome.SILENT


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", bytes((7, 0, 0, 0, 0, 4, 0, 0, 0, 0))])
def test_something_that_is_not_dicom(answer: bytes) -> None:
    with saying(answer) as port:
        assert check(peer_at(port))[0] is Outcome.NOT_DICOM


def test_no_place_to_call() -> None:
    assert check(None)[0] is Outcome.NO_PLACE
    assert check(Peer(ae_title="CT9", facility="86001"))[0] is Outcome.NO_PLACE


def test_tls_with_something_that_has_none(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = TLSSettings(ca_file=authority.file)
    with storescp(tmp_path) as port:
        assert check(peer_at(port, tls=True), tls=tls)[0] in (Outcome.TLS, Outcome.NOT_DICOM)


def test_a_node_does_what_was_asked_for_and_the_result_is_read_elsewhere(
    settings: Settings, archive: Archive, tmp_path: Path
) -> None:
    with storescp(tmp_path) as port, Archive.open(settings) as node:
        # Added elsewhere, a moment ago.
        archive.registry.add(OPERATOR, "STORE", {"facility": "86001", "host": "127.0.0.1", "port": port, "rights": []})
        number = archive.peer_checks.ask("STORE", "lan")
        assert archive.peer_checks.ask("STORE", "mai") == number, "one at a time"
        assert archive.peer_checks.one(number).outcome is None
        with checking.checking(node):
            wait_until(lambda: archive.peer_checks.one(number).outcome is not None, "the test is done", PATIENCE)
    assert archive.peer_checks.one(number).outcome is Outcome.OK
    assert archive.peer_checks.last()["STORE"].id == number
    assert archive.peer_checks.ask("STORE", "lan") != number


def test_two_nodes_never_do_the_same_and_a_dead_one_is_taken_over_from(archive: Archive) -> None:
    numbers = [archive.peer_checks.ask(f"A{each}", "lan") for each in range(8)]
    taken: list[int] = []
    ready = threading.Barrier(4)

    def take() -> None:
        ready.wait()
        while (claimed := archive.peer_checks.claim()) is not None:
            taken.append(claimed[0])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(taken) == sorted(numbers)
    sql(archive, "UPDATE peer_test SET leased_until = now() - interval '1 second' WHERE id = %s", numbers[0])
    assert archive.peer_checks.claim() == (numbers[0], "A0")
    archive.peer_checks.done(numbers[0], Outcome.REFUSED)
    archive.peer_checks.done(numbers[0], Outcome.OK)
    assert archive.peer_checks.one(numbers[0]).outcome is Outcome.REFUSED
    # What nobody waits for any more is not done, and goes after a day.
    sql(archive, "UPDATE peer_test SET leased_until = NULL, done_at = NULL, asked_at = now() - interval '2 days'")
    assert archive.peer_checks.claim() is None
    archive.peer_checks.ask("A9", "lan")
    assert sql(archive, "SELECT ae_title FROM peer_test") == ["A9"]


def test_the_archive_calls_itself(settings: Settings, archive: Archive) -> None:
    """What a node of ours answers to a peer that it does not know, and by another name."""
    strict = settings.model_copy(update={"unknown_peers": "reject"})
    with Archive.open(strict) as opened, running(strict, opened) as node:
        assert check(_as(node, "PACS"))[0] is Outcome.CALLING_UNKNOWN
        assert check(_as(node, "OTHER"))[0] is Outcome.CALLED_UNKNOWN
        opened.registry.add(OPERATOR, "BRANCH", {"facility": "86001"})
        known = NodeSettings(ae_title="BRANCH", artim_timeout=PATIENCE)
        assert checking.check(_as(node, "PACS"), known)[0] is Outcome.OK
        node.wait_until_idle()


def _as(node: Node, title: str) -> Peer:
    return peer_at(node.port, ae_title=title)
