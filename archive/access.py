"""The one predicate that decides what a caller may see. Search and retrieval both add it to every statement.

What the clinical view shows is told by stored counters and one column, so it costs nothing. The other views look into
a study only where it has something hidden, which few have.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased
from sqlalchemy.types import UserDefinedType

from archive.models import CText, Instance, Series, Study
from archive.records import Scope
from archive.rejection.causes import NOTES, SHOWN, View
from archive.sharing.models import AccessGrant

Condition = ColumnElement[bool]

FACILITIES: Final = "access_facilities"
"""Parameter of statements: rows of the caller's facilities."""
ACCOUNT: Final = "access_account"
LINK: Final = "access_link"
GRANTED: Final = "access_granted"
"""Parameter of statements that are given the studies which were granted."""

_SERIES: Final = aliased(Series)
_INSTANCE: Final = aliased(Instance)


class Names(UserDefinedType[str]):
    """Rows by their names, as PostgreSQL writes an array: to be handed back to it.

    To make thousands into numbers of Python and into text again takes longer than to find them.
    """

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: object) -> str:
        return "BIGINT[]"


class Shown(NamedTuple):
    """What a study and a series have that a view shows, as expressions on their rows."""

    modalities: ColumnElement[Any]
    sop_classes: ColumnElement[Any]
    series_count: ColumnElement[Any]
    instance_count: ColumnElement[Any]
    instance_count_of_series: ColumnElement[Any]


def visible(scope: Scope) -> Condition:
    """Studies that the scope covers and that have at least one instance (a parent may precede its first instance).

    Who asks comes as parameters when the statement runs (`archive.reading`): own facility, or a grant that holds now.
    """
    has_instances = _has_instances(scope.view)
    return has_instances if scope.facilities is None else and_(has_instances, _own_or_granted(scope.copying))


def visible_named(scope: Scope, *, by_index: bool = True) -> Condition:
    """The same; what was granted is a parameter, too (`granted`), and not looked up by the statement.

    `by_index` where whose a study is may lead to it. It must not where something else leads to less: PostgreSQL takes
    it for cheap to go through an index of facilities and patients as a whole, with thousands of patients to compare
    each entry with.
    """
    has_instances = _has_instances(scope.view)
    return has_instances if scope.facilities is None else and_(has_instances, _own_or_named(by_index))


def array_of(names: ColumnElement[int]) -> ColumnElement[str]:
    """All of a column as `Names`."""
    return cast(func.coalesce(func.array_agg(names), text("'{}'")), Text)


def granted(copying: bool) -> Select[Any]:
    """The studies that others let this caller see now."""
    return select(AccessGrant.study_id).where(_grantees(), holds(copying))


def visible_series(scope: Scope) -> Condition:
    """Of such a study, the series with at least one instance to show."""
    if scope.view is View.CLINICAL:
        return Series.instance_count > 0
    among = select(1).where(_INSTANCE.series_id == Series.id, *_hidden_and_shown(_INSTANCE, scope.view))
    return or_(Series.instance_count > 0, and_(Series.hidden_count > 0, among.correlate(Series).exists()))


def visible_instance(scope: Scope) -> Condition:
    """Of such a series, the instances to show."""
    return _instance_is_shown(Instance, scope.view)


def fit_to_send_on() -> Condition:
    """Instances that other systems are to have unasked: those that are shown, and the notes that reject some.

    The other systems are to hide what is hidden here (IOCM).
    """
    return and_(
        _condition(Instance.hidden.op("&", return_type=Integer())(0xFF & ~int(NOTES)) == 0), Study.quarantine == ""
    )


