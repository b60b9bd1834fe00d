"""What bulk data say of themselves, for metadata that leave it out (PS3.18 10.5.1.1.2)."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from PIL import Image, UnidentifiedImageError

from archive.errors import CannotParse
from archive.standard.assemble import PIXEL_DATA, Bulk
from archive.standard.json_model import JSONDataset

_ENCAPSULATED_DOCUMENT: Final = "00420011"
_MIME_TYPE_OF_ENCAPSULATED_DOCUMENT: Final = "00420012"
_ENCAPSULATED_DOCUMENT_LENGTH: Final = "00420015"
_JPEG: Final = "image/jpeg"
# The process of a JPEG stream by its Start Of Frame marker (ISO/IEC 10918-1 Table B.1; PS3.5 A.4.1).
_PROCESSES: Final = {0xC0: "1.2.840.10008.1.2.4.50", 0xC1: "1.2.840.10008.1.2.4.51", 0xC3: "1.2.840.10008.1.2.4.70"}
_HEAD: Final = 1 << 20
_NO_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xDA)))
_SAMPLES: Final = {"L": 1, "RGB": 3, "YCbCr": 3}


def jpeg_syntax(bulk: Bulk) -> str:
    """The transfer syntax of a JPEG stream, told by its process; empty for one that DICOM does not know."""
    head = bulk.head(_HEAD)
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _PROCESSES.get(marker, "")
        at += 2 if marker in _NO_LENGTH else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return ""


def describe_bulk(dataset: JSONDataset, key: str, bulk: Bulk) -> JSONDataset:
    """The dataset with the attributes that follow from its bulk data, as far as it has none. Raises `CannotParse`."""
    if key == _ENCAPSULATED_DOCUMENT:
        found: dict[str, dict[str, Any]] = {
            _MIME_TYPE_OF_ENCAPSULATED_DOCUMENT: {"vr": "LO", "Value": [bulk.media_type]},
            _ENCAPSULATED_DOCUMENT_LENGTH: {"vr": "UL", "Value": [bulk.size]},
        }
        return {**found, **dataset}
    if key == PIXEL_DATA and bulk.media_type == _JPEG and not {"00280010", "00280011"} <= dataset.keys():
        return {**_image(bulk), **dataset}
    return dataset


def _image(bulk: Bulk) -> dict[str, dict[str, Any]]:
    """The Image Pixel module of a JPEG picture of 8 bits, as a camera makes it (PS3.3 C.7.6.3)."""
    try:
        with Image.open(BytesIO(bulk.head(_HEAD)), formats=("JPEG",)) as image:
            width, height, mode = image.width, image.height, image.mode
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise CannotParse(f"the picture cannot be read: {type(error).__name__}") from error
    samples = _SAMPLES.get(mode)
    if samples is None:
        raise CannotParse("the metadata do not describe the pixels, and only grey and RGB pictures do so themselves")
    made: dict[str, dict[str, Any]] = {
        "00280002": {"vr": "US", "Value": [samples]},
        "00280004": {"vr": "CS", "Value": ["MONOCHROME2" if samples == 1 else "YBR_FULL_422"]},
        "00280010": {"vr": "US", "Value": [height]},
        "00280011": {"vr": "US", "Value": [width]},
        "00280100": {"vr": "US", "Value": [8]},
        "00280101": {"vr": "US", "Value": [8]},
        "00280102": {"vr": "US", "Value": [7]},
        "00280103": {"vr": "US", "Value": [0]},
    }
    if samples == 3:
        made["00280006"] = {"vr": "US", "Value": [0]}
    return made
