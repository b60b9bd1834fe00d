"""The DICOMDIR of a medium: a directory of its files by patient, study and series (PS3.3 F, PS3.10 8.6).

Records point at each other by their place in the file. They are encoded once, with places of a fixed size, which are
filled in when all are known; so nothing but the records is kept, and nothing is written to a disk on the way.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

_IMAGE: Final = "IMAGE"
_SR: Final = "1.2.840.10008.5.1.4.1.1.88."
_STATE: Final = "1.2.840.10008.5.1.4.1.1.11."
_WAVEFORM: Final = "1.2.840.10008.5.1.4.1.1.9."
_TYPES: Final[Mapping[str, str]] = {
    f"{_SR}59": "KEY OBJECT DOC",
    "1.2.840.10008.5.1.4.1.1.66": "RAW DATA",
    "1.2.840.10008.5.1.4.1.1.66.1": "REGISTRATION",
    "1.2.840.10008.5.1.4.1.1.66.2": "FIDUCIAL",
    "1.2.840.10008.5.1.4.1.1.66.3": "REGISTRATION",
    "1.2.840.10008.5.1.4.1.1.66.5": "SURFACE",
    "1.2.840.10008.5.1.4.1.1.104.1": "ENCAP DOC",
    "1.2.840.10008.5.1.4.1.1.104.2": "ENCAP DOC",
    "1.2.840.10008.5.1.4.1.1.481.2": "RT DOSE",
    "1.2.840.10008.5.1.4.1.1.481.3": "RT STRUCTURE SET",
    "1.2.840.10008.5.1.4.1.1.481.5": "RT PLAN",
    "1.2.840.10008.5.1.4.1.1.481.8": "RT PLAN",
}
_DOCUMENT: Final = ("InstanceNumber", "ContentDate", "ContentTime")
# PS3.3 F.5: what each record has. Values of type 1 that an object lacks are invented, as by `dcmmkdir --invent`.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "STUDY": ("StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "StudyInstanceUID", "StudyID"),
    "SERIES": ("Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "InstitutionName"),
    _IMAGE: ("ImageType", "InstanceNumber", "Rows", "Columns", "NumberOfFrames"),
    "SR DOCUMENT": (*_DOCUMENT, "CompletionFlag", "VerificationFlag", "ConceptNameCodeSequence"),
    "KEY OBJECT DOC": (*_DOCUMENT, "ConceptNameCodeSequence"),
    "PRESENTATION": ("PresentationCreationDate", "PresentationCreationTime", "InstanceNumber", "ContentLabel"),
    "WAVEFORM": _DOCUMENT,
    "RAW DATA": _DOCUMENT,
    "SURFACE": _DOCUMENT,
    "ENCAP DOC": (*_DOCUMENT, "DocumentTitle", "MIMETypeOfEncapsulatedDocument", "ConceptNameCodeSequence"),
    "REGISTRATION": (*_DOCUMENT, "ContentLabel", "ContentDescription", "ContentCreatorName"),
    "FIDUCIAL": (*_DOCUMENT, "ContentLabel", "ContentDescription", "ContentCreatorName"),
    "RT DOSE": ("InstanceNumber", "DoseSummationType"),
    "RT STRUCTURE SET": ("InstanceNumber", "StructureSetLabel", "StructureSetDate", "StructureSetTime"),
    "RT PLAN": ("InstanceNumber", "RTPlanLabel", "RTPlanDate", "RTPlanTime"),
}
_INVENTED: Final[Mapping[str, str | int]] = {
    "PatientID": "UNKNOWN",
    "StudyDate": "19000101",
    "StudyTime": "000000",
    "StudyID": "0",
    "Modality": "OT",
    "SeriesNumber": 0,
    "InstanceNumber": 0,
    "ContentDate": "19000101",
    "ContentTime": "000000",
    "CompletionFlag": "PARTIAL",
    "VerificationFlag": "UNVERIFIED",
    "PresentationCreationDate": "19000101",
    "PresentationCreationTime": "000000",
    "ContentLabel": "UNNAMED",
    "DoseSummationType": "PLAN",
    "StructureSetLabel": "UNNAMED",
    "RTPlanLabel": "UNNAMED",
    "MIMETypeOfEncapsulatedDocument": "application/pdf",
}
_NEVER_EMPTY: Final = frozenset(_INVENTED)
# Only where it has a value: of type 1C or 3.
_OPTIONAL: Final = frozenset(
    (
        *("ImageType", "Rows", "Columns", "NumberOfFrames", "ConceptNameCodeSequence"),
        *("InstitutionName", "PatientBirthDate", "PatientSex", "SeriesDescription"),
    )
)
# Both offsets come first in a record, and numbers of this size have a fixed length (PS3.5 7.1.2).
_NEXT_AT: Final = 8 + 8
_LOWER_AT: Final = _NEXT_AT + 4 + 10 + 8
_ITEM: Final = struct.Struct("<HHI")


@dataclass(slots=True)
class _Record:
    content: bytearray
    lower: list[_Record] = field(default_factory=list)
    place: int = 0


class MediaDirectory:
    """Collects what is on a medium. Instances may come in any order."""

    def __init__(self, file_set_id: str = "PACS") -> None:
        self._file_set_id = file_set_id
        self._uid = generate_uid(None)
        self._roots: list[_Record] = []
        self._known: dict[tuple[str, ...], _Record] = {}

    def add(self, header: Dataset, file_id: tuple[str, ...], sop_class: str, sop_instance: str, syntax: str) -> None:
        """Enter an instance: its elements, the path of its file in components, and the syntax that the file is in."""
        patient = (str(header.get("IssuerOfPatientID") or ""), str(header.get("PatientID") or ""))
        study, series = str(header.get("StudyInstanceUID")), str(header.get("SeriesInstanceUID"))
        parent = self._parent(("PATIENT", *patient), self._roots, header)
        parent = self._parent(("STUDY", *patient, study), parent.lower, header)
        parent = self._parent(("SERIES", *patient, study, series), parent.lower, header)
        record = _keys(record_type(sop_class), header)
        record.ReferencedFileID = list(file_id)
        record.ReferencedSOPClassUIDInFile = sop_class
        record.ReferencedSOPInstanceUIDInFile = sop_instance
        record.ReferencedTransferSyntaxUIDInFile = syntax
        parent.lower.append(_Record(_encoded(record)))

    def content(self) -> bytes:
        """The file. Its size grows with the number of instances, by some 400 bytes each."""
        head = self._head(0, 0)
        end = _place(self._roots, len(head) + 12)
        roots = self._roots
        head = self._head(roots[0].place, roots[-1].place) if roots else head
        body = b"".join(_written(roots))
        assert len(head) + 12 + len(body) == end
        sequence = struct.pack("<HH2sHI", 0x0004, 0x1220, b"SQ", 0, len(body))
        return head + sequence + body

    def _parent(self, key: tuple[str, ...], siblings: list[_Record], header: Dataset) -> _Record:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _Record(_encoded(_keys(key[0], header)))
            siblings.append(found)
        return found

    def _head(self, first: int, last: int) -> bytes:
        """Everything before the records."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
        meta.MediaStorageSOPInstanceUID = self._uid
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        buffer = DicomBytesIO()
        buffer.write(bytes(128) + b"DICM")
        write_file_meta_info(buffer, meta, enforce_standard=True)
        dataset = Dataset()
        dataset.FileSetID = self._file_set_id
        dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = first
        dataset.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = last
        dataset.FileSetConsistencyFlag = 0
        buffer.write(_elements(dataset))
        return buffer.getvalue()


