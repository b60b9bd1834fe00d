"""Queries of the index: the one matcher behind C-FIND and QIDO-RS (PS3.4 C.2.2.2, C.4.1; PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, Row, Select, and_, func, or_, select, text, true
from sqlalchemy.orm import InstrumentedAttribute

from archive.access import visible
from archive.attributes import BY_LEVEL, COMPUTED, KNOWN, LEVELS, Attribute, levels_down_to
from archive.database import translated
from archive.errors import InvalidQuery
from archive.models import Facility, Instance, Patient, Series, StoredObject, Study
from archive.records import DicomJSON, Level, Query, Scope, SearchResult
from archive.standard import matching
from archive.standard.text import fold

_TABLES: Final[dict[Level, Any]] = {
    Level.PATIENT: Patient,
    Level.STUDY: Study,
    Level.SERIES: Series,
    Level.IMAGE: Instance,
}
_UID_OF: Final = {Level.STUDY: 0x0020000D, Level.SERIES: 0x0020000E, Level.IMAGE: 0x00080018}
MODALITY: Final = 0x00080060
MODALITIES_IN_STUDY: Final = 0x00080061

_COLUMNS: Final[dict[str, InstrumentedAttribute[Any]]] = {
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
_FOLDED: Final = {"PatientName": Patient.name_fold, "ReferringPhysicianName": Study.referring_physician_fold}
_ARRAYS: Final = {"ModalitiesInStudy": Study.modalities_in_study, "SOPClassesInStudy": Study.sop_classes_in_study}
_COUNTS: Final[dict[str, ColumnElement[Any]]] = {
    "NumberOfStudyRelatedSeries": Study.series_count,  # type: ignore[dict-item]
    "NumberOfStudyRelatedInstances": Study.instance_count,  # type: ignore[dict-item]
    "NumberOfSeriesRelatedInstances": Series.instance_count,  # type: ignore[dict-item]
}
_OF_PATIENT: Final = {
    "NumberOfPatientRelatedStudies": func.count(),
    "NumberOfPatientRelatedSeries": func.sum(Study.series_count),
    "NumberOfPatientRelatedInstances": func.sum(Study.instance_count),
}
_ORDER: Final[dict[Level, tuple[Any, ...]]] = {
    Level.PATIENT: (Patient.name_fold, Patient.id),
    Level.STUDY: (Study.study_date.desc().nulls_last(), Study.study_time.desc().nulls_last(), Study.id.desc()),
    Level.SERIES: (Series.study_id.desc(), Series.series_number, Series.id),
    Level.IMAGE: (Instance.series_id, Instance.instance_number, Instance.id),
}


def search(engine: Engine, query: Query, scope: Scope, *, cap: int) -> SearchResult:
    """One page of the matches, newest studies first; never more than `cap`.

    Raises `InvalidQuery` for a key that cannot be matched at this level, `IndexUnavailable`.
    """
    if query.offset < 0 or (query.limit is not None and query.limit < 0):
        raise InvalidQuery("limit and offset cannot be negative")
    size = cap if query.limit is None else min(query.limit, cap)
    columns = _wanted(query)
    source = _source(query.level, scope).where(*_conditions(query))
    page = (
        source.with_only_columns(*_selected(query.level, columns))
        .order_by(*_ORDER[query.level])
        .limit(size)
        .offset(query.offset)
    )
    with translated(), engine.connect() as connection:
        rows = connection.execute(page).all() if size else []
        if 0 < len(rows) < size:
            total = query.offset + len(rows)
        else:
            total = connection.execute(select(func.count()).select_from(source.subquery())).scalar_one()
    asked = total if query.limit is None else min(query.limit, total)
    return SearchResult(
        matches=[_match(row, query.level, columns) for row in rows],
        total=total,
        truncated=query.offset + len(rows) < total and asked > size,
        owners=[row.owner for row in rows] if query.level is not Level.PATIENT else [],
    )


# -- what to return ------------------------------------------------------------------------------------------------


def _wanted(query: Query) -> list[Attribute]:
    """The attributes to return, lowest tag first (PS3.18 10.6.3.3)."""
    wanted: dict[int, Attribute] = {}
    for level in levels_down_to(query.level):
        # A level that the query has fixed by its UID need not be repeated in every match.
        fixed = level is not query.level and any(
            _is_one_uid(query.keys.get(_UID_OF[below], ""))
            for below in LEVELS[LEVELS.index(level) :]
            if below in _UID_OF and LEVELS.index(below) < LEVELS.index(query.level)
        )
        for attribute in (*BY_LEVEL[level], *COMPUTED[level]):
            by_default = attribute.default and not fixed
            if query.include == "all" or by_default or attribute.tag in query.include or attribute.tag in query.keys:
                wanted[attribute.tag] = attribute
        if level in _UID_OF:
            wanted[_UID_OF[level]] = KNOWN[_UID_OF[level]]
    if query.level is not Level.PATIENT:
        for attribute in COMPUTED[Level.PATIENT]:
            wanted.pop(attribute.tag, None)
    return [wanted[tag] for tag in sorted(wanted)]


def _is_one_uid(value: str) -> bool:
    return bool(value) and "\\" not in value


def _source(level: Level, scope: Scope) -> Select[Any]:
    """The joined tables down to `level`, under the access predicate."""
    if level is Level.PATIENT:
        return select(Patient.id).where(
            select(1).where(Study.patient_id == Patient.id, visible(scope)).correlate(Patient).exists()
        )
    source = select(Study.id).join(Patient, Patient.id == Study.patient_id).where(visible(scope))
    if level is Level.STUDY:
        return source
    source = source.join(Series, Series.study_id == Study.id).where(Series.instance_count > 0)
    if level is Level.SERIES:
        return source
    source = source.join(Instance, Instance.series_id == Series.id)
    return source.join(StoredObject, and_(StoredObject.instance_id == Instance.id, StoredObject.current))


def _selected(level: Level, wanted: Sequence[Attribute]) -> list[ColumnElement[Any]]:
    columns: list[Any] = [
        _TABLES[used].attributes.label(f"{used.value.lower()}_attributes")
        for used in levels_down_to(level)
        if used is not Level.IMAGE
    ]
    if level is not Level.PATIENT:
        columns.append(select(Facility.code).where(Facility.id == Study.facility_id).scalar_subquery().label("owner"))
    for attribute in wanted:
        column = _computed_column(attribute.keyword)
        if column is not None:
            columns.append(column.label(attribute.keyword))
    return columns


def _computed_column(keyword: str) -> ColumnElement[Any] | None:
    """The column that holds a value which is not in a level's JSON attributes."""
    if keyword in _OF_PATIENT:
        return select(_OF_PATIENT[keyword]).where(Study.patient_id == Patient.id).scalar_subquery()
    if keyword in _COUNTS:
        return _COUNTS[keyword]
    if keyword in _ARRAYS:
        return _ARRAYS[keyword]  # type: ignore[return-value]
    if keyword in ("IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID"):
        return _COLUMNS[keyword]  # type: ignore[return-value]
    if keyword in _COLUMNS and KNOWN_BY_KEYWORD[keyword].level is Level.IMAGE:
        return _COLUMNS[keyword]  # type: ignore[return-value]
    return None


