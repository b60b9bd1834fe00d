"""The names of character sets that a setting may give: defined terms of DICOM, and what Vietnam wrote before Unicode.

DICOM has no term for TCVN3, VNI, VISCII or Windows-1258 (PS3.3 C.12.1.1.2); objects written in them name none, or a
wrong one. `archive.standard.vietnamese` knows their letters.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator
from pydicom.charset import STAND_ALONE_ENCODINGS, python_encoding

UTF_8: Final = "ISO_IR 192"
LEGACY: Final = ("TCVN3", "VNI", "VISCII", "windows-1258")
"""Not of DICOM."""

_NAMES: Final = {
    **{name.upper(): name for name in LEGACY},
    "ABC": "TCVN3",
    "TCVN-3": "TCVN3",
    "TCVN5712": "TCVN3",
    "TCVN 5712:1993": "TCVN3",
    "VNI-WINDOWS": "VNI",
    "VNI-WIN": "VNI",
    "CP1258": "windows-1258",
    "WINDOWS1258": "windows-1258",
    "UTF-8": UTF_8,
    "UTF8": UTF_8,
    "UTF_8": UTF_8,
}


def _character_set(value: str) -> str:
    terms = [_NAMES.get(term.strip().upper(), term.strip().upper()) for term in value.split("\\")]
    known = [term for term in terms if term in LEGACY or (term and term in python_encoding)]
    # PS3.3 C.12.1.1.2: the first of several may be empty; some terms stand alone.
    if len(terms) == 1 and known:
        return terms[0]
    whole = len(known) == len(terms) or (terms[0] == "" and len(known) == len(terms) - 1)
    if len(terms) > 1 and whole and not any(term in LEGACY or term in STAND_ALONE_ENCODINGS for term in terms):
        return "\\".join(terms)
    raise ValueError(
        f"{value!r} is not a character set: give a defined term of PS3.3 C.12.1.1.2 such as ISO_IR 100, or one of "
        f"UTF-8, {', '.join(LEGACY)}"
    )


def accepted_names() -> dict[str, list[str]]:
    """What a setting may be given, by the character set that is meant: defined terms, then those of `LEGACY`."""
    terms = [term for term in python_encoding if term and not term.startswith("ISO 2022")]
    others = {name: [alias for alias, meant in _NAMES.items() if meant == name] for name in LEGACY}
    named = {term: [alias for alias, meant in _NAMES.items() if meant == term] for term in terms}
    return named | others


CharacterSetName = Annotated[str, AfterValidator(_character_set)]
"""Defined terms, several joined by backslashes, or one of `LEGACY`; aliases become the name that is meant."""
