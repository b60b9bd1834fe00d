"""Command sets (PS3.7 6.3, Annex E) against pydicom's encoding, and against everything that is none."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dimse_messages import C_STORE_RQ as StoreRequest
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode

from dicom_node.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_STORE_RQ,
    ERROR_COMMENT,
    BadCommand,
    Command,
    decode_command,
    response,
)

uids = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5}){0,8}", fullmatch=True)
numbers = st.integers(0, 0xFFFF)


def store_request(sop_class: str, instance: str, message_id: int) -> bytes:
    """A C-STORE-RQ as pynetdicom encodes it."""
    primitive = C_STORE()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID = sop_class
    primitive.AffectedSOPInstanceUID = instance
    primitive.Priority = 0
    primitive.DataSet = BytesIO(b"data")
    made = StoreRequest()
    made.primitive_to_message(primitive)
    data: bytes = encode(made.command_set, True, True)
    return data


def request(**elements: bytes) -> Command:
    named = {"field": 0x100, "message": 0x110, "type": 0x800, "sop_class": 2, "instance": 0x1000}
    base = {0x100: b"\x01\0", 0x110: b"\x07\0", 0x800: b"\0\0"}
    return Command({**base, **{named[name]: value for name, value in elements.items()}})


@given(uids, uids, numbers)
def test_6_3_a_request_of_pynetdicom_is_understood(sop_class: str, instance: str, message_id: int) -> None:
    command = decode_command(store_request(sop_class, instance, message_id))
    assert command.field == C_STORE_RQ
    assert command.has_data_set
    assert command.message_id == message_id
    assert command.uid(AFFECTED_SOP_CLASS_UID) == sop_class
    assert command.uid(AFFECTED_SOP_INSTANCE_UID) == instance


@given(uids, uids, numbers, numbers, st.text(max_size=200))
def test_6_3_a_response_is_understood_by_pydicom(
    sop_class: str, instance: str, message_id: int, status: int, comment: str
) -> None:
    made = response(
        request(message=struct.pack("<H", message_id), sop_class=sop_class.encode(), instance=instance.encode()),
        status,
        comment,
    )
    found = decode(BytesIO(made), True, True)
    assert found.CommandGroupLength == len(made) - 12
    assert found.CommandField == 0x8001
    assert found.MessageIDBeingRespondedTo == message_id
    assert found.CommandDataSetType == 0x0101
    assert found.Status == status
    assert found.AffectedSOPClassUID == sop_class
    assert found.AffectedSOPInstanceUID == instance
    assert len(str(found.get("ErrorComment", ""))) <= 64
    # Even lengths, ascending tags (PS3.7 6.3.1).
    decoded = decode_command(made).elements
    assert list(decoded) == sorted(decoded)
    assert all(len(value) % 2 == 0 for value in decoded.values())
    assert decoded.get(ERROR_COMMENT, b"  ").isascii()
    assert b"\\" not in decoded.get(ERROR_COMMENT, b"")


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_6_3_a_response_to_strange_uids_is_still_a_command_set(sop_class: bytes, instance: bytes) -> None:
    made = response(request(sop_class=sop_class, instance=instance), 0xC000, "x")
    assert len(read_dataset(BytesIO(made), True, True)) >= 6


@given(st.binary(max_size=300))
def test_6_3_garbage_is_a_bad_command_and_nothing_else(data: bytes) -> None:
    try:
        command = decode_command(data)
    except BadCommand:
        return
    assert sum(len(value) + 8 for value in command.elements.values()) <= len(data)


@given(uids, uids, st.data())
def test_6_3_a_damaged_request_is_a_bad_command_or_a_command(
    sop_class: str, instance: str, data: st.DataObject
) -> None:
    whole = bytearray(store_request(sop_class, instance, 1))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        command = decode_command(whole)
    except BadCommand:
        return
    response(command, 0)


@given(uids, st.data())
def test_6_3_a_cut_request_is_a_bad_command(instance: str, data: st.DataObject) -> None:
    whole = store_request("1.2", instance, 1)
    # The last element is AffectedSOPInstanceUID: without it the command set is whole again.
    last = len(whole) - 8 - len(instance) - len(instance) % 2
    cut = data.draw(st.integers(0, len(whole) - 1).filter(lambda each: each != last))
    with pytest.raises(BadCommand):
        decode_command(whole[:cut])


@pytest.mark.parametrize("missing", ["CommandField", "CommandDataSetType"])
def test_e_1_the_elements_that_every_message_needs(missing: str) -> None:
    command = Dataset()
    command.CommandField, command.MessageID, command.CommandDataSetType = 1, 1, 0
    del command[missing]
    with pytest.raises(BadCommand, match=missing):
        decode_command(encode(command, True, True))


def test_e_1_any_data_set_type_but_0101_announces_a_data_set() -> None:
    assert not request(type=b"\x01\x01").has_data_set
    assert all(request(type=struct.pack("<H", value)).has_data_set for value in (0, 1, 0x102, 0xFEFE, 0xFFFF))


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0", b""])
def test_uids_lose_their_padding_and_nothing_else(padding: bytes) -> None:
    assert request(instance=b"1.2.3" + padding).uid(AFFECTED_SOP_INSTANCE_UID) == "1.2.3"
    assert request(instance=b"1.2\x003" + padding).uid(AFFECTED_SOP_INSTANCE_UID) == "1.2\x003"
    assert request(instance=b"1.2.\xb2").uid(AFFECTED_SOP_INSTANCE_UID) == "1.2.\\xb2"


def encoded(elements: dict[int, int | bytes]) -> bytes:
    """A command set without its group length, values as they are."""
    values = {tag: struct.pack("<H", value) if isinstance(value, int) else value for tag, value in elements.items()}
    return b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in values.items())


@pytest.mark.parametrize("elements", [{}, {0x900: b""}, {0x900: b"\0"}])
def test_c_1_a_response_without_status_is_none(elements: dict[int, bytes]) -> None:
    """It must not pass for Success."""
    whole = {0x100: 0x8001, 0x120: 1, 0x800: 0x101}
    assert decode_command(encoded({**whole, 0x900: 0xA700})).number(0x900) == 0xA700
    with pytest.raises(BadCommand, match="Status"):
        decode_command(encoded({**whole, **elements}))