@lru_cache(maxsize=len(View))
def shown(view: View) -> Shown:
    """The counters as this view has them."""
    if view is View.CLINICAL:
        return Shown(
            *(Study.modalities_in_study, Study.sop_classes_in_study),  # type: ignore[arg-type]
            *(Study.series_count, Study.instance_count, Series.instance_count),  # type: ignore[arg-type]
        )
    instances = _of_study(_INSTANCE.id)
    seen = instances.where(_instance_is_shown(_INSTANCE, view))
    hidden = instances.where(*_hidden_and_shown(_INSTANCE, view))
    of_series = select(func.count()).where(_INSTANCE.series_id == Series.id, *_hidden_and_shown(_INSTANCE, view))
    return Shown(
        modalities=_unless_all_shown(
            Study.modalities_in_study,
            _array(seen.with_only_columns(_SERIES.modality).where(_SERIES.modality != ""), _SERIES.modality),
        ),
        sop_classes=_unless_all_shown(
            Study.sop_classes_in_study,
            _array(seen.with_only_columns(_INSTANCE.sop_class_uid), _INSTANCE.sop_class_uid),
        ),
        series_count=_unless_all_shown(
            Study.series_count,
            seen.with_only_columns(func.count(_SERIES.id.distinct())).correlate(Study).scalar_subquery(),
        ),
        instance_count=Study.instance_count
        + _unless_all_shown(0, hidden.with_only_columns(func.count()).correlate(Study).scalar_subquery()),
        instance_count_of_series=Series.instance_count
        + case((Series.hidden_count == 0, 0), else_=of_series.correlate(Series).scalar_subquery()),
    )


@lru_cache(maxsize=2)
def _own_or_granted(copying: bool) -> Condition:
    """Both sides are arrays that are worked out once, so that each can use an index of its own."""
    found = granted(copying).scalar_subquery()
    return or_(_own(Study.facility_id), Study.id == func.any(func.array(found, type_=ARRAY(BigInteger))))


@lru_cache(maxsize=2)
def _own_or_named(by_index: bool) -> Condition:
    """The same with an array that PostgreSQL has when it plans: it knows how long it is, and hashes a long one."""
    # No index has a sum.
    facility, study = (each if by_index else each + text("0") for each in (Study.facility_id, Study.id))
    return or_(_own(facility), study == func.any(bindparam(GRANTED, type_=Names())))


def _grantees() -> Condition:
    return or_(
        _own(AccessGrant.facility_id),
        AccessGrant.account_id == bindparam(ACCOUNT, type_=BigInteger),
        AccessGrant.link_id == bindparam(LINK, type_=BigInteger),
    )


def _own(facility: Any) -> Condition:
    return _condition(facility == func.any(bindparam(FACILITIES, type_=ARRAY(BigInteger))))


def holds(copying: bool = False) -> Condition:
    """Grants that hold now, and allow copies if that is asked for."""
    now = and_(AccessGrant.withdrawn_at.is_(None), AccessGrant.expires_at > func.now())
    return and_(now, AccessGrant.may_copy) if copying else now


def _has_instances(view: View) -> Condition:
    if view is View.CLINICAL:
        return Study.instance_count > 0
    among = _of_study(1).where(*_hidden_and_shown(_INSTANCE, view))
    return or_(Study.instance_count > 0, and_(Study.hidden_count > 0, among.correlate(Study).exists()))


def _of_study(selected: Any) -> Select[Any]:
    found = select(selected).select_from(_INSTANCE).join(_SERIES, _INSTANCE.series_id == _SERIES.id)
    return found.where(_SERIES.study_id == Study.id)


def _instance_is_shown(instance: Any, view: View) -> Condition:
    if view is View.CLINICAL:
        return _condition(instance.hidden == 0)
    return _condition(_hiding(instance, view) == 0)


def _hidden_and_shown(instance: Any, view: View) -> tuple[Condition, Condition]:
    """Those that the clinical view does not show and this one does; by the index of the hidden ones."""
    return _condition(instance.hidden != 0), _condition(_hiding(instance, view) == 0)


def _hiding(instance: Any, view: View) -> ColumnElement[int]:
    """The causes that hide in this view."""
    causes: ColumnElement[int] = instance.hidden.op("&", return_type=Integer())(0xFF & ~int(SHOWN[view]))
    return causes


def _unless_all_shown(stored: Any, computed: Any) -> ColumnElement[Any]:
    return case((Study.hidden_count == 0, stored), else_=computed)


def _array(values: Select[Any], order: Any) -> ColumnElement[Any]:
    ordered = values.distinct().order_by(order).correlate(Study).scalar_subquery()
    return func.array(ordered, type_=ARRAY(CText))


def _condition(expression: Any) -> Condition:
    found: Condition = expression
    return found
