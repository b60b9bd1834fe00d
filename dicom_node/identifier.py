"""Identifiers: the datasets that ask and answer in Query/Retrieve and worklists (PS3.4 C.4.1.1.3, K.4.1.1.3).

Encoded as PS3.5 6.1, 6.2 and 7.1 to 7.5 say. Answers are encoded here rather than by pydicom, which replaces what a
character set cannot express: a name must arrive whole, in another character set, or without its accents, never with
other letters.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from archive.errors import CannotParse
from archive.records import DicomJSON
from archive.standard.coding import ITEM, SHORT_VRS, coding
from archive.standard.text import character_sets_of, decode, encodable, to_ascii, without_code_extensions
from archive.standard.uids import TransferSyntax, transfer_syntax
from archive.standard.walk import Everything, RawSequence, Read, Walk, walk_items

LONGEST: Final = 1 << 20
"""Bytes of an identifier that we read; one with thousands of UIDs has a tenth."""
DEEPEST: Final = 16
"""Sequences within sequences of an identifier; no information model has more than four."""
MOST_ITEMS: Final = 1000
"""Items in all sequences of an identifier together; a key is one item."""
SPECIFIC_CHARACTER_SET: Final = 0x00080005
_CHARACTER_SET: Final = "00080005"
UTF_8: Final = "ISO_IR 192"

_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BYTES: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_TEXTS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""The only VRs that Specific Character Set is about (PS3.5 6.1.2.3)."""
_LONGEST_SHORT: Final = 0xFFFE
"""Bytes of a value whose length has 16 bits (PS3.5 7.1.2)."""
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True)
class Identifier:
    """The identifier of a request, or an item of a sequence in one."""

    keys: dict[int, str]
    """Its attributes as text, without group lengths and Specific Character Set; sequences are ``""`` here."""
    character_sets: list[str]
    sequences: dict[int, list[Identifier]] = field(default_factory=dict)
    """The items of its sequences. None and one without attributes are both universal matching (C.2.2.2.6)."""


# -- reading -------------------------------------------------------------------------------------------------------


def read_identifier(
    data: bytes, transfer_syntax_uid: str, default_character_set: str | None, actual_character_set: str | None = None
) -> Identifier:
    """Decode an identifier, with its sequences of any length form. Raises `CannotParse`.

    The default character set is that of a request which names none, the actual one that of whatever it names.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    assert syntax is not None
    code = coding(implicit=syntax.implicit_vr, little=syntax.little_endian)
    walk = Walk(_reader(data), len(data), code, Everything(code), max_value=LONGEST).run()
    if actual_character_set:
        return _Reading(whatever_it_says=True).dataset(walk, actual_character_set.split("\\"), 0)
    return _Reading().dataset(walk, default_character_set.split("\\") if default_character_set else [], 0)


def _reader(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


class _Reading:
    """Turns walks into identifiers, up to so many items."""

    def __init__(self, *, whatever_it_says: bool = False) -> None:
        self._whatever_it_says = whatever_it_says
        self._items = 0

    def dataset(self, walk: Walk, character_sets: list[str], depth: int) -> Identifier:
        """A dataset and all below it. One without a character set has that of what it is in (PS3.3 C.12.1.1.2)."""
        named = walk.elements.get(SPECIFIC_CHARACTER_SET)
        if named and not self._whatever_it_says:
            character_sets = character_sets_of(named.value) or character_sets
        keys = dict.fromkeys(walk.sequences, "")
        for tag, element in walk.elements.items():
            if tag & 0xFFFF and tag != SPECIFIC_CHARACTER_SET:
                keys[tag] = _text(element.value, element.vr, character_sets)
        if walk.sequences and depth == DEEPEST:
            raise CannotParse(f"the identifier has sequences more than {DEEPEST} deep")
        sequences = {tag: self._sequence(raw, character_sets, depth + 1) for tag, raw in walk.sequences.items()}
        return Identifier(keys, character_sets, sequences)

    def _sequence(self, raw: RawSequence, character_sets: list[str], depth: int) -> list[Identifier]:
        items = []
        for item in walk_items(raw, max_value=LONGEST, max_sequence=LONGEST):
            self._items += 1
            if self._items > MOST_ITEMS:
                raise CannotParse(f"the identifier has more than {MOST_ITEMS} items in its sequences")
            items.append(self.dataset(item, character_sets, depth))
        return items


def _text(value: bytes, vr: str, character_sets: Sequence[str]) -> str:
    if vr in _NUMBERS:
        unit = _NUMBERS[vr]
        count = len(value) // struct.calcsize(unit)
        return "\\".join(str(number) for number in struct.unpack_from(f"<{count}{unit}", value))
    if vr == "AT":
        words = struct.unpack_from(f"<{len(value) // 4 * 2}H", value)
        return "\\".join(f"{group:04X}{each:04X}" for group, each in zip(words[::2], words[1::2], strict=True))
    if vr in _BYTES:
        return ""
    return decode(value, vr, character_sets)


# -- encoding ------------------------------------------------------------------------------------------------------


def encode_identifier(
    attributes: DicomJSON, transfer_syntax_uid: str, wanted: Iterable[str] = (), shown: Sequence[str] = ()
) -> bytes:
    """Encode attributes of the DICOM JSON model, sequences too.

    `wanted` are the character sets of the request, `shown` those that the device can show; none means any. Used is
    the first of the wanted ones that can express all text and can be shown, else the first of the shown ones. Where
    there is none, text goes without accents to a device that shows only certain ones, to others in ISO_IR 192. Text
    that is all ASCII needs no character set, and must then name none (C.4.1.1.3.2).
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    assert syntax is not None
    foreign = "".join({text for text in _texts(attributes) if not text.isascii()})
    term, codec = _character_set(foreign, wanted, shown) if foreign else ("", "ascii")
    return _Encoder(syntax, codec).dataset(attributes, term)


