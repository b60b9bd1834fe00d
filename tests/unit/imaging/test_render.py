"""Viewport, formats and limits of rendered images (PS3.18 8.3.5.1), and what is shown where there is no image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from archive.errors import InvalidQuery, NotAcceptable
from archive.imaging.decode import with_valid_scan
from archive.imaging.placeholder import placeholder
from archive.imaging.render import ImageFormat, Limits, Rendering, Viewport, fit, pixel_aspect, render_frame
from archive.retrieve import frames_syntax, read_frames, read_header
from tests.unit.imaging.conftest import Corpus

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LIMITS = Limits(1 << 30, 100_000_000)


def rendered(corpus: Corpus, name: str, how: Rendering, number: int = 1, limits: Limits = LIMITS) -> Image.Image:
    inst = corpus.named(name)
    frame = next(read_frames(corpus.store, inst, [number]))
    ds = read_header(corpus.store, inst)
    return Image.open(io.BytesIO(render_frame(frame, ds, number, frames_syntax(inst), how, limits)))


@pytest.mark.parametrize("to", ["JPEG", "PNG", "GIF"])
def test_formats(corpus: Corpus, to: ImageFormat) -> None:
    image = rendered(corpus, "examples_ybr_color.dcm", Rendering(format=to), 30)
    assert (image.format, image.size) == (to, (320, 240))


def test_quality_makes_a_jpeg_smaller(corpus: Corpus) -> None:
    inst = corpus.named("examples_rgb_color.dcm")
    frame, ds = next(read_frames(corpus.store, inst, [1])), read_header(corpus.store, inst)
    sizes = [
        len(render_frame(frame, ds, 1, frames_syntax(inst), Rendering(quality=quality), LIMITS))
        for quality in (1, 30, 75, 90, 100)
    ]
    assert sizes == sorted(sizes) and sizes[0] * 5 < sizes[-1]


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        (Viewport(256, 256), (64, 256)),
        (Viewport(64, 4096), (64, 256)),
        (Viewport(1024, 2048), (512, 2048)),
        (Viewport(100, 100, 0, 0, 256, 256), (100, 100)),
        (Viewport(100, 100, 200, 1000, 100, 100), (100, 43)),
    ],
)
def test_the_viewport_is_filled_as_far_as_the_aspect_ratio_allows(
    corpus: Corpus, viewport: Viewport, size: tuple[int, int]
) -> None:
    assert rendered(corpus, "JPEG2000.dcm", Rendering(viewport=viewport)).size == size


def test_a_negative_size_mirrors() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    image = Image.fromarray(pixels)
    left = fit(image, Viewport(4, 4, 0, 0, -4, 4), 1.0, LIMITS)
    top = fit(image, Viewport(4, 4, 0, 0, 4, -4), 1.0, LIMITS)
    np.testing.assert_array_equal(np.asarray(left), pixels[:, ::-1])
    np.testing.assert_array_equal(np.asarray(top), pixels[::-1])
    half = fit(image, Viewport(2, 4, 0, 0, -2, 4), 1.0, LIMITS)
    np.testing.assert_array_equal(np.asarray(half), pixels[:, 1::-1])


def test_a_region_outside_of_the_image_is_a_bad_request() -> None:
    with pytest.raises(InvalidQuery, match="outside"):
        fit(Image.new("L", (4, 4)), Viewport(4, 4, 10, 0, 4, 4), 1.0, LIMITS)


@pytest.mark.parametrize(
    ("keyword", "value", "aspect"),
    [
        ("PixelSpacing", ["2", "1"], 2.0),
        ("PixelAspectRatio", ["4", "3"], 4 / 3),
        ("ImagerPixelSpacing", ["0.1", "0.2"], 0.5),
        ("PixelSpacing", ["0", "1"], 1.0),
        ("PixelSpacing", ["1"], 1.0),
    ],
)
def test_pixels_need_not_be_square(keyword: str, value: list[str], aspect: float) -> None:
    ds = Dataset()
    setattr(ds, keyword, value)
    assert pixel_aspect(ds, 1) == aspect
    high = fit(Image.new("L", (10, 10)), Viewport(20, 20), pixel_aspect(ds, 1), LIMITS)
    assert high.height / high.width == pytest.approx(aspect, rel=0.1)


def test_limits(corpus: Corpus) -> None:
    with pytest.raises(NotAcceptable, match="128 x 128 pixels"):
        rendered(corpus, "CT_small.dcm", Rendering(), limits=Limits(1 << 30, 1000))
    with pytest.raises(NotAcceptable, match="viewport"):
        rendered(corpus, "CT_small.dcm", Rendering(viewport=Viewport(5000, 5000)), limits=Limits(1 << 30, 1_000_000))
    with pytest.raises(NotAcceptable, match="decoded frame"):
        rendered(corpus, "CT_small.dcm", Rendering(), limits=Limits(1000, 1_000_000))


def test_a_damaged_frame_is_not_acceptable(corpus: Corpus) -> None:
    inst = corpus.named("JPEG2000.dcm")
    frame = next(read_frames(corpus.store, inst, [1]))
    with pytest.raises(NotAcceptable, match="cannot be decoded"):
        render_frame(frame[:40], read_header(corpus.store, inst), 1, frames_syntax(inst), Rendering(), LIMITS)


def test_only_the_scan_header_is_mended() -> None:
    frame = bytes.fromhex("ffd8 ffc1 0005 000000 ffda 0008 01 0100 000000 1234")
    assert with_valid_scan(frame) == bytes.fromhex("ffd8 ffc1 0005 000000 ffda 0008 01 0100 003f00 1234")
    assert with_valid_scan(b"no jpeg") == b"no jpeg"


def test_the_placeholder_shows_the_modality_and_nothing_else() -> None:
    image = Image.open(io.BytesIO(placeholder("SR")))
    assert (image.format, image.size, image.mode) == ("PNG", (256, 256), "L")
    assert placeholder("SR") != placeholder("RTPLAN") and placeholder("<b>") == placeholder("b")
    assert len(placeholder("")) and Image.open(io.BytesIO(placeholder("X" * 500, "JPEG"))).format == "JPEG"
