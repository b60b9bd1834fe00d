"""An A-ASSOCIATE-RQ or -AC without what nobody need understand (PS3.8 9.3.2, PS3.7 D.3.3).

Items of types that the standard does not have yet, or never will, are passed over, so that a peer that sends one is
served all the same. So is the UID of its implementation, which we have no use for. Its version name, which we log, is
cut to what it may be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterator
from typing import Final

_ITEM: Final = struct.Struct(">BxH")
_PDU_LENGTH: Final = struct.Struct(">I")
_ITEMS_BEGIN: Final = 74
"""Where the first item stands, counted from the PDU type (PS3.8 Table 9-11)."""
_USER_INFORMATION: Final = 0x50
_VERSION_NAME: Final = 0x55
_ITEMS: Final = frozenset((0x10, 0x20, 0x21, _USER_INFORMATION))
_USER_ITEMS: Final = frozenset((0x51, *range(0x53, 0x5A)))
"""All but the Implementation Class UID."""
_VERSION_NAME_LENGTH: Final = 16


def understandable(pdu: bytes) -> bytes:
    """The PDU with the items that are known, as it is if its items do not fit into it."""
    try:
        items = b"".join(_known(pdu[_ITEMS_BEGIN:], _ITEMS, {_USER_INFORMATION: _user_information}))
    except ValueError:
        return pdu
    length = _PDU_LENGTH.pack(_ITEMS_BEGIN - 6 + len(items))
    return pdu[:2] + length + pdu[6:_ITEMS_BEGIN] + items


def _known(data: bytes, types: Container[int], changes: dict[int, Callable[[bytes], bytes]]) -> Iterator[bytes]:
    """Those items of these types, some with changed content. Raises `ValueError` where one is cut short."""
    at = 0
    while at < len(data):
        if len(data) - at < _ITEM.size:
            raise ValueError("an item without its length")
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size + length
        if at > len(data):
            raise ValueError("an item that does not fit")
        if kind in types:
            content = data[at - length : at]
            if kind in changes:
                content = changes[kind](content)
            yield _ITEM.pack(kind, len(content)) + content


def _user_information(data: bytes) -> bytes:
    return b"".join(_known(data, _USER_ITEMS, {_VERSION_NAME: _version_name}))


def _version_name(name: bytes) -> bytes:
    """1 to 16 characters of ISO 646 (PS3.7 Table D.3-3)."""
    text = name.rstrip(b"\0 ")[:_VERSION_NAME_LENGTH]
    return bytes(each if 0x20 <= each < 0x7F else 0x3F for each in text)
