from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.wire import PeerGone, PeerSilent, Wire, abort_pdu, command_pdus, data_pdus


def join(pdus: bytes, context: int) -> tuple[bytes, list[int]]:
    """The command in these PDUs and the lengths of the PDUs."""
    command, lengths, offset = b"", [], 0
    while offset < len(pdus):
        kind, length, size, identifier, control = struct.unpack_from(">BxIIBB", pdus, offset)
        assert (kind, size, identifier) == (4, length - 4, context)
        command += pdus[offset + 12 : offset + 6 + length]
        offset += 6 + length
        lengths.append(length)
        assert control == (3 if offset == len(pdus) else 1)
    assert offset == len(pdus)
    return command, lengths


@given(st.binary(min_size=2, max_size=500).filter(lambda data: not len(data) % 2), st.integers(8, 600))
def test_a_command_is_fragmented_to_what_the_peer_takes(command: bytes, maximum_length: int) -> None:
    joined, lengths = join(command_pdus(5, command, maximum_length), 5)
    assert joined == command
    assert max(lengths) <= maximum_length
    assert all(length % 2 == 0 for length in lengths)


@pytest.mark.parametrize("maximum_length", range(1, 8))
def test_a_maximum_length_without_room_gets_fragments_as_small_as_can_be(maximum_length: int) -> None:
    assert join(command_pdus(1, bytes(6), maximum_length), 1) == (bytes(6), [8, 8, 8])


def test_no_maximum_length_means_one_pdu() -> None:
    assert join(command_pdus(1, bytes(300), 0), 1) == (bytes(300), [306])


def test_an_abort_is_of_ten_bytes() -> None:
    assert abort_pdu(2, 6) == bytes([7, 0, 0, 0, 0, 4, 0, 0, 2, 6])


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        connection, _ = listening.accept()
    wire = Wire(connection, 64, read_timeout=0.05, write_timeout=0.05)
    yield wire, peer
    wire.close()
    peer.close()


def test_what_was_not_consumed_survives_the_end_of_the_buffer(pair: tuple[Wire, socket.socket]) -> None:
    wire, peer = pair
    data = bytes(range(200))
    peer.sendall(data)
    found = b""
    while len(found) < 190:
        wire.fill()
        while wire.end - wire.start >= 19:
            found += wire.view[wire.start : wire.start + 19]
            wire.start += 19
    assert found == data[:190]


def test_silence_and_close_are_told_apart(pair: tuple[Wire, socket.socket]) -> None:
    wire, peer = pair
    with pytest.raises(PeerSilent):
        wire.fill()
    peer.close()
    with pytest.raises(PeerGone):
        wire.fill()


def test_a_peer_that_takes_nothing_is_gone(pair: tuple[Wire, socket.socket]) -> None:
    wire, _ = pair
    with pytest.raises(PeerGone, match="not taken"):
        wire.send(bytes(50_000_000))


@given(st.lists(st.binary(max_size=700), max_size=6), st.integers(0, 600))
def test_a_dataset_is_fragmented_to_what_the_peer_takes(chunks: list[bytes], maximum_length: int) -> None:
    joined, offset = b"", 0
    pdus = b"".join(data_pdus(3, chunks, maximum_length))
    while offset < len(pdus):
        kind, length, size, identifier, control = struct.unpack_from(">BxIIBB", pdus, offset)
        assert (kind, size, identifier) == (4, length - 4, 3)
        assert not maximum_length or length <= max(maximum_length, 8)
        joined += pdus[offset + 12 : offset + 6 + length]
        offset += 6 + length
        assert control == (2 if offset == len(pdus) else 0)
    assert joined == b"".join(chunks)