def record_type(sop_class: str) -> str:
    """The directory record type for instances of this SOP class (PS3.3 F.4)."""
    if sop_class in _TYPES:
        return _TYPES[sop_class]
    for start, name in ((_SR, "SR DOCUMENT"), (_STATE, "PRESENTATION"), (_WAVEFORM, "WAVEFORM")):
        if sop_class.startswith(start):
            return name
    return _IMAGE


def _keys(kind: str, header: Dataset) -> Dataset:
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = 0
    record.RecordInUseFlag = 0xFFFF
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = kind
    if header.get("SpecificCharacterSet"):
        record.SpecificCharacterSet = header.SpecificCharacterSet
    for keyword in _KEYS[kind]:
        value = header.get(keyword)
        given = value is not None and str(value) != ""
        if given:
            setattr(record, keyword, value)
        elif keyword in _NEVER_EMPTY:
            setattr(record, keyword, _INVENTED[keyword])
        elif keyword not in _OPTIONAL:
            setattr(record, keyword, "")
    return record


def _elements(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _encoded(record: Dataset) -> bytearray:
    elements = _elements(record)
    return bytearray(_ITEM.pack(0xFFFE, 0xE000, len(elements)) + elements)


def _place(records: list[_Record], at: int) -> int:
    """Give all records their places, each before what is below it; say where the last ends."""
    for record in records:
        record.place = at
        at = _place(record.lower, at + len(record.content))
    following = [*(record.place for record in records[1:]), 0]
    for record, place in zip(records, following, strict=False):
        struct.pack_into("<I", record.content, _NEXT_AT, place)
        struct.pack_into("<I", record.content, _LOWER_AT, record.lower[0].place if record.lower else 0)
    return at


def _written(records: list[_Record]) -> list[bytes]:
    return [piece for record in records for piece in (bytes(record.content), *_written(record.lower))]
