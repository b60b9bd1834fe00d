"""Queries of the index: the one matcher behind C-FIND and QIDO-RS (PS3.4 C.2.2.2, C.4.1; PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Row, Select, and_, bindparam, case, func, select
from sqlalchemy.sql.util import ClauseAdapter

from archive.access import Names, array_of, visible, visible_instance, visible_named, visible_series
from archive.attributes import KNOWN
from archive.comparisons import EMPTY, Condition
from archive.conditions import TABLES, conditions
from archive.database import Stop
from archive.errors import InvalidQuery, TooManyMatches
from archive.matches import UID_OF, Matches, is_one_uid
from archive.models import Instance, Patient, Series, StoredObject, Study
from archive.ordering import DEFAULT, order_of
from archive.reading import Reader
from archive.records import DicomJSON, Level, Query, Scope, SearchResult
from archive.standard.matching import date_range, has_wildcard, is_universal

_SHARED: Final = frozenset({0x00100010, 0x00100030, 0x00100032})
"""Patient's Name, Birth Date and the Birth Time that belongs to it: several patients may have the same. What else is
asked of them is left to the statement that looks for studies: whose name it is, the index of names tells alone."""
_MOST_PATIENTS: Final = 12_000
"""Patients that studies are looked for by. More are met often enough when the studies are gone through in order, and
PostgreSQL's statistics tell it so: of a million names, each step of their histogram is ten thousand."""
_SOME_PATIENTS: Final = 2_000
"""Patients whose studies are all found, and put in order, sooner than a page of them by going through the studies in
order, and then how many there are: 3 µs each against 0.4 µs for each study that lies between."""
_SOME_OF_MANY: Final = 6_000
"""The same behind walls: more lies between the studies that the caller may see."""
_FEW_PATIENTS: Final = 50
"""Patients who have so few studies that it does not matter how each is looked at."""
_FEW: Final = frozenset({*UID_OF.values(), 0x00080050, 0x00100020})
"""What names a handful of studies: their UIDs, Accession Number, Patient ID."""
_STUDY_DATE: Final = 0x00080020
_YEAR: Final = timedelta(days=366)
_FIRST: Final = 150
"""Matches that are given before more are looked for while browsing: what a workstation shows, and some more until its
C-CANCEL is here, should it show a hundred: else the rest would be looked for in vain. Those of a broad question are
many, and each may lie hundreds of studies behind the one before."""
_PAGE: Final = 250
"""Matches that are in memory at once while browsing."""
DEEPEST: Final = 100_000
"""Matches that are paged through. Beyond, each page would cost more than the one before it."""
COUNTED: Final = 200
"""Matches that are counted behind those of a page: to count more costs more than all else of a broad question, and who
reads that there are more than so many narrows it down. Within one study all are counted. Behind a page of what too many
patients are asked for by, only whether there is another one: hundreds of studies may have to be looked at for each."""
_TOO_BROAD: Final = "the query takes too long: narrow by StudyDate, PatientID, AccessionNumber or StudyInstanceUID"


def search(reader: Reader, query: Query, scope: Scope, *, cap: int) -> SearchResult:
    """One page of the matches, never more than `cap`; newest studies first unless the query has an order.

    Raises `InvalidQuery` for a key that cannot be matched or an attribute that cannot be ordered by at this level,
    `TooManyMatches` for what would take too long, `IndexUnavailable`.
    """
    if query.offset < 0 or (query.limit is not None and query.limit < 0):
        raise InvalidQuery("limit and offset cannot be negative")
    within = within_one_study(query)
    size = cap if query.limit is None else min(query.limit, cap)
    matches, order = Matches(query, scope), order_of(query, within_one_study=within)
    asked, given = _asked(reader, query, scope), _given(query, matches, scope)
    if query.offset > DEEPEST:
        raise TooManyMatches(f"offset is beyond {DEEPEST}: narrow by StudyDate, and page through each range of dates")
    rows, total, more = _counted_page(asked, given, order, size, within=within)
    limit = total if query.limit is None else min(query.limit, total)
    return SearchResult(
        matches=[matches.of(row) for row in rows],
        total=total,
        truncated=query.offset + len(rows) < total + more and limit > size,
        more=more,
        owners=[row.owner for row in rows] if query.level is not Level.PATIENT else [],
    )


class _Counted(NamedTuple):
    """A page, how many matches there are as far as they are counted, and whether there are more than that."""

    rows: Sequence[Row[Any]]
    total: int
    more: bool


