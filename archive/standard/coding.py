"""Implicit and explicit VR in either byte order: how an element header is laid out (PS3.5 6.2, 7.1, 7.3)."""

from __future__ import annotations

import struct
from array import array
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR

UNDEFINED: Final = 0xFFFFFFFF
LONGEST_SHORT: Final = 0xFFFF
"""Bytes of a value behind a length of 16 bits."""
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD

# PS3.5 7.1.2: these have a 16-bit length, and those of the second list two reserved bytes and a 32-bit length.
# fmt: off
SHORT_VRS: Final = (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
    "UL", "US",
)
_LONG_VRS: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
# fmt: on
# PS3.5 7.3: the unit in which the bytes of a value are ordered, as an array type code.
_UNITS: Final = (
    dict.fromkeys(("AT", "OW", "SS", "US"), "H")
    | dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), "I")
    | dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), "Q")
)


class Element(NamedTuple):
    """A data element: its VR, and its value as encoded in little endian."""

    vr: str
    value: bytes


class Coding:
    """Implicit or explicit VR in one byte order, with all that a loop over elements needs at hand.

    A `raw` tag is the four bytes of a tag read as one number: the loops spend no arithmetic on tags that nobody
    asked for.
    """

    def __init__(self, *, implicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self.implicit: Final = implicit
        self.little: Final = little
        self.unpack: Final = struct.Struct(order + ("II" if implicit else "IHH")).unpack_from
        self.unpack_item: Final = struct.Struct(order + "II").unpack_from
        self.unpack_length: Final = struct.Struct(order + "I").unpack_from
        number = struct.Struct(order + "H")
        self.names: Final = {number.unpack(vr.encode())[0]: vr for vr in SHORT_VRS + _LONG_VRS}
        self.short: Final = frozenset(key for key, vr in self.names.items() if vr in SHORT_VRS)
        self.long: Final = frozenset(key for key, vr in self.names.items() if vr in _LONG_VRS)
        self.item: Final = self.raw(ITEM)
        self.item_end: Final = self.raw(ITEM_END)
        self.sequence_end: Final = self.raw(SEQUENCE_END)
        # What ends the run of ordinary elements in implicit VR, where no VR gives it away; 0 is padding.
        self.stops: Final = frozenset((0, self.item, self.item_end, self.sequence_end))

    def raw(self, tag: int) -> int:
        """Return the tag as it is read in this byte order, or the tag of what was read: it is its own inverse."""
        return (tag & 0xFFFF) << 16 | tag >> 16 if self.little else tag

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """Encode tag, VR and length of an element (PS3.5 7.1.2, 7.1.3)."""
        order = "<" if self.little else ">"
        group, element = tag >> 16, tag & 0xFFFF
        if self.implicit:
            return struct.pack(order + "HHL", group, element, length)
        if vr in SHORT_VRS:
            if length <= LONGEST_SHORT:
                return struct.pack(order + "HH2sH", group, element, vr.encode(), length)
            vr = "UN"  # PS3.5 6.2.2: a value may be too long for its VR, in implicit VR or as UTF-8
        return struct.pack(order + "HH2sHL", group, element, vr.encode(), 0, length)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """Encode an element of which the value is in this byte order, and pad it to even length (PS3.5 6.2)."""
        if len(value) % 2:
            value += b"\0" if vr in ("UI", "OB", "UN") else b" "
        return self.header(tag, vr, len(value)) + value

    def item_header(self, length: int) -> bytes:
        """Encode the header of an item (PS3.5 7.5.1)."""
        return struct.pack("<HHL" if self.little else ">HHL", ITEM >> 16, ITEM & 0xFFFF, length)

    def value(self, vr: str, value: bytes) -> bytes:
        """Return the value in little endian (PS3.5 7.3)."""
        unit = None if self.little else _UNITS.get(vr)
        if unit is None:
            return value
        words = array(unit)
        whole = len(value) - len(value) % words.itemsize
        words.frombytes(value[:whole])
        words.byteswap()
        return words.tobytes() + value[whole:]


_CODINGS: Final = {
    (implicit, little): Coding(implicit=implicit, little=little)
    for implicit in (False, True)
    for little in (False, True)
}


def coding(*, implicit: bool, little: bool) -> Coding:
    """Return the one coding of that kind."""
    return _CODINGS[implicit, little]


@lru_cache(maxsize=8192)
def vr_of(tag: int) -> str:
    """Return the VR of a tag when the dataset does not say it (PS3.6 section 6, PS3.5 7.8.1, A.1).

    Where the dictionary leaves a choice that depends on other elements, the answer is the one that loses nothing:
    words for OB or OW, unsigned for US or SS.
    """
    if tag & 0xFFFF == 0:
        return "UL"
    if tag & 0x10000:
        return "LO" if 0x0010 <= tag & 0xFFFF <= 0x00FF else "UN"
    try:
        vr = str(dictionary_VR(tag))
    except KeyError:
        return "UN"
    if " or " in vr:
        return "OW" if "OW" in vr else "US"
    return vr


@lru_cache(maxsize=8192)
def follows_pixel_representation(tag: int) -> bool:
    """Whether the values are signed if Pixel Representation says so (PS3.3 C.7.6.3.1, PS3.6: US or SS)."""
    try:
        return "SS or" in (vr := str(dictionary_VR(tag))) or "or SS" in vr
    except KeyError:
        return False


def is_vr(letters: bytes) -> bool:
    """Whether two bytes can be a VR: capital letters (PS3.5 6.2). A length hardly ever looks like that."""
    return len(letters) == 2 and 0x41 <= letters[0] <= 0x5A and 0x41 <= letters[1] <= 0x5A


def show(tag: int) -> str:
    """Return the tag as (gggg,eeee)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
