"""Responses that a request takes for its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from dicom_node import commands
from dicom_node.commands import encode_command
from dicom_node.exchange import Agreement, Exchange
from dicom_node.negotiation import Context
from dicom_node.wire import ProtocolError, Wire, command_pdus

ECHO_RQ = {commands.COMMAND_FIELD: 0x0030, commands.COMMAND_DATA_SET_TYPE: 0x0101}
ECHO_RSP = {commands.COMMAND_FIELD: 0x8030, commands.COMMAND_DATA_SET_TYPE: 0x0101}
CONTEXTS = {each: Context("1.2.840.10008.1.1", "1.2.840.10008.1.2") for each in (1, 3)}


@pytest.fixture
def ends() -> Iterator[tuple[Exchange, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        connection, _ = listening.accept()
    wire = Wire(connection, 4096, read_timeout=120, write_timeout=120)
    yield Exchange(wire, Agreement(CONTEXTS, 16384, 16384)), peer
    wire.close()
    peer.close()


def answered(ends: tuple[Exchange, socket.socket], *, context: int, message: int) -> int:
    """The status of the response to message 7 on context 1, when one comes on this context to this message."""
    exchange, peer = ends
    response = {commands.MESSAGE_ID_BEING_RESPONDED_TO: message, commands.STATUS: 0}
    peer.sendall(command_pdus(context, encode_command({**ECHO_RSP, **response}), 16384))
    request = {**ECHO_RQ, commands.MESSAGE_ID: 7}
    return exchange.request(1, 7, encode_command(request)).command.number(commands.STATUS)


def test_a_response_to_the_request_is_taken(ends: tuple[Exchange, socket.socket]) -> None:
    assert answered(ends, context=1, message=7) == 0


@pytest.mark.parametrize(("context", "message"), [(3, 7), (1, 8), (3, 8)])
def test_success_for_something_else_is_not_taken(
    ends: tuple[Exchange, socket.socket], context: int, message: int
) -> None:
    """Also on another context that was accepted: an object would count as sent that its destination never took."""
    with pytest.raises(ProtocolError, match="something else"):
        answered(ends, context=context, message=message)