def _counted_page(asked: _Asked, given: Select[Any], order: Sequence[Any], size: int, *, within: bool) -> _Counted:
    offset = asked.query.offset
    if size and asked.counted_ahead:
        counted = _named_page(asked, given, order, size)
        if counted.rows or not offset:
            return counted
    ahead = size + 2 if asked.broad and size else size
    found = _page(asked, given, order, ahead, offset).rows if size else []
    total, more = offset + min(len(found), size + 1), len(found) > size + 1
    # A page that is not full ends the matches, and so does one without any where they begin.
    if len(found) == size == ahead or (not found and offset):
        total, more = _count(asked, order, total, DEEPEST if within else COUNTED)
    return _Counted(found[:size], total, more)


def _named_page(asked: _Asked, given: Select[Any], order: Sequence[Any], size: int) -> _Counted:
    """The page and the matches that are counted behind it, by one look: where most of the work is to pass over what
    does not match, to count in a statement of its own does all of it once more."""
    offset = asked.query.offset
    most = _most(offset + size, COUNTED)
    ahead = asked.granted is not None and not offset
    names = asked.names(order, most + 1 - offset, offset, ahead=ahead)
    rows = _rows(asked, given, names[:size]) if names else []
    behind = names[size:]
    total = offset + len(rows) + (asked.count(behind) if ahead and behind else len(behind))
    return _Counted(rows, min(total, most), total > most)


class _Page(NamedTuple):
    rows: Sequence[Row[Any]]
    full: bool
    """Whether there may be more behind it."""


def _page(
    asked: _Asked, given: Select[Any], order: Sequence[Any], size: int, offset: int = 0, stop: Stop | None = None
) -> _Page:
    """The rows of a page; found by their names alone where the plain statement would read and join far more than it
    gives: all that stands before a page further down, and behind row security what lies between the caller's studies.

    The latter's names are found by the predicate, and the rows as ever: by the caller's own statement, behind row
    security, and only these are counted.
    """
    ahead = asked.granted is not None and not offset
    if not (offset or ahead):
        rows = asked.fetch(given.where(*asked.wanted).order_by(*order).limit(size), stop)
        return _Page(rows, len(rows) == size)
    names = asked.names(order, size, offset, stop, ahead=ahead)
    return _Page(_rows(asked, given, names, stop) if names else [], len(names) == size)


def _rows(asked: _Asked, given: Select[Any], names: Sequence[int], stop: Stop | None = None) -> list[Row[Any]]:
    """The rows of these names, in this order; without those that have gone meanwhile."""
    rows = asked.fetch(given.where(TABLES[asked.query.level].id.in_(names)), stop)
    found = {row.row: row for row in rows}
    return [found[name] for name in names if name in found]


def _count(asked: _Asked, order: Sequence[Any], least: int, behind: int) -> tuple[int, bool]:
    """How many there are, counted so far behind the `least` that there are; and whether there are more than that."""
    most = _most(least, behind)
    # In order, as the page was found; but one patient after the other, where these are named.
    ordered = [] if asked.by_name else order
    counted = select(func.count()).select_from(asked.source().order_by(*ordered).limit(most + 1).subquery())
    found: int = asked.fetch(counted, granted=True)[0][0]
    return min(found, most), found > most


def _most(least: int, behind: int) -> int:
    """Up to where matches are counted."""
    return max(min(least + behind, DEEPEST), least)


def browse(
    reader: Reader, query: Query, scope: Scope, *, cap: int | None, stop: Stop | None = None
) -> Iterator[DicomJSON]:
    """All matches one by one, as they were at the first look; only some of them are in memory at a time.

    What is added meanwhile moves nothing: no match comes twice, none is passed over, and what has gone before its turn
    is left out. `limit` and `offset` of the query are not used.
    Raises `InvalidQuery`; `TooManyMatches` behind the last that may be given; `IndexUnavailable`, `Withdrawn`.
    """
    matches, order = Matches(query, scope), DEFAULT[query.level]
    asked, given = _asked(reader, query, scope), _given(query, matches, scope)
    first = 0
    seen: set[int] = set()
    if not asked.all_at_once:
        first = min(_FIRST, cap) if cap is not None else _FIRST
        page = _page(asked, given, order, first + 1, stop=stop)
        for row in page.rows[:first]:
            yield matches.of(row)
        if not page.full:
            return
        seen = {row.row for row in page.rows[:first]}
    left = [each for each in asked.names(order, None if cap is None else cap + 1, stop=stop) if each not in seen]
    room = len(left) if cap is None else cap - first
    for start in range(0, min(room, len(left)), _PAGE):
        batch = left[start : min(start + _PAGE, room)]
        for row in _rows(asked, given, batch, stop):
            yield matches.of(row)
    if len(left) > room:
        raise TooManyMatches(f"over {cap} matches: narrow by date, patient or accession")


