"""Stored values of a monochrome image to 8-bit grey (PS3.3 C.7.6.16.2, C.11.1, C.11.2; PS3.4 N.2).

Stored value -> Modality LUT -> VOI LUT -> presentation. Values of up to 16 bits go through one table of all possible
values; no table is ever sized by what an object claims (a tiny Rescale Slope costs nothing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from archive.imaging.pixels import PixelFormat

Floats = NDArray[np.float64]
Transform = Callable[[Floats], Floats]
Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
FUNCTIONS: Final[tuple[Function, ...]] = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_BAND: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window (PS3.3 C.11.2.1.2), on values behind the Modality LUT."""

    center: float
    width: float
    function: Function = "LINEAR"

    @property
    def valid(self) -> bool:
        least = 1 if self.function == "LINEAR" else 0
        return bool(np.isfinite([self.center, self.width]).all()) and self.width >= least and self.width > 0

    def __call__(self, values: Floats) -> Floats:
        """Map to 0..1."""
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                return 1 / (1 + np.exp(-4 * (values - self.center) / self.width))
        center, width = (self.center - 0.5, self.width - 1) if self.function == "LINEAR" else (self.center, self.width)
        if width == 0:  # C.11.2.1.2.1: a threshold
            return (values > center).astype(np.float64)
        scaled: Floats = np.clip((values - center) / width + 0.5, 0, 1)
        return scaled


