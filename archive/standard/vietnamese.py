"""What Vietnamese was written in before Unicode: TCVN3 (ABC), VNI-Windows, VISCII and Windows-1258.

None is a character set of DICOM (PS3.3 C.12.1.1.2). All contain ASCII, so delimiters of values and names are what they
always are. What comes out is in NFC.

TCVN3 has no capital letters with tone marks. They are written as the small ones in a font that shows them as capitals
(.VnTimeH): of ``NGUYÔN`` in such a font, only the ASCII letters say that capitals were meant. So text is made capital
where its ASCII letters are capitals beyond the first of a word and none is small; a value of which nothing shows it,
such as ``Lê``, stays as the bytes say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

# From 0x80 on. TCVN3 is VN3 of TCVN 5712:1993; where it has nothing are the letters of VN1 and the marks of VN2, which
# text from systems that follow the standard to the letter has.
_TCVN3: Final = (
    "ÀẢÃÁẠẶẬÈẺẼÉẸỆÌỈĨÍỊÒỎÕÓỌỘỜỞỠỚỢÙỦŨ"
    "\u00a0ĂÂÊÔƠƯĐăâêôơưđẰ\u0300\u0309\u0303\u0301\u0323àảãáạẲằẳẵắẴ"
    "ẮẦẨẪẤỀặầẩẫấậèỂẻẽéẹềểễếệìỉỄẾỒĩíịòỔỏõóọồổỗốộờởỡớợùỖủũúụừửữứựỳỷỹýỵỐ"
)
_VISCII: Final = (
    "ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲ"
    "ÕắằặấầẩậẽẹếềểễệốồổỗỠƠộờởịỰỨỪỬơớƯÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳĐứÒÓÔạỷừửÙÚỹỵÝỡư"
    "àáâãảăữẫèéêẻìíĩỉđựòóôõỏọụùúũủýợỮ"
)
# RFC 1456: six capitals stand where ASCII has control characters.
_VISCII_LOW: Final = {0x02: "Ẳ", 0x05: "Ẵ", 0x06: "Ẫ", 0x14: "Ỷ", 0x19: "Ỹ", 0x1E: "Ỵ"}

# VNI: the base letter, then one byte for circumflex, breve and tone together. As characters of Windows-1252.
_VNI_TONES: Final = dict(zip("ùøûõï", "\u0301\u0300\u0309\u0303\u0323", strict=True))
_VNI_MARKS: Final = (
    _VNI_TONES
    | dict(zip("âáàåãä", ("\u0302" + tone for tone in ("", *_VNI_TONES.values())), strict=True))
    | dict(zip("êéèúüë", ("\u0306" + tone for tone in ("", *_VNI_TONES.values())), strict=True))
)
_VNI_BASES: Final = {"a": "âáàåãäêéèúüëùøûõï", "e": "âáàåãäùøûõï", "o": "âáàåãäùøûõï", "u": "ùøûõï", "y": "ùøûõ"}
_VNI_ALONE: Final = {"í": "í", "ì": "ì", "æ": "ỉ", "ó": "ĩ", "ò": "ị", "ô": "ơ", "ö": "ư", "î": "ỵ", "ñ": "đ"}


def _vni_pairs() -> dict[str, str]:
    """Map every letter of VNI, of one or two bytes, to the one that it means."""
    pairs = {}
    for base, marks in _VNI_BASES.items():
        pairs.update({base + mark: unicodedata.normalize("NFC", base + _VNI_MARKS[mark]) for mark in marks})
    for horned in "ôö":
        pairs.update(
            {horned + key: unicodedata.normalize("NFC", _VNI_ALONE[horned] + tone) for key, tone in _VNI_TONES.items()}
        )
    pairs.update(_VNI_ALONE)
    capitals: dict[str, str] = {}
    for written, meant in pairs.items():
        # The case of the base counts: a mark of the other case is a slip that is not seen on paper.
        for first in {written[0], written[0].upper()}:
            for rest in {written[1:], written[1:].upper()}:
                capitals[first + rest] = meant if first == written[0] else meant.upper()
    return capitals


_VNI: Final = _vni_pairs()
_VNI_LETTERS: Final = re.compile("|".join(sorted(map(re.escape, _VNI), key=len, reverse=True)))
# What VNI fonts have beside letters are the signs of Windows-1252; a letter of it that VNI gives another meaning and
# that stands where that makes no sense shows that the text is no VNI.
_VNI_REST: Final = re.compile("[àáâãäåèéêëïõøùúûüÀÁÂÃÄÅÈÉÊËÏÕØÙÚÛÜ]")

_VALUE: Final = re.compile(r"[^\\=\r\n\f]+")
_WRITTEN_IN_CAPITALS: Final = re.compile(r"[^\W\d_][A-Z]")
_SMALL_ASCII: Final = re.compile(r"[a-z]")


def _tcvn3(value: bytes) -> str | None:
    return _VALUE.sub(_meant_case, value.decode("latin_1").translate(_TCVN3_TABLE))


def _meant_case(found: re.Match[str]) -> str:
    text = found[0]
    capitals = not _SMALL_ASCII.search(text) and _WRITTEN_IN_CAPITALS.search(text)
    return unicodedata.normalize("NFC", text).upper() if capitals else text


def _vni(value: bytes) -> str | None:
    try:
        text = value.decode("cp1252")
    except UnicodeDecodeError:
        return None
    rest = _VNI_LETTERS.sub("", text)
    return None if _VNI_REST.search(rest) else _VNI_LETTERS.sub(lambda found: _VNI[found[0]], text)


def _viscii(value: bytes) -> str | None:
    return value.decode("latin_1").translate(_VISCII_TABLE)


def _windows_1258(value: bytes) -> str | None:
    """Decode if every tone mark stands on a letter, as it does in Vietnamese."""
    try:
        text = value.decode("cp1258")
    except UnicodeDecodeError:
        return None
    marks = [i for i, char in enumerate(text) if unicodedata.combining(char)]
    return text if all(i and text[i - 1].isalpha() for i in marks) else None


_TCVN3_TABLE: Final = {0x80 + i: char for i, char in enumerate(_TCVN3)}
_VISCII_TABLE: Final = _VISCII_LOW | {0x80 + i: char for i, char in enumerate(_VISCII)}
_DECODERS: Final[dict[str, Callable[[bytes], str | None]]] = {
    "TCVN3": _tcvn3,
    "VNI": _vni,
    "VISCII": _viscii,
    "windows-1258": _windows_1258,
}
NAMES: Final = frozenset(_DECODERS)


def decode_legacy(value: bytes, name: str) -> str | None:
    """Decode text in one of `NAMES`, to NFC; None if the bytes make no sense in it."""
    text = _DECODERS[name](value)
    return None if text is None else unicodedata.normalize("NFC", text)
