"""What becomes of names, birth dates and numbers between the identity card and the modality."""

from __future__ import annotations

import random
from typing import Final

from archive.standard.text import decode, to_ascii
from archive.standard.vietnamese import decode_legacy

_TCVN3: Final = {
    letter: byte
    for byte in range(0xFF, 0x9F, -1)
    if (letter := decode_legacy(bytes((byte,)), "TCVN3") or "").isalpha() and len(letter) == 1
}
_NEIGHBOURS: Final = {
    "A": "S",
    "E": "R",
    "G": "H",
    "H": "G",
    "I": "O",
    "L": "K",
    "M": "N",
    "N": "M",
    "O": "I",
    "T": "Y",
}
_LETTERS: Final = "AEIOUGHNMTLC"


def without_accents(name: str) -> str:
    """As modalities write it that know ASCII only."""
    return to_ascii(name)


def swapped(name: str) -> str:
    """The given name first, or the family name at the end."""
    words = name.split(" ")
    return " ".join([words[-1], *words[:-1]] if len(words) % 2 else [*words[1:], words[0]])


def other_d(name: str) -> str:
    """D for Đ, which is another key; the same name if it has neither."""
    return name.replace("Đ", "D") if "Đ" in name else name.replace("D", "Đ", 1)


def mistyped(name: str, chance: random.Random) -> str:
    """One slip: a letter left out, doubled, exchanged with the next, or hit beside the key."""
    at = chance.randrange(1, max(2, len(name) - 1))
    if name[at] == " ":
        at -= 1
    kind = chance.randrange(4)
    if kind == 0:
        return name[:at] + name[at + 1 :]
    if kind == 1:
        return name[: at + 1] + name[at:]
    if kind == 2 and at + 1 < len(name) and name[at + 1] != " ":
        return name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    return name[:at] + _NEIGHBOURS.get(name[at], chance.choice(_LETTERS)) + name[at + 1 :]


def tcvn3(name: str) -> str:
    """Written in TCVN3, and read by who was not told so: ``NGUYỄN`` as ``NGUYÔN``, ``Nguyễn`` as ``NguyÔn``.

    Capitals with tone marks are small letters there, in a font of capitals.
    """
    written = bytearray()
    for letter in name:
        if letter.isascii():
            written += letter.encode()
        else:
            written.append(_TCVN3.get(letter) or _TCVN3.get(letter.lower()) or ord("?"))
    return decode(bytes(written), "PN", [])


def wrong_digit(number: str, chance: random.Random) -> str:
    """One of the last six digits is another."""
    at = chance.randrange(len(number) - 6, len(number))
    return f"{number[:at]}{(int(number[at]) + chance.randrange(1, 10)) % 10}{number[at + 1 :]}"


def day_and_month_swapped(birth_date: str) -> str:
    """The same date where that makes none."""
    month, day = birth_date[4:6], birth_date[6:]
    return f"{birth_date[:4]}{day}{month}" if int(day) <= 12 else birth_date


def written_small(name: str) -> str:
    """``NGUYỄN VĂN AN`` as ``Nguyễn Văn An``."""
    return " ".join(word.capitalize() for word in name.split(" "))