def _match(row: Row[Any], level: Level, wanted: Sequence[Attribute]) -> DicomJSON:
    values = row._mapping
    stored: DicomJSON = {}
    for used in levels_down_to(level):
        if used is not Level.IMAGE:
            stored.update(values[f"{used.value.lower()}_attributes"])
    found: DicomJSON = {}
    for attribute in wanted:
        if attribute.keyword == "InstanceAvailability":
            found[attribute.key] = {"vr": "CS", "Value": ["ONLINE"]}
        elif attribute.keyword in values:
            found[attribute.key] = _element(attribute, values[attribute.keyword])
        else:
            # Asked for and without a value: present and empty (PS3.18 10.6.3.3.2.1).
            found[attribute.key] = stored.get(attribute.key, {"vr": attribute.vr})
    return found


def _element(attribute: Attribute, value: Any) -> dict[str, Any]:
    if value is None or value == "" or value == []:
        return {"vr": attribute.vr}
    return {"vr": attribute.vr, "Value": value if isinstance(value, list) else [_plain(value)]}


def _plain(value: Any) -> Any:
    # sum() gives a Decimal.
    return value if isinstance(value, str) else int(value)


# -- what to match -------------------------------------------------------------------------------------------------


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    made = []
    for tag, value in query.keys.items():
        attribute = KNOWN.get(tag)
        if query.level is Level.STUDY and tag == MODALITY:
            # Not a study level key, and what everybody means by it is clear.
            attribute = KNOWN[MODALITIES_IN_STUDY]
        if matching.is_universal(value):
            continue
        if attribute is None:
            raise InvalidQuery(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be matched")
        if LEVELS.index(attribute.level) > LEVELS.index(query.level):
            raise InvalidQuery(f"{attribute.keyword} cannot be matched at {query.level.value} level")
        if attribute.level is Level.STUDY and query.level is Level.PATIENT:
            raise InvalidQuery(f"{attribute.keyword} cannot be matched at PATIENT level")
        made.append(_condition(attribute, value, fuzzy=query.fuzzy))
    return made


def _condition(attribute: Attribute, value: str, *, fuzzy: bool) -> ColumnElement[bool]:
    keyword = attribute.keyword
    if keyword in _FOLDED:
        return _name_condition(_FOLDED[keyword], value, fuzzy=fuzzy)
    if keyword in _ARRAYS:
        return _array_condition(_ARRAYS[keyword], attribute, value)
    if keyword in _COUNTS or keyword in _OF_PATIENT or keyword == "InstanceAvailability":
        raise InvalidQuery(f"{keyword} can be returned but not matched")
    if keyword in _COLUMNS:
        return _column_condition(_COLUMNS[keyword], attribute, value)
    return _json_condition(attribute, value)


def _column_condition(column: InstrumentedAttribute[Any], attribute: Attribute, value: str) -> ColumnElement[bool]:
    vr, keyword = attribute.vr, attribute.keyword
    if vr == "UI":
        return column.in_(matching.uid_list(value, keyword))
    if vr == "DA":
        return _between(column, matching.date_range(value, keyword))
    if vr == "TM":
        return _between(column, matching.time_range(value, keyword))
    if vr in ("IS", "US"):
        return column == matching.whole_number(value, keyword)
    texts: ColumnElement[bool] = or_(*(_text_condition(column, part) for part in value.split("\\")))
    return texts


def _between(column: InstrumentedAttribute[Any], wanted: matching.Range[Any]) -> ColumnElement[bool]:
    if wanted.low is not None and wanted.low == wanted.high:
        return column == wanted.low
    parts = [column >= wanted.low] if wanted.low is not None else []
    if wanted.high is not None:
        parts.append(column <= wanted.high)
    return and_(*parts)


def _text_condition(column: Any, value: str) -> ColumnElement[bool]:
    wanted = value.strip()
    if not matching.has_wildcard(wanted):
        return column == wanted  # type: ignore[no-any-return]
    return column.like(matching.like_pattern(wanted), escape="\\")  # type: ignore[no-any-return]


def _name_condition(column: InstrumentedAttribute[Any], value: str, *, fuzzy: bool) -> ColumnElement[bool]:
    """Names are compared without accents and case, which C.2.2.2.1 leaves to us: few keyboards at a modality have đ."""
    wanted = fold(value)
    if not fuzzy:
        return _text_condition(column, wanted.replace(" *", "*"))
    words = wanted.replace("*", " ").replace("?", " ").split()
    if not words:
        return true()
    # Each word begins one of the parts of the name.
    return and_(
        *(
            or_(column.like(f"{_literal(word)}%", escape="\\"), column.like(f"% {_literal(word)}%", escape="\\"))
            for word in words
        )
    )


def _literal(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _array_condition(column: InstrumentedAttribute[Any], attribute: Attribute, value: str) -> ColumnElement[bool]:
    if attribute.vr == "UI":
        return column.overlap(matching.uid_list(value, attribute.keyword))  # type: ignore[no-any-return]
    parts = [part.strip() for part in value.split("\\")]
    if not any(matching.has_wildcard(part) for part in parts):
        return column.overlap(parts)  # type: ignore[no-any-return]
    element = func.unnest(column).table_valued("value")
    return (
        select(1).select_from(element).where(or_(*(_text_condition(element.c.value, part) for part in parts))).exists()
    )


def _json_condition(attribute: Attribute, value: str) -> ColumnElement[bool]:
    """An attribute that has no column of its own: any of its values matches."""
    table = _TABLES[attribute.level]
    path = "$.Alphabetic" if attribute.vr == "PN" else "$"
    values = func.jsonb_array_elements(table.attributes[attribute.key]["Value"]).table_valued("value")
    element = func.jsonb_path_query_first(values.c.value, text(f"'{path}'")).op("#>>")(text("'{}'"))
    wanted: ColumnElement[bool]
    if attribute.vr == "UI":
        wanted = element.in_(matching.uid_list(value, attribute.keyword))
    elif attribute.vr == "PN":
        wanted = func.upper(element).like(matching.like_pattern(value.upper()), escape="\\")
    elif attribute.vr in ("DA", "TM") and "-" in value:
        low, _, high = value.partition("-")
        wanted = and_(*([element >= low.strip()] if low else []), *([element <= high.strip()] if high else []))
    else:
        wanted = or_(*(_text_condition(element, part) for part in value.split("\\")))
    return select(1).select_from(values).where(wanted).exists()


KNOWN_BY_KEYWORD: Final = {attribute.keyword: attribute for attribute in KNOWN.values()}
