"""Names of people here: what is the same name, what is nearly the same, and how much it tells that two are.

A name is compared without accents, because many systems lose them; where both have accents and they differ, it is not
the same name (``THÀNH`` and ``THANH`` may be brothers). Where a tone mark stands in its syllable means nothing: ``Hòa``
is ``Hoà``.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from enum import StrEnum
from functools import lru_cache
from typing import Final

from archive.identity.frequencies import expected
from archive.standard.text import fold

_TONES: Final = frozenset("\u0300\u0301\u0303\u0309\u0323")
_NO_LETTERS: Final = re.compile(r"[^A-Z ]+")
_PLACEHOLDERS: Final = re.compile(
    r"\b(VO DANH|KHONG (RO|TEN)|CHUA (RO|BIET|CO TEN)|UNKNOWN|ANONYMOUS|ANONYM|NONAME|NO NAME|TEST|BENH NHAN)\b"
    r"|^(XXX+|N A)$"
)
_OF_MOTHER: Final = re.compile(r"^(CON (BA|CUA|CHI|ME)|CB|TRE SO SINH|SO SINH|T?SS|BE (TRAI|GAI)( CON)?( BA)?)\b ?")


class Alike(StrEnum):
    """How two names compare, from the best."""

    SAME = "same"
    """Letter by letter; accents are the same, or one of them has none."""
    ORDER = "order"
    """The same words in another order."""
    ACCENTS = "accents"
    """The same without accents, but both have some and they differ."""
    CLOSE = "close"
    """One word has a letter more, less, or another; the given name is the same."""
    PART = "part"
    """One leaves out a middle name."""
    GIVEN = "given"
    """As close, but it is the given name that differs."""
    DIFFERENT = "different"
    MISSING = "missing"
    """One has no name, or what stands there is none: ``VÔ DANH``, ``CON BÀ ...``."""


def spoken(name: str) -> str:
    """The first group of a person name that is not empty, as it is spoken (PS3.5 6.2.1)."""
    group = next((group for group in name.split("=") if group.strip(" ^")), "")
    return " ".join(unicodedata.normalize("NFC", group.replace("^", " ")).split())


@lru_cache(maxsize=65_536)
def folded(name: str) -> str:
    """A spoken name without accents: letters and single spaces only."""
    return " ".join(_NO_LETTERS.sub(" ", fold(name)).split())


def is_placeholder(folded_name: str) -> bool:
    """Whether it is no name of this person."""
    return len(folded_name) < 2 or bool(_PLACEHOLDERS.search(folded_name) or _OF_MOTHER.search(folded_name))


def key_of(folded_name: str) -> str:
    """The same for the same words in any order; empty for what is no name."""
    return "" if is_placeholder(folded_name) else " ".join(sorted(folded_name.split()))


def given_of(folded_name: str) -> str:
    """The last word: what people are called by."""
    return "" if is_placeholder(folded_name) else folded_name.rpartition(" ")[2]


def rest_of(folded_name: str) -> str:
    """All but the last word."""
    return "" if is_placeholder(folded_name) else folded_name.rpartition(" ")[0]


@lru_cache(maxsize=65_536)
def accents(name: str) -> str:
    """A spoken name with accents, each syllable's tone behind its letters; empty if it has no accents at all."""
    words = []
    for word in unicodedata.normalize("NFD", name.upper()).split():
        tones = "".join(sorted(char for char in word if char in _TONES))
        words.append("".join(char for char in word if char not in _TONES) + tones)
    text = " ".join(words)
    return "" if text.isascii() else text


def compare(one: str, other: str, one_folded: str, other_folded: str) -> Alike:
    """How two spoken names compare, given with their `folded` forms."""
    if is_placeholder(one_folded) or is_placeholder(other_folded):
        return Alike.MISSING
    if one_folded == other_folded:
        mine, theirs = accents(one), accents(other)
        return Alike.SAME if not mine or not theirs or mine == theirs else Alike.ACCENTS
    mine_words, their_words = one_folded.split(), other_folded.split()
    if sorted(mine_words) == sorted(their_words):
        return Alike.ORDER
    if len(mine_words) == len(their_words):
        return _one_word(mine_words, their_words)
    return _shorter(mine_words, their_words)


def _one_word(mine: list[str], theirs: list[str]) -> Alike:
    differing = [place for place, word in enumerate(mine) if word != theirs[place]]
    if len(differing) > 1 or not one_edit(mine[differing[0]], theirs[differing[0]]):
        return Alike.DIFFERENT
    return Alike.GIVEN if differing[0] == len(mine) - 1 else Alike.CLOSE


def _shorter(mine: list[str], theirs: list[str]) -> Alike:
    """Names of which one has more words."""
    short, long = sorted((mine, theirs), key=len)
    if "".join(short) == "".join(long):
        return Alike.CLOSE
    left_out = Counter(long) - Counter(short)
    ends = len(short) > 1 and short[0] == long[0] and short[-1] == long[-1]
    return Alike.PART if ends and not Counter(short) - Counter(long) and left_out.total() == 1 else Alike.DIFFERENT


def one_edit(one: str, other: str) -> bool:
    """Whether one letter more, less, or another, or two that changed places make one of the other."""
    if len(one) == len(other):
        places = [i for i, char in enumerate(one) if char != other[i]]
        swapped = len(places) == 2 and places[1] == places[0] + 1
        return len(places) <= 1 or (
            swapped and one[places[0]] == other[places[1]] and one[places[1]] == other[places[0]]
        )
    short, long = sorted((one, other), key=len)
    return len(long) - len(short) == 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


_PRIOR: Final = 20_000
"""So many people's worth are the shares of all people's names against those that the archive has counted."""


def share(folded_name: str, count: int, people: int) -> float:
    """How likely somebody else has this name, given how many of how many people in the archive have it."""
    # The records that are compared may be the only ones: one is not counted.
    return (max(count - 1, 0) + _PRIOR * expected(folded_name)) / (people + _PRIOR)


def bits(likelihood: float, chance: float) -> float:
    """What an observation tells: how much likelier it is of the same person than by chance, as a logarithm to 2."""
    return math.log2(likelihood / chance)
