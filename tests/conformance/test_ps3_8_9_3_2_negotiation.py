"""A-ASSOCIATE: presentation contexts (PS3.8 9.3.2, 9.3.3) and rejections (9.3.4)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ

from archive.standard.uids import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES, is_storage_sop_class
from dicom_node.negotiation import Acceptance, BadRequest, Rejection, accept, read_request
from tests.integration.dicom_node.peer import (
    CT_IMAGE_STORAGE,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    associate_rq,
    extended_item,
    item,
    pdu,
    role_item,
)

STUDY_ROOT_FIND, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
LARGEST = 256 * 1024
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
RLE = "1.2.840.10008.1.2.5"
STORABLE = sorted(uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.storable)
PLAIN = {IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED}


def negotiate(*contexts: tuple[str, list[str]], maximum_length: int = 0) -> Acceptance:
    return accept(read_request(associate_rq(contexts, maximum_length=maximum_length)), LARGEST)


def results(acceptance: Acceptance) -> dict[int, int]:
    pdu = A_ASSOCIATE_AC()
    pdu.decode(acceptance.pdu)
    return {item.presentation_context_id: item.result_reason for item in pdu.presentation_context}


@pytest.mark.parametrize("sop_class", [*STORAGE_SOP_CLASSES, "1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.999.1"])
def test_every_storage_class_is_accepted_retired_and_private_and_future_ones_too(sop_class: str) -> None:
    made = negotiate((sop_class, [IMPLICIT]))
    assert (made.contexts[1].abstract_syntax, made.contexts[1].transfer_syntax) == (sop_class, IMPLICIT)


@pytest.mark.parametrize("syntax", STORABLE)
def test_a_context_with_one_transfer_syntax_gets_it(syntax: str) -> None:
    made = negotiate((CT_IMAGE_STORAGE, [syntax]), (CT_IMAGE_STORAGE, [EXPLICIT, IMPLICIT]))
    assert made.contexts[1].transfer_syntax == syntax
    assert made.contexts[3].transfer_syntax == EXPLICIT


@pytest.mark.parametrize("syntax", ["1.3.46.670589.33.1.4.1", "1.2.840.10008.1.2.4.199"])
def test_private_and_future_compression_is_accepted(syntax: str) -> None:
    assert negotiate((CT_IMAGE_STORAGE, [syntax])).contexts[1].transfer_syntax == syntax


@given(st.lists(st.sampled_from(STORABLE), min_size=1, max_size=8, unique=True))
def test_a_sender_is_never_led_to_compress(proposed: list[str]) -> None:
    """Where it offers an uncompressed syntax, that is chosen; where it offers a lossless one, no lossy one is."""
    chosen = negotiate((CT_IMAGE_STORAGE, proposed)).contexts[1].transfer_syntax
    assert chosen in proposed
    if PLAIN & set(proposed):
        assert chosen in PLAIN
    elif any(not TRANSFER_SYNTAXES[each].lossy for each in proposed):
        assert not TRANSFER_SYNTAXES[chosen].lossy


def test_the_preference_among_uncompressed_syntaxes() -> None:
    order = [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED]
    for start in range(4):
        for proposed in itertools.permutations(order[start:]):
            assert negotiate((CT_IMAGE_STORAGE, list(proposed))).contexts[1].transfer_syntax == order[start]


def test_one_context_does_not_change_the_choice_in_another() -> None:
    made = negotiate((CT_IMAGE_STORAGE, [J2K]), (CT_IMAGE_STORAGE, [J2K_LOSSLESS, J2K]), (CT_IMAGE_STORAGE, [RLE]))
    assert [made.contexts[n].transfer_syntax for n in (1, 3, 5)] == [J2K, J2K_LOSSLESS, RLE]
    made = negotiate((CT_IMAGE_STORAGE, [RLE]), (CT_IMAGE_STORAGE, [JPEG_LOSSLESS, RLE]))
    assert [made.contexts[n].transfer_syntax for n in (1, 3)] == [RLE, JPEG_LOSSLESS]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_results_of_what_is_not_accepted() -> None:
    made = negotiate(
        (CT_IMAGE_STORAGE, ["1.2.840.10008.1.2.99"]),
        ("1.2.840.10008.5.1.1.9", [IMPLICIT]),
        (VERIFICATION, [JPEG_BASELINE]),
        ("not a UID", [IMPLICIT]),
        (CT_IMAGE_STORAGE, [IMPLICIT]),
    )
    # 4: transfer syntaxes not supported, 3: abstract syntax not supported, 0: acceptance (PS3.8 Table 9-18).
    assert results(made) == {1: 4, 3: 3, 5: 4, 7: 3, 9: 0}
    assert list(made.contexts) == [9]


def test_nothing_acceptable_is_still_an_association() -> None:
    assert negotiate(("1.2.840.10008.5.1.1.9", [IMPLICIT])).contexts == {}


def test_128_contexts() -> None:
    classes = [uid for uid in STORAGE_SOP_CLASSES if is_storage_sop_class(uid)]
    made = negotiate(*(((classes * 2)[n], STORABLE[: n % 40 + 1]) for n in range(128)))
    assert sorted(made.contexts) == list(range(1, 256, 2))


@given(st.integers(0, 0xFFFFFFFF))
def test_d_1_the_maximum_length_of_both_sides(maximum_length: int) -> None:
    made = negotiate((CT_IMAGE_STORAGE, [IMPLICIT]), maximum_length=maximum_length)
    assert made.peer_maximum_length == maximum_length
    pdu = A_ASSOCIATE_AC()
    pdu.decode(made.pdu)
    assert pdu.user_information.maximum_length == LARGEST


@pytest.mark.parametrize(
    "title", [b"  PACS  ", "MÁY".encode("latin-1"), b"A\\B", b"A\0B", bytes(16), b" " * 16, b"\xff" * 16]
)
def test_9_3_3_titles_are_sent_back_as_received(title: bytes) -> None:
    sent = associate_rq([(VERIFICATION, [IMPLICIT])], calling=title, called=title[::-1])
    request = read_request(sent)
    assert accept(request, LARGEST).pdu[10:42] == sent[10:42]
    assert all(" " <= each <= "~" and each != "\\" for each in request.calling_ae_title)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@given(st.binary(max_size=400))
def test_a_malformed_request_is_a_bad_request_and_nothing_else(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(b"\x01\0" + len(body).to_bytes(4, "big") + body)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@given(st.data())
def test_a_damaged_request_is_a_bad_request_or_can_be_answered(data: st.DataObject) -> None:
    contexts = [(CT_IMAGE_STORAGE, [EXPLICIT, JPEG_BASELINE]), (VERIFICATION, [IMPLICIT]), (STUDY_ROOT_GET, [EXPLICIT])]
    items = role_item(CT_IMAGE_STORAGE, 0, 1) + extended_item(STUDY_ROOT_GET, b"\1")
    whole = bytearray(associate_rq(contexts, items=items))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(6, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = read_request(bytes(whole))
    except BadRequest:
        return
    assert accept(request, LARGEST).pdu[0] == 2


def user_items(acceptance: Acceptance, kind: int) -> list[bytes]:
    """The items of this type in the user information of an A-ASSOCIATE-AC."""
    pdu = acceptance.pdu
    at, found = 74, []
    while at < len(pdu):
        each, length = pdu[at], int.from_bytes(pdu[at + 2 : at + 4], "big")
        if each == kind:
            found.append(pdu[at + 4 : at + 4 + length])
        # The items of the user information are looked at one by one, all others passed over.
        at += 4 if each == 0x50 else 4 + length
    return found


@pytest.mark.parametrize(("scu", "scp", "agreed"), [(0, 1, True), (1, 1, True), (1, 0, False)])
def test_ps3_7_d_3_3_4_storage_may_go_to_the_requestor_in_the_role_of_scp(scu: int, scp: int, agreed: bool) -> None:
    items = role_item(CT_IMAGE_STORAGE, scu, scp) + role_item(VERIFICATION, 1, 1)
    contexts = [(CT_IMAGE_STORAGE, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]
    made = accept(read_request(associate_rq(contexts, items=items)), LARGEST)
    assert made.contexts[1].peer_is_scp is agreed
    assert not made.contexts[3].peer_is_scp
    (answer,) = user_items(made, 0x54)
    assert answer[2:] == CT_IMAGE_STORAGE.encode() + bytes([scu, scp])


@pytest.mark.parametrize("items", [role_item(CT_IMAGE_STORAGE, 0, 0), role_item("1.2.3", 0, 1), b""])
def test_ps3_7_d_3_3_4_a_role_that_is_none_or_of_no_context_is_not_answered(items: bytes) -> None:
    made = accept(read_request(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])], items=items)), LARGEST)
    assert user_items(made, 0x54) == []
    assert not made.contexts[1].peer_is_scp


@pytest.mark.parametrize(
    ("asked", "answered", "relational", "combined", "fuzzy"),
    [
        (b"\0", b"\0", False, False, False),
        (b"\1", b"\1", True, False, False),
        (b"\1\1\1\1\1", b"\1\1\1\0\0", True, True, True),
        (b"\0\1", b"\0\1", False, True, False),
        (b"\0\0\1", b"\0\0\1", False, False, True),
        (b"\1\1\1\1\1\1\1\1", b"\1\1\1\0\0\1\1\0", True, True, True),
        (b"\2", b"\0", False, False, False),
    ],
)
def test_ps3_4_c_5_1_1_extended_negotiation_of_queries(
    asked: bytes, answered: bytes, relational: bool, combined: bool, fuzzy: bool
) -> None:
    items = extended_item(STUDY_ROOT_FIND, asked) + extended_item(CT_IMAGE_STORAGE, b"\1")
    contexts = [(STUDY_ROOT_FIND, [EXPLICIT]), (CT_IMAGE_STORAGE, [EXPLICIT])]
    made = accept(read_request(associate_rq(contexts, items=items)), LARGEST)
    assert [item[2:] for item in user_items(made, 0x56)] == [STUDY_ROOT_FIND.encode() + answered]
    agreed = made.contexts[1]
    assert (agreed.relational, agreed.combined, agreed.fuzzy) == (relational, combined, fuzzy)
    assert not made.contexts[3].relational


def test_ps3_4_c_5_2_1_extended_negotiation_of_retrieval() -> None:
    items = extended_item(STUDY_ROOT_GET, b"\1\1")
    made = accept(read_request(associate_rq([(STUDY_ROOT_GET, [IMPLICIT])], items=items)), LARGEST)
    assert [item[2:] for item in user_items(made, 0x56)] == [STUDY_ROOT_GET.encode() + b"\1\0"]
    assert made.contexts[1].relational


@pytest.mark.parametrize("rejection", Rejection)
def test_9_3_4_rejections(rejection: Rejection) -> None:
    data = rejection.encode()
    assert data[:6] == b"\x03\0\0\0\0\x04"
    assert tuple(data[7:]) == rejection.value[:3]
    pdu = A_ASSOCIATE_RJ()
    pdu.decode(data)
    assert pdu.reason_str and pdu.source_str and pdu.result_str


assert UID(RLE).is_compressed


UNKNOWN_ITEMS = [item(0x5A, b"new"), item(0x60, b""), item(0x00, b"private" * 40)]


@pytest.mark.parametrize("unknown", UNKNOWN_ITEMS)
def test_items_of_unknown_types_are_passed_over(unknown: bytes) -> None:
    items = unknown + role_item(CT_IMAGE_STORAGE, 1, 1) + unknown
    encoded = associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])], items=items, maximum_length=4096)
    # Behind the user information as well, where the standard has no item at all.
    request = read_request(pdu(1, encoded[6:] + unknown))
    made = accept(request, LARGEST)
    assert made.contexts[1].peer_is_scp
    assert made.peer_maximum_length == 4096
    assert request.calling_ae_title == "CT1"


@pytest.mark.parametrize(
    ("name", "logged"),
    [(b"A" * 40, "A" * 16), ("MÁY CHỤP".encode(), "M??Y CH???P"), (b"V1\0\0", "V1"), (b"", "")],
)
def test_what_an_implementation_calls_itself_costs_it_nothing(name: bytes, logged: str) -> None:
    items = item(0x52, b"no UID") + item(0x55, name)
    assert read_request(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])], items=items)).implementation == logged


@pytest.mark.parametrize("broken", [item(0x5A, b"abc")[:-1], b"\x5a\0", item(0x53, b"\1")])
def test_items_that_do_not_fit_are_malformed(broken: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])], items=broken))
