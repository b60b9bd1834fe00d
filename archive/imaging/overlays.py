"""Overlay planes: graphics that lie over an image (PS3.3 C.9.2), in elements of their own or in unused bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

GROUPS: Final = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _TYPE, _ORIGIN = 0x0010, 0x0011, 0x0015, 0x0040, 0x0050
_FIRST_FRAME, _BIT_POSITION, _DATA = 0x0051, 0x0102, 0x3000
_GRAPHICS: Final = "G"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Plane:
    group: int
    rows: int
    columns: int
    top: int
    """Of the plane in the image, from 0; may be negative."""
    left: int


def overlay_mask(ds: Dataset, frame: int, cells: NDArray[Any], groups: frozenset[int] | None = None) -> Mask | None:
    """The pixels of a frame (1-based) that overlays cover; None if there is no overlay.

    Planes of type G (graphics) count; a plane of type R says which pixels are a region, not that they be hidden
    (PS3.3 C.9.2.1.1). What is damaged or ends early covers nothing from there on.

    Parameters
    ----------
    cells : NDArray[Any]
        The decoded frame with its unused bits (PS3.5 8.1.2): overlays may be in them.
    groups : frozenset[int] | None
        Only overlays of these groups, whatever their type; all of type G if None.
    """
    mask: Mask | None = None
    for group in GROUPS:
        plane = _plane(ds, group) if groups is None or group in groups else None
        if plane is None or (groups is None and str(_value(ds, group, _TYPE) or _GRAPHICS).strip() != _GRAPHICS):
            continue
        bits = _embedded(ds, plane, cells) if _value(ds, group, _DATA) is None else _own(ds, plane, frame)
        if bits is not None:
            mask = np.zeros(cells.shape[:2], bool) if mask is None else mask
            _lay(bits, plane, mask)
    return mask


def used_bits(ds: Dataset, cells: NDArray[Any], signed: bool) -> NDArray[Any]:
    """The pixels of cells that carry more in their unused bits (PS3.5 8.1.1)."""
    width = 8 * cells.dtype.itemsize
    low, stored = _pixel_bits(ds)
    if cells.dtype.kind not in "ui" or low + stored > width:
        return cells
    # To the top and back: what is above falls out, and the sign of signed pixels spreads.
    raised = cells.view(f"u{cells.dtype.itemsize}") << (width - low - stored)
    return raised.view(f"{'i' if signed else 'u'}{cells.dtype.itemsize}") >> (width - stored)


def burn_in(pixels: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    """The picture with what the mask covers in white."""
    shown = pixels.copy()
    shown[mask] = 255
    return shown


def _plane(ds: Dataset, group: int) -> _Plane | None:
    rows, columns = _number(ds, group, _ROWS, 0), _number(ds, group, _COLUMNS, 0)
    if rows <= 0 or columns <= 0:
        return None
    origin = _value(ds, group, _ORIGIN)
    try:
        top, left = (int(value) - 1 for value in origin)
    except (TypeError, ValueError):
        top, left = 0, 0
    return _Plane(group, rows, columns, top, left)


def _own(ds: Dataset, plane: _Plane, frame: int) -> Mask | None:
    """The plane from Overlay Data: bits from the least significant on, frames without gaps (PS3.5 8.1.2)."""
    count = _number(ds, plane.group, _FRAMES, 1)
    index = 0
    if _value(ds, plane.group, _FRAMES) is not None:  # else it is for every frame (PS3.3 C.9.3)
        index = frame - _number(ds, plane.group, _FIRST_FRAME, 1)
        if not 0 <= index < count:
            return None
    data = _data(ds, plane.group)
    size = plane.rows * plane.columns
    first, last = index * size, (index + 1) * size
    found = np.unpackbits(data[first // 8 : -(-last // 8)], bitorder="little")[first % 8 :][:size]
    # An array of the size that is claimed is made only for as many rows as there are bits.
    rows = found.size // plane.columns
    return found[: rows * plane.columns].reshape(rows, plane.columns).astype(bool)


def _data(ds: Dataset, group: int) -> NDArray[np.uint8]:
    element = ds[group, _DATA]
    value = element.value
    data = np.frombuffer(value if isinstance(value, bytes) else b"", np.uint8)
    big = element.VR == "OW" and ds.original_encoding[1] is False
    return data[: data.size // 2 * 2].reshape(-1, 2)[:, ::-1].ravel() if big else data


def _embedded(ds: Dataset, plane: _Plane, cells: NDArray[Any]) -> Mask | None:
    """The plane from the unused bits of the pixel cells; it is as large as the image (PS3.3 C.9.2, retired)."""
    position = _number(ds, plane.group, _BIT_POSITION, 0)
    if cells.ndim != 2 or cells.dtype.kind not in "ui" or not 0 <= position < 8 * cells.dtype.itemsize:
        return None
    low, stored = _pixel_bits(ds)
    if low <= position < low + stored:  # that would show pixels as an overlay
        return None
    mask: Mask = (cells.view(f"u{cells.dtype.itemsize}") >> position & 1).astype(bool)
    return mask


def _pixel_bits(ds: Dataset) -> tuple[int, int]:
    try:
        stored = int(ds.BitsStored)
        return max(0, int(ds.get("HighBit", stored - 1)) + 1 - stored), stored
    except (AttributeError, TypeError, ValueError):
        return 0, 64


def _lay(bits: Mask, plane: _Plane, mask: Mask) -> None:
    """Cut the plane to the image and add it."""
    rows, columns = mask.shape
    top, left = max(0, plane.top), max(0, plane.left)
    bottom, right = min(rows, plane.top + bits.shape[0]), min(columns, plane.left + bits.shape[1])
    if top < bottom and left < right:
        part = bits[top - plane.top : bottom - plane.top, left - plane.left : right - plane.left]
        mask[top:bottom, left:right] |= part


def _value(ds: Dataset, group: int, element: int) -> Any:
    return ds[group, element].value if (group, element) in ds else None


def _number(ds: Dataset, group: int, element: int, default: int) -> int:
    try:
        return int(_value(ds, group, element))
    except (TypeError, ValueError):
        return default
