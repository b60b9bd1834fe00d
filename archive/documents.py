"""What all documents that the archive makes itself have in common: whose they are, and how they are written."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from archive.receiving import Receiving
from archive.records import DicomJSON, Receipt, Source

TRANSFER_SYNTAX: Final = str(ExplicitVRLittleEndian)
_KEPT: Final = frozenset(
    (
        *("00080020", "00080030", "00080050", "00080090", "00081030", "00100010", "00100020", "00100021"),
        *("00100030", "00100040", "00200010"),
    )
)
"""Of patient and study: what the modules of a document require, and what it is found by."""
_EMPTY: Final = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID")
_EMPTY_OF_PATIENT: Final = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")


def begun(study: str, attributes: DicomJSON) -> Dataset:
    """A document of a study; `attributes` are those of its patient and study."""
    document = Dataset()
    for keyword in (*_EMPTY, *_EMPTY_OF_PATIENT):
        setattr(document, keyword, "")
    document.update(Dataset.from_json({key: value for key, value in attributes.items() if key in _KEPT}))
    document.SpecificCharacterSet = "ISO_IR 192"
    document.StudyInstanceUID = study
    document.TimezoneOffsetFromUTC = "+0700"
    document.Manufacturer = ""
    return document


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def template(identifier: str) -> Dataset:
    """An item of a Content Template Sequence, of PS3.16."""
    item = Dataset()
    item.MappingResource, item.TemplateIdentifier = "DCMR", identifier
    return item


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """An item that names an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def observer(who: str) -> list[Dataset]:
    """PS3.16 TID 1002: a person. Nothing for nobody."""
    if not who:
        return []
    kind, name = Dataset(), Dataset()
    kind.RelationshipType = name.RelationshipType = "HAS OBS CONTEXT"
    kind.ValueType, kind.ConceptNameCodeSequence = "CODE", [code("121005", "Observer Type")]
    kind.ConceptCodeSequence = [code("121006", "Person")]
    name.ValueType, name.ConceptNameCodeSequence = "PNAME", [code("121008", "Person Observer Name")]
    name.PersonName = who[:64]
    return [kind, name]


def store(begin: Callable[..., Receiving], document: Dataset, facility: str, issuer: str, ae_title: str) -> Receipt:
    """Take a document of ours in by the one ingest, as whose study it is. Raises what `Receiving.finish` does."""
    source = Source(
        facility=facility,
        issuer_of_patient_id=issuer,
        transport="import",
        calling_ae_title=ae_title,
        self_made=True,
    )
    receiving = begin(
        source,
        sop_class_uid=str(document.SOPClassUID),
        sop_instance_uid=str(document.SOPInstanceUID),
        transfer_syntax_uid=TRANSFER_SYNTAX,
    )
    with receiving:
        receiving.write(encoded(document))
        return receiving.finish()


def encoded(document: Dataset) -> bytes:
    """The document as a dataset in `TRANSFER_SYNTAX`."""
    buffer = io.BytesIO()
    dcmwrite(buffer, document, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()