class _Asked(NamedTuple):
    """What a query asks for, who asks, and where to look for it."""

    reader: Reader
    scope: Scope
    query: Query
    """Without the keys of patients, if these are named."""
    wanted: list[Condition]
    broad: bool = False
    """By keys of patients that too many have to name them."""
    by_name: bool = False
    """By the names of the rows of patients."""
    few: bool = False
    """By so few patients that all of their studies may be looked at."""
    all_at_once: bool = False
    """By patients of whom all studies that may match are found at once, by patient and date."""
    granted: Mapping[str, object] | None = None
    """The studies that were granted, where these are named to PostgreSQL; see `_wide`."""

    def fetch(self, statement: Select[Any], stop: Stop | None = None, *, granted: bool = False) -> Sequence[Row[Any]]:
        """What this caller may see of it; `granted` if it is of `source`."""
        given = self.granted if granted else None
        return self.reader.fetch(self.scope, statement, given, stop=stop, too_slow=_TOO_BROAD)

    @property
    def handful(self) -> bool:
        """Whether keys name a handful of studies."""
        return self.few or any(value.strip("* \0") and tag in _FEW for tag, value in self.query.keys.items())

    @property
    def counted_ahead(self) -> bool:
        """Whether a page and what is counted behind it are found together: not where one of them costs nothing by
        itself, for there are few, or so many that some are found wherever one looks."""
        if self.handful or self.broad or self.query.level is Level.PATIENT:
            return False
        return self.all_at_once or not self.by_name

    def count(self, names: Sequence[int]) -> int:
        """How many of these this caller may see."""
        table = TABLES[self.query.level]
        source = _source(self.query.level, self.scope, with_patient=False, named=True)
        these = source.where(table.id.in_(names)).with_only_columns(func.count())
        found: int = self.fetch(these, granted=True)[0][0]
        return found

    def names(
        self, order: Sequence[Any], size: int | None, offset: int = 0, stop: Stop | None = None, *, ahead: bool = False
    ) -> list[int]:
        """The names of the rows of so many matches; `ahead`, by the predicate alone: only to know where to look, and
        neither to be given nor to be counted."""
        page = self._in_order(order).limit(size).offset(offset)
        if not ahead:
            return [row.id for row in self.fetch(page, stop, granted=True)]
        given = {**self.reader.parameters(self.scope), **(self.granted or {})}
        return [row.id for row in self.reader.fetch_anybody(page, given, stop=stop, too_slow=_TOO_BROAD)]

    def _in_order(self, order: Sequence[Any]) -> Select[Any]:
        """The names of all matches."""
        names = self.source().with_only_columns(TABLES[self.query.level].id)
        if not (self.all_at_once and order is DEFAULT[self.query.level]):
            return names.order_by(*order)
        # Put in order apart: PostgreSQL would else go through the studies in order sooner than is good.
        found = names.add_columns(Study.study_date, Study.study_time).cte().prefix_with("MATERIALIZED")
        return select(found.c.id).order_by(*[cast(Any, ClauseAdapter(found).traverse(each)) for each in order])

    def source(self) -> Select[Any]:
        """All matches, each once; without the patient where no key or order is of theirs: every study has one, and the
        join costs as much again."""
        tags = (*self.query.keys, *self.query.sequences, *(each.tag for each in self.query.order))
        of_patient = any(tag in KNOWN and KNOWN[tag].level is Level.PATIENT for tag in tags)
        named = self.granted is not None
        found = _source(
            self.query.level, self.scope, with_patient=of_patient, named=named, by_index=not self.all_at_once
        )
        return found.where(*self.wanted)


def _asked(reader: Reader, query: Query, scope: Scope) -> _Asked:
    """What a query asks for, with all named that makes it quick."""
    asked = _by_patients(reader, query, scope)
    return asked._replace(granted=reader.granted(scope)) if _wide(asked) else asked


def _wide(asked: _Asked) -> bool:
    """Whether more studies may have to be looked at than are given, most of them of others.

    Then the studies that were granted are named: a large hospital has thousands of them. As the result of a subquery
    each study would be compared with all of these, one after the other; PostgreSQL hashes those that it has when it
    plans, and can use their index as well.
    """
    return asked.scope.facilities is not None and asked.query.level is not Level.PATIENT and not asked.handful


