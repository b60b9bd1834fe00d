"""In which order matches come: a total order always, so that pages neither repeat nor miss what nobody changes.

By default the newest studies come first, then series and instances by their numbers. A query may ask for another order
by what an index of the database has in order already, so that no order costs a sort of the whole archive. Within one
study, which is small, it may be anything that is a column. What has no value counts as the smallest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

from archive.attributes import KNOWN, LEVELS, levels_down_to
from archive.conditions import COLUMNS, FOLDED, TABLES
from archive.errors import InvalidQuery
from archive.models import Instance, Patient, Series, Study
from archive.records import Level, Order, Query
from archive.standard.coding import show

DEFAULT: Final[dict[Level, tuple[Any, ...]]] = {
    Level.PATIENT: (Patient.name_fold, Patient.id),
    Level.STUDY: (Study.study_date.desc().nulls_last(), Study.study_time.desc().nulls_last(), Study.id.desc()),
    Level.SERIES: (Series.study_id.desc(), Series.series_number, Series.id),
    Level.IMAGE: (Instance.series_id, Instance.instance_number, Instance.id),
}
_WITHIN: Final[dict[Level, tuple[Any, ...]]] = {
    Level.STUDY: DEFAULT[Level.STUDY],
    Level.SERIES: (Series.series_number, Series.id),
    Level.IMAGE: (Instance.instance_number, Instance.id),
}
"""The default order of those that have the level above in common."""
INDEXED: Final[dict[Level, tuple[str, ...]]] = {
    Level.PATIENT: ("PatientName", "PatientID"),
    Level.STUDY: ("StudyDate", "StudyTime", "AccessionNumber", "StudyInstanceUID"),
    Level.SERIES: ("SeriesInstanceUID",),
    Level.IMAGE: ("SOPInstanceUID",),
}
"""Attributes by which the whole archive can be ordered, by the level where they live."""
_COLUMNS: Final[dict[str, Any]] = {
    keyword: column
    for keyword, column in {**COLUMNS, **FOLDED}.items()
    if column.class_ in (Patient, Study, Series, Instance)
}
MOST: Final = 8
"""Attributes that one query can be ordered by."""
_BEHIND: Final = {"StudyTime": "StudyDate"}
"""What is in order only behind another, unless within one study."""


def order_of(query: Query, *, within_one_study: bool) -> tuple[Any, ...]:
    """The expressions to order by. Raises `InvalidQuery` for an attribute that has no order here."""
    if not query.order:
        return DEFAULT[query.level]
    if len(query.order) > MOST:
        raise InvalidQuery(f"orderby has more than {MOST} attributes")
    keywords = [_keyword(query.level, each, within_one_study) for each in query.order]
    for keyword, first in _BEHIND.items():
        if keyword in keywords and not within_one_study and first not in keywords[: keywords.index(keyword)]:
            raise InvalidQuery(f"orderby: {keyword} can only come behind {first}")
    return tuple(_expressions(query, keywords))


def orderable(level: Level, *, within_one_study: bool) -> list[str]:
    """Keywords of the attributes that matches of a level can be ordered by."""
    levels = levels_down_to(level)
    if within_one_study:
        return sorted(keyword for keyword in _COLUMNS if _level(keyword) in levels)
    return sorted(keyword for each in levels for keyword in INDEXED[each])


def _expressions(query: Query, keywords: list[str]) -> Iterator[Any]:
    for keyword, each in zip(keywords, query.order, strict=True):
        yield _directed(_COLUMNS[keyword], each.descending)
        if keyword == "StudyDate" and "StudyTime" not in keywords:
            yield _directed(Study.study_time, each.descending)
    # Then the rows that these attributes are of, in the same direction, as the indexes have them; what is left to
    # order is within one row.
    deepest = max((_level(keyword) for keyword in keywords), key=LEVELS.index)
    yield _directed(TABLES[deepest].id, query.order[-1].descending)
    for level in LEVELS[LEVELS.index(deepest) + 1 : LEVELS.index(query.level) + 1]:
        yield from _WITHIN[level]


def _directed(column: Any, descending: bool) -> Any:
    if not column.nullable:
        return column.desc() if descending else column.asc()
    return column.desc().nulls_last() if descending else column.asc().nulls_first()


def _keyword(level: Level, order: Order, within_one_study: bool) -> str:
    keyword = KNOWN[order.tag].keyword if order.tag in KNOWN else keyword_for_tag(order.tag) or show(order.tag)
    possible = orderable(level, within_one_study=within_one_study)
    if keyword not in possible:
        where = f"at {level.value} level" + (" within one study" if within_one_study else "")
        raise InvalidQuery(f"orderby: not by {keyword}; {where}, results can be ordered by {', '.join(possible)}")
    return keyword


def _level(keyword: str) -> Level:
    table = _COLUMNS[keyword].class_
    return next(level for level, found in TABLES.items() if found is table)
