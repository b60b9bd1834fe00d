"""Finds the stored instances behind study, series and instance UIDs (PS3.18 10.4, PS3.4 C.4.2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, Select, bindparam, select

from archive.access import fit_to_send_on, visible, visible_instance
from archive.correction.record import Corrections
from archive.database import Prepared, fetch
from archive.errors import NotFound
from archive.models import Instance, Series, StoredObject, Study
from archive.reading import Reader
from archive.records import ObjectRecord, Scope, StoredInstance
from archive.rejection.causes import View

_COLUMNS = (
    Study.study_instance_uid,
    Series.series_instance_uid,
    Instance.sop_instance_uid,
    Instance.sop_class_uid,
    Series.modality,
    Instance.number_of_frames,
    Instance.rows,
    Instance.columns,
    StoredObject.version,
    StoredObject.key,
    StoredObject.size,
    StoredObject.digest,
    StoredObject.transfer_syntax_uid,
    StoredObject.dataset_offset,
    StoredObject.header_length,
    StoredObject.trailer_offset,
    StoredObject.frame_table,
    StoredObject.received_at,
    StoredObject.corrections,
)


def locate(reader: Reader, study: str, series: str | None, instance: str | None, scope: Scope) -> list[StoredInstance]:
    """The shown version of each instance, in order of series and instance number.

    Raises `NotFound` naming the first level that has no match, `IndexUnavailable`.
    """
    statement = _current(series is not None, instance is not None, scope.shape)
    rows = reader.fetch_prepared(scope, statement, {"study": study, "series": series, "instance": instance})
    if not rows:
        what = "instance" if instance is not None else "series" if series is not None else "study"
        raise NotFound(f"no such {what}")
    return [_stored_instance(row) for row in rows]


async def locate_one(reader: Reader, study: str, series: str, instance: str, scope: Scope) -> StoredInstance | None:
    """The shown version of one instance, found without a thread; None if `locate` is to be asked, and tells why."""
    statement = _current(True, True, scope.shape)
    rows = await reader.fetch_awaited(scope, statement, {"study": study, "series": series, "instance": instance})
    return _stored_instance(rows[0]) if rows else None


def versions(reader: Reader, study: str, series: str, instance: str, scope: Scope) -> list[StoredInstance]:
    """All kept versions of one instance, oldest first. Raises `NotFound`, `IndexUnavailable`."""
    statement = _stored(True, True, scope).order_by(StoredObject.version)
    rows = reader.fetch(scope, statement, {"study": study, "series": series, "instance": instance})
    if not rows:
        raise NotFound("no such instance")
    return [_stored_instance(row) for row in rows]


def by_object(engine: Engine, objects: Collection[int], *, hidden: bool = False) -> dict[int, StoredInstance]:
    """The instances behind rows of ``stored_object``, as far as these may be sent on, or with `hidden` all of them.

    Raises `IndexUnavailable`.
    """
    columns: tuple[Any, ...] = (StoredObject.id, *_COLUMNS)
    statement = (
        select(*columns)
        .select_from(StoredObject)
        .join(Instance, Instance.id == StoredObject.instance_id)
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
        .where(StoredObject.id.in_(objects))
    )
    if not hidden:
        statement = statement.where(StoredObject.current, fit_to_send_on())
    return {row[0]: _stored_instance(row[1:]) for row in fetch(engine, statement)}


@lru_cache(maxsize=64)
def _current(with_series: bool, with_instance: bool, scope: Scope) -> Prepared:
    """Kept, because to put a statement together takes longer than PostgreSQL takes to answer it. The same for all
    callers of one `Scope.shape`.
    """
    # What lies in quarantine under the same UIDs comes last.
    order = () if scope.view is View.CLINICAL else (Study.quarantine,)
    return Prepared(
        _stored(with_series, with_instance, scope)
        .where(StoredObject.current)
        .order_by(*order, Series.series_number, Series.id, Instance.instance_number, Instance.id)
    )


def _stored(with_series: bool, with_instance: bool, scope: Scope) -> Select[Any]:
    columns: tuple[Any, ...] = _COLUMNS
    statement: Select[Any] = (
        select(*columns)
        .select_from(Study)
        .join(Series, Series.study_id == Study.id)
        .join(Instance, Instance.series_id == Series.id)
        .join(StoredObject, StoredObject.instance_id == Instance.id)
        .where(Study.study_instance_uid == bindparam("study"), visible(scope), visible_instance(scope))
    )
    if with_series:
        statement = statement.where(Series.series_instance_uid == bindparam("series"))
    if with_instance:
        statement = statement.where(Instance.sop_instance_uid == bindparam("instance"))
    return statement


def _stored_instance(row: Sequence[Any]) -> StoredInstance:
    # In the order of `_COLUMNS`: a study of 2,000 images makes 2,000 of these.
    values: tuple[Any, ...] = tuple(row)
    study, series, instance, sop_class, modality, frames, rows, columns, version, *stored, received, corrections = (
        values
    )
    return StoredInstance(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        modality=modality,
        number_of_frames=frames,
        rows=rows,
        columns=columns,
        version=version,
        object=ObjectRecord(*stored),
        received_at=received,
        corrections=None if corrections is None else Corrections.from_json(corrections),
    )
