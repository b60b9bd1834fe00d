"""Identifiers: the datasets that ask and answer in Query/Retrieve (PS3.4 C.4.1.1.3; PS3.5 6.1, 6.2, 7.1).

Answers are encoded here rather than by pydicom, which replaces what a character set cannot express: a name must
arrive whole or in another character set, never with other letters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from archive.records import DicomJSON
from archive.standard.coding import SHORT_VRS, coding
from archive.standard.text import character_sets_of, decode, encodable
from archive.standard.uids import transfer_syntax
from archive.standard.walk import Everything, Read, Walk

LONGEST: Final = 1 << 20
"""Bytes of an identifier that we read; one with thousands of UIDs has a tenth."""
SPECIFIC_CHARACTER_SET: Final = 0x00080005
UTF_8: Final = "ISO_IR 192"

_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_TEXTS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""The only VRs that Specific Character Set is about (PS3.5 6.1.2.3)."""
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True)
class Identifier:
    """The identifier of a request."""

    keys: dict[int, str]
    """Its attributes as text, without group lengths and Specific Character Set; sequences are empty."""
    character_sets: list[str]


def read_identifier(data: bytes, transfer_syntax_uid: str, default_character_set: str | None) -> Identifier:
    """Decode an identifier. Raises `CannotParse`."""
    syntax = transfer_syntax(transfer_syntax_uid)
    assert syntax is not None
    code = coding(implicit=syntax.implicit_vr, little=syntax.little_endian)
    walk = Walk(_reader(data), len(data), code, Everything(code), max_value=LONGEST).run()
    named = walk.elements.get(SPECIFIC_CHARACTER_SET)
    character_sets = character_sets_of(named.value if named else None, default_character_set)
    keys = dict.fromkeys(walk.sequences, "")
    for tag, element in walk.elements.items():
        if tag & 0xFFFF and tag != SPECIFIC_CHARACTER_SET:
            keys[tag] = _text(element.value, element.vr, character_sets)
    return Identifier(keys, character_sets)


def _reader(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


def _text(value: bytes, vr: str, character_sets: Sequence[str]) -> str:
    if vr in _NUMBERS:
        unit = _NUMBERS[vr]
        count = len(value) // struct.calcsize(unit)
        return "\\".join(str(number) for number in struct.unpack_from(f"<{count}{unit}", value))
    if vr in ("UN", "OB", "OW"):
        return ""
    return decode(value, vr, character_sets)


def encode_identifier(attributes: DicomJSON, transfer_syntax_uid: str, wanted: Iterable[str] = ()) -> bytes:
    """Encode attributes of the DICOM JSON model, in the first wanted character set that can express them all.

    That is ISO_IR 192 if no other can. Text that is all ASCII needs none, and must then name none (C.4.1.1.3.2).
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    assert syntax is not None
    texts = {int(key, 16): (each["vr"], _joined(each["vr"], each.get("Value", ()))) for key, each in attributes.items()}
    codec = "ascii"
    foreign = "".join(text for vr, text in texts.values() if vr in _TEXTS and not text.isascii())
    if foreign:
        term, codec = next(
            ((term, found) for term in wanted if (found := encodable(foreign, term)) is not None), (UTF_8, "utf-8")
        )
        texts[SPECIFIC_CHARACTER_SET] = ("CS", term)
    order = "<" if syntax.little_endian else ">"
    parts = []
    for tag in sorted(texts):
        vr, text = texts[tag]
        if vr in _NUMBERS:
            value = b"".join(struct.pack(order + _NUMBERS[vr], int(each)) for each in text.split("\\") if each)
        else:
            value = text.encode(codec if vr in _TEXTS else "ascii", "replace")
        parts.append(_element(order, syntax.implicit_vr, tag, vr, value))
    return b"".join(parts)


def _joined(vr: str, values: Iterable[Any]) -> str:
    return "\\".join(_one(vr, value) for value in values)


def _one(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if vr == "PN":
        return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")
    if isinstance(value, float):
        # PS3.5 6.2: a DS has 16 characters at most.
        return f"{value:.10g}"
    return str(value)


def _element(order: str, implicit: bool, tag: int, vr: str, value: bytes) -> bytes:
    """One element (PS3.5 7.1.2, 7.1.3), padded to even length."""
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    group, element = tag >> 16, tag & 0xFFFF
    if implicit:
        return struct.pack(order + "HHI", group, element, len(value)) + value
    if vr in SHORT_VRS:
        value = value[:0xFFFE]
        return struct.pack(order + "HH2sH", group, element, vr.encode(), len(value)) + value
    return struct.pack(order + "HH2sHI", group, element, vr.encode(), 0, len(value)) + value
