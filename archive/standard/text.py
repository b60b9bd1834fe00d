"""Text of elements as Unicode, folded for search, and as dates, times and numbers (PS3.3 C.12.1.1.2, PS3.5 6.1, 6.2).

Nothing here raises: an object must not be refused because a name cannot be read. `decode_checked` tells when the
characters were guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, time
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, handled_encodings, python_encoding

from archive.standard.vietnamese import NAMES as LEGACY
from archive.standard.vietnamese import decode_legacy

UTF_8: Final = "ISO_IR 192"
# PS3.5 6.1.2.3: only these VRs are affected by Specific Character Set.
CHARSET_VRS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
# PS3.5 6.2: leading spaces are significant in these, and line breaks are allowed.
_TEXT_VRS: Final = frozenset(("LT", "ST", "UT"))
_ESCAPE: Final = 0x1B
# The default repertoire, ISO-IR 6, comes from pydicom as Latin 1; here bytes above 127 are seen as a violation of it.
_DEFAULT: Final = "ascii"

# PS3.5 6.1.3: of the control characters only TAB, LF, FF, CR (and ESC, which decoding consumes) have a meaning.
# NUL is also what PostgreSQL cannot hold.
_CONTROLS: Final = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], None)
for _kept in b"\t\n\f\r":
    del _CONTROLS[_kept]
_C1 = re.compile(r"[\x80-\x9f]")
_PARTS = re.compile(rb"\x1b[^\x1b]*|^[^\x1b]+", re.DOTALL)


class Decoded(NamedTuple):
    """Text, and whether some of its characters are guesses or replacements."""

    text: str
    lossy: bool


class Found(NamedTuple):
    """Text, whether some of its characters are guesses, and whether it is text of the character sets given."""

    text: str
    lossy: bool
    fits: bool


def character_sets_of(raw: bytes | None, default: str | None = None) -> list[str]:
    """Return the defined terms of Specific Character Set (0008,0005) (PS3.3 C.12.1.1.2).

    `default` is what to assume of a sender that leaves the element out or empty: a term, several joined by
    backslashes, or one of `archive.standard.vietnamese.NAMES`.
    """
    text = (raw or b"").decode("ascii", "replace").replace("\0", "")
    terms = [term.strip() for term in text.split("\\")]
    if any(terms):
        return terms
    return default.split("\\") if default else []


_SINGLE_BYTE: Final = frozenset(
    f"ISO_IR {number}" for number in (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166)
)


@lru_cache(maxsize=256)
def _encodings(terms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the Python encodings of defined terms, without the unknown ones; the first is for text with no escape."""
    found = [_encoding(term) for term in terms] or [_DEFAULT]
    if terms and _corrected(terms[0]) in STAND_ALONE_ENCODINGS:
        # PS3.5 6.1.2.5.4 d): no code extensions with these.
        found = found[:1]
    return tuple(encoding for encoding in found if encoding is not None) if found[0] is not None else ()


def encodable(text: str, term: str) -> str | None:
    """Return the Python encoding of a defined term if the text can be written in it without code extensions.

    None for what it cannot express, for terms of ISO 2022, and for JIS X 0201, whose codec knows more characters than
    the character set has.
    """
    term = _corrected(term)
    encoding = _encoding(term)
    if encoding is None or term in LEGACY or term.startswith("ISO 2022") or term == "ISO_IR 13":
        return None
    try:
        same = text.encode(encoding).decode(encoding) == text
    except UnicodeError:
        return None
    return encoding if same else None


def _encoding(term: str) -> str | None:
    if term in LEGACY:
        return term
    term = _corrected(term)
    if term in ("", "ISO_IR 6", "ISO 2022 IR 6"):
        return _DEFAULT
    return python_encoding.get(term)


def _corrected(term: str) -> str:
    """Correct the usual misspellings of defined terms: other separators, lower case, and the plain name of UTF-8."""
    term = term.strip().upper()
    if found := re.fullmatch(r"ISO[ _-]?2022[ _-]?IR[ _-]?(\d+)", term):
        return f"ISO 2022 IR {found[1]}"
    if found := re.fullmatch(r"ISO[ _-]?IR[ _-]?(\d+)", term):
        return f"ISO_IR {found[1]}"
    return UTF_8 if term in ("UTF-8", "UTF8", "UTF_8") else term