def _character_set(text: str, wanted: Iterable[str], shown: Sequence[str]) -> tuple[str, str]:
    """The defined term and the Python encoding; no term for ASCII."""
    can_show = [without_code_extensions(term) for term in shown]
    named = [without_code_extensions(term) for term in wanted]
    candidates = [term for term in named if not shown or term in can_show] + can_show
    for term in candidates:
        codec = encodable(text, term)
        if codec is not None:
            return term, codec
    return ("", "ascii") if shown else (UTF_8, "utf-8")


def _texts(attributes: DicomJSON) -> Iterator[str]:
    """All text that Specific Character Set is about, at all depths."""
    for each in attributes.values():
        if "Value" in each:
            if each["vr"] == "SQ":
                for item in each["Value"]:
                    yield from _texts(item or {})
            elif each["vr"] in _TEXTS:
                yield _joined(each["vr"], each["Value"])


class _Encoder:
    """Writes datasets in one transfer syntax and one character set."""

    def __init__(self, syntax: TransferSyntax, codec: str) -> None:
        self._order = "<" if syntax.little_endian else ">"
        self._implicit = syntax.implicit_vr
        self._codec = codec

    def dataset(self, attributes: DicomJSON, term: str = "") -> bytes:
        """The elements in order of their tags, under a Specific Character Set if there is a term."""
        if term or _CHARACTER_SET in attributes:
            attributes = {key: each for key, each in attributes.items() if key != _CHARACTER_SET}
            if term:
                attributes[_CHARACTER_SET] = {"vr": "CS", "Value": [term]}
        # Tags as eight digits stand in the order of the tags.
        return b"".join([self._element(key, attributes[key]) for key in sorted(attributes)])

    def _value(self, element: dict[str, Any]) -> bytes:
        vr, values = element["vr"], element.get("Value", ())
        if vr == "SQ":
            return b"".join(self._item(self.dataset(item or {})) for item in values)
        if not values and vr not in _BYTES:
            return b""
        if vr in _NUMBERS:
            number = float if vr in ("FL", "FD") else int
            return b"".join(struct.pack(self._order + _NUMBERS[vr], number(each)) for each in values if each != "")
        if vr == "AT":
            return b"".join(struct.pack(self._order + "HH", int(each[:4], 16), int(each[4:], 16)) for each in values)
        if vr in _BYTES:
            return b64decode(element.get("InlineBinary", ""))
        text = _joined(vr, values)
        if not text.isascii() and (self._codec == "ascii" or vr not in _TEXTS):
            text = _joined(vr, [_plain_name(each) for each in values]) if vr == "PN" else text
            text = to_ascii(text)
        data = text.encode(self._codec if vr in _TEXTS else "ascii")
        if vr in SHORT_VRS and vr != "UI" and len(data) > _LONGEST_SHORT and not self._implicit:
            # Its length has 16 bits. Not in the middle of a character.
            data = data[:_LONGEST_SHORT].decode(self._codec, "ignore").encode(self._codec)
        return data

    def _item(self, data: bytes) -> bytes:
        return struct.pack(self._order + "HHI", ITEM >> 16, ITEM & 0xFFFF, len(data)) + data

    def _element(self, key: str, element: dict[str, Any]) -> bytes:
        """One element, padded to even length."""
        vr, value = element["vr"], self._value(element)
        if len(value) % 2:
            value += b"\0" if vr == "UI" or vr in _BYTES else b" "
        if vr == "UI" and len(value) > _LONGEST_SHORT and not self._implicit:
            # A list of UIDs may have any length; what is too long for its VR goes as UN (PS3.5 6.2.2).
            vr = "UN"
        before, size = _before_length(key, vr, self._order, self._implicit)
        return before + len(value).to_bytes(size, "little" if self._order == "<" else "big") + value


@lru_cache(maxsize=8192)
def _before_length(key: str, vr: str, order: str, implicit: bool) -> tuple[bytes, int]:
    """What an element begins with, up to its length, and how many bytes that has (PS3.5 7.1.2, 7.1.3)."""
    tag = int(key, 16)
    before = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return before, 4
    if vr in SHORT_VRS:
        return before + vr.encode(), 2
    return before + vr.encode() + b"\0\0", 4


def _joined(vr: str, values: Sequence[Any]) -> str:
    if len(values) == 1:
        return _one(vr, values[0])
    return "\\".join(_one(vr, value) for value in values)


def _one(vr: str, value: Any) -> str:
    if type(value) is str:
        return value
    if value is None:
        return ""
    if vr == "PN":
        return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")
    if isinstance(value, float):
        # PS3.5 6.2: a DS has 16 characters at most.
        return f"{value:.10g}"
    return str(value)


def _plain_name(name: dict[str, str] | None) -> dict[str, str] | None:
    """A name without the groups in scripts that ASCII has no letters for, if it is also there in Latin ones."""
    if not name or not name.get("Alphabetic"):
        return name
    return {group: text for group, text in name.items() if group == "Alphabetic" or text.isascii()}
