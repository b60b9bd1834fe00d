"""Rejection notes for tests, built with pydicom as a modality would (PS3.3 A.35.4, PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage, generate_uid

from archive.rejection.causes import BY_CODE

QUALITY, SAFETY, WORKLIST, EXPIRED = "113001", "113037", "113038", "113039"


def code_item(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def note(rejected: Sequence[Dataset], code: str = QUALITY, *, text: str = "", study: str = "") -> Dataset:
    """A note in the study of the first rejected image that rejects these images (or notes)."""
    first = rejected[0]
    document = Dataset()
    document.SpecificCharacterSet = "ISO_IR 192"
    document.SOPClassUID = KeyObjectSelectionDocumentStorage
    document.SOPInstanceUID = generate_uid()
    document.StudyInstanceUID = study or first.StudyInstanceUID
    document.SeriesInstanceUID = generate_uid()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        setattr(document, keyword, first.get(keyword, ""))
    document.AccessionNumber = first.get("AccessionNumber", "")
    document.Modality = "KO"
    document.SeriesNumber, document.InstanceNumber = 999, 1
    document.ContentDate, document.ContentTime = "20261122", "101500"
    document.ValueType = "CONTAINER"
    document.ContinuityOfContent = "SEPARATE"
    meaning = BY_CODE[code].meaning if code in BY_CODE else "Of Interest"
    document.ConceptNameCodeSequence = [code_item(code, meaning)]
    document.CurrentRequestedProcedureEvidenceSequence = _evidence(rejected)
    document.ContentSequence = [_reference(image) for image in rejected]
    if text:
        described = Dataset()
        described.RelationshipType, described.ValueType, described.TextValue = "CONTAINS", "TEXT", text
        described.ConceptNameCodeSequence = [code_item("113012", "Key Object Description")]
        document.ContentSequence.append(described)
    return document


def _evidence(rejected: Sequence[Dataset]) -> list[Dataset]:
    studies: dict[str, Dataset] = {}
    series: dict[tuple[str, str], Dataset] = {}
    for image in rejected:
        if image.StudyInstanceUID not in studies:
            found = studies[image.StudyInstanceUID] = Dataset()
            found.StudyInstanceUID, found.ReferencedSeriesSequence = image.StudyInstanceUID, []
        key = image.StudyInstanceUID, image.SeriesInstanceUID
        if key not in series:
            found = series[key] = Dataset()
            found.SeriesInstanceUID, found.ReferencedSOPSequence = image.SeriesInstanceUID, []
            studies[image.StudyInstanceUID].ReferencedSeriesSequence.append(found)
        series[key].ReferencedSOPSequence.append(_sop(image))
    return list(studies.values())


def _sop(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE" if "Rows" in image else "COMPOSITE"
    item.ReferencedSOPSequence = [_sop(image)]
    return item
