"""How the pixels of an object are laid out (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from pydicom.dataset import Dataset

from archive.errors import NotAcceptable

PixelKeyword = Literal["PixelData", "FloatPixelData", "DoubleFloatPixelData"]
PIXEL_TAGS: Final[dict[PixelKeyword, int]] = {
    "PixelData": 0x7FE00010,
    "FloatPixelData": 0x7FE00008,
    "DoubleFloatPixelData": 0x7FE00009,
}

_MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The Image Pixel attributes that say what the bytes of a frame mean."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: int
    keyword: PixelKeyword = "PixelData"
    keep_unused_bits: bool = False
    """Overlays are in the unused bits of the pixel cells (PS3.5 8.1.2, retired)."""

    @property
    def monochrome(self) -> bool:
        return self.photometric in _MONOCHROME

    @property
    def frame_bits(self) -> int:
        """Bits of one frame in native encoding (PS3.5 8.1.1); chrominance of YBR_x_422 is given for two pixels."""
        samples = 2 if self.samples == 3 and self.photometric.endswith("_422") else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def frame_bytes(self) -> int:
        return (self.frame_bits + 7) // 8

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded frame as an array: one-bit pixels take a byte, chrominance is at full resolution."""
        return self.rows * self.columns * self.samples * max(1, self.bits_allocated // 8)


def pixel_format(ds: Dataset, keyword: PixelKeyword = "PixelData") -> PixelFormat:
    """Read the Image Pixel module (PS3.3 C.7.6.3) from the header of an object.

    Where careless writers left out what follows from the rest, the rest decides.

    Raises
    ------
    NotAcceptable
        The object has no image, or one that cannot be told.
    """
    rows, columns = _number(ds, "Rows", 0), _number(ds, "Columns", 0)
    allocated = _number(ds, "BitsAllocated", 0)
    if rows <= 0 or columns <= 0 or not (allocated == 1 or (allocated > 0 and allocated % 8 == 0)):
        raise NotAcceptable(f"{describe(ds)} has no image that can be decoded")
    samples = _number(ds, "SamplesPerPixel", 1)
    stored = _number(ds, "BitsStored", allocated)
    photometric = str(ds.get("PhotometricInterpretation") or "").strip()
    return PixelFormat(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored if 0 < stored <= allocated else allocated,
        signed=_number(ds, "PixelRepresentation", 0) == 1 and keyword == "PixelData",
        photometric=photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
        planar=_number(ds, "PlanarConfiguration", 0) if samples > 1 else 0,
        keyword=keyword,
        keep_unused_bits=_has_embedded_overlay(ds),
    )


def float_keyword(ds: Dataset) -> PixelKeyword:
    """The pixel element that the Image Pixel attributes tell of, where the element itself was not read.

    Float images have no Bits Stored (PS3.3 C.7.6.24, C.7.6.25).
    """
    if "BitsStored" in ds or "PixelRepresentation" in ds:
        return "PixelData"
    return {32: "FloatPixelData", 64: "DoubleFloatPixelData"}.get(_number(ds, "BitsAllocated", 0), "PixelData")  # type: ignore[return-value]


def describe(ds: Dataset) -> str:
    """The kind of object in words that name no patient."""
    name = str(getattr(ds.get("SOPClassUID"), "name", "") or "the object")
    return name.removesuffix(" Storage")


def _has_embedded_overlay(ds: Dataset) -> bool:
    """Whether an overlay has no Overlay Data of its own (PS3.3 C.9.2, 2004): its bits are beside the pixels."""
    return any((group, 0x0010) in ds and (group, 0x3000) not in ds for group in range(0x6000, 0x6020, 2))


def _number(ds: Dataset, keyword: str, default: int) -> int:
    value: Any = ds.get(keyword)
    try:
        return default if value is None else int(value)
    except (TypeError, ValueError):
        return default
