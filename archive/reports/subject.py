"""Of whom a report speaks: patient, study and order as they were when a version was given out.

It is kept with the version, so that what was signed can be read, printed and sent without the archive, and is not
changed by what becomes of the study later.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, text

NOT_IMAGES: Final = ("SR", "DOC", "KO", "PR", "AU", "FID", "REG", "PLAN", "OT")
"""Modalities of what is no examination."""

# The order is the one for this study; else that with its accession number in the hospital whose study it is.
_SUBJECT: Final = text("""
SELECT study.study_instance_uid, study.study_date, study.study_time, study.accession_number, study.study_description,
       study.modalities_in_study AS modalities, study.attributes AS of_study, patient.patient_id, patient.issuer,
       patient.name, patient.birth_date, patient.sex, owner.code AS owner, owner.name AS owner_name,
       writer.code AS facility, writer.name AS facility_name,
       ARRAY(SELECT DISTINCT body_part_examined FROM series WHERE series.study_id = study.id
                AND body_part_examined <> '' ORDER BY 1) AS body_parts,
       (SELECT item.attributes FROM worklist_item AS item
         WHERE item.facility_id = study.facility_id AND item.status <> 'CANCELLED'
           AND (item.study_instance_uid = study.study_instance_uid
                OR (item.accession_number = study.accession_number AND item.accession_number <> ''
                    AND item.patient_id = patient.patient_id))
         ORDER BY (item.study_instance_uid = study.study_instance_uid) DESC, item.id DESC LIMIT 1) AS of_order
  FROM study JOIN patient ON patient.id = study.patient_id JOIN facility AS owner ON owner.id = study.facility_id
  JOIN facility AS writer ON writer.id = :facility
 WHERE study.id = :study
""")
_ADMISSION_ID: Final = "00380010"
_REQUESTED_CODES: Final = "00321064"
_PROCEDURE_CODES: Final = "00081032"
_REQUESTED_DESCRIPTION: Final = "00321060"
_REASON: Final = "00401002"
_REFERRING: Final = "00080090"
_REQUESTING: Final = "00321032"
_REQUESTING_SERVICE: Final = "00321033"
_CODE_VALUE: Final = "00080100"
_CODE_MEANING: Final = "00080104"


def subject_of(connection: Connection, study: int, facility: int) -> dict[str, Any]:
    """The subject of a report by this facility on this study, as it is now. Both are rows."""
    row = connection.execute(_SUBJECT, {"study": study, "facility": facility}).one()
    order, of_study = row.of_order or {}, row.of_study or {}
    code = _item(order, _REQUESTED_CODES) or _item(of_study, _PROCEDURE_CODES)
    return {
        "study": row.study_instance_uid,
        "study_date": row.study_date.isoformat() if row.study_date else "",
        "study_time": row.study_time.isoformat("seconds") if row.study_time else "",
        "accession_number": row.accession_number,
        "study_description": row.study_description,
        "modalities": [each for each in row.modalities if each not in NOT_IMAGES],
        "body_parts": list(row.body_parts),
        "patient_id": row.patient_id,
        "issuer": row.issuer,
        "patient_name": row.name,
        "birth_date": row.birth_date.isoformat() if row.birth_date else "",
        "sex": row.sex,
        "owner": row.owner,
        "owner_name": row.owner_name,
        "facility": row.facility,
        "facility_name": row.facility_name,
        "admission": _text(order, _ADMISSION_ID) or _text(of_study, _ADMISSION_ID),
        "procedure_code": _text(code, _CODE_VALUE),
        "procedure": _text(order, _REQUESTED_DESCRIPTION) or _text(code, _CODE_MEANING) or row.study_description,
        "reason": _text(order, _REASON),
        "referrer": _text(order, _REQUESTING) or _text(order, _REFERRING) or _text(of_study, _REFERRING),
        "department": _text(order, _REQUESTING_SERVICE),
    }


def _item(attributes: dict[str, Any], key: str) -> dict[str, Any]:
    found = attributes.get(key, {}).get("Value") or [{}]
    return found[0] if isinstance(found[0], dict) else {}


def _text(attributes: dict[str, Any], key: str) -> str:
    """The first value; of a person name its alphabetic group, as it is spoken."""
    found = (attributes.get(key, {}).get("Value") or [""])[0]
    if isinstance(found, dict):
        found = str(found.get("Alphabetic", "")).replace("^", " ")
    return str(found or "").strip()
