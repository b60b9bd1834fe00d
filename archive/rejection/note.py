"""Reads rejection notes: Key Object Selection documents of certain titles (PS3.3 C.17.6, IHE RAD TF-2 4.66)."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from archive.rejection.causes import BY_CODE, Title
from archive.standard.scan import Read, Scan, inflate
from archive.standard.uids import is_uid
from config.logs import fields

log = logging.getLogger(__name__)

LONGEST: Final = 64 << 20
"""Bytes: a note that rejects 200,000 instances has half of it. A longer one is no note for us."""
_DESCRIPTION: Final = "113012"
"""Code of the content item Key Object Description (PS3.16 TID 2010)."""
_LONGEST_DESCRIPTION: Final = 1024


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that a note rejects, stored or not."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Note:
    """What a rejection note says."""

    title: Title
    references: tuple[Reference, ...]
    description: str


def read_note(read: Read, scanned: Scan, size: int) -> Note | None:
    """The note in a Key Object Selection document of `size` bytes; None if it is none, such as a list of key images.

    Never raises for what is wrong with the document: it is stored all the same.
    """
    if size > LONGEST or scanned.size > LONGEST:
        return None
    try:
        if scanned.deflated:
            with inflate(read, size) as (inflated, length):
                data = inflated(0, length)
        else:
            data = read(0, size)
        return _note(read_dataset(io.BytesIO(data), scanned.implicit_vr, scanned.little_endian))
    except Exception as error:  # whatever pydicom meets in values that ingest does not look at
        log.warning("a Key Object Selection document cannot be read", extra=fields(error=type(error).__name__))
        return None


def _note(document: Dataset) -> Note | None:
    title = _title(document)
    if title is None:
        return None
    found = [
        Reference(
            _uid(study, "StudyInstanceUID"), _uid(series, "SeriesInstanceUID"), _uid(sop, "ReferencedSOPInstanceUID")
        )
        for study in _items(document, "CurrentRequestedProcedureEvidenceSequence")
        for series in _items(study, "ReferencedSeriesSequence")
        for sop in _items(series, "ReferencedSOPSequence")
    ]
    own = str(document.get("SOPInstanceUID", ""))
    whole = [each for each in found if all((each.study_instance_uid, each.series_instance_uid, each.sop_instance_uid))]
    # No note rejects itself.
    references = tuple(dict.fromkeys(each for each in whole if each.sop_instance_uid != own))
    return Note(title, references, _description(document))


def _title(document: Dataset) -> Title | None:
    for item in _items(document, "ConceptNameCodeSequence"):
        if str(item.get("CodingSchemeDesignator", "")).strip() == "DCM":
            return BY_CODE.get(str(item.get("CodeValue", "")).strip())
    return None


def _description(document: Dataset) -> str:
    for item in _items(document, "ContentSequence"):
        if any(str(name.get("CodeValue", "")) == _DESCRIPTION for name in _items(item, "ConceptNameCodeSequence")):
            return str(item.get("TextValue", "")).replace("\0", "")[:_LONGEST_DESCRIPTION]
    return ""


def _items(dataset: Dataset, keyword: str) -> Any:
    return dataset.get(keyword) or ()


def _uid(dataset: Dataset, keyword: str) -> str:
    value = str(dataset.get(keyword, "")).strip("\0 ")
    return value if is_uid(value) else ""
