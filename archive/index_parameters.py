"""The parameters of the statements in `archive.index_sql`, from the records of an arrival."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson
from psycopg.types.json import Jsonb

from archive.records import Arrival, Parents


class Place(NamedTuple):
    """The series that an arrival goes to, and what holds there."""

    series_id: int
    epoch: int
    """The study's `rejection_epoch` by which `hidden` was decided."""
    hidden: int
    warning: str | None


def input_row(arrival: Arrival, place: Place, facility_id: int, commit: str | None = None) -> dict[str, object]:
    """The values of `index_sql.INPUT`, but for ``n``. `commit`: PostgreSQL's ``synchronous_commit``."""
    return {
        "commit": commit,
        **object_parameters(arrival),
        **instance_parameters(arrival),
        "block": arrival.block,
        "series_id": place.series_id,
        "hidden": place.hidden,
        "epoch": place.epoch,
        "facility_id": facility_id,
        "corrections": None if arrival.corrections is None else arrival.corrections.to_json(),
        "warnings": [*arrival.warnings, *([place.warning] if place.warning else [])] or None,
    }


def input_rows(rows: Sequence[Mapping[str, object]]) -> str:
    """Such values as the JSON text that `INSERT_INSTANCES` takes."""
    return orjson.dumps([{**row, "n": n} for n, row in enumerate(rows)], default=_in_json).decode()


def _in_json(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is not in JSON")


def instance_parameters(arrival: Arrival) -> dict[str, object]:
    instance = arrival.instance
    return {
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "instance_number": instance.instance_number,
        "rows": instance.rows,
        "columns": instance.columns,
        "bits_allocated": instance.bits_allocated,
        "number_of_frames": instance.number_of_frames,
        "attributes": instance.attributes,
    }


def object_parameters(arrival: Arrival) -> dict[str, object]:
    stored, source = arrival.object, arrival.source
    return {
        "key": stored.key,
        "size": stored.size,
        "digest": stored.digest,
        "transfer_syntax_uid": stored.transfer_syntax_uid,
        "dataset_offset": stored.dataset_offset,
        "header_length": stored.header_length,
        "trailer_offset": stored.trailer_offset,
        "frame_table": stored.frame_table,
        "corrections": None if arrival.corrections is None else Jsonb(arrival.corrections.to_json()),
        "transport": source.transport,
        "calling_ae_title": source.calling_ae_title,
        "address": source.address,
        "user_name": source.user,
        "received_at": arrival.received_at,
    }


def parent_parameters(parents: Parents, quarantine: str, facility: int) -> dict[str, object]:
    patient, study, series = parents.patient, parents.study, parents.series
    return {
        "issuer": patient.issuer,
        "identity": patient.identity,
        "patient_id": patient.patient_id,
        "name": patient.name,
        "name_fold": patient.name_fold,
        "birth_date": patient.birth_date,
        "sex": patient.sex,
        "patient_attributes": Jsonb(patient.attributes),
        "patient_keys": list(patient.attributes),
        "facility_id": facility,
        "quarantine": quarantine,
        "study_instance_uid": study.study_instance_uid,
        "study_date": study.study_date,
        "study_time": study.study_time,
        "accession_number": study.accession_number,
        "study_id": study.study_id,
        "study_description": study.study_description,
        "referring_physician_fold": study.referring_physician_fold,
        "study_attributes": Jsonb(study.attributes),
        "study_keys": list(study.attributes),
        "series_instance_uid": series.series_instance_uid,
        "modality": series.modality,
        "series_number": series.series_number,
        "series_description": series.series_description,
        "body_part_examined": series.body_part_examined,
        "performed_date": series.performed_date,
        "performed_time": series.performed_time,
        "series_attributes": Jsonb(series.attributes),
    }
