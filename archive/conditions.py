"""What a query asks for, as SQL conditions (PS3.4 C.2.2.2)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Text, and_, func, select
from sqlalchemy.orm import InstrumentedAttribute

from archive.access import shown
from archive.attributes import COMPUTED, KNOWN, LEVELS, Attribute, levels_down_to
from archive.comparisons import (
    EMPTY,
    Condition,
    any_of,
    between,
    constant,
    equals,
    moment_between,
    text_is,
)
from archive.errors import InvalidQuery
from archive.json_conditions import (
    day,
    first_value,
    json_condition,
    moment,
    no_value,
    sequence_condition,
    written,
)
from archive.models import Instance, Patient, Series, StoredObject, Study
from archive.name_conditions import exact_name, folded_name
from archive.records import Level, NameMatching, Query, Scope
from archive.standard import matching

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
_ONLY_RETURNED: Final = frozenset(attribute.keyword for found in COMPUTED.values() for attribute in found) - {
    *_ARRAYS,
    "InstanceAvailability",
}
_MOMENTS: Final = (
    (0x00080020, 0x00080030),  # Study Date, Study Time
    (0x00080021, 0x00080031),  # Series Date, Series Time
    (0x00100030, 0x00100032),  # Patient's Birth Date, Patient's Birth Time
    (0x00400244, 0x00400245),  # Performed Procedure Step Start Date, Performed Procedure Step Start Time
    (0x00700082, 0x00700083),  # Presentation Creation Date, Presentation Creation Time
)
"""Dates and the times that belong to them."""


def arrays(scope: Scope) -> dict[str, ColumnElement[Any]]:
    """What a study as this caller sees it has several of."""
    found = shown(scope.view)
    return {"ModalitiesInStudy": found.modalities, "SOPClassesInStudy": found.sop_classes}


def conditions(query: Query, scope: Scope) -> list[Condition]:
    """The conditions of all keys that are not universal. Raises `InvalidQuery`."""
    how: NameMatching = "words" if query.fuzzy else query.names
    wanted: dict[int, tuple[Attribute, str]] = {}
    for tag, given in query.keys.items():
        if not matching.is_universal(given.rstrip("\0 ")):
            attribute = _attribute(query.level, tag)
            value = matching.matching_text(given, attribute.keyword)
            if not matching.has_universal(value, attribute.vr):
                wanted[tag] = attribute, value
    made = []
    for first, second in _MOMENTS if query.combined else ():
        if _is_one_range(wanted.get(first)) and _is_one_range(wanted.get(second)):
            made.append(_moment_condition(*wanted.pop(first), *wanted.pop(second)))
    made += [_condition(attribute, value, scope, how) for attribute, value in wanted.values()]
    for tag, nested in query.sequences.items():
        attribute = _attribute(query.level, tag)
        if attribute.vr != "SQ":
            raise InvalidQuery(f"{attribute.keyword} is no sequence")
        made.append(sequence_condition(TABLES[attribute.level].attributes, tag, nested, how))
    return made


def _is_one_range(key: tuple[Attribute, str] | None) -> bool:
    return key is not None and "-" in key[1] and "\\" not in key[1]


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


def _condition(attribute: Attribute, value: str, scope: Scope, how: NameMatching) -> Condition:
    keyword = attribute.keyword
    if keyword == "InstanceAvailability":
        return any_of(value, lambda part: constant("ONLINE", part.strip()))
    if value == EMPTY:
        return _empty_condition(attribute, scope)
    if keyword in FOLDED:
        return any_of(value, lambda part: _name_condition(attribute, part, how))
    if keyword in _ARRAYS:
        return _array_condition(arrays(scope)[keyword], attribute, value)
    if keyword in COLUMNS:
        return _column_condition(COLUMNS[keyword], attribute, value)
    if attribute.vr == "SQ":
        raise InvalidQuery(f"{keyword} cannot be matched with a value: it is a sequence, and its key an item")
    return json_condition(TABLES[attribute.level].attributes, attribute.tag, attribute.vr, value, how)


def _empty_condition(attribute: Attribute, scope: Scope) -> Condition:
    """What has no value (C.2.2.2.7)."""
    keyword = attribute.keyword
    if keyword in _ARRAYS:
        return equals(func.cardinality(arrays(scope)[keyword]), 0)
    if keyword in FOLDED:
        return equals(FOLDED[keyword], "")
    if keyword in COLUMNS:
        column = COLUMNS[keyword]
        return equals(column, "") if isinstance(column.type, Text) else column.is_(None)
    return no_value(TABLES[attribute.level].attributes, attribute.tag)


def _name_condition(attribute: Attribute, value: str, how: NameMatching) -> Condition:
    if how != "exact":
        return folded_name(FOLDED[attribute.keyword], value, how)
    if attribute.keyword == "PatientName":
        precise = exact_name(Patient.name, value)
    else:
        precise = json_condition(TABLES[attribute.level].attributes, attribute.tag, "PN", value, how)
    # The folded name has the index. It is of no help with ``?``, which may stand for what folding leaves out.
    return precise if "?" in value else and_(folded_name(FOLDED[attribute.keyword], value, "folded"), precise)


def _column_condition(column: InstrumentedAttribute[Any], attribute: Attribute, value: str) -> Condition:
    vr, keyword = attribute.vr, attribute.keyword
    if vr == "UI":
        return column.in_(matching.uid_list(value, keyword))
    if vr == "DA":
        return any_of(value, lambda part: between(column, matching.date_range(part, keyword)))
    if vr == "TM":
        return any_of(value, lambda part: between(column, matching.time_range(part, keyword)))
    if vr in ("IS", "US"):
        return any_of(value, lambda part: equals(column, matching.whole_number(part, keyword)))
    return any_of(value, lambda part: text_is(column, part))


def _moment_condition(date: Attribute, dates: str, time: Attribute, times: str) -> Condition:
    days, hours = matching.date_range(dates, date.keyword), matching.time_range(times, time.keyword)
    if date.keyword in COLUMNS and time.keyword in COLUMNS:
        return moment_between(COLUMNS[date.keyword], COLUMNS[time.keyword], days, hours)
    attributes = TABLES[date.level].attributes
    found_day, found_hour = day(first_value(attributes, date.tag)), moment(first_value(attributes, time.tag))
    return moment_between(found_day, found_hour, written(days), written(hours))


def _array_condition(column: Any, attribute: Attribute, value: str) -> Condition:
    overlap: Condition
    if attribute.vr == "UI":
        overlap = column.overlap(matching.uid_list(value, attribute.keyword))
        return overlap
    if not matching.has_wildcard(value):
        overlap = column.overlap([part.strip() for part in value.split("\\")])
        return overlap
    element = func.unnest(column).column_valued("element")
    return any_of(value, lambda part: select(element).where(text_is(element, part)).exists())
