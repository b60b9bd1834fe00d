"""What a query asks for, as SQL conditions (PS3.4 C.2.2.2)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from sqlalchemy import ColumnElement, Numeric, and_, case, cast, func, or_, select, text, true
from sqlalchemy.orm import InstrumentedAttribute

from archive.access import shown
from archive.attributes import COMPUTED, KNOWN, LEVELS, Attribute, levels_down_to
from archive.description import fold_name
from archive.errors import InvalidQuery
from archive.models import Instance, Patient, Series, StoredObject, Study
from archive.records import Level, Query, Scope
from archive.standard import matching
from archive.standard.text import fold

Condition = ColumnElement[bool]

TABLES: Final[dict[Level, Any]] = {
    Level.PATIENT: Patient,
    Level.STUDY: Study,
    Level.SERIES: Series,
    Level.IMAGE: Instance,
}
MODALITY: Final = 0x00080060
MODALITIES_IN_STUDY: Final = 0x00080061

COLUMNS: Final[dict[str, InstrumentedAttribute[Any]]] = {
    "PatientID": Patient.patient_id,
    "IssuerOfPatientID": Patient.issuer,
    "PatientBirthDate": Patient.birth_date,
    "PatientSex": Patient.sex,
    "StudyInstanceUID": Study.study_instance_uid,
    "StudyDate": Study.study_date,
    "StudyTime": Study.study_time,
    "AccessionNumber": Study.accession_number,
    "StudyID": Study.study_id,
    "StudyDescription": Study.study_description,
    "SeriesInstanceUID": Series.series_instance_uid,
    "Modality": Series.modality,
    "SeriesNumber": Series.series_number,
    "SeriesDescription": Series.series_description,
    "BodyPartExamined": Series.body_part_examined,
    "PerformedProcedureStepStartDate": Series.performed_date,
    "PerformedProcedureStepStartTime": Series.performed_time,
    "SOPInstanceUID": Instance.sop_instance_uid,
    "SOPClassUID": Instance.sop_class_uid,
    "InstanceNumber": Instance.instance_number,
    "Rows": Instance.rows,
    "Columns": Instance.columns,
    "BitsAllocated": Instance.bits_allocated,
    "NumberOfFrames": Instance.number_of_frames,
    "AvailableTransferSyntaxUID": StoredObject.transfer_syntax_uid,
}
FOLDED: Final = {"PatientName": Patient.name_fold, "ReferringPhysicianName": Study.referring_physician_fold}
_ARRAYS: Final = frozenset({"ModalitiesInStudy", "SOPClassesInStudy"})
_ONLY_RETURNED: Final = frozenset(attribute.keyword for found in COMPUTED.values() for attribute in found) - _ARRAYS
_WHOLE_TEXT_VRS: Final = frozenset({"LT", "ST", "UT"})
"""In these a backslash is a character (PS3.5 6.2)."""


def arrays(scope: Scope) -> dict[str, ColumnElement[Any]]:
    """What a study as this caller sees it has several of."""
    found = shown(scope.view)
    return {"ModalitiesInStudy": found.modalities, "SOPClassesInStudy": found.sop_classes}


def conditions(query: Query, scope: Scope) -> list[Condition]:
    """The conditions of all keys that are not universal. Raises `InvalidQuery`."""
    made = []
    for tag, given in query.keys.items():
        value = given.rstrip("\0 ")
        if matching.is_universal(value):
            continue
        attribute = _attribute(query.level, tag)
        if "\0" in value or not _is_unicode(value):
            raise InvalidQuery(f"{attribute.keyword}: the value holds characters that no text has")
        made.append(_condition(attribute, value, scope, fuzzy=query.fuzzy))
    return made


def can_be_matched(level: Level, tag: int) -> bool:
    """Whether a key with a value can be matched at this level."""
    try:
        _attribute(level, tag)
    except InvalidQuery:
        return False
    return True


def can_be_returned(level: Level, tag: int) -> bool:
    """Whether matches at this level have the attribute."""
    attribute = KNOWN.get(tag)
    if attribute is None or attribute.level not in levels_down_to(level):
        return False
    # Counts of a patient's studies belong to the patient alone.
    return level is Level.PATIENT or attribute not in COMPUTED[Level.PATIENT]


def _attribute(level: Level, tag: int) -> Attribute:
    """The attribute of a key. Raises `InvalidQuery` if it cannot be matched at this level."""
    if level is Level.STUDY and tag == MODALITY:
        tag = MODALITIES_IN_STUDY  # not a study level key, and what everybody means by it is clear
    attribute = KNOWN.get(tag)
    if attribute is None:
        raise InvalidQuery(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be matched")
    if LEVELS.index(attribute.level) > LEVELS.index(level):
        raise InvalidQuery(f"{attribute.keyword} cannot be matched at {level.value} level")
    if attribute.keyword in _ONLY_RETURNED:
        raise InvalidQuery(f"{attribute.keyword} can be returned but not matched")
    return attribute


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _condition(attribute: Attribute, value: str, scope: Scope, *, fuzzy: bool) -> Condition:
    keyword = attribute.keyword
    if keyword in FOLDED:
        return _any_of(value, lambda part: _name_condition(FOLDED[keyword], part, fuzzy=fuzzy))
    if keyword in _ARRAYS:
        return _array_condition(arrays(scope)[keyword], attribute, value)
    if keyword in COLUMNS:
        return _column_condition(COLUMNS[keyword], attribute, value)
    return _json_condition(attribute, value, fuzzy=fuzzy)


def _any_of(value: str, condition: Callable[[str], Condition]) -> Condition:
    found = [condition(part) for part in value.split("\\") if part.strip()]
    return or_(*found) if found else true()


def _column_condition(column: InstrumentedAttribute[Any], attribute: Attribute, value: str) -> Condition:
    vr, keyword = attribute.vr, attribute.keyword
    if vr == "UI":
        return column.in_(matching.uid_list(value, keyword))
    if vr == "DA":
        return _between(column, matching.date_range(value, keyword))
    if vr == "TM":
        return _between(column, matching.time_range(value, keyword))
    if vr in ("IS", "US"):
        return _is(column, matching.whole_number(value, keyword))
    return _any_of(value, lambda part: _text_condition(column, part))


def _is(column: Any, value: object) -> Condition:
    equal: Condition = column == value
    return equal


def _like(column: Any, pattern: str) -> Condition:
    like: Condition = column.like(pattern, escape="\\")
    return like


def _between(column: Any, wanted: matching.Range[Any]) -> Condition:
    if wanted.low is not None and wanted.low == wanted.high:
        return _is(column, wanted.low)
    parts = [column >= wanted.low] if wanted.low is not None else []
    if wanted.high is not None:
        parts.append(column <= wanted.high)
    return and_(*parts)


def _text_condition(column: Any, value: str, vr: str = "LO") -> Condition:
    wanted = value.strip()
    if not matching.has_wildcard(wanted) or vr not in matching.WILDCARD_VRS:
        return _is(column, wanted)
    return _like(column, matching.like_pattern(wanted))


def _name_condition(column: Any, value: str, *, fuzzy: bool) -> Condition:
    """Names are compared without accents and case, which C.2.2.2.1 leaves to us: few keyboards at a modality have đ.

    The column holds a folded name, its component groups separated by ``=``; the value matches one of them.
    """
    if fuzzy:
        words = fold(value.replace("*", " ").replace("?", " ")).split()
        return and_(true(), *(_begins_a_part(column, matching.like_literal(word)) for word in words))
    wanted = fold_name(value)
    whole = wanted
    while whole.endswith(" *"):
        whole = whole[:-2]
    # ``NGUYEN^*`` is NGUYEN with anything behind it or with nothing, but not NGUYENX.
    forms = [whole] if whole == wanted else [whole, f"{whole} *"]
    return or_(*(_one_group(column, form) for form in forms))


def _begins_a_part(column: Any, word: str) -> Condition:
    return or_(*(_like(column, f"{before}{word}%") for before in ("", "% ", "%=")))


def _one_group(column: Any, wanted: str) -> Condition:
    pattern = matching.like_pattern(wanted)
    forms = [_text_condition(column, wanted), _like(column, f"{pattern}=%")]
    if not wanted.isascii() or wanted.startswith("="):
        # Only names in other scripts stand in the later groups, and looking there cannot use the index.
        later = pattern.lstrip("=")
        forms += [_like(column, f"%={later}"), _like(column, f"%={later}=%")]
    return or_(*forms)


def _array_condition(column: Any, attribute: Attribute, value: str) -> Condition:
    overlap: Condition
    if attribute.vr == "UI":
        overlap = column.overlap(matching.uid_list(value, attribute.keyword))
        return overlap
    parts = [part.strip() for part in value.split("\\")]
    if not matching.has_wildcard(value):
        overlap = column.overlap(parts)
        return overlap
    element = func.unnest(column).column_valued("element")
    return select(element).where(or_(*(_text_condition(element, part) for part in parts if part))).exists()


# -- attributes without a column: their values are in the JSON of their level -----------------------------------------


def _json_condition(attribute: Attribute, value: str, *, fuzzy: bool) -> Condition:
    """Any of the values in the JSON model matches."""
    values = func.jsonb_array_elements(TABLES[attribute.level].attributes[attribute.key]["Value"]).table_valued("value")
    wanted = _json_value_condition(values.c.value, attribute, value, fuzzy=fuzzy)
    return select(1).select_from(values).where(wanted).exists()


def _json_value_condition(found: Any, attribute: Attribute, value: str, *, fuzzy: bool) -> Condition:
    vr, keyword = attribute.vr, attribute.keyword
    element = found.op("#>>")(text("'{}'"))
    if vr == "UI":
        among: Condition = element.in_(matching.uid_list(value, keyword))
        return among
    if vr == "PN":
        return _any_of(value, lambda part: _name_condition(_folded(found), part, fuzzy=fuzzy))
    if vr == "DA":
        return _between(func.regexp_replace(element, "[./-]", "", "g"), _texts(matching.date_range(value, keyword)))
    if vr == "TM":
        return _between(_padded_time(element), _texts(matching.time_range(value, keyword)))
    if vr in ("DS", "IS"):
        # A CASE, because a text that is no number must not be cast.
        number = case((func.jsonb_typeof(found) == "number", cast(found, Numeric)))
        return _is(number, _number(value, keyword))
    if vr in _WHOLE_TEXT_VRS:
        return _text_condition(element, value, vr)
    return _any_of(value, lambda part: _text_condition(element, part, vr))


def _folded(name: Any) -> ColumnElement[str]:
    """`fold_name` in SQL, as far as Latin script goes."""
    groups = [name.op("->>")(group) for group in ("Alphabetic", "Ideographic", "Phonetic")]
    letters = func.normalize(func.concat_ws("=", *groups), text("NFKD"))
    letters = func.regexp_replace(letters, "[\u0300-\u036f]", "", "g")
    letters = func.upper(func.translate(letters, "đĐðÐ^", "DDDD "))
    return func.btrim(func.regexp_replace(letters, " +", " ", "g"))


def _padded_time(element: Any) -> ColumnElement[str]:
    """``hhmmss.ffffff`` of a time of any precision."""
    whole = func.rpad(func.replace(func.split_part(element, ".", 1), ":", ""), 6, "0")
    return whole.op("||")(".").op("||")(func.rpad(func.split_part(element, ".", 2), 6, "0"))


def _texts(wanted: matching.Range[Any]) -> matching.Range[Any]:
    def written(value: date | time | None) -> str | None:
        if isinstance(value, time):
            return value.strftime("%H%M%S.%f")
        return value.isoformat().replace("-", "") if value is not None else None

    return matching.Range(written(wanted.low), written(wanted.high))


def _number(value: str, keyword: str) -> Decimal:
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise InvalidQuery(f"{keyword}: {value[:40]!r} is not a number")
    return number
