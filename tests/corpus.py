"""The DICOM files that come with pydicom and pydicom-data, sorted into what an archive should take and what not.

The judgement is pydicom's, so that it can be held against the archive's own.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import data_store
import pydicom
from pydicom.dataset import FileDataset

from archive.standard.uids import is_storage_sop_class, is_uid

ROOTS = (Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data")
_NOT_DICOM = {".py", ".pyc", ".md", ".txt", ".json", ".dump", ".icc", ".gz"}


@dataclass(frozen=True)
class CorpusFile:
    """A file of the corpus; `excluded` says why it is no storage object, and is empty if it is one."""

    path: Path
    has_meta: bool
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    excluded: str

    @property
    def is_storage_object(self) -> bool:
        """Whether an archive should take it."""
        return not self.excluded


@cache
def corpus() -> tuple[CorpusFile, ...]:
    """Return every file that differs in content from those before it, in a fixed order."""
    seen: set[bytes] = set()
    found = []
    for root in ROOTS:
        for path in sorted(root.rglob("*")):
            if not path.is_file() or path.suffix in _NOT_DICOM or path.name == "README":
                continue
            data = path.read_bytes()
            digest = hashlib.sha256(data).digest()
            if digest not in seen:
                seen.add(digest)
                found.append(_judge(path, data))
    return tuple(found)


def storage_objects() -> list[Path]:
    """Return the distinct files that are DICOM files, complete, and of a storage SOP class."""
    return [file.path for file in corpus() if file.is_storage_object]


def _judge(path: Path, data: bytes) -> CorpusFile:
    has_meta = data[128:132] == b"DICM"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            dataset = pydicom.dcmread(BytesIO(data), force=True)
            excluded = _why_excluded(dataset, has_meta)
        except Exception as error:
            return CorpusFile(path, has_meta, "", "", "", f"pydicom cannot read it: {error}")
        if not excluded and any("End of input" in str(each.message) for each in caught):
            excluded = "truncated"
        return CorpusFile(
            path,
            has_meta,
            str(dataset.get("SOPClassUID", "") or ""),
            str(dataset.get("SOPInstanceUID", "") or ""),
            str(dataset.file_meta.get("TransferSyntaxUID", "") or ""),
            excluded,
        )


def _why_excluded(dataset: FileDataset, has_meta: bool) -> str:
    if not has_meta:
        return "no file meta information"
    if not dataset.file_meta.get("TransferSyntaxUID"):
        return "no transfer syntax"
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        uid = str(dataset.get(keyword, "") or "")
        if not is_uid(uid):
            return f"no valid {keyword}"
    if not is_storage_sop_class(str(dataset.SOPClassUID)):
        return "not of a storage SOP class"
    raw = [element for element in dataset.elements() if isinstance(element, pydicom.dataelem.RawDataElement)]
    if any(each.length not in (0, 0xFFFFFFFF) and len(each.value or b"") != each.length for each in raw):
        return "truncated"
    return ""
