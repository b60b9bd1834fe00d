"""Text of messages in bytes, both ways: MSH-18 (HL7 table 0211), and what was written before Unicode in Vietnam."""

from __future__ import annotations

import unicodedata
from typing import Final

from pydicom.charset import python_encoding

from archive.standard.vietnamese import NAMES, decode_legacy
from config.character_sets import UTF_8

_TABLE_0211: Final = {
    "ASCII": "ISO_IR 6",
    "8859/1": "ISO_IR 100",
    "8859/2": "ISO_IR 101",
    "8859/3": "ISO_IR 109",
    "8859/4": "ISO_IR 110",
    "8859/5": "ISO_IR 144",
    "8859/9": "ISO_IR 148",
    "8859/15": "ISO_IR 203",
    "UNICODE UTF-8": UTF_8,
    "UNICODE": UTF_8,
    "UTF-8": UTF_8,
    "UTF8": UTF_8,
    "WINDOWS-1258": "windows-1258",
    "CP1258": "windows-1258",
    "TCVN3": "TCVN3",
    "ABC": "TCVN3",
    "VNI": "VNI",
    "VNI-WINDOWS": "VNI",
    "VISCII": "VISCII",
}
TONES: Final = "\u0300\u0301\u0303\u0309\u0323"
"""The marks that Windows-1258 has apart from their letters."""


def of_header(name: str) -> str | None:
    """The character set that MSH-18 names; None for one that is not known."""
    return _TABLE_0211.get(" ".join(name.split()).upper())


def decode(value: bytes, name: str) -> str | None:
    """Text of these bytes, in NFC; None if they make no sense in this character set."""
    if value.isascii():
        return value.decode("ascii")
    if name in NAMES:
        return decode_legacy(value, name)
    try:
        # ASCII says nothing of other bytes; systems that name it mostly do not know what they send.
        return unicodedata.normalize("NFC", value.decode("ascii" if name == "ISO_IR 6" else python_encoding[name]))
    except (UnicodeDecodeError, LookupError):
        return None


def encode(text: str, name: str) -> bytes:
    """Bytes for a receiver: what its character set lacks is written without accents, or as a question mark."""
    text = unicodedata.normalize("NFC", text)
    if name == "UTF-8":
        return text.encode("utf-8", "replace")
    if name == "windows-1258":
        return b"".join(_windows_1258(char) for char in text)
    return b"".join(_ascii(char) for char in text)


def _windows_1258(char: str) -> bytes:
    try:
        return char.encode("cp1258")
    except UnicodeEncodeError:
        parts = unicodedata.normalize("NFD", char)
        tones = "".join(part for part in parts if part in TONES)
        letter = unicodedata.normalize("NFC", "".join(part for part in parts if part not in TONES))
    try:
        return (letter + tones).encode("cp1258")
    except UnicodeEncodeError:
        return _ascii(char)


def _ascii(char: str) -> bytes:
    if char.isascii():
        return char.encode("ascii")
    plain = char.replace("Đ", "D").replace("đ", "d")
    plain = "".join(part for part in unicodedata.normalize("NFD", plain) if not unicodedata.combining(part))
    return plain.encode("ascii", "replace")
