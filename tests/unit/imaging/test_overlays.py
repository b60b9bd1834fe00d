"""Overlay planes (PS3.3 C.9.2, PS3.5 8.1.2) where DCMTK is not to be asked, and damaged ones."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from archive.imaging.overlays import overlay_mask, used_bits
from tests.synthetic_images import encoded, image_file, overlay

CELLS = np.zeros((4, 6), np.uint16)
BITS = (np.arange(24).reshape(4, 6) % 5 == 0).astype(np.uint8)


def mask(ds: Dataset, frame: int = 1, cells: NDArray[np.uint16] = CELLS) -> NDArray[np.bool_] | None:
    return overlay_mask(pydicom.dcmread(io.BytesIO(encoded(ds))), frame, cells)


def test_an_image_without_overlays_has_no_mask() -> None:
    assert mask(image_file(CELLS)) is None


def test_a_region_of_interest_is_no_graphic() -> None:
    """PS3.3 C.9.2.1.1: type R is data to be measured."""
    ds = image_file(CELLS, overlay(0x6000, BITS, kind="R"))
    assert mask(ds) is None
    activated = overlay_mask(ds, 1, CELLS, frozenset({0x6000}))
    assert activated is not None and activated.sum() == BITS.sum()


def test_big_endian_words_are_turned_round() -> None:
    ds = image_file(CELLS, overlay(0x6000, BITS))
    ds[0x6000, 0x3000].value = np.frombuffer(ds[0x6000, 0x3000].value, "<u2").astype(">u2").tobytes()
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    found = overlay_mask(pydicom.dcmread(io.BytesIO(encoded(ds, ExplicitVRBigEndian))), 1, CELLS)
    np.testing.assert_array_equal(found, BITS.astype(bool))


def test_frames_of_an_overlay_begin_at_a_frame_of_the_image() -> None:
    """PS3.3 C.9.3: Image Frame Origin."""
    planes = overlay(0x6000, np.stack([BITS, 1 - BITS]))
    planes[0x6000, 0x0051].value = 2
    ds = image_file(np.zeros((4, 4, 6), np.uint16), planes)
    assert mask(ds, 1) is None and mask(ds, 4) is None
    np.testing.assert_array_equal(mask(ds, 2), BITS.astype(bool))
    np.testing.assert_array_equal(mask(ds, 3), ~BITS.astype(bool))


@pytest.mark.parametrize(
    ("element", "value", "covered"),
    [
        (0x0010, 60_000, 5),
        (0x0011, 0, None),
        (0x0050, [30_000, -30_000], 0),
        (0x3000, b"\xff\x0f", 12),
        (0x3000, b"", None),
    ],
)
def test_what_is_claimed_is_not_believed(element: int, value: object, covered: int | None) -> None:
    ds = image_file(CELLS, overlay(0x6000, BITS))
    ds[0x6000, element].value = value
    found = mask(ds)
    assert (None if found is None else int(found.sum())) == covered


def test_bits_of_the_pixels_are_no_overlay() -> None:
    assert mask(image_file(CELLS, overlay(0x6000, BITS, position=3)), cells=CELLS + 8) is None
    assert mask(image_file(CELLS, overlay(0x6000, BITS, position=16))) is None


def test_pixels_above_overlays_in_low_bits() -> None:
    """Bits Stored 12, High Bit 15, as of ACR-NEMA: overlays in bits 0 to 3."""
    ds = image_file(CELLS)
    ds.HighBit = 15
    cells = np.array([[0x7FF1, 0x8002]], np.uint16)
    assert used_bits(ds, cells, signed=False).tolist() == [[0x7FF, 0x800]]
    assert used_bits(ds, cells, signed=True).tolist() == [[2047, -2048]]
