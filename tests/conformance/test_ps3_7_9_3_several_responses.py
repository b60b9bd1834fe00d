"""Operations with several responses, and C-CANCEL between them (PS3.7 9.3.2.1, 9.3.2.3, D.3.3.3).

The operation here is one that the test makes itself, so that every response is known.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archive.core import Archive
from config.settings import Settings
from dicom_node.commands import C_ECHO_RQ, C_FIND_RQ, Command, response
from dicom_node.exchange import Exchange
from dicom_node.handlers.echo import Echo
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Collected, Dialogue
from dicom_node.server import DicomServer
from tests.integration.dicom_node.peer import (
    ABORT,
    COMMAND,
    DATA,
    LAST,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    cancel_rq,
    command_set,
    echo_rq,
    p_data,
    pdv,
)
from tests.integration.dicom_node.running import wait_until

PENDING, SUCCESS, CANCELLED = 0xFF00, 0x0000, 0xFE00
LONGEST = 1000


class Counting:
    """As many responses as its dataset has bytes, each with the bytes so far; without end if they are ``for ever``."""

    def __init__(self, command: Command, context: Context, caller: Caller) -> None:
        self._command = command
        self._collected = Collected(LONGEST)

    def write(self, data: memoryview) -> None:
        self._collected.write(data)

    def finish(self) -> bytes | Dialogue:
        if self._collected.too_long or not self._collected.data:
            return response(self._command, 0xC000)
        return self._answer

    def _answer(self, exchange: Exchange) -> None:
        data = bytes(self._collected.data)
        sent = 0
        while sent < len(data) or data == b"for ever":
            if exchange.poll():
                exchange.respond(1, response(self._command, CANCELLED))
                return
            sent += 1
            exchange.respond(1, response(self._command, PENDING, with_data_set=True), data[:sent])
        exchange.respond(1, response(self._command, SUCCESS))

    def abort(self) -> None:
        pass


@pytest.fixture
def server(settings: Settings, archive: Archive) -> Iterator[DicomServer]:
    started = DicomServer(settings.node, archive.peers, {C_FIND_RQ: Counting, C_ECHO_RQ: Echo})
    started.start()
    yield started
    wait_until(lambda: started.associations == 0, "no connection is left")
    started.stop()


@pytest.fixture
def peer(server: DicomServer) -> Iterator[RawPeer]:
    with RawPeer(server.port).associate([(VERIFICATION, ["1.2.840.10008.1.2"])]) as connected:
        yield connected


def find_rq(message: int = 1, *, data: bool = True) -> bytes:
    return p_data(
        pdv(1, COMMAND | LAST, command_set({2: b"1.2", 0x100: 0x20, 0x110: message, 0x800: 0 if data else 0x101}))
    )


def cancel(message: int = 1) -> bytes:
    return p_data(pdv(1, COMMAND | LAST, cancel_rq(message)))


def data_of(peer: RawPeer) -> bytes:
    """The dataset that follows a response."""
    whole, last = b"", False
    while not last:
        kind, body = peer.receive()
        assert (kind, body[4], body[5] & COMMAND) == (4, 1, 0)
        whole += body[6:]
        last = bool(body[5] & LAST)
    return whole


def statuses(peer: RawPeer) -> list[int]:
    """Statuses up to the final one."""
    found = [peer.status()]
    while found[-1] == PENDING:
        data_of(peer)
        found.append(peer.status())
    return found


def test_9_3_2_1_pending_responses_carry_a_dataset_and_the_final_one_does_not(peer: RawPeer) -> None:
    peer.send(find_rq(7) + p_data(pdv(1, DATA | LAST, b"abc")))
    for expected in (b"a", b"ab", b"abc"):
        assert peer.status() == PENDING
        assert peer.last[0x800] != b"\x01\x01"
        assert peer.last[0x120] == b"\x07\0"
        assert data_of(peer) == expected
    assert peer.status() == SUCCESS
    assert peer.last[0x800] == b"\x01\x01"
    peer.release()


def test_9_3_2_3_a_cancel_between_responses_ends_them(peer: RawPeer) -> None:
    peer.send(find_rq() + p_data(pdv(1, DATA | LAST, b"for ever")))
    for _ in range(3):
        assert peer.status() == PENDING
        data_of(peer)
    peer.send(cancel())
    assert statuses(peer)[-1] == CANCELLED
    peer.send(cancel())  # too late: ignored
    peer.send(find_rq(2) + p_data(pdv(1, DATA | LAST, b"a")))
    assert statuses(peer) == [PENDING, SUCCESS]
    peer.release()


@pytest.mark.parametrize("at", [1, 20, 30])
def test_9_3_2_3_a_cancel_may_come_in_fragments_around_the_end_of_the_identifier(peer: RawPeer, at: int) -> None:
    whole = cancel_rq(1)
    peer.send(find_rq() + p_data(pdv(1, DATA | LAST, b"for ever"), pdv(1, COMMAND, whole[:at])))
    assert peer.status() == PENDING
    data_of(peer)
    peer.send(p_data(pdv(1, COMMAND | LAST, whole[at:])))
    assert statuses(peer)[-1] == CANCELLED
    peer.release()


def test_9_3_2_3_a_cancel_within_the_identifier_counts(peer: RawPeer) -> None:
    peer.send(
        find_rq() + p_data(pdv(1, DATA, b"for "), pdv(1, COMMAND | LAST, cancel_rq(1)), pdv(1, DATA | LAST, b"ever"))
    )
    assert statuses(peer) == [CANCELLED]
    peer.release()


def test_9_3_2_3_a_cancel_of_another_operation_is_ignored(peer: RawPeer) -> None:
    peer.send(find_rq(5) + p_data(pdv(1, DATA | LAST, b"abc")) + cancel(4))
    assert statuses(peer) == [PENDING] * 3 + [SUCCESS]
    peer.release()


@pytest.mark.parametrize(
    "data",
    [find_rq(2), p_data(pdv(1, DATA, b"x")), p_data(pdv(1, COMMAND | LAST, echo_rq())), RELEASE_RQ, b"\x09\0\0\0\0\0"],
    ids=["a request", "data", "an echo", "a release", "no PDU"],
)
@pytest.mark.parametrize("together", [True, False])
def test_d_3_3_3_anything_else_in_the_middle_of_an_operation_breaks_the_protocol(
    peer: RawPeer, data: bytes, together: bool
) -> None:
    ask = find_rq() + p_data(pdv(1, DATA | LAST, b"for ever"))
    peer.send(ask + data if together else ask)
    if not together:
        assert peer.status() == PENDING
        peer.send(data)
    source, _ = peer.aborted()
    assert source == 2


@pytest.mark.parametrize("how", ["abort", "reset", "close"])
def test_8_1_a_peer_that_leaves_in_the_middle_takes_nothing_with_it(server: DicomServer, how: str) -> None:
    peer = RawPeer(server.port).associate([(VERIFICATION, ["1.2.840.10008.1.2"])])
    peer.send(find_rq() + p_data(pdv(1, DATA | LAST, b"for ever")))
    assert peer.status() == PENDING
    if how == "abort":
        peer.send(ABORT)
    (peer.reset if how == "reset" else peer.close)()
    wait_until(lambda: server.associations == 0, "the association has ended")


@pytest.mark.parametrize(
    "data", [b"", bytes(LONGEST + 1), bytes(300_000)], ids=["none", "one too many", "far too long"]
)
def test_9_3_2_1_a_request_that_cannot_be_worked_on_has_one_response(peer: RawPeer, data: bytes) -> None:
    pieces = [data[at : at + 5000] for at in range(0, len(data), 5000)]
    peer.send(find_rq(data=bool(data)) + b"".join(p_data(pdv(1, DATA, piece)) for piece in pieces))
    if data:
        peer.send(p_data(pdv(1, DATA | LAST, b"")))
    assert peer.status() == 0xC000
    peer.send(p_data(pdv(1, COMMAND | LAST, echo_rq())))
    assert peer.status() == 0
    peer.release()


def test_ps3_8_d_1_responses_are_cut_to_what_the_peer_takes(server: DicomServer) -> None:
    with RawPeer(server.port).associate([(VERIFICATION, ["1.2.840.10008.1.2"])], maximum_length=64) as peer:
        peer.send(find_rq() + p_data(pdv(1, DATA | LAST, b"for ever and a day, in more than one PDU " * 4)))
        while peer.status() == PENDING:
            found = data_of(peer)
        assert found == b"for ever and a day, in more than one PDU " * 4
        peer.release()


def test_a_stop_ends_an_operation_that_does_not_end(settings: Settings, archive: Archive) -> None:
    node = settings.node.model_copy(update={"shutdown_grace": 0.1})
    server = DicomServer(node, archive.peers, {C_FIND_RQ: Counting})
    server.start()
    with RawPeer(server.port).associate([(VERIFICATION, ["1.2.840.10008.1.2"])]) as peer:
        peer.send(find_rq() + p_data(pdv(1, DATA | LAST, b"for ever")))
        assert peer.status() == PENDING
        server.stop()
        assert server.associations == 0
