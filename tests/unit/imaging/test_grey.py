"""Modality LUT, VOI LUT and presentation of monochrome images (PS3.3 C.11.1, C.11.2, C.7.6.16.2)."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from archive.imaging.grey import Window, to_grey
from archive.imaging.pixels import PixelFormat, pixel_format


def image(photometric: str = "MONOCHROME2", **attributes: object) -> Dataset:
    ds = Dataset()
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, 5, 1, photometric
    ds.BitsAllocated, ds.BitsStored, ds.PixelRepresentation = 16, 16, 1
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def grey(
    values: list[float], ds: Dataset, window: Window | None = None, dtype: str = "i2", frame: int = 1
) -> list[int]:
    pixels: NDArray[np.generic] = np.array([values], dtype)
    layout: PixelFormat = pixel_format(ds)
    shown = to_grey(pixels, layout, ds, frame, window)
    assert shown.dtype == np.uint8 and shown.shape == pixels.shape
    return shown[0].tolist()


def test_linear_is_the_formula_of_the_standard() -> None:
    # PS3.3 C.11.2.1.2.1: c = 2048, w = 4096 maps 0 to the least and 4095 to the greatest value.
    assert grey([-1, 0, 2048, 4095, 5000], image(), Window(2048, 4096)) == [0, 0, 128, 255, 255]


def test_a_linear_window_of_width_one_is_a_threshold() -> None:
    assert grey([98, 99, 100, 101], image(), Window(100, 1)) == [0, 0, 255, 255]


def test_linear_exact_and_sigmoid() -> None:
    assert grey([0, 64, 128], image(), Window(64, 128, "LINEAR_EXACT")) == [0, 128, 255]
    middle = grey([-1000, 0, 1000], image(), Window(0, 100, "SIGMOID"))
    assert middle == [0, 128, 255]


def test_the_window_works_behind_rescale() -> None:
    ds = image(RescaleSlope="2", RescaleIntercept="-1000", WindowCenter=["40", "400"], WindowWidth=["80", "2000"])
    assert grey([499, 500, 520, 540, 600], ds) == [0, 0, 129, 255, 255]


def test_a_tiny_rescale_slope_costs_nothing() -> None:
    tracemalloc.start()
    shown = grey([0, 200, 1000], image(RescaleSlope="1E-9", RescaleIntercept="0"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shown == [0, 51, 255]
    assert peak < 16 << 20


@pytest.mark.parametrize("width", ["0", "-5", "1e999", ""])
def test_a_window_that_makes_no_sense_is_passed_over(width: str) -> None:
    ds = image(WindowCenter="10", WindowWidth=width)
    assert grey([0, 50, 100], ds) == [0, 128, 255]


def test_without_a_window_the_whole_range_is_shown_without_padding() -> None:
    ds = image(PixelPaddingValue=-2000)
    assert grey([-2000, 0, 50, 100], ds) == [0, 0, 128, 255]
    ds.PixelPaddingRangeLimit = -1500
    assert grey([-1800, 0, 50, 100], ds) == [0, 0, 128, 255]


def test_a_frame_of_one_value_is_no_division_by_zero() -> None:
    assert grey([7, 7, 7], image()) == [0, 0, 0]


def test_monochrome1_and_inverse_shape_are_inverted() -> None:
    assert grey([0, 100], image("MONOCHROME1")) == [255, 0]
    assert grey([0, 100], image(PresentationLUTShape="INVERSE")) == [255, 0]
    assert grey([0, 100], image("MONOCHROME1", PresentationLUTShape="INVERSE")) == [255, 0]


def test_floats_are_shown_with_what_is_no_number_as_black() -> None:
    ds = image()
    del ds.BitsStored, ds.PixelRepresentation
    ds.BitsAllocated = 32
    assert grey([0.0, 0.5, 1.0, float("nan"), float("inf")], ds, dtype="f4") == [0, 128, 255, 0, 255]


def test_thirty_two_bits_are_shown() -> None:
    assert grey([0, 1 << 30, 1 << 31], image(), dtype="u4") == [0, 128, 255]


def lut(first: int, data: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(data), first, bits], data
    return item


def test_modality_lut_then_voi_lut() -> None:
    ds = image()
    ds.PixelRepresentation = 0
    ds.ModalityLUTSequence = Sequence([lut(10, [0, 1, 2, 3], 16)])
    ds.VOILUTSequence = Sequence([lut(0, [0, 1000, 2000, 4095], 12)])
    # Below and above the table its ends hold (C.11.1.1).
    assert grey([0, 10, 11, 13, 99], ds, dtype="u2") == [0, 0, 62, 255, 255]


def test_voi_lut_with_a_negative_first_value_written_as_unsigned() -> None:
    ds = image(RescaleSlope="1", RescaleIntercept="0")
    ds.VOILUTSequence = Sequence([lut(65536 - 2, [0, 50, 100, 150, 255], 8)])
    assert grey([-2, -1, 0, 2], ds) == [0, 50, 100, 255]


def test_each_frame_has_its_own_window_and_rescale() -> None:
    ds = image()
    groups = []
    for slope in ("1", "2"):
        group, transformation, window = Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = slope, "0"
        window.WindowCenter, window.WindowWidth = "128", "256"
        group.PixelValueTransformationSequence = Sequence([transformation])
        group.FrameVOILUTSequence = Sequence([window])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    assert grey([0, 50, 100], ds, frame=1) == [0, 50, 100]
    assert grey([0, 50, 100], ds, frame=2) == [0, 100, 200]


def test_padding_is_background_whatever_its_value_becomes() -> None:
    """PS3.3 C.7.5.1.1.2."""
    assert grey([-2000, 0, 50, 100], image("MONOCHROME1", PixelPaddingValue=-2000)) == [0, 255, 128, 0]
    ds = image(PixelPaddingValue=4000, PixelPaddingRangeLimit=5000, WindowCenter="50.5", WindowWidth="101")
    assert grey([0, 50, 100, 3999, 4000, 4500, 5000, 5001], ds) == [0, 128, 255, 255, 0, 0, 0, 255]


def test_padding_written_with_the_wrong_sign_is_understood() -> None:
    assert grey([-2000, 0, 50, 100], image("MONOCHROME1", PixelPaddingValue=63536)) == [0, 255, 128, 0]
    ds = image("MONOCHROME1", PixelPaddingValue=-1)
    ds.PixelRepresentation = 0
    assert grey([65535, 0, 50, 100], ds, dtype="u2") == [0, 255, 128, 0]


@pytest.mark.parametrize(("prefix", "bits", "dtype"), [("FloatPixel", 32, "f4"), ("DoubleFloatPixel", 64, "f8")])
def test_padding_of_float_images(prefix: str, bits: int, dtype: str) -> None:
    """PS3.3 C.7.6.24, C.7.6.25."""
    ds = image("MONOCHROME1", **{f"{prefix}PaddingValue": -1000.5, f"{prefix}PaddingRangeLimit": -500.0})
    del ds.BitsStored, ds.PixelRepresentation
    ds.BitsAllocated = bits
    pixels: NDArray[np.generic] = np.array([[-1000.5, -700, 0, 0.5, 1]], dtype)
    shown = to_grey(pixels, pixel_format(ds, f"{prefix}Data"), ds, 1, None)  # type: ignore[arg-type]
    assert shown[0].tolist() == [0, 0, 255, 128, 0]


def test_a_frame_of_padding_only_is_black() -> None:
    assert grey([7, 7, 7], image("MONOCHROME1", PixelPaddingValue=7)) == [0, 0, 0]


def test_presentation_lut() -> None:
    """PS3.3 C.11.6.1.1: what the VOI LUT gives is spread over the entries; it stands in for inverting."""
    ds = image("MONOCHROME1", PresentationLUTSequence=Sequence([lut(0, [0, 100, 200, 1023, 500], 10)]))
    assert grey([0, 1, 2, 3, 4], ds, Window(2.5, 5)) == [0, 25, 50, 255, 125]
