"""The worklist item that an object was made for, for what the object itself does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from sqlalchemy import Engine

from archive.correction.rules import Facts
from archive.records import DicomJSON
from archive.standard.text import parse_date
from archive.worklist.arrivals import item_of

_SCHEDULED_PROCEDURE_STEP_SEQUENCE: Final = "00400100"
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_INSTEAD: Final = {"StudyDescription": "RequestedProcedureDescription", "StudyID": "RequestedProcedureID"}
"""What a modality copies into an attribute that items do not have (PS3.17 Table J-1)."""


class WorklistLookup:
    """Finds items in the index; called for objects of peers with the rule `from_worklist` only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, facts: Facts) -> Mapping[str, str]:
        """Values by keyword, and under ``""`` the number of the item. Raises `IndexUnavailable`."""
        item = item_of(
            self._engine,
            facts.facility,
            study_instance_uid=facts.study_instance_uid,
            patient_id=facts.patient_id,
            modality=facts.modality,
            station=facts.station,
            study_date=parse_date(facts.study_date),
        )
        if item is None:
            return {}
        return {"": str(item.id)} | {keyword: _text(item.attributes, keyword) for keyword in facts.keywords}


def _text(attributes: DicomJSON, keyword: str) -> str:
    """The value of an attribute of an item or of its procedure step, as DICOM writes it."""
    key = f"{tag_for_keyword(keyword):08X}"
    steps = attributes.get(_SCHEDULED_PROCEDURE_STEP_SEQUENCE, {}).get("Value") or [{}]
    values = (attributes.get(key) or steps[0].get(key) or {}).get("Value")
    if not values and keyword in _INSTEAD:
        return _text(attributes, _INSTEAD[keyword])
    return "\\".join(map(_one, values or ()))


def _one(value: Any) -> str:
    if isinstance(value, dict):
        return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value)
