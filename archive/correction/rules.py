"""What the settings of a peer correct of an object, from the values that it came with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from archive.correction.record import WORKLIST, Change, Corrections
from archive.records import Source
from archive.standard.coding import Element
from archive.standard.rewrite import SPECIFIC_CHARACTER_SET, Unicode
from archive.standard.text import CHARSET_VRS, UTF_8, character_sets_of, decode, is_utf_8
from config.coercion import Coercion, fits_vr

INSTITUTION_CODE_SEQUENCE: Final = 0x00080082
_ISSUER: Final = "IssuerOfPatientID"


class Facts(NamedTuple):
    """By what the worklist item of an object is found."""

    facility: str
    station: str
    study_instance_uid: str
    patient_id: str
    modality: str
    study_date: str
    keywords: Sequence[str]
    """What is asked for."""


Worklist = Callable[[Facts], Mapping[str, str]]
"""Gives values of the worklist item that an object was made for, and under ``""`` its number; empty without one."""


def no_worklist(facts: Facts) -> Mapping[str, str]:
    """Stands for a worklist where there is none."""
    del facts
    return {}


def character_sets(elements: Mapping[int, Element], corrections: Corrections | None) -> list[str]:
    """What the text of an object is in."""
    if corrections is not None and corrections.character_set:
        return corrections.character_set.split("\\")
    element = elements.get(SPECIFIC_CHARACTER_SET)
    return character_sets_of(element.value if element else None)


def unicode_of(corrections: Corrections | None, elements: Mapping[int, Element]) -> Unicode:
    """What turns the text of the object into UTF-8.

    Items that name a character set where the object names none mean it; where it names a wrong one, they do.
    """
    overridden = bool(corrections and corrections.character_set and character_sets(elements, None))
    return Unicode(character_sets(elements, corrections), whatever_items_say=overridden)


def _character_set(elements: Mapping[int, Element], source: Source) -> str | None:
    """What a setting says that the text of an object is in; None where the object itself does.

    An object that declares UTF-8 and is in UTF-8 knows what it says: no setting overrides that.
    """
    declared = character_sets(elements, None)
    if source.actual_character_set and not (declared == [UTF_8] and _is_utf_8(elements)):
        return source.actual_character_set
    return None if declared else source.default_character_set


def _is_utf_8(elements: Mapping[int, Element]) -> bool:
    text = b"".join([element.value for element in elements.values() if element.vr in CHARSET_VRS])
    return not text.isascii() and is_utf_8(text)


def correct(
    elements: Mapping[int, Element], source: Source, at: datetime, worklist: Worklist = no_worklist
) -> Corrections | None:
    """The corrections of an object, None where there is nothing to correct. `elements` holds `Coercion.tags`."""
    if not (source.default_character_set or source.actual_character_set or source.coercion):
        return None
    found = Corrections(_character_set(elements, source), (), source.calling_ae_title, at)
    if source.coercion is not None:
        original = _Original(elements, character_sets(elements, found))
        found = replace(found, changes=tuple(_changes(original, source.coercion, source, worklist)))
    return found if found.character_set or found.changes else None


class _Original:
    """The values as received, by keyword."""

    def __init__(self, elements: Mapping[int, Element], character_sets: list[str]) -> None:
        self._elements = elements
        self._character_sets = character_sets

    def __contains__(self, keyword: str) -> bool:
        return tag_for_keyword(keyword) in self._elements

    def __getitem__(self, keyword: str) -> str:
        element = self._elements.get(tag_for_keyword(keyword) or 0)
        return decode(element.value, element.vr, self._character_sets) if element else ""


def _changes(original: _Original, rules: Coercion, source: Source, worklist: Worklist) -> Iterator[Change]:
    lacking = [keyword for keyword in rules.from_worklist if not original[keyword].strip("^= ")]
    item = worklist(_facts(original, source, lacking)) if lacking else {}
    taken: dict[str, str] = {keyword: item[keyword] for keyword in lacking if item.get(keyword)}
    for keyword, text in taken.items():
        yield _change(original, keyword, text, WORKLIST + item.get("", ""))
    for name, value, why in _ruled(original, rules, source):
        # What the worklist says of an object that says nothing is nearer to the truth than what holds for all objects.
        if name not in taken and (value is None or value != original[name]):
            yield _change(original, name, value, why)
    if rules.institution_code is not None:
        code = rules.institution_code
        text = f"{code.value}\\{code.scheme}\\{code.meaning}"
        yield Change(INSTITUTION_CODE_SEQUENCE, "SQ", "", text, "institution_code")


def _facts(original: _Original, source: Source, lacking: Sequence[str]) -> Facts:
    """The original values: what the worklist gave to the device comes back as it was."""
    names = ("StudyInstanceUID", "PatientID", "Modality", "StudyDate")
    study, patient, modality, day = (original[name].strip(" \0") for name in names)
    return Facts(source.facility, source.calling_ae_title, study, patient, modality, day, lacking)


def _ruled(original: _Original, rules: Coercion, source: Source) -> Iterator[tuple[str, str | None, str]]:
    if rules.issuer_of_patient_id == "facility":
        yield _ISSUER, source.issuer_of_patient_id, "issuer_of_patient_id"
    yield from ((keyword, value, "set") for keyword, value in rules.always.items())
    for keyword, value in rules.set_if_empty.items():
        if not original[keyword].strip("^= "):
            yield keyword, value, "set_if_empty"
    for keyword, value in rules.prefix.items():
        found = original[keyword]
        if found and not found.startswith(value):
            yield keyword, value + found, "prefix"
    yield from ((keyword, None, "remove") for keyword in rules.remove if keyword in original)


def _change(original: _Original, keyword: str, value: str | None, why: str) -> Change:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return Change(tag, dictionary_VR(tag), original[keyword], value, why)


def complaints(corrections: Corrections | None) -> list[str]:
    """What is against the standard in corrected values; it is made of what was received, so it is kept all the same."""
    if corrections is None:
        return []
    keywords = {change.tag: keyword_for_tag(change.tag) for change in corrections.changes if change.vr != "SQ"}
    return [
        f"the corrected value of {keywords[change.tag]} does not fit its VR {change.vr}"
        for change in corrections.changes
        if change.tag in keywords and change.value and fits_vr(keywords[change.tag], change.value)
    ]