def without_code_extensions(term: str) -> str:
    """Return the defined term of the same single-byte character set without ISO 2022; other terms corrected only.

    Whoever reads ``ISO 2022 IR 100`` reads ``ISO_IR 100``, too (PS3.3 Tables C.12-2 and C.12-3).
    """
    term = _corrected(term)
    plain = term.replace("ISO 2022 IR", "ISO_IR")
    return plain if plain in _SINGLE_BYTE else term


def decode(value: bytes, vr: str, character_sets: Sequence[str]) -> str:
    """Return the text of a value; see `decode_checked`."""
    return decode_checked(value, vr, character_sets).text


def decode_checked(value: bytes, vr: str, character_sets: Sequence[str]) -> Decoded:
    """Return what `decode_whole` gives without padding and control characters (PS3.5 6.1, 6.2)."""
    if is_plain(value, character_sets):
        return Decoded(_clean(value.decode("ascii"), vr), False)
    text, lossy, _ = decode_whole(value, vr, character_sets)
    return Decoded(_clean(text, vr), lossy)


def is_plain(value: bytes, character_sets: Sequence[str]) -> bool:
    """Whether the bytes are ASCII text in any character set that may be meant."""
    # VISCII has six letters among the control characters.
    return value.isascii() and _ESCAPE not in value and "VISCII" not in character_sets


def is_utf_8(value: bytes) -> bool:
    """Whether the bytes are text in UTF-8 as DICOM has it (PS3.5 6.1.3); ASCII is."""
    return _strict(value, "utf-8") is not None


def decode_whole(value: bytes, vr: str, character_sets: Sequence[str]) -> Found:
    """Return the text of a value in NFC, with all that is in it.

    The character sets are tried in this order:

    1. the declared ones; bytes that become control characters of C1 count as not decodable, because DICOM has none
       (PS3.5 6.1.3) and they betray UTF-8 or a Windows code page under the label of Latin 1,
    2. UTF-8, which other text hardly ever is by accident; before a character set of Vietnamese that DICOM does not
       know, for its letters never stand side by side as the bytes of UTF-8 do,
    3. Windows-1258, if that makes sense: what Vietnamese systems use that declare nothing. Where it differs from
       Latin 1 are the letters a Vietnamese name needs (ă, đ, ơ, ư, and tone marks),
    4. Latin 1, in which all bytes are characters; control characters are left out.

    The last two are guesses, reported as lossy. Several values stay joined by backslashes.
    """
    terms = tuple(character_sets) if vr in CHARSET_VRS else ()
    legacy = bool(terms) and terms[0] in LEGACY
    text = _strict(value, "utf-8") if legacy and not value.isascii() else None
    fits = text is None
    if text is None:
        text = _declared(value, vr, _encodings(terms))
    if text is None:
        fits, text = False, None if legacy else _strict(value, "utf-8")
    lossy = text is None
    if text is None:
        text = decode_legacy(value, "windows-1258")
    if text is None or (lossy and _C1.search(text)):
        text = _C1.sub("", value.decode("latin_1"))
    return Found(unicodedata.normalize("NFC", text), lossy, fits)


def _clean(text: str, vr: str) -> str:
    """Drop control characters and the padding, which may also be in front of short text (PS3.5 6.2)."""
    if not text.isprintable():
        text = text.translate(_CONTROLS)
    return text.rstrip(" ") if vr in _TEXT_VRS else text.strip(" ")


def _strict(value: bytes, encoding: str) -> str | None:
    """Decode, or return None if the bytes are not text of that encoding."""
    if encoding in LEGACY:
        return decode_legacy(value, encoding)
    try:
        text = value.decode(encoding)
    except UnicodeError:
        return None
    return None if _C1.search(text) else text


def _declared(value: bytes, vr: str, encodings: tuple[str, ...]) -> str | None:
    """Decode with the declared character sets, with code extensions if there are any (PS3.5 6.1.2.4, 6.1.2.5)."""
    if not encodings:
        return None
    if _ESCAPE not in value or encodings[0] in LEGACY:
        return _strict(value, encodings[0])
    parts = [_part(part, vr, encodings) for part in _PARTS.findall(value)]
    return None if None in parts else "".join(part for part in parts if part is not None)


