"""The rules of Modality Performed Procedure Steps (PS3.4 F.7.2, Table F.7.2-1). No SQL.

Attributes of type 2 that a modality leaves out are taken for empty: refusing its step would help nobody. What names the
step, its time, its state and its study must be there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any, Final

import orjson
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from archive.description import cut
from archive.records import DicomJSON
from archive.standard.text import parse_date, parse_time
from archive.standard.uids import is_uid
from archive.worklist.errors import InvalidValue, MissingAttribute, MissingValue

IN_PROGRESS: Final = "IN PROGRESS"
FINAL: Final = ("COMPLETED", "DISCONTINUED")


def _key(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"{tag:08X}"


STATUS: Final = _key("PerformedProcedureStepStatus")
_SCHEDULED: Final = _key("ScheduledStepAttributesSequence")
_SERIES: Final = _key("PerformedSeriesSequence")
_STUDY_UID: Final = _key("StudyInstanceUID")
_SERIES_UID: Final = _key("SeriesInstanceUID")
_INSTANCE_UID: Final = _key("ReferencedSOPInstanceUID")
_CHARACTER_SET: Final = _key("SpecificCharacterSet")
_REFERENCES: Final = tuple(map(_key, ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")))

REQUIRED: Final = (
    "ScheduledStepAttributesSequence",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
    "Modality",
)
"""Type 1 in the N-CREATE; in the items of the first, StudyInstanceUID is."""
REQUIRED_AT_END: Final = ("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime")
"""Must have a value when the step becomes final. A completed step must also name a series."""
FIXED: Final = (
    "ScheduledStepAttributesSequence",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "ReferencedPatientSequence",
    "AdmissionID",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedStationName",
    "PerformedLocation",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "Modality",
    "StudyID",
)
"""Not allowed in the N-SET: what it says of these is not taken."""
_FIXED_KEYS: Final = frozenset(map(_key, FIXED))


@dataclass(frozen=True, slots=True)
class ScheduledStep:
    """What a step says of one scheduled step that it did."""

    study_instance_uid: str
    accession_number: str
    requested_procedure_id: str
    scheduled_procedure_step_id: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The columns of `PerformedStep` that come from its attributes."""

    state: str
    performed_procedure_step_id: str
    modality: str
    station_ae_title: str
    start_date: date | None
    start_time: time | None
    patient_id: str
    accession_number: str
    study_instance_uids: list[str]


def check_create(attributes: DicomJSON) -> None:
    """Check the attributes of an N-CREATE. Raises `MissingAttribute`, `MissingValue`, `InvalidValue`."""
    for keyword in REQUIRED:
        if _key(keyword) not in attributes:
            raise MissingAttribute(f"{keyword} is missing")
        found = _items if _key(keyword) == _SCHEDULED else _values
        if not found(attributes, _key(keyword)):
            raise MissingValue(f"{keyword} has no value")
    if _text(attributes, STATUS) != IN_PROGRESS:
        raise InvalidValue("PerformedProcedureStepStatus of an N-CREATE must be IN PROGRESS")
    for item in _items(attributes, _SCHEDULED):
        _check_uid(item, "StudyInstanceUID", "ScheduledStepAttributesSequence")
    _check_times(attributes)
    _check_series(attributes)


def update(before: DicomJSON, given: DicomJSON) -> tuple[DicomJSON, list[str]]:
    """The attributes after an N-SET, and the keywords of those that it may not change and would have.

    Raises `InvalidValue`, `MissingValue` if what is to be final lacks what that needs (F.7.2.2.2).
    """
    kept = {key for key in given if key in _FIXED_KEYS}
    refused = sorted(key for key in kept if _values(given, key) != _values(before, key))
    after = {**before, **{key: element for key, element in given.items() if key not in kept}}
    if _CHARACTER_SET in before:
        after[_CHARACTER_SET] = before[_CHARACTER_SET]
    state = _text(after, STATUS)
    if state not in (IN_PROGRESS, *FINAL):
        raise InvalidValue("PerformedProcedureStepStatus must be IN PROGRESS, COMPLETED or DISCONTINUED")
    _check_times(after)
    _check_series(after)
    if state in FINAL:
        for keyword in REQUIRED_AT_END:
            if not _values(after, _key(keyword)):
                raise MissingValue(f"{keyword} is needed for {state}")
    if state == "COMPLETED" and not _items(after, _SERIES):
        raise MissingValue("PerformedSeriesSequence is needed for COMPLETED")
    return dict(sorted(after.items())), [keyword_for_tag(int(key, 16)) for key in refused]