def frame_attributes(ds: Dataset, frame: int, keyword: str) -> Dataset:
    """The item of a functional group that holds for the frame, else the dataset itself (PS3.3 C.7.6.16)."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame - 1), ("SharedFunctionalGroupsSequence", 0)):
        items = ds.get(groups)
        if items and index < len(items):
            macro = items[index].get(keyword)
            if macro:
                return macro[0]  # type: ignore[no-any-return]
    return ds


def to_grey(pixels: NDArray[Any], layout: PixelFormat, ds: Dataset, frame: int, window: Window | None) -> NDArray[Any]:
    """Render the frame (1-based) of a monochrome image as 8-bit grey.

    The window is the one asked for, else the first of the object, else its first VOI LUT, else what makes the whole
    range of the frame visible, padding not counted. Padding is black whatever the transformations make of its value:
    it is no image (PS3.3 C.7.5.1.1.2).
    """
    modality = modality_transform(ds, frame)
    padding = padding_range(ds, layout)
    voi = window or _window_of(ds, frame) or _lut_of(ds, frame) or _whole_range(pixels, padding, modality)
    present = _presentation(ds, layout)

    def to_bytes(values: Floats) -> NDArray[np.uint8]:
        shown = np.rint(present(np.nan_to_num(voi(modality(values)), nan=0.0)) * 255).astype(np.uint8)
        if padding is not None:
            shown[(values >= padding[0]) & (values <= padding[1])] = 0
        return shown

    if pixels.dtype.kind in "ui" and pixels.dtype.itemsize <= 2:
        unsigned = np.dtype(f"u{pixels.dtype.itemsize}")
        domain = np.arange(1 << 8 * pixels.dtype.itemsize, dtype=unsigned).view(pixels.dtype.newbyteorder("="))
        table = to_bytes(domain.astype(np.float64))
        index: NDArray[Any] = pixels.astype(pixels.dtype.newbyteorder("="), copy=False).view(unsigned)
        return np.take(table, index)
    flat, grey = pixels.ravel(), np.empty(pixels.size, np.uint8)
    for start in range(0, flat.size, _BAND):
        grey[start : start + _BAND] = to_bytes(flat[start : start + _BAND].astype(np.float64))
    return grey.reshape(pixels.shape)


def _presentation(ds: Dataset, layout: PixelFormat) -> Transform:
    """Presentation LUT or its shape, from 0..1 to 0..1 (PS3.3 C.11.4, C.11.6; C.7.6.3.1.2)."""
    items = ds.get("PresentationLUTSequence")
    table = lookup_table(items[0]) if items else None
    if table is not None:
        _, values, bits = table
        # PS3.3 C.11.6.1.1: the input range is that of the descriptor, whatever range the VOI LUT has.
        return lambda shown: values[np.rint(shown * (values.size - 1)).astype(np.int64)] / float((1 << bits) - 1)
    if layout.photometric == "MONOCHROME1" or str(ds.get("PresentationLUTShape") or "").strip() == "INVERSE":
        return lambda shown: 1 - shown
    return lambda shown: shown


def padding_range(ds: Dataset, layout: PixelFormat) -> tuple[float, float] | None:
    """Least and greatest stored value that is padding (PS3.3 C.7.5.1.1.2, C.7.6.24, C.7.6.25); None without."""
    prefix = {"PixelData": "Pixel", "FloatPixelData": "FloatPixel", "DoubleFloatPixelData": "DoubleFloatPixel"}
    names = [f"{prefix[layout.keyword]}Padding{end}" for end in ("Value", "RangeLimit")]
    value, limit = (_padding(ds.get(name), layout) for name in names)
    if value is None:
        return None
    return min(value, value if limit is None else limit), max(value, value if limit is None else limit)


def _padding(value: Any, layout: PixelFormat) -> float | None:
    if not isinstance(value, int | float):
        return None
    # US or SS as the pixels are; writers mix them up.
    if layout.keyword == "PixelData" and layout.signed and 32768 <= value < 65536:
        return float(value - 65536)
    if layout.keyword == "PixelData" and not layout.signed and -32768 <= value < 0:
        return float(value + 65536)
    return float(value)


def modality_transform(ds: Dataset, frame: int) -> Transform:
    """Modality LUT or rescale (PS3.3 C.11.1; per frame: C.7.6.16.2.9)."""
    if items := ds.get("ModalityLUTSequence"):
        table = lookup_table(items[0])
        if table is not None:
            first, values, _ = table
            return lambda stored: _look_up(stored, first, values)
    item = frame_attributes(ds, frame, "PixelValueTransformationSequence")
    slope, intercept = _float(item, "RescaleSlope", 1.0), _float(item, "RescaleIntercept", 0.0)
    return lambda stored: stored * slope + intercept


def lookup_table(item: Dataset) -> tuple[int, Floats, int] | None:
    """First mapped value, entries and bits per entry of a LUT (PS3.3 C.11.1.1); None if it cannot be used."""
    try:
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        data = item.LUTData
    except (AttributeError, TypeError, ValueError):
        return None
    if isinstance(data, bytes | bytearray):
        data = np.frombuffer(bytes(data)[: len(data) // 2 * 2], "<u2")
    values = np.atleast_1d(np.asarray(data)).astype(np.float64)
    values = np.where(values < 0, values + 65536, values)
    count = (count & 0xFFFF) or 65536
    if not values.size or not 0 < bits <= 16:
        return None
    return first, values[:count], bits


def _look_up(stored: Floats, first: int, values: Floats) -> Floats:
    # The first mapped value is US or SS as the pixels are; writers mix them up (PS3.3 C.11.1.1).
    if first >= 32768 and stored.size and stored.min() < 0:
        first -= 65536
    index = np.clip(np.nan_to_num(stored) - first, 0, values.size - 1).astype(np.int64)
    return values[index]


def _window_of(ds: Dataset, frame: int) -> Window | None:
    item = frame_attributes(ds, frame, "FrameVOILUTSequence")
    center, width = _float(item, "WindowCenter", np.nan), _float(item, "WindowWidth", np.nan)
    name = str(item.get("VOILUTFunction") or "LINEAR").strip().upper()
    window = Window(center, width, next((f for f in FUNCTIONS if f == name), "LINEAR"))
    return window if window.valid else None


def _lut_of(ds: Dataset, frame: int) -> Transform | None:
    items = frame_attributes(ds, frame, "FrameVOILUTSequence").get("VOILUTSequence")
    table = lookup_table(items[0]) if items else None
    if table is None:
        return None
    first, values, bits = table
    # Some writers give 16 bits for tables of fewer: the entries tell (DCMTK does likewise).
    top = float((1 << bits) - 1)
    if values.max() > top or (bits == 16 and values.max() < 256):
        top = max(float(values.max()), 1.0)
    return lambda shown: _look_up(shown, first, values) / top


def _whole_range(pixels: NDArray[Any], padding: tuple[float, float] | None, modality: Transform) -> Transform:
    """Least to greatest value of the frame, without padding (PS3.3 C.7.5.1.1.2)."""
    counted = pixels
    if padding is not None:
        counted = pixels[(pixels < padding[0]) | (pixels > padding[1])]
    if pixels.dtype.kind == "f":
        counted = counted[np.isfinite(counted)]
    if not counted.size:
        counted = np.zeros(1) if pixels.dtype.kind == "f" else pixels
    low_high = modality(np.array([counted.min(), counted.max()], np.float64))
    least, greatest = float(low_high.min()), float(low_high.max())
    if greatest <= least:
        return lambda values: np.where(values > least, 1.0, 0.0)
    return lambda values: np.clip((values - least) / (greatest - least), 0, 1)


def _float(item: Dataset, keyword: str, default: float) -> float:
    """The first value of an attribute as a finite number."""
    value: Any = item.get(keyword)
    if value is None or value == "":
        return default
    try:
        number = float(value if isinstance(value, int | float | str) else value[0])
    except (TypeError, ValueError, IndexError):
        return default
    return number if np.isfinite(number) else default
