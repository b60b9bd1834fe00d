"""Cleans descriptions (PS3.15 E.3.5): what stays is words that are known to say nothing of a person.

A text is not searched for what looks like a name, which would miss some; it is put together anew from a vocabulary of
radiology, without accents. Words that occur in names or numbers of the object itself do not stay either.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import Final

SAFE_WORDS: Final = frozenset(Path(__file__).with_name("safe_words.txt").read_text(encoding="ascii").split())
"""Small letters, folded. No word that is also a name: ``quang`` is in X quang, and what many people are called."""
_SPLIT: Final = re.compile(r"[^0-9A-Za-z]+")


def cleaned(text: str, identifying: Collection[str] = ()) -> str:
    """The words of a text that may stay, in their order; short numbers stay, since they count slices, phases, doses.

    `identifying` are words of this object, folded, that must not stay whatever they mean elsewhere.
    """
    kept = []
    for word in _SPLIT.split(folded(text)):
        lower = word.lower()
        if lower in identifying:
            continue
        if lower in SAFE_WORDS or (word.isdigit() and len(word) <= 2):
            kept.append(word)
    return " ".join(kept)


def folded(text: str) -> str:
    """Without accents: what is left of ``Nguyễn`` is ``Nguyen``."""
    apart = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return "".join(each for each in apart if not unicodedata.combining(each))
