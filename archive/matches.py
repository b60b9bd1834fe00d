"""What a search returns: the columns that its statement selects, and how their rows become matches (PS3.18 10.6.3.3).

A broad search has a thousand rows, and each match a few dozen attributes: all that the rows have in common is worked
out once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, select

from archive.access import Shown, shown, visible
from archive.attributes import BY_LEVEL, COMPUTED, KNOWN, LEVELS, Attribute, levels_down_to
from archive.conditions import COLUMNS, TABLES, arrays
from archive.models import Facility, Patient, Study
from archive.records import DicomJSON, Level, Query, Scope

UID_OF: Final = {Level.STUDY: 0x0020000D, Level.SERIES: 0x0020000E, Level.IMAGE: 0x00080018}
KNOWN_BY_KEYWORD: Final = {attribute.keyword: attribute for attribute in KNOWN.values()}
_AVAILABILITY: Final = KNOWN_BY_KEYWORD["InstanceAvailability"].key
_OF_PATIENT: Final[dict[str, Callable[[Shown], ColumnElement[Any]]]] = {
    "NumberOfPatientRelatedStudies": lambda _: func.count(),
    "NumberOfPatientRelatedSeries": lambda counts: func.sum(counts.series_count),
    "NumberOfPatientRelatedInstances": lambda counts: func.sum(counts.instance_count),
}
_COUNTS: Final[dict[str, Callable[[Shown], ColumnElement[Any]]]] = {
    "NumberOfStudyRelatedSeries": lambda counts: counts.series_count,
    "NumberOfStudyRelatedInstances": lambda counts: counts.instance_count,
    "NumberOfSeriesRelatedInstances": lambda counts: counts.instance_count_of_series,
}


class Matches:
    """The matches of a query as this caller is to have them: the columns to select, and what their rows say."""

    def __init__(self, query: Query, scope: Scope) -> None:
        wanted = _wanted(query)
        above = [
            TABLES[used].attributes.label(f"{used.value.lower()}_attributes") for used in levels_down_to(query.level)
        ]
        columns: list[Any] = [TABLES[query.level].id.label("row"), *above]
        self._above: Final = slice(1, len(columns))
        if query.level is not Level.PATIENT:
            owner = select(Facility.code).where(Facility.id == Study.facility_id)
            columns.append(owner.scalar_subquery().label("owner"))
        computed = []
        for attribute in wanted:
            column = _computed_column(attribute.keyword, scope)
            if column is not None:
                computed.append((len(columns), attribute.key, attribute.vr))
                columns.append(column.label(attribute.keyword))
        self.columns: Final = columns
        """To select: the name of the row as ``row``, the facility that owns the study as ``owner``, and the values."""
        self._computed: Final = computed
        # Asked for and without a value: present and empty (PS3.18 10.6.3.3.2.1).
        self._empty: Final[DicomJSON] = {attribute.key: {"vr": attribute.vr} for attribute in wanted}
        if _AVAILABILITY in self._empty:
            self._empty[_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}

    def of(self, row: Row[Any]) -> DicomJSON:
        """What a row says, lowest tag first; the elements are to be read only."""
        found = self._empty.copy()
        for attributes in row[self._above]:
            for key, element in (attributes or {}).items():
                if key in found:
                    found[key] = element
        for at, key, vr in self._computed:
            found[key] = _element(vr, row[at])
        return found


def is_one_uid(value: str) -> bool:
    """Whether a key names one study, series or instance."""
    return bool(value) and "\\" not in value


def _wanted(query: Query) -> list[Attribute]:
    """The attributes to return, lowest tag first (PS3.18 10.6.3.3)."""
    wanted: dict[int, Attribute] = {}
    for level in levels_down_to(query.level):
        # A level that the query has fixed by its UID need not be repeated in every match.
        fixed = any(
            each in UID_OF and is_one_uid(query.keys.get(UID_OF[each], ""))
            for each in LEVELS[LEVELS.index(level) : LEVELS.index(query.level)]
        )
        for attribute in (*BY_LEVEL[level], *COMPUTED[level]):
            by_default = attribute.default and not fixed
            if query.include == "all" or by_default or attribute.tag in query.include or attribute.tag in query.keys:
                wanted[attribute.tag] = attribute
        if level in UID_OF:
            wanted[UID_OF[level]] = KNOWN[UID_OF[level]]
    if query.level is not Level.PATIENT:
        for attribute in COMPUTED[Level.PATIENT]:
            wanted.pop(attribute.tag, None)
    return [wanted[tag] for tag in sorted(wanted)]


def _computed_column(keyword: str, scope: Scope) -> ColumnElement[Any] | None:
    """The column that holds a value which is not in a level's JSON attributes."""
    if keyword in _OF_PATIENT:
        mine = Study.patient_id == Patient.id
        count = _OF_PATIENT[keyword](shown(scope.view))
        return select(count).where(mine, visible(scope)).correlate(Patient).scalar_subquery()
    if keyword in _COUNTS:
        return _COUNTS[keyword](shown(scope.view))
    if keyword in arrays(scope):
        return arrays(scope)[keyword]
    if keyword in ("IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID"):
        return COLUMNS[keyword]  # type: ignore[return-value]
    if keyword in COLUMNS and KNOWN_BY_KEYWORD[keyword].level is Level.IMAGE:
        return COLUMNS[keyword]  # type: ignore[return-value]
    return None


def _element(vr: str, value: Any) -> dict[str, Any]:
    if value is None or value == "" or value == []:
        return {"vr": vr}
    return {"vr": vr, "Value": value if isinstance(value, list) else [_plain(value)]}


def _plain(value: Any) -> Any:
    # sum() gives a Decimal.
    return value if isinstance(value, str) else int(value)
