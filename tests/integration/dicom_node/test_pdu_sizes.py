"""However a message is cut into PDVs, PDUs and TCP segments, the same bytes are stored (PS3.8 9.3.5, Annex E)."""

from __future__ import annotations

import pytest

from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    COMMAND,
    CT_IMAGE_STORAGE,
    DATA,
    EXPLICIT,
    LAST,
    cancel_rq,
    echo_rq,
    message,
    p_data,
    pdv,
    pieces,
    sha256,
    store_rq,
)
from tests.integration.dicom_node.running import Node

LARGEST = 256 * 1024


def per_byte(command: bytes, data: bytes) -> list[bytes]:
    """A PDV for every byte, each in a PDU of its own: 7 bytes of PDV in 13 of PDU."""
    return [_cut(command, data, 1)]


def two_byte_pdus(command: bytes, data: bytes) -> list[bytes]:
    return [_cut(command, data, 2)]


def odd_sizes(command: bytes, data: bytes) -> list[bytes]:
    return [_cut(command, data, 997)]


def largest_pdus(command: bytes, data: bytes) -> list[bytes]:
    return [_cut(command, data, LARGEST - 6)]


def many_pdvs_in_one_pdu(command: bytes, data: bytes) -> list[bytes]:
    return [
        p_data(pdv(1, COMMAND | LAST, command)),
        p_data(*(pdv(1, DATA | last, piece) for piece, last in pieces(data, 100))),
    ]


def command_and_data_in_one_pdu(command: bytes, data: bytes) -> list[bytes]:
    return [p_data(pdv(1, COMMAND | LAST, command), pdv(1, DATA | LAST, data))]


def fragmented_command_with_data(command: bytes, data: bytes) -> list[bytes]:
    """The last fragment of the command shares its PDU with the first of the dataset."""
    return [
        p_data(pdv(1, COMMAND, command[:10])),
        p_data(pdv(1, COMMAND, command[10:11]), pdv(1, COMMAND, b"")),
        p_data(pdv(1, COMMAND | LAST, command[11:]), pdv(1, DATA, data[:5])),
        p_data(pdv(1, DATA | LAST, data[5:])),
    ]


def empty_last_fragment(command: bytes, data: bytes) -> list[bytes]:
    return [
        p_data(pdv(1, COMMAND, command), pdv(1, COMMAND | LAST, b"")),
        p_data(pdv(1, DATA, data)),
        p_data(),
        p_data(pdv(1, DATA | LAST, b"")),
    ]


def byte_per_send(command: bytes, data: bytes) -> list[bytes]:
    return [bytes([each]) for each in _cut(command, data, 500)]


def headers_torn(command: bytes, data: bytes) -> list[bytes]:
    """Segments that end in the middle of PDU and PDV headers."""
    whole = _cut(command, data, 64)
    return [whole[start : start + 37] for start in range(0, len(whole), 37)]


def cancelled_too_late(command: bytes, data: bytes) -> list[bytes]:
    """A C-CANCEL may come between the fragments of a dataset; a C-STORE goes on."""
    cancel = cancel_rq()
    return [
        p_data(pdv(1, COMMAND | LAST, command), pdv(1, DATA, data[:100])),
        p_data(pdv(1, COMMAND, cancel[:20])),
        p_data(pdv(1, COMMAND | LAST, cancel[20:]), pdv(1, DATA | LAST, data[100:])),
    ]


def _cut(command: bytes, data: bytes, size: int) -> bytes:
    head = b"".join(p_data(pdv(1, COMMAND | last, piece)) for piece, last in pieces(command, size))
    return head + b"".join(p_data(pdv(1, DATA | last, piece)) for piece, last in pieces(data, size))


SHAPES = [
    per_byte,
    two_byte_pdus,
    odd_sizes,
    largest_pdus,
    many_pdvs_in_one_pdu,
    command_and_data_in_one_pdu,
    fragmented_command_with_data,
    empty_last_fragment,
    byte_per_send,
    headers_torn,
    cancelled_too_late,
]


