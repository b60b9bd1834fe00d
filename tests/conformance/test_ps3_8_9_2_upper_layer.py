"""The upper layer protocol machine as acceptor (PS3.8 9.2): what is not expected ends in A-ABORT, and in nothing else."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import pytest

from archive.core import Archive
from config.settings import Settings
from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    ABORT,
    COMMAND,
    CT_IMAGE_STORAGE,
    DATA,
    EXPLICIT,
    LAST,
    RELEASE_RQ,
    Closed,
    RawPeer,
    associate_rq,
    command_set,
    echo_rq,
    item,
    message,
    p_data,
    pdu,
    pdv,
    sha256,
    store_rq,
)
from tests.integration.dicom_node.running import Node, running, with_node

PROVIDER = 2
UNRECOGNIZED, UNEXPECTED, INVALID_PARAMETER = 1, 2, 6
LARGEST = 256 * 1024
UID = "1.2.3"


@pytest.fixture
def node(settings: Settings, archive: Archive) -> Iterator[Node]:
    with running(with_node(settings, artim_timeout=5), archive) as started:
        yield started
        started.wait_until_idle()


COMMAND_FIRST = p_data(pdv(1, COMMAND | LAST, store_rq(UID)), pdv(1, DATA, b"\x08\x00\x05\x00CS\x02\x00AB"))

AFTER_ACCEPTANCE = {
    "unknown PDU type 0": (pdu(0, bytes(4)), UNRECOGNIZED),
    "unknown PDU type 8": (pdu(8, bytes(4)), UNRECOGNIZED),
    "unknown PDU type 255 that claims 4 GB": (b"\xff\0\xff\xff\xff\xff", UNRECOGNIZED),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", UNRECOGNIZED),
    "a second A-ASSOCIATE-RQ": (associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])]), UNEXPECTED),
    "a second, long A-ASSOCIATE-RQ": (associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT] * 8)] * 60), UNEXPECTED),
    "an A-ASSOCIATE-AC": (pdu(2, bytes(68)), UNEXPECTED),
    "an A-ASSOCIATE-RJ": (pdu(3, bytes([0, 1, 1, 1])), UNEXPECTED),
    "an A-RELEASE-RP": (pdu(6, bytes(4)), UNEXPECTED),
    "an A-RELEASE-RQ of 4 GB": (b"\x05\0\xff\xff\xff\xff", INVALID_PARAMETER),
    "a PDU one byte too long": (struct.pack(">BxI", 4, LARGEST + 1), INVALID_PARAMETER),
    "a PDU of 4 GB": (struct.pack(">BxI", 4, 0xFFFFFFFF), INVALID_PARAMETER),
    "a PDV longer than its PDU": (pdu(4, struct.pack(">IBB", 100, 1, 3) + bytes(20)), INVALID_PARAMETER),
    "a PDV of 4 GB": (pdu(4, struct.pack(">IBB", 0xFFFFFFFF, 1, 3) + bytes(20)), INVALID_PARAMETER),
    "a PDV too short for its header": (pdu(4, struct.pack(">IBB", 1, 1, 3)), INVALID_PARAMETER),
    "a PDV of length 0": (pdu(4, bytes(6)), INVALID_PARAMETER),
    "half a PDV header": (pdu(4, bytes(5)), INVALID_PARAMETER),
    "bytes behind the last PDV": (pdu(4, pdv(3, COMMAND | LAST, echo_rq()) + b"\0"), INVALID_PARAMETER),
    "a context that was not accepted": (p_data(pdv(5, COMMAND | LAST, store_rq(UID))), INVALID_PARAMETER),
    "an even context": (p_data(pdv(2, COMMAND | LAST, store_rq(UID))), INVALID_PARAMETER),
    "a dataset without command": (p_data(pdv(1, DATA, b"data")), UNEXPECTED),
    "a whole dataset without command": (p_data(pdv(1, DATA | LAST, b"data")), UNEXPECTED),
    "a dataset behind a command without one": (
        p_data(pdv(3, COMMAND | LAST, echo_rq()), pdv(3, DATA | LAST, b"data")),
        UNEXPECTED,
    ),
    "a dataset before its command is whole": (p_data(pdv(1, COMMAND, store_rq(UID)), pdv(1, DATA, b"d")), UNEXPECTED),
    "a command within a dataset": (COMMAND_FIRST + p_data(pdv(1, COMMAND | LAST, store_rq("1.2.4"))), UNEXPECTED),
    "a dataset that changes its context": (COMMAND_FIRST + p_data(pdv(3, DATA | LAST, b"x")), UNEXPECTED),
    "a command in two contexts": (
        p_data(pdv(1, COMMAND, store_rq(UID)[:12]), pdv(3, COMMAND | LAST, store_rq(UID)[12:])),
        INVALID_PARAMETER,
    ),
    "a release in the middle of a dataset": (COMMAND_FIRST + RELEASE_RQ, UNEXPECTED),
    "a release in the middle of a command": (p_data(pdv(1, COMMAND, store_rq(UID)[:12])) + RELEASE_RQ, UNEXPECTED),
    "a command of garbage": (p_data(pdv(1, COMMAND | LAST, b"\x99" * 40)), INVALID_PARAMETER),
    "an empty command": (p_data(pdv(1, COMMAND | LAST, b"")), INVALID_PARAMETER),
    "an endless command": (p_data(pdv(1, COMMAND, bytes(60_000))) * 2, INVALID_PARAMETER),
    "an endless command within a dataset": (
        COMMAND_FIRST + p_data(pdv(1, COMMAND, bytes(60_000))) * 2,
        INVALID_PARAMETER,
    ),
    "garbage as command within a dataset": (
        COMMAND_FIRST + p_data(pdv(1, COMMAND | LAST, b"\x01")),
        INVALID_PARAMETER,
    ),
    "a response to nothing, with a dataset": (
        p_data(pdv(1, COMMAND | LAST, command_set({0x100: 0x8001, 0x800: 0, 0x900: 0}))),
        UNEXPECTED,
    ),
}


def test_9_2_3_aa8_what_breaks_the_protocol_is_aborted_by_the_provider_and_leaves_nothing(node: Node) -> None:
    with node.peer().associate() as honest:
        for what, (data, reason) in AFTER_ACCEPTANCE.items():
            with node.peer().associate() as peer:
                peer.send(data)
                assert peer.aborted() == (PROVIDER, reason), what
                # We are in Sta13 now: what still comes is read and ignored, and the peer closes.
                peer.send(p_data(pdv(1, DATA, b"late")))
        assert honest.echo() == 0
        honest.release()
    node.wait_until_idle()
    assert node.keys() == []
    assert node.leftovers() == []


def test_9_2_3_a_good_object_before_the_error_stays(node: Node) -> None:
    image = ct_image()
    with node.peer().associate() as peer:
        peer.send(message(1, store_rq(image.SOPInstanceUID), encode(image)) + COMMAND_FIRST + pdu(9, b""))
        assert peer.status() == 0
        assert peer.aborted() == (PROVIDER, UNRECOGNIZED)
    node.wait_until_idle()
    assert node.digests() == [sha256(encode(image))]
    assert node.leftovers() == []


BEFORE_ACCEPTANCE = {
    "an unknown PDU": pdu(0x99, bytes(10)),
    "HTTP": b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(100),
    "a P-DATA-TF": p_data(pdv(1, COMMAND | LAST, echo_rq())),
    "an A-RELEASE-RQ": RELEASE_RQ,
    "an A-ASSOCIATE-AC": pdu(2, bytes(68)),
    "a request of 4 GB": b"\x01\0\xff\xff\xff\xff",
    "an empty request": pdu(1, b""),
    "a request too short": pdu(1, bytes(40)),
    "a request with an item that lies": associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])])[:-9] + b"\xff\xff" + b"1.2.3.4",
    "a request of garbage items": pdu(1, b"\0\1" + bytes(66) + b"\x77" * 300),
    "an item longer than the request": pdu(1, b"\0\1" + bytes(66) + struct.pack(">BxH", 0x20, 60_000) + b"\1\0\0\0"),
}


def _request_with(items: bytes) -> bytes:
    fixed = associate_rq([])[6:74]
    return pdu(1, fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + items + item(0x50, item(0x51, bytes(4))))


def _context(identifier: int, *inner: bytes) -> bytes:
    return item(0x20, bytes([identifier, 0, 0, 0]) + b"".join(inner))


ABSTRACT, SYNTAX = item(0x30, CT_IMAGE_STORAGE.encode()), item(0x40, EXPLICIT.encode())
BEFORE_ACCEPTANCE |= {
    "an even context": _request_with(_context(2, ABSTRACT, SYNTAX)),
    "context 0": _request_with(_context(0, ABSTRACT, SYNTAX)),
    "one identifier twice": _request_with(_context(1, ABSTRACT, SYNTAX) * 2),
    "a context without abstract syntax": _request_with(_context(1, SYNTAX)),
    "a context without transfer syntax": _request_with(_context(1, ABSTRACT)),
}


def test_9_2_3_aa1_what_is_no_request_is_aborted_by_the_user_side(node: Node) -> None:
    """In Sta2 the action is AA-1: the source is the service-user, the reason not significant."""
    for what, data in BEFORE_ACCEPTANCE.items():
        with node.peer() as peer:
            peer.send(data)
            assert peer.receive() == (7, bytes(4)), what
    node.wait_until_idle()


def test_9_2_3_aa2_an_abort_before_the_request_closes_without_an_answer(node: Node) -> None:
    with node.peer() as peer:
        peer.send(ABORT)
        assert peer.is_closed()


def test_9_2_3_connections_that_say_nothing_are_no_trouble(node: Node) -> None:
    for _ in range(50):
        node.peer().close()
        node.peer().reset()
    node.wait_until_idle()
    with node.peer().associate() as peer:
        assert peer.echo() == 0
        peer.release()


def test_9_2_3_an_abort_ends_the_association_at_once(node: Node) -> None:
    with node.peer().associate() as peer:
        peer.send(COMMAND_FIRST + ABORT)
        assert peer.is_closed()
    node.wait_until_idle()
    assert node.leftovers() == []


def test_9_2_3_ar4_release_is_answered_and_the_peer_closes(node: Node) -> None:
    with node.peer().associate() as peer:
        peer.send(p_data(pdv(3, COMMAND | LAST, echo_rq())) + RELEASE_RQ)
        assert peer.status() == 0
        assert peer.receive() == (6, bytes(4))
        # Sta13: whatever comes now is ignored.
        peer.send(COMMAND_FIRST)
    node.wait_until_idle()
    assert node.leftovers() == []


@pytest.mark.parametrize("cut", [0, 3, 6, 50, 100])
def test_9_1_5_artim_closes_a_connection_whose_request_does_not_come(
    settings: Settings, archive: Archive, cut: int
) -> None:
    with running(with_node(settings, artim_timeout=0.2), archive) as node, node.peer() as peer:
        peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])])[:cut])
        assert peer.is_closed()


def test_9_1_5_artim_counts_from_the_connection_not_from_the_last_byte(settings: Settings, archive: Archive) -> None:
    request = associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])] * 100)
    with (
        running(with_node(settings, artim_timeout=0.3), archive) as node,
        node.peer(timeout=0.02) as peer,
        pytest.raises((Closed, ConnectionError)),
    ):
        for each in request:
            peer.send(bytes([each]))
            with contextlib.suppress(TimeoutError):
                peer.receive()


def test_9_1_4_an_idle_association_is_aborted(settings: Settings, archive: Archive) -> None:
    with running(with_node(settings, idle_timeout=0.2), archive) as node, node.peer().associate() as peer:
        assert peer.aborted() == (PROVIDER, 0)


def test_9_1_4_silence_in_the_middle_of_an_object_aborts_and_leaves_nothing(
    settings: Settings, archive: Archive
) -> None:
    with running(with_node(settings, idle_timeout=0.2), archive) as node:
        with node.peer().associate() as peer:
            peer.send(COMMAND_FIRST)
            assert peer.aborted() == (PROVIDER, 0)
        node.wait_until_idle()
        assert node.leftovers() == []


def test_a_peer_that_never_reads_our_answers_is_dropped(settings: Settings, archive: Archive) -> None:
    """It sends requests and takes no answer: when the write timeout is over, its thread and place are free again."""
    echoes = p_data(pdv(3, COMMAND | LAST, echo_rq())) * 500
    with running(with_node(settings, write_timeout=0.3), archive) as node:
        honest = node.peer().associate()
        with node.peer(timeout=1, receive_buffer=2048).associate() as peer:
            with pytest.raises((TimeoutError, ConnectionError)):
                while True:
                    peer.send(echoes)
            assert honest.echo() == 0
            honest.release()
            node.wait_until_idle()


@pytest.mark.parametrize("death", [RawPeer.reset, RawPeer.close])
def test_a_peer_that_dies_in_the_middle_of_an_object_leaves_nothing(node: Node, death: object) -> None:
    image = ct_image(rows=300, columns=300)
    data = encode(image)
    whole = message(1, store_rq(image.SOPInstanceUID), data, size=4000)
    with node.peer().associate() as honest:
        for part in range(1, 12):
            peer = node.peer().associate()
            peer.send(whole[: len(whole) * part // 12])
            death(peer)  # type: ignore[operator]
            assert honest.echo() == 0
        honest.release()
    node.wait_until_idle()
    assert node.keys() == []
    assert node.leftovers() == []
