"""DIMSE command sets (PS3.7 6.3, Annex E): implicit VR little endian, group 0000, a dozen short elements."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
C_CANCEL_RQ: Final = 0x0FFF
N_EVENT_REPORT_RQ: Final = 0x0100
N_GET_RQ: Final = 0x0110
N_SET_RQ: Final = 0x0120
N_ACTION_RQ: Final = 0x0130
N_CREATE_RQ: Final = 0x0140
N_DELETE_RQ: Final = 0x0150
RESPONSE: Final = 0x8000

AFFECTED_SOP_CLASS_UID: Final = 0x0002
REQUESTED_SOP_CLASS_UID: Final = 0x0003
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
PRIORITY: Final = 0x0700
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
ERROR_ID: Final = 0x0903
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
ATTRIBUTE_IDENTIFIER_LIST: Final = 0x1005
REQUESTED_SOP_INSTANCE_UID: Final = 0x1001
EVENT_TYPE_ID: Final = 0x1002
ACTION_TYPE_ID: Final = 0x1008
NO_DATA_SET: Final = 0x0101
WITH_DATA_SET: Final = 0x0001

LONGEST_COMMAND: Final = 64 * 1024
"""Bytes of a command set that we read; a real one has a few hundred."""

MOVE_ORIGINATOR_AE_TITLE: Final = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x1031
_PADDED_WITH_SPACE: Final = frozenset((MOVE_DESTINATION, ERROR_COMMENT, MOVE_ORIGINATOR_AE_TITLE))
"""All other text is UIDs, which are padded with NUL (PS3.5 6.2)."""

_REQUESTED: Final = {
    AFFECTED_SOP_CLASS_UID: REQUESTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID: REQUESTED_SOP_INSTANCE_UID,
}

_HEADER: Final = struct.Struct("<HHI")
_UL: Final = struct.Struct("<I")


class BadCommand(Exception):
    """The command set cannot be read."""


@dataclass(frozen=True, slots=True)
class Command:
    """A received command set. Absent elements are 0 or empty."""

    elements: dict[int, bytes]

    def number(self, element: int) -> int:
        """An element of VR US; 0 if absent."""
        value = self.elements.get(element, b"")
        return int.from_bytes(value[:2], "little")

    def uid(self, element: int) -> str:
        """An element of VR UI, without padding. Bytes that are no ASCII come out as something no UID check passes."""
        return self.elements.get(element, b"").rstrip(b"\0 ").decode("ascii", "backslashreplace")

    def text(self, element: int) -> str:
        """An element of text of the default repertoire, such as an AE title, without padding."""
        return self.elements.get(element, b"").decode("ascii", "backslashreplace").strip("\0 ")

    def tags(self, element: int) -> list[int]:
        """The values of an element of VR AT."""
        value = self.elements.get(element, b"")
        words = struct.unpack_from(f"<{len(value) // 4 * 2}H", value)
        return [group << 16 | number for group, number in zip(words[::2], words[1::2], strict=True)]

    @property
    def field(self) -> int:
        return self.number(COMMAND_FIELD)

    @property
    def message_id(self) -> int:
        return self.number(MESSAGE_ID)

    @property
    def has_data_set(self) -> bool:
        """PS3.7 E.1: any value but 0101H says that a data set follows."""
        return self.number(COMMAND_DATA_SET_TYPE) != NO_DATA_SET


def decode_command(data: bytes | bytearray | memoryview) -> Command:
    """Read a command set. Raises `BadCommand`."""
    elements: dict[int, bytes] = {}
    offset, size = 0, len(data)
    while offset + 8 <= size:
        group, element, length = _HEADER.unpack_from(data, offset)
        offset += 8
        if group != 0 or length > size - offset:
            raise BadCommand(f"element ({group:04x},{element:04x}) of {length} bytes does not fit a command set")
        elements[element] = bytes(data[offset : offset + length])
        offset += length
    if offset != size:
        raise BadCommand(f"{size - offset} bytes are left over after the last command element")
    for element, name in ((COMMAND_FIELD, "CommandField"), (COMMAND_DATA_SET_TYPE, "CommandDataSetType")):
        if len(elements.get(element, b"")) != 2:
            raise BadCommand(f"{name} is missing")
    # Absent, it would read as Success: for something that may never have been stored.
    if elements[COMMAND_FIELD][1] & 0x80 and len(elements.get(STATUS, b"")) != 2:
        raise BadCommand("a response without Status")
    return Command(elements)


def encode_command(elements: dict[int, int | str]) -> bytes:
    """Encode a command set: integers as US, text as is, padded to even length (UIDs with NUL, else a space)."""
    parts = []
    for element in sorted(elements):
        value = elements[element]
        if isinstance(value, int):
            data = value.to_bytes(2, "little")
        else:
            data = value.encode("ascii", "replace")
            if len(data) % 2:
                data += b" " if element in _PADDED_WITH_SPACE else b"\0"
        parts.append(_HEADER.pack(0, element, len(data)) + data)
    body = b"".join(parts)
    return _HEADER.pack(0, 0, 4) + _UL.pack(len(body)) + body


def response(
    command: Command,
    status: int,
    comment: str = "",
    *,
    with_data_set: bool = False,
    counts: Mapping[int, int] | None = None,
    instance: str = "",
    error_id: int = 0,
) -> bytes:
    """The response to a request, with the UIDs of the request.

    `counts` are those of sub-operations (PS3.7 9.3.3.2, 9.3.4.2); `instance` is the UID of an instance that was made
    for an N-CREATE without one (PS3.7 10.1.5.1.4). `error_id` tells more of a failure, as the service class says.
    """
    elements: dict[int, int | str] = {
        COMMAND_FIELD: command.field | RESPONSE,
        MESSAGE_ID_BEING_RESPONDED_TO: command.message_id,
        COMMAND_DATA_SET_TYPE: WITH_DATA_SET if with_data_set else NO_DATA_SET,
        STATUS: status,
        **(counts or {}),
    }
    # What an N-SET, N-ACTION, N-GET or N-DELETE requests is affected in its response (PS3.7 10.1).
    for element, requested in _REQUESTED.items():
        if uid := (command.uid(element) or command.uid(requested))[:64]:
            elements[element] = uid
    if instance:
        elements[AFFECTED_SOP_INSTANCE_UID] = instance
    for element in (EVENT_TYPE_ID, ACTION_TYPE_ID):
        if element in command.elements:
            elements[element] = command.number(element)
    if error_id:
        elements[ERROR_ID] = error_id
    if comment:
        # PS3.7 C: VR LO, 64 characters of the default repertoire; a backslash would separate values.
        elements[ERROR_COMMENT] = re.sub(r"[^\x20-\x7e]", "?", comment.replace("\\", "/"))[:64]
    return encode_command(elements)
