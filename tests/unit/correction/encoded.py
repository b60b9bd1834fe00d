"""Datasets byte by byte, as old devices write them: raw values in any coding, lengths of either kind."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from archive.standard.coding import UNDEFINED, Coding, coding

CODINGS = [
    coding(implicit=True, little=True),
    coding(implicit=False, little=True),
    coding(implicit=False, little=False),
]
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
ENCAPSULATED = [JPEGBaseline8Bit]

Raw = tuple[str, Any]
"""VR, and bytes or the items of a sequence."""


def coding_of_syntax(uid: str) -> Coding:
    return coding(implicit=uid == ImplicitVRLittleEndian, little=uid != ExplicitVRBigEndian)


def encoded(elements: Mapping[int, Raw], code: Coding, *, undefined: bool = False) -> bytes:
    """The elements in the order of their tags."""
    return b"".join(_element(tag, *elements[tag], code, undefined) for tag in sorted(elements))


def _element(tag: int, vr: str, value: Any, code: Coding, undefined: bool) -> bytes:
    if isinstance(value, bytes):
        return code.element(tag, vr, value)
    # PS3.5 6.2.2 note 2: what is in UN is in implicit VR little endian.
    inner = coding(implicit=True, little=True) if vr == "UN" else code
    items = b"".join(_item(item, inner, undefined) for item in value)
    if not undefined:
        return code.header(tag, vr, len(items)) + items
    return code.header(tag, vr, UNDEFINED) + items + _delimiter(inner, 0xE0DD)


def _item(item: Mapping[int, Raw], code: Coding, undefined: bool) -> bytes:
    content = encoded(item, code, undefined=undefined)
    if not undefined:
        return code.item_header(len(content)) + content
    return code.item_header(UNDEFINED) + content + _delimiter(code, 0xE00D)


def _delimiter(code: Coding, element: int) -> bytes:
    return struct.pack("<HHL" if code.little else ">HHL", 0xFFFE, element, 0)


def tcvn3(text: str) -> bytes:
    """Text as users see TCVN3 without its font."""
    return text.encode("cp1252")


def sequence(*items: Mapping[int, Raw], vr: str = "SQ") -> tuple[str, Sequence[Mapping[int, Raw]]]:
    return vr, items