def digest(attributes: DicomJSON) -> bytes:
    """SHA-256 of attributes, whatever their order and encoding were."""
    return hashlib.sha256(orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)).digest()


def facts(attributes: DicomJSON) -> Facts:
    """What the columns repeat."""
    scheduled = scheduled_steps(attributes)
    return Facts(
        state=_text(attributes, STATUS),
        performed_procedure_step_id=_column(attributes, _key("PerformedProcedureStepID")),
        modality=_column(attributes, _key("Modality")),
        station_ae_title=_column(attributes, _key("PerformedStationAETitle")),
        start_date=parse_date(_text(attributes, _key("PerformedProcedureStepStartDate"))),
        start_time=parse_time(_text(attributes, _key("PerformedProcedureStepStartTime"))),
        patient_id=_column(attributes, _key("PatientID")),
        accession_number=cut(next((step.accession_number for step in scheduled if step.accession_number), "")),
        study_instance_uids=list(dict.fromkeys(step.study_instance_uid for step in scheduled)),
    )


def scheduled_steps(attributes: DicomJSON) -> list[ScheduledStep]:
    """The scheduled steps that it says it did; those of an unscheduled one have only a study."""
    names = ("StudyInstanceUID", "AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID")
    return [ScheduledStep(*(_text(item, _key(name)) for name in names)) for item in _items(attributes, _SCHEDULED)]


def series(attributes: DicomJSON) -> dict[str, list[str]]:
    """The series that it says it made, each with its instances."""
    found: dict[str, dict[str, None]] = {}
    for item in _items(attributes, _SERIES):
        instances = found.setdefault(_text(item, _SERIES_UID), {})
        for reference in _references(item):
            instances[_text(reference, _INSTANCE_UID)] = None
    return {uid: list(instances) for uid, instances in found.items() if uid}


def _references(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in _REFERENCES:
        yield from (each for each in _items(item, key) if _values(each, _INSTANCE_UID))


def _check_times(attributes: DicomJSON) -> None:
    for part in ("Start", "End"):
        for unit, read in (("Date", parse_date), ("Time", parse_time)):
            keyword = f"PerformedProcedureStep{part}{unit}"
            text = _text(attributes, _key(keyword))
            if text and read(text) is None:
                raise InvalidValue(f"{keyword} cannot be read")


def _check_series(attributes: DicomJSON) -> None:
    for item in _items(attributes, _SERIES):
        _check_uid(item, "SeriesInstanceUID", "PerformedSeriesSequence")
        for reference in _references(item):
            _check_uid(reference, "ReferencedSOPInstanceUID", "PerformedSeriesSequence")


def _check_uid(item: Mapping[str, Any], keyword: str, sequence: str) -> None:
    key = _key(keyword)
    if key not in item:
        raise MissingAttribute(f"{keyword} is missing in {sequence}")
    if not _values(item, key):
        raise MissingValue(f"{keyword} has no value in {sequence}")
    if not is_uid(_text(item, key)):
        raise InvalidValue(f"{keyword} in {sequence} is not a UID")


def _values(item: Mapping[str, Any], key: str) -> list[Any]:
    return [value for value in item.get(key, {}).get("Value") or () if value not in (None, "")]


def _items(item: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [value for value in _values(item, key) if isinstance(value, dict)]


def _column(item: Mapping[str, Any], key: str) -> str:
    """A value as an index can hold it; devices do not all keep to the length of a VR."""
    return cut(_text(item, key))


def _text(item: Mapping[str, Any], key: str) -> str:
    values: Iterable[Any] = _values(item, key)
    return str(next(iter(values), "")).strip()