def _part(part: bytes, vr: str, encodings: tuple[str, ...]) -> str | None:
    """Decode the part of a value from one escape sequence to the next."""
    if part[0] != _ESCAPE:
        return _strict(part, encodings[0])
    length = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODES_TO_ENCODINGS.get(part[:length])
    if encoding is None:
        return None
    # An escape to a character set that was not declared is unmistakable all the same.
    if encoding in handled_encodings and part[:length] != b"\x1b$)A":
        return _strict(part, encoding)
    # PS3.5 6.1.2.5.3: delimiters bring back the first character set.
    delimiters = b"\\\t\n\f\r^=" if vr == "PN" else b"\\\t\n\f\r"
    text = part[length:]
    end = next((i for i, byte in enumerate(text) if byte in delimiters), len(text))
    switched, rest = _strict(text[:end], encoding), _strict(text[end:], encodings[0])
    return None if switched is None or rest is None else switched + rest


# Letters that Unicode does not decompose. U+00D0 and U+00F0 are what a Western keyboard offers for Đ and đ.
_UNDECOMPOSED: Final = str.maketrans({"Đ": "D", "Ð": "D", "Ø": "O", "Ł": "L", "Ħ": "H", "Æ": "AE", "Œ": "OE"})


def fold(text: str) -> str:
    """Return text for name search: no accents, đ as d, upper case, PN separators and white space as single spaces.

    The same for composed and decomposed input, and for input that is folded already.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).upper())
        text = "".join([char for char in text if not unicodedata.combining(char)]).upper().translate(_UNDECOMPOSED)
    return " ".join(text.upper().replace("^", " ").replace("=", " ").split())


# Read as these where there is only ASCII, and not in NFKD.
_LOOK_ALIKE: Final = str.maketrans(
    {"đ": "d", "ð": "d", "ø": "o", "ł": "l", "ħ": "h", "æ": "ae", "œ": "oe", "ß": "ss", "ı": "i", "×": "x", "°": "o"}
    | {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "‐": "-", "⁄": "/", "•": "-"}
)


def to_ascii(text: str) -> str:
    """Return text for who cannot read any other than ASCII: ``Nguyễn^Đức`` as ``Nguyen^Duc``.

    Letters keep their case, and a character that nothing in ASCII stands for becomes ``_``. No separator or wildcard
    comes of what was none.
    """
    return text if text.isascii() else "".join(map(_ascii, unicodedata.normalize("NFC", text)))


@lru_cache(maxsize=4096)
def _ascii(char: str) -> str:
    if char.isascii():
        return char
    plain = unicodedata.normalize("NFKD", char).translate(_LOOK_ALIKE).translate(_UNDECOMPOSED)
    letters = "".join(each for each in plain if not unicodedata.combining(each))
    return letters if letters.isascii() and not set(letters) & set("\\^=*?") else "_"


def first_value(text: str) -> str:
    """Return the first of several values, without padding (PS3.5 6.4)."""
    return text.split("\\", 1)[0].strip(" \0")


_DATE = re.compile(r"([0-9]{4})([.\-/]?)([0-9]{2})\2([0-9]{2})")
_TIME = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,9}))?)?)?")
_INTEGER = re.compile(r"([+-]?[0-9]{1,20})(?:\.0*)?")


def parse_date(text: str) -> date | None:
    """Read DA, also as ACR-NEMA 2.0 wrote it, yyyy.mm.dd (PS3.5 6.2); None if it is not a date."""
    found = _DATE.fullmatch(first_value(text))
    if found is None:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def parse_time(text: str) -> time | None:
    """Read TM, also partial and with the colons of ACR-NEMA 2.0 (PS3.5 6.2); None if it is not a time.

    A leap second is taken for the second before: time has no room for it.
    """
    found = _TIME.fullmatch(first_value(text))
    if found is None:
        return None
    hour, minute, second = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    try:
        return time(hour, minute, 59 if second == 60 else second, int((found[4] or "0")[:6].ljust(6, "0")))
    except ValueError:
        return None


def parse_int(text: str, *, bits: int = 64) -> int | None:
    """Read IS (PS3.5 6.2), also as a decimal with nothing behind the point; None if it is not a number of that size.

    `bits` is that of the column: 64 for bigint, 32 for integer.
    """
    found = _INTEGER.fullmatch(first_value(text))
    if found is None:
        return None
    number = int(found[1])
    return number if -(1 << bits - 1) <= number < 1 << bits - 1 else None
