"""Small encoders for what pydicom does not write: broken, odd and huge structures."""

from __future__ import annotations

import struct
from collections.abc import Callable

LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"

ITEM_END = b"\xfe\xff\x0d\xe0" + bytes(4)
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)


def tag_bytes(tag: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)


def explicit(tag: int, vr: str, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    count = len(value) if length is None else length
    if vr in LONG:
        return tag_bytes(tag, order) + vr.encode() + bytes(2) + struct.pack(f"{order}I", count) + value
    return tag_bytes(tag, order) + vr.encode() + struct.pack(f"{order}H", count) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return tag_bytes(tag) + struct.pack("<I", len(value) if length is None else length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, value, length)


def fragments(parts: list[bytes], table: bytes = b"", vr: str = "OB") -> bytes:
    """Encapsulated pixel data (PS3.5 A.4)."""
    items = item(table) + b"".join(item(part) for part in parts) + SEQUENCE_END
    return explicit(0x7FE00010, vr, items, UNDEFINED)


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: data[offset : offset + length]