def _by_patients(reader: Reader, query: Query, scope: Scope) -> _Asked:
    """The conditions of a query, with the patients that it is about by their rows, unless these are too many.

    So studies are found by patient and date at once, or in their order without a look at the patient of each; and the
    plan is made for as many patients as there are. Behind row security, besides, only the plainest comparisons use an
    index: the others might tell of rows that are held back. Which patients these are is only where the caller's own
    statement looks; what it may see there is for that statement, as ever.
    """
    found = _Asked(reader, scope, query, conditions(query, scope))
    limited = scope.facilities is not None
    keys = {
        tag: value
        for tag, value in query.keys.items()
        if tag in KNOWN
        and KNOWN[tag].level is Level.PATIENT
        and (tag in _SHARED or (limited and _hides_the_index(value)))
    }
    if not keys or (query.level is Level.PATIENT and not limited):
        return found
    of_patients = conditions(replace(query, level=Level.PATIENT, keys=keys, sequences={}), scope)
    if not of_patients:
        return found
    if query.fuzzy or query.names == "words":
        # True of all, and not in the index of names in order: to go through that one, and take all names apart, looks
        # cheap to PostgreSQL.
        of_patients.append(Patient.sex >= "")
    named = select(Patient.id).where(*of_patients).limit(_MOST_PATIENTS + 1).subquery()
    few = case((func.count() <= _MOST_PATIENTS, array_of(named.c.id)))
    narrow = select(func.count().label("many"), few.label("few")).select_from(named)
    patients = reader.fetch_anybody(narrow, too_slow=_TOO_BROAD)[0]
    if patients.many > _MOST_PATIENTS:
        return found._replace(broad=True)
    these = func.any(bindparam(None, patients.few, type_=Names()))
    if query.level is Level.PATIENT:
        return found._replace(wanted=[*found.wanted, Patient.id == these])
    left = replace(query, keys={tag: value for tag, value in query.keys.items() if tag not in keys})
    wanted = [*conditions(left, scope), Study.patient_id == these]
    some = _SOME_OF_MANY if limited else _SOME_PATIENTS
    all_at_once = query.level is Level.STUDY and (patients.many <= some or _within_a_year(query))
    few = patients.many <= _FEW_PATIENTS
    return found._replace(query=left, wanted=wanted, by_name=True, few=few, all_at_once=all_at_once)


def _within_a_year(query: Query) -> bool:
    """Whether the studies that are asked for were made within a year."""
    value = query.keys.get(_STUDY_DATE, "").strip("\0 ")
    if is_universal(value) or "\\" in value or value == EMPTY:
        return False
    days = date_range(value, "StudyDate")
    return days.low is not None and (days.high or date.today()) - days.low <= _YEAR


def _hides_the_index(value: str) -> bool:
    """Whether row security keeps this from using an index: what begins so is a range, and ranges may (`like`)."""
    wanted = value.strip()
    return has_wildcard(wanted) and (has_wildcard(wanted[:-1]) or not wanted.endswith("*") or "\\" in wanted)


def within_one_study(query: Query) -> bool:
    """Whether the query has an end of its own: a scan of 3,000 slices must be listed whole."""
    return is_one_uid(query.keys.get(UID_OF[Level.STUDY], ""))


# -- where to look -------------------------------------------------------------------------------------------------


def _source(
    level: Level, scope: Scope, *, with_patient: bool = True, named: bool = False, by_index: bool = True
) -> Select[Any]:
    """The joined tables down to `level`, under the access predicate."""
    if level is Level.PATIENT:
        return select(Patient.id).where(
            select(1).where(Study.patient_id == Patient.id, visible(scope)).correlate(Patient).exists()
        )
    source = select(Study.id).where(visible_named(scope, by_index=by_index) if named else visible(scope))
    if with_patient:
        source = source.join(Patient, Patient.id == Study.patient_id)
    if level is Level.STUDY:
        return source
    source = source.join(Series, Series.study_id == Study.id).where(visible_series(scope))
    if level is Level.SERIES:
        return source
    source = source.join(Instance, Instance.series_id == Series.id).where(visible_instance(scope))
    return source.join(StoredObject, and_(StoredObject.instance_id == Instance.id, StoredObject.current))


def _given(query: Query, matches: Matches, scope: Scope) -> Select[Any]:
    """All rows of this level with the columns that their matches are made of."""
    return _source(query.level, scope).with_only_columns(*matches.columns)
