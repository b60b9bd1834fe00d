"""Makes rejection notes: Key Object Selection documents (PS3.3 A.35.4, C.17.6; PS3.16 TID 2010)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from archive.records import DicomJSON
from archive.rejection.causes import KEY_OBJECT_SELECTION, Title

TRANSFER_SYNTAX: Final = str(ExplicitVRLittleEndian)
# Vietnam has one time zone and no summer time.
_ZONE: Final = timezone(timedelta(hours=7))
_KEPT: Final = frozenset(
    (
        *("00080020", "00080030", "00080050", "00080090", "00081030", "00100010", "00100020", "00100021"),
        *("00100030", "00100040", "00200010"),
    )
)
"""Of patient and study: what the modules of the document require, and what it is found by."""
_EMPTY: Final = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID")
_EMPTY_OF_PATIENT: Final = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True, slots=True)
class Rejected:
    """An instance to be rejected."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    is_image: bool


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, and who says so."""

    title: Title
    who: str
    why: str


def compose(study: str, attributes: DicomJSON, rejected: Sequence[Rejected], reason: Reason) -> Dataset:
    """The note that rejects these instances of one study; `attributes` are those of its patient and study."""
    document = Dataset()
    for keyword in (*_EMPTY, *_EMPTY_OF_PATIENT):
        setattr(document, keyword, "")
    document.update(Dataset.from_json({key: value for key, value in attributes.items() if key in _KEPT}))
    document.SpecificCharacterSet = "ISO_IR 192"
    document.SOPClassUID, document.SOPInstanceUID = KEY_OBJECT_SELECTION, generate_uid(prefix=None)
    document.StudyInstanceUID, document.SeriesInstanceUID = study, generate_uid(prefix=None)
    now = datetime.now(_ZONE)
    document.ContentDate, document.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    document.TimezoneOffsetFromUTC = "+0700"
    document.Modality, document.SeriesNumber, document.InstanceNumber = "KO", 1, 1
    document.SeriesDescription = reason.title.meaning
    document.Manufacturer = ""
    document.ReferencedPerformedProcedureStepSequence = []
    document.ReferencedRequestSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = [_evidence(study, rejected)]
    document.ValueType, document.ContinuityOfContent = "CONTAINER", "SEPARATE"
    document.ConceptNameCodeSequence = [_code(reason.title.code, reason.title.meaning)]
    document.ContentTemplateSequence = [_template()]
    document.ContentSequence = [*_observer(reason.who), *_described(reason.why), *map(_item, rejected)]
    return document


def encoded(document: Dataset) -> bytes:
    """The document as a dataset in `TRANSFER_SYNTAX`."""
    buffer = io.BytesIO()
    dcmwrite(buffer, document, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def _evidence(study: str, rejected: Sequence[Rejected]) -> Dataset:
    """PS3.3 C.17.2.1: study, series, instances."""
    by_series: dict[str, list[Dataset]] = {}
    for each in rejected:
        by_series.setdefault(each.series_instance_uid, []).append(_reference(each))
    item = Dataset()
    item.StudyInstanceUID, item.ReferencedSeriesSequence = study, []
    for uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = uid, references
        item.ReferencedSeriesSequence.append(series)
    return item


def _reference(each: Rejected) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = each.sop_class_uid, each.sop_instance_uid
    return item


def _item(each: Rejected) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE" if each.is_image else "COMPOSITE"
    item.ReferencedSOPSequence = [_reference(each)]
    return item


def _observer(who: str) -> Iterable[Dataset]:
    """PS3.16 TID 1002: a person."""
    if not who:
        return
    kind, name = Dataset(), Dataset()
    kind.RelationshipType = name.RelationshipType = "HAS OBS CONTEXT"
    kind.ValueType, kind.ConceptNameCodeSequence = "CODE", [_code("121005", "Observer Type")]
    kind.ConceptCodeSequence = [_code("121006", "Person")]
    name.ValueType, name.ConceptNameCodeSequence = "PNAME", [_code("121008", "Person Observer Name")]
    name.PersonName = who[:64]
    yield from (kind, name)


def _described(why: str) -> Iterable[Dataset]:
    if why:
        item = Dataset()
        item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", why[:1024]
        item.ConceptNameCodeSequence = [_code("113012", "Key Object Description")]
        yield item


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _template() -> Dataset:
    item = Dataset()
    item.MappingResource, item.TemplateIdentifier = "DCMR", "2010"
    return item