def test_stored_bytes_do_not_depend_on_how_they_were_cut(node: Node) -> None:
    sent: list[bytes] = []
    with node.peer().associate() as peer:
        for shape in SHAPES:
            dataset = ct_image(rows=24, columns=24, seed=len(sent))
            data = encode(dataset)
            for part in shape(store_rq(dataset.SOPInstanceUID), data):
                peer.send(part)
            assert peer.status() == 0, shape.__name__
            sent.append(sha256(data))
        peer.release()
    assert sorted(node.digests()) == sorted(sent)
    assert node.leftovers() == []


@pytest.mark.parametrize("size", [1 << 10, LARGEST - 6, LARGEST - 7])
def test_a_large_object_crosses_the_end_of_the_buffer_many_times(node: Node, size: int) -> None:
    dataset = ct_image(rows=1500, columns=1111)
    data = encode(dataset)
    with node.peer().associate() as peer:
        assert peer.store(dataset.SOPInstanceUID, data, size=size) == 0
        peer.release()
    assert node.digests() == [sha256(data)]


def test_messages_pipelined_in_one_segment_are_answered_in_order(node: Node) -> None:
    images = [ct_image(seed=n) for n in range(50)]
    batch = b""
    for n, image in enumerate(images):
        batch += message(1, store_rq(image.SOPInstanceUID, message=n), encode(image), size=300)
        batch += p_data(pdv(3, COMMAND | LAST, echo_rq(1000 + n)))
    with node.peer().associate() as peer:
        peer.send(batch)
        for n, image in enumerate(images):
            answer = peer.response()
            assert (answer[0x120], answer[0x900]) == (n.to_bytes(2, "little"), b"\0\0")
            assert answer[0x1000].rstrip(b"\0").decode() == image.SOPInstanceUID
            assert peer.response()[0x120] == (1000 + n).to_bytes(2, "little")
        peer.release()
    assert sorted(node.digests()) == sorted(sha256(encode(image)) for image in images)


def test_the_request_and_the_first_message_may_share_a_segment(node: Node) -> None:
    """A sender that knows what will be accepted need not wait, and nothing of what it sent may be lost."""
    from tests.integration.dicom_node.peer import associate_rq

    image = ct_image()
    with node.peer() as peer:
        rest = message(1, store_rq(image.SOPInstanceUID), encode(image))
        peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])]) + rest)
        assert peer.receive()[0] == 2
        assert peer.status() == 0
        peer.release()


@pytest.mark.parametrize("maximum_length", [1, 7, 8, 13, 128, 4096])
def test_answers_keep_to_the_peers_maximum_length(node: Node, maximum_length: int) -> None:
    image = ct_image()
    with node.peer().associate(maximum_length=maximum_length) as peer:
        assert peer.store(image.SOPInstanceUID, encode(image)) == 0
        peer.send(p_data(pdv(3, COMMAND | LAST, echo_rq())))
        kind, body = peer.receive()
        assert kind == 4
        # One character in a PDV is the least that can be sent at all.
        assert len(body) <= max(maximum_length, 8)


def test_a_dataset_follows_its_command_whatever_other_contexts_do(node: Node) -> None:
    """The same class on two contexts: each object is stored in the syntax of the context it came on."""
    contexts = [(CT_IMAGE_STORAGE, [EXPLICIT]), (CT_IMAGE_STORAGE, ["1.2.840.10008.1.2"])]
    images = [ct_image(seed=1), ct_image(seed=2)]
    with node.peer().associate(contexts) as peer:
        assert peer.store(images[0].SOPInstanceUID, encode(images[0]), context=1) == 0
        assert peer.store(images[1].SOPInstanceUID, encode(images[1], "1.2.840.10008.1.2"), context=3) == 0
        peer.release()
    found = node.sql(
        "SELECT sop_instance_uid, transfer_syntax_uid FROM stored_object JOIN instance ON instance.id = instance_id"
    )
    assert dict(found) == {
        images[0].SOPInstanceUID: EXPLICIT,
        images[1].SOPInstanceUID: "1.2.840.10008.1.2",
    }
