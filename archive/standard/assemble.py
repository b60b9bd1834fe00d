"""Datasets put together from metadata in the DICOM JSON model and bulk data that came apart (PS3.18 8.6.1.2, F.2).

What comes out is Explicit VR Little Endian, or an encapsulated transfer syntax where the pixels came compressed. Bulk
data of the top level are passed through in pieces; whatever their size, they are never in memory as a whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from archive.errors import CannotParse
from archive.private_file import PrivateFile
from archive.standard.coding import SHORT_VRS
from archive.standard.json_model import JSONDataset

EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
PIXEL_DATA: Final = "7FE00010"
_CHARACTER_SET: Final = "00080005"
_UTF_8: Final = "ISO_IR 192"
_PIECE: Final = 1 << 20
_LONGEST: Final = 0xFFFFFFFE
_BULK_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN", "UC", "UR", "UT"))
_ITEM: Final = bytes.fromhex("feff00e0")
_SEQUENCE_END: Final = bytes.fromhex("feffdde000000000")


@dataclass(frozen=True, slots=True)
class Bulk:
    """Bulk data that came in a part of its own: `size` bytes from `offset` of a file."""

    file: PrivateFile
    offset: int
    size: int
    media_type: str = ""
    transfer_syntax_uid: str = ""
    """Empty for what is not compressed pixels."""

    def head(self, size: int) -> bytes:
        """The first bytes."""
        self.file.seek(self.offset)
        return self.file.read(min(size, self.size))

    def pieces(self) -> Iterator[bytes]:
        """The bytes in pieces. Others may use the file between two of them."""
        at, end = self.offset, self.offset + self.size
        while at < end:
            self.file.seek(at)
            piece = self.file.read(min(_PIECE, end - at))
            if not piece:
                raise CannotParse("bulk data are shorter than they were")
            at += len(piece)
            yield piece


Find = Callable[[str], Bulk]
"""Gives the bulk data of a BulkDataURI. Raises `CannotParse` when there are none of that address."""


def assemble(dataset: JSONDataset, find: Find) -> Iterator[bytes]:
    """Encode a dataset in pieces.

    Raises
    ------
    CannotParse
        The metadata is not in the DICOM JSON model, names bulk data that are not there, or is too large to encode.
    """
    apart = {key: element for key, element in dataset.items() if _is_apart(key, element)}
    rest = {key: element for key, element in dataset.items() if key not in apart and not _is_meta(key)}
    # Whatever the metadata say: JSON is in UTF-8, and so is what is made of it (F.2).
    rest[_CHARACTER_SET] = {"vr": "CS", "Value": [_UTF_8]}
    before: dict[str, Any] = {}
    for key in sorted({*rest, *apart}):
        if key not in apart:
            before[key] = rest[key]
            continue
        yield _encode(before, find)
        before = {}
        yield from _bulk_element(key, apart[key], find(str(apart[key]["BulkDataURI"])))
    yield _encode(before, find)


def _is_meta(key: str) -> bool:
    """File meta information, command elements and group lengths: they are made anew, or no more."""
    return key[:4] in ("0000", "0002") or key[4:] == "0000"


def _is_apart(key: str, element: Mapping[str, Any]) -> bool:
    return "BulkDataURI" in element and element.get("vr") in _BULK_VRS and len(key) == 8 and not _is_meta(key)


def _bulk_element(key: str, element: Mapping[str, Any], bulk: Bulk) -> Iterator[bytes]:
    tag = bytes.fromhex(key)
    start = tag[1::-1] + tag[3:1:-1]
    padding = b"\0" * (bulk.size % 2)
    if bulk.size + len(padding) > _LONGEST:
        raise CannotParse(f"the bulk data of {key} are larger than an element can be")
    length = (bulk.size + len(padding)).to_bytes(4, "little")
    if key == PIXEL_DATA and bulk.transfer_syntax_uid:
        # One fragment of one frame, or of a video (PS3.5 A.4), behind an empty offset table.
        yield start + b"OB\0\0\xff\xff\xff\xff" + _ITEM + bytes(4) + _ITEM + length
        yield from bulk.pieces()
        yield padding + _SEQUENCE_END
        return
    vr = str(element["vr"])
    assert vr not in SHORT_VRS
    yield start + vr.encode() + b"\0\0" + length
    yield from bulk.pieces()
    yield b" " if padding and vr in ("UC", "UR", "UT") else padding


def _encode(dataset: JSONDataset, find: Find) -> bytes:
    """Elements without bulk data of the top level, by pydicom; what it raises is the fault of the metadata."""

    def inner(_tag: str, _vr: str, uri: str) -> bytes:
        bulk = find(uri)
        return b"".join(bulk.pieces())

    if not dataset:
        return b""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    try:
        with warnings.catch_warnings():
            # It warns of values that break a rule of their VR. They are the sender's, and kept.
            warnings.simplefilter("ignore")
            made = Dataset.from_json(dict(dataset), inner)
            write_dataset(buffer, made, _UTF_8)
    except CannotParse:
        raise
    except Exception as error:
        raise CannotParse(f"the metadata cannot be encoded: {type(error).__name__}") from error
    return buffer.getvalue()
