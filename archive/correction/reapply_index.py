"""Exchanges what an object said in the index by what it says corrected otherwise."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final, LiteralString

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Placeholder
from psycopg.types.json import Jsonb

from archive.description import Description
from archive.index_session import Connection

_PATIENT: Final = """
SELECT patient.* FROM patient JOIN study ON study.patient_id = patient.id WHERE study.id = %s FOR UPDATE OF patient
"""
_STUDY: Final = "SELECT * FROM study WHERE id = %s"
_SERIES: Final = "SELECT * FROM series WHERE study_id = %s AND series_instance_uid = %s FOR UPDATE"
_ADD_PATIENT: Final = """
INSERT INTO patient (issuer, identity, patient_id, name, name_fold, birth_date, sex, attributes)
VALUES (%(issuer)s, %(identity)s, %(patient_id)s, %(name)s, %(name_fold)s, %(birth_date)s, %(sex)s, %(attributes)s)
ON CONFLICT (issuer, identity) DO NOTHING
"""
_MOVE_STUDY: Final = """
UPDATE study SET patient_id = patient.id, updated_at = clock_timestamp()
  FROM patient WHERE study.id = %(study)s AND issuer = %(issuer)s AND identity = %(identity)s
"""


class PatientGone(Exception):
    """The patient that a study was to move to was removed at that moment, for they had none."""


def exchange(connection: Connection, study_id: int, before: Description, after: Description) -> None:
    """Exchange values of the study's patient, the study and the series, within the transaction of the caller."""
    old, new = before.parents(), after.parents()
    patient = _row(connection, _PATIENT, study_id)
    if patient is not None and (patient["issuer"], patient["identity"]) == (old.patient.issuer, old.patient.identity):
        if (old.patient.issuer, old.patient.identity) == (new.patient.issuer, new.patient.identity):
            _exchange(connection, "patient", patient, old.patient, new.patient)
        else:
            # The former patient may have other studies; one who has none is removed by `archive.reconcile`.
            record = {field.name: getattr(new.patient, field.name) for field in fields(new.patient)}
            connection.execute(_ADD_PATIENT, record | {"attributes": Jsonb(new.patient.attributes)})
            if not connection.execute(_MOVE_STUDY, record | {"study": study_id, "attributes": None}).rowcount:
                raise PatientGone
    study = _row(connection, _STUDY, study_id)
    if study is not None:
        _exchange(connection, "study", study, old.study, new.study)
    series = _row(connection, _SERIES, study_id, before.series_instance_uid)
    if series is not None:
        _exchange(connection, "series", series, old.series, new.series)


def _row(connection: Connection, statement: LiteralString, *parameters: Any) -> dict[str, Any] | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, parameters).fetchone()


def _exchange(connection: Connection, table: LiteralString, row: dict[str, Any], old: Any, new: Any) -> None:
    """Write the columns of a record that hold what the object said before, or nothing."""
    changed: dict[str, Any] = {}
    for field in fields(new):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name == "attributes":
            merged = _merged(row["attributes"], before, after)
            if merged != row["attributes"]:
                changed["attributes"] = Jsonb(merged)
        elif before != after and (row[field.name] == before or row[field.name] in ("", None)):
            changed[field.name] = after
    if changed:
        columns = SQL(", ").join(SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in changed)
        statement = SQL("UPDATE {} SET {} WHERE id = {}").format(Identifier(table), columns, Placeholder("id"))
        connection.execute(statement, {**changed, "id": row["id"]})


def _merged(held: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(held)
    for key in {*old, *new}:
        if old.get(key) != new.get(key) and held.get(key) in (old.get(key), None):
            if key in new:
                merged[key] = new[key]
            else:
                merged.pop(key, None)
    return merged
