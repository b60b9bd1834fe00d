"""Text that is not what its object declares: recognised, noted, never silently guessed at (PS3.3 C.12.1.1.2)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Final

from pydicom.datadict import keyword_for_tag

from archive.standard.coding import Element
from archive.standard.text import CHARSET_VRS, UTF_8, decode_whole, is_plain, is_utf_8

MOST: Final = 5
"""Attributes that are named; of a device that declares wrongly, nearly all are wrong."""
_SINGLE_BYTE_LATIN: Final = frozenset(("ISO_IR 100", "ISO 2022 IR 100"))


def misfits(elements: Mapping[int, Element], character_sets: list[str]) -> list[str]:
    """Sentences about values whose bytes are not text of these character sets, without the values themselves."""
    text = b"".join([element.value for element in elements.values() if element.vr in CHARSET_VRS])
    # This is done for every object, so what is well is to be found so at once.
    if is_plain(text, character_sets) or (character_sets == [UTF_8] and is_utf_8(text)):
        return []
    return list(islice(_misfits(elements, tuple(character_sets)), MOST))


def _misfits(elements: Mapping[int, Element], terms: tuple[str, ...]) -> Iterator[str]:
    for tag, (vr, value) in sorted(elements.items()):
        if vr in CHARSET_VRS and not is_plain(value, terms):
            wrong = _wrong(value, vr, terms)
            if wrong is not None:
                yield f"the text of {keyword_for_tag(tag) or f'{tag:08X}'} {wrong}"


# The objects of a series say the same.
@lru_cache(maxsize=1024)
def _wrong(value: bytes, vr: str, terms: tuple[str, ...]) -> str | None:
    text, lossy, fits = decode_whole(value, vr, terms)
    named = "\\".join(terms) or "the default repertoire, for the object names no character set"
    if not fits:
        return f"is not in {named[:64]}; it was read as {'a guess' if lossy else 'UTF-8'}"
    if vr == "PN" and terms and terms[0] in _SINGLE_BYTE_LATIN and any(map(_is_no_letter, text)):
        # Letters of TCVN3 are signs such as § ¨ ® there.
        return f"has signs that no name has in {named[:64]}; it may be in TCVN3 or VNI"
    return None


def _is_no_letter(char: str) -> bool:
    return not char.isascii() and unicodedata.category(char)[0] in "SNP"
