"""Finds the stored instances behind study, series and instance UIDs (PS3.18 10.4, PS3.4 C.4.2)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Row, Select, select

from archive.access import visible
from archive.database import translated
from archive.errors import NotFound
from archive.models import Instance, Series, StoredObject, Study
from archive.records import ObjectRecord, Scope, StoredInstance

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
    StoredObject.default_character_set,
)


def locate(engine: Engine, study: str, series: str | None, instance: str | None, scope: Scope) -> list[StoredInstance]:
    """The shown version of each instance, in order of series and instance number.

    Raises `NotFound` naming the first level that has no match, `IndexUnavailable`.
    """
    statement = (
        _stored(study, scope)
        .where(StoredObject.current)
        .order_by(Series.series_number, Series.id, Instance.instance_number, Instance.id)
    )
    if series is not None:
        statement = statement.where(Series.series_instance_uid == series)
    if instance is not None:
        statement = statement.where(Instance.sop_instance_uid == instance)
    with translated(), engine.connect() as connection:
        rows = connection.execute(statement).all()
    if not rows:
        what = "instance" if instance is not None else "series" if series is not None else "study"
        raise NotFound(f"no such {what}")
    return [_stored_instance(row) for row in rows]


def versions(engine: Engine, study: str, series: str, instance: str, scope: Scope) -> list[StoredInstance]:
    """All kept versions of one instance, oldest first. Raises `NotFound`, `IndexUnavailable`."""
    statement = (
        _stored(study, scope)
        .where(Series.series_instance_uid == series, Instance.sop_instance_uid == instance)
        .order_by(StoredObject.version)
    )
    with translated(), engine.connect() as connection:
        rows = connection.execute(statement).all()
    if not rows:
        raise NotFound("no such instance")
    return [_stored_instance(row) for row in rows]


def _stored(study: str, scope: Scope) -> Select[Any]:
    columns: tuple[Any, ...] = _COLUMNS
    statement: Select[Any] = (
        select(*columns)
        .select_from(Study)
        .join(Series, Series.study_id == Study.id)
        .join(Instance, Instance.series_id == Series.id)
        .join(StoredObject, StoredObject.instance_id == Instance.id)
        .where(Study.study_instance_uid == study, visible(scope))
    )
    return statement


def _stored_instance(row: Row[Any]) -> StoredInstance:
    values = row._asdict()
    return StoredInstance(
        study_instance_uid=values["study_instance_uid"],
        series_instance_uid=values["series_instance_uid"],
        sop_instance_uid=values["sop_instance_uid"],
        sop_class_uid=values["sop_class_uid"],
        modality=values["modality"],
        number_of_frames=values["number_of_frames"],
        rows=values["rows"],
        columns=values["columns"],
        version=values["version"],
        received_at=values["received_at"],
        default_character_set=values["default_character_set"],
        object=ObjectRecord(
            key=values["key"],
            size=values["size"],
            digest=values["digest"],
            transfer_syntax_uid=values["transfer_syntax_uid"],
            dataset_offset=values["dataset_offset"],
            header_length=values["header_length"],
            trailer_offset=values["trailer_offset"],
            frame_table=values["frame_table"],
        ),
    )
