"""A signed version as a DICOM document: Basic Text SR (PS3.3 A.35.1, PS3.16 TID 2000) and Encapsulated PDF (A.45.1)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final, Literal

from pydicom.dataset import Dataset

from archive import documents
from archive.documents import code, observer, reference, template
from archive.records import DicomJSON
from archive.reports.records import Version
from config.clock import VIETNAM

BASIC_TEXT_SR: Final = "1.2.840.10008.5.1.4.1.1.88.11"
ENCAPSULATED_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
TITLE: Final = "Kết quả chẩn đoán hình ảnh"
Kind = Literal["sr", "pdf"]
CLASSES: Final[dict[Kind, str]] = {"sr": BASIC_TEXT_SR, "pdf": ENCAPSULATED_PDF}
_SERIES_NUMBERS: Final[dict[Kind, int]] = {"sr": 9001, "pdf": 9002}
_MODALITIES: Final[dict[Kind, str]] = {"sr": "SR", "pdf": "DOC"}


def uid_of(number: str, kind: Kind, version: int | None = None) -> str:
    """The SOP Instance UID of a version's object, or without one the UID of their series: always the same (PS3.5 B.2).

    So what is made again after a crash is the same object.
    """
    name = f"{kind} series" if version is None else f"{kind} {version}"
    return f"2.25.{uuid.uuid5(uuid.UUID(number), name).int}"


def structured_report(number: str, version: Version, attributes: DicomJSON, before: Sequence[int]) -> Dataset:
    """The Structured Report. `before` are the numbers of the versions whose place it takes."""
    document = _begun(number, "sr", version, attributes)
    document.PreliminaryFlag, document.CompletionFlag, document.VerificationFlag = "FINAL", "COMPLETE", "VERIFIED"
    document.VerifyingObserverSequence = [_verifier(version)]
    document.ReferencedPerformedProcedureStepSequence = []
    document.PerformedProcedureCodeSequence = []
    if before:
        document.PredecessorDocumentsSequence = [_predecessors(str(document.StudyInstanceUID), number, before)]
    document.ValueType, document.ContinuityOfContent = "CONTAINER", "SEPARATE"
    document.ConceptNameCodeSequence = [code("18748-4", TITLE, "LN")]
    document.ContentTemplateSequence = [template("2000")]
    document.ContentSequence = [
        _language(),
        *observer(version.author_name),
        *_section("121070", "Hình ảnh", "121071", "Mô tả", version.description),
        *_section("121076", "Kết luận", "121077", "Kết luận", version.conclusion),
        *_section("121074", "Đề nghị", "121075", "Đề nghị", version.recommendation),
    ]
    for each in version.addenda:
        document.ContentSequence += _section("121078", f"Bổ sung {each['at'][:16]}", "121071", "Bổ sung", each["text"])
    return document


def encapsulated_pdf(
    number: str, version: Version, attributes: DicomJSON, before: Sequence[int], content: bytes
) -> Dataset:
    """The PDF as an object."""
    document = _begun(number, "pdf", version, attributes)
    document.ConversionType, document.BurnedInAnnotation = "WSD", "YES"
    document.AcquisitionDateTime = ""
    document.DocumentTitle = TITLE
    document.VerificationFlag = "VERIFIED"
    document.ConceptNameCodeSequence = [code("18748-4", TITLE, "LN")]
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(content)
    document.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    if before:
        document.PredecessorDocumentsSequence = [_predecessors(str(document.StudyInstanceUID), number, before, "pdf")]
    return document


def _begun(number: str, kind: Kind, version: Version, attributes: DicomJSON) -> Dataset:
    assert version.subject is not None and version.signed_at is not None
    document = documents.begun(version.subject["study"], attributes)
    document.SOPClassUID, document.SOPInstanceUID = CLASSES[kind], uid_of(number, kind, version.number)
    document.SeriesInstanceUID, document.SeriesNumber = uid_of(number, kind), _SERIES_NUMBERS[kind]
    document.Modality, document.InstanceNumber = _MODALITIES[kind], version.number
    document.SeriesDescription = TITLE
    document.InstitutionName = version.subject["facility_name"][:64]
    at = version.signed_at.astimezone(VIETNAM)
    document.ContentDate, document.ContentTime = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    document.InstanceCreationDate, document.InstanceCreationTime = document.ContentDate, document.ContentTime
    return document


def _verifier(version: Version) -> Dataset:
    """PS3.3 C.17.2: who stands by it."""
    assert version.subject is not None and version.signed_at is not None
    item = Dataset()
    item.VerifyingObserverName = version.author_name[:64]
    item.VerifyingOrganization = version.subject["facility_name"][:64]
    item.VerificationDateTime = version.signed_at.astimezone(VIETNAM).strftime("%Y%m%d%H%M%S+0700")
    known = version.author_licence
    # The code scheme is private: numbers of practising licences (CCHN) have none that is registered.
    item.VerifyingObserverIdentificationCodeSequence = [code(known[:16], known[:64], "99CCHN")] if known else []
    return item


def _predecessors(study: str, number: str, before: Sequence[int], kind: Kind = "sr") -> Dataset:
    item, series = Dataset(), Dataset()
    series.SeriesInstanceUID = uid_of(number, kind)
    series.ReferencedSOPSequence = [reference(CLASSES[kind], uid_of(number, kind, each)) for each in before]
    item.StudyInstanceUID, item.ReferencedSeriesSequence = study, [series]
    return item


def _language() -> Dataset:
    """PS3.16 TID 1204."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "HAS CONCEPT MOD", "CODE"
    item.ConceptNameCodeSequence = [code("121049", "Language of Content Item and Descendants")]
    item.ConceptCodeSequence = [code("vi", "Vietnamese", "RFC5646")]
    return item


def _section(heading: str, title: str, concept: str, name: str, text: str) -> list[Dataset]:
    """A section of TID 2000 with one text; nothing if there is none."""
    if not text:
        return []
    section, item = Dataset(), Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
    item.ConceptNameCodeSequence = [code(concept, name)]
    section.RelationshipType, section.ValueType, section.ContinuityOfContent = "CONTAINS", "CONTAINER", "SEPARATE"
    section.ConceptNameCodeSequence = [code(heading, title)]
    section.ContentSequence = [item]
    return [section]
