"""DIMSE operations (PS3.7 9, Annex C; PS3.4 A, B.2): what is served, what is refused, and with which status."""

from __future__ import annotations

import pytest

from archive.core import Archive
from config.services import IngestSettings
from config.settings import Settings, StorageSettings
from tests.factories import ct_image, encode
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.peer import (
    COMMAND,
    CT_IMAGE_STORAGE,
    DATA,
    LAST,
    VERIFICATION,
    cancel_rq,
    command_set,
    echo_rq,
    message,
    p_data,
    pdv,
    sha256,
    store_rq,
)
from tests.integration.dicom_node.running import Node, running, with_node

__all__ = ["node"]

UNRECOGNIZED_OPERATION, DUPLICATE, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0211, 0x0111, 0xA700, 0xC000
OPERATIONS = {
    "C-GET": 0x10,
    "C-FIND": 0x20,
    "C-MOVE": 0x21,
    "N-EVENT-REPORT": 0x100,
    "N-GET": 0x110,
    "N-SET": 0x120,
    "N-ACTION": 0x130,
    "N-CREATE": 0x140,
    "N-DELETE": 0x150,
    "nothing known": 0x777,
}


@pytest.mark.parametrize("data", [b"", b"\x08\0\x52\0CS\x06\0STUDY "], ids=["without dataset", "with dataset"])
def test_c_5_26_an_operation_that_is_not_served_is_unrecognized(node: Node, data: bytes) -> None:
    with node.peer().associate() as peer:
        for name, field in OPERATIONS.items():
            asked = command_set({2: CT_IMAGE_STORAGE.encode(), 0x100: field, 0x110: 9, 0x800: 0 if data else 0x101})
            head = p_data(pdv(1, COMMAND | LAST, asked))
            peer.send(head + p_data(pdv(1, DATA | LAST, data)) if data else head)
            answer = peer.response()
            assert int.from_bytes(answer[0x900], "little") == UNRECOGNIZED_OPERATION, name
            assert int.from_bytes(answer[0x100], "little") == field | 0x8000
            assert answer[0x120] == b"\x09\0"
        assert peer.echo() == 0
        peer.release()


def test_9_1_5_an_echo_is_answered_on_any_context_and_with_its_message_id(node: Node) -> None:
    with node.peer().associate() as peer:
        for context in (1, 3):
            for number in (0, 1, 0xFFFF):
                peer.send(p_data(pdv(context, COMMAND | LAST, echo_rq(number))))
                answer = peer.response()
                assert answer[0x120] == number.to_bytes(2, "little")
                assert answer[0x900] == b"\0\0"
                assert answer[0x100] == b"\x30\x80"
                assert answer[0x800] == b"\x01\x01"
                assert answer[2].rstrip(b"\0").decode() == VERIFICATION
        peer.release()


def test_9_3_2_3_a_cancel_of_nothing_and_an_answer_to_nothing_are_ignored(node: Node) -> None:
    stray = command_set({0x100: 0x8001, 0x120: 1, 0x800: 0x101, 0x900: 0})
    with node.peer().associate() as peer:
        peer.send(p_data(pdv(1, COMMAND | LAST, cancel_rq())) + p_data(pdv(1, COMMAND | LAST, stray)))
        assert peer.echo() == 0
        peer.release()


def test_9_1_1_the_response_names_the_object(node: Node) -> None:
    image = ct_image()
    with node.peer().associate() as peer:
        peer.send(message(1, store_rq(image.SOPInstanceUID, message=77), encode(image)))
        answer = peer.response()
        peer.release()
    assert answer[0x100] == b"\x01\x80"
    assert answer[0x120] == b"\x4d\0"
    assert answer[2].rstrip(b"\0").decode() == CT_IMAGE_STORAGE
    assert answer[0x1000].rstrip(b"\0").decode() == image.SOPInstanceUID
    assert 0x902 not in answer


def test_b_2_3_the_same_object_again_is_a_success_and_stored_once(node: Node) -> None:
    image = ct_image()
    with node.peer().associate() as peer:
        assert [peer.store(image.SOPInstanceUID, encode(image)) for _ in range(3)] == [0, 0, 0]
        peer.release()
    assert node.digests() == [sha256(encode(image))]
    assert node.leftovers() == []


def test_b_2_3_a_conflicting_object_is_refused_where_the_policy_says_so(settings: Settings) -> None:
    first, second = ct_image(seed=1), ct_image(seed=2)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    strict = settings.model_copy(update={"ingest": IngestSettings(conflict="reject")})
    with Archive.open(strict) as archive, running(strict, archive) as node:
        with node.peer().associate() as peer:
            assert peer.store(first.SOPInstanceUID, encode(first)) == 0
            assert peer.store(first.SOPInstanceUID, encode(second)) == DUPLICATE
            assert peer.store(first.SOPInstanceUID, encode(first)) == 0
            peer.release()
        assert node.digests() == [sha256(encode(first))]
        assert node.leftovers() == []


def test_b_2_3_a_full_disk_is_out_of_resources(settings: Settings) -> None:
    full = settings.model_copy(update={"storage": StorageSettings(minimum_free_bytes=1 << 60)})
    image = ct_image()
    with Archive.open(full) as archive, running(full, archive) as node:
        with node.peer().associate() as peer:
            assert peer.store(image.SOPInstanceUID, encode(image)) == OUT_OF_RESOURCES
            assert peer.echo() == 0
            peer.release()
        assert node.keys() == []
        assert node.leftovers() == []


def test_b_2_3_an_object_larger_than_allowed_is_refused_and_read_to_its_end(settings: Settings) -> None:
    small = with_node(settings, maximum_object_bytes=1 << 20)
    large, good = ct_image(rows=1000, columns=1000), ct_image()
    with Archive.open(small) as archive, running(small, archive) as node:
        with node.peer().associate() as peer:
            assert peer.store(large.SOPInstanceUID, encode(large)) == CANNOT_UNDERSTAND
            assert peer.store(good.SOPInstanceUID, encode(good)) == 0
            peer.release()
        assert node.digests() == [sha256(encode(good))]
        assert node.leftovers() == []
