"""How person names match (PS3.4 C.2.2.2.1, C.2.2.2.4; PS3.5 6.2.1).

Without regard to accents and case, which C.2.2.2.1 leaves to us: few keyboards at a modality have đ. Columns hold
folded names (`archive.description.fold_name`), their component groups separated by ``=``.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, cast, false, func, literal, or_, text, true
from sqlalchemy.dialects.postgresql import TSQUERY

from archive.comparisons import Condition, like, text_is
from archive.description import LONGEST_INDEXED_TEXT, fold_name
from archive.models import Patient
from archive.records import NameMatching
from archive.standard import matching
from archive.standard.text import fold

WORDS: Final[ColumnElement[Any]] = func.array_to_tsvector(
    func.array_remove(
        func.string_to_array(func.replace(Patient.name_fold, text("'='"), text("' '")), text("' '")), text("''")
    )
)
"""As in ``ix_patient_name_words``."""


def folded_name(column: Any, value: str, how: NameMatching) -> Condition:
    """A folded name against one value; the value matches one of its component groups."""
    if how == "words":
        words = fold(value.replace("*", " ").replace("?", " ")).split()
        return and_(true(), *(_begins_a_part(column, word) for word in words))
    wanted = fold_name(value)
    whole = wanted
    while whole.endswith(" *"):
        whole = whole[:-2]
    # ``NGUYEN^*`` is NGUYEN with anything behind it or with nothing, but not NGUYENX.
    forms = [whole] if whole == wanted else [whole, f"{whole} *"]
    found = or_(*(_one_group(column, form) for form in forms))
    if column is Patient.name_fold and wanted[:1] in ("*", "?"):
        # Nothing of the order of names helps to find these, but the words in them may.
        return and_(*_words_within(whole), found)
    return found


def exact_name(name: Any, value: str) -> Condition:
    """A name as it was received against one value, letter by letter: the whole of it or one component group.

    ``^`` and ``=`` at the end stand for nothing (PS3.5 6.2.1).
    """
    wanted = value.strip().rstrip("^= ")
    if "=" in wanted:
        return text_is(func.rtrim(name, "^= "), wanted)
    groups = (func.btrim(func.rtrim(func.split_part(name, "=", number), "^ ")) for number in (1, 2, 3))
    return or_(*(text_is(group, wanted) for group in groups))


def _one_group(column: Any, wanted: str) -> Condition:
    pattern = matching.like_pattern(wanted)
    forms = [text_is(column, wanted), like(column, f"{pattern}=%")]
    if not wanted.isascii() or wanted.startswith("="):
        # Only names in other scripts stand in the later groups, and looking there cannot use the index of names.
        later = pattern.lstrip("=")
        among = or_(like(column, f"%={later}"), like(column, f"%={later}=%"))
        word = re.split("[ =*?]", wanted.lstrip("="), maxsplit=1)[0]
        forms.append(and_(_has_word(word), among) if word and column is Patient.name_fold else among)
    return or_(*forms)


def _begins_a_part(column: Any, word: str) -> Condition:
    if column is Patient.name_fold:
        return _has_word(word)
    escaped = matching.like_literal(word)
    return or_(*(like(column, f"{before}{escaped}%") for before in ("", "% ", "%=")))


def _has_word(beginning: str) -> Condition:
    """Whether a word of a patient's name begins so, by the index of words."""
    if len(beginning.encode()) > LONGEST_INDEXED_TEXT:
        return false()
    lexeme = beginning.replace("\\", "\\\\").replace("'", "''")
    found: Condition = WORDS.op("@@")(cast(literal(f"'{lexeme}':*"), TSQUERY))
    return found


def _words_within(wanted: str) -> list[Condition]:
    """What begins words of every name that matches the pattern, of which the first word begins with a wildcard."""
    words = [word for part in wanted.split("=") for word in part.split(" ")[1:]]
    beginnings = [word.replace("?", "*").partition("*")[0] for word in words]
    return [_has_word(beginning) for beginning in beginnings if beginning]
