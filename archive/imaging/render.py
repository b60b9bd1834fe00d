"""Frames as people see them (PS3.18 8.3.5.1, 10.4.1.1.3)."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from archive.errors import InvalidQuery, NotAcceptable
from archive.imaging.colour import IccProfile, with_profile
from archive.imaging.decode import decode_frame
from archive.imaging.grey import Window, to_grey
from archive.imaging.overlays import burn_in, overlay_mask, used_bits
from archive.imaging.pixels import PixelFormat, describe, float_keyword, pixel_format
from archive.imaging.text import Annotation, annotate

ImageFormat = Literal["JPEG", "PNG", "GIF", "WEBP", "MP4"]
DEFAULT_QUALITY: Final = 90


@dataclass(frozen=True, slots=True)
class Viewport:
    """PS3.18 8.3.5.1.3: the size to fit, and the region of the image to show; a negative size mirrors."""

    width: int
    height: int
    source_x: float = 0
    source_y: float = 0
    source_width: float | None = None
    source_height: float | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """How to render."""

    window: Window | None = None
    viewport: Viewport | None = None
    quality: int = DEFAULT_QUALITY
    format: ImageFormat = "JPEG"
    annotations: tuple[Annotation, ...] = ()
    icc_profile: IccProfile = "no"


@dataclass(frozen=True, slots=True)
class Limits:
    """Most bytes of a decoded frame, and most pixels of an image made of it."""

    decoded_bytes: int
    rendered_pixels: int


def render_frame(
    frame: bytes, ds: Dataset, number: int, transfer_syntax_uid: str, how: Rendering, limits: Limits
) -> bytes:
    """Render one frame to an encoded image.

    Parameters
    ----------
    frame : bytes
        The frame as `archive.retrieve.read_frames` gives it.
    ds : Dataset
        The header of the object.
    number : int
        Of the frame, from 1: attributes may differ between frames.

    Raises
    ------
    NotAcceptable
        The object cannot be shown as an image, or is larger than the limits allow.
    """
    return encode(picture(frame, ds, number, transfer_syntax_uid, how, limits), how.format, how.quality)


def picture(
    frame: bytes, ds: Dataset, number: int, transfer_syntax_uid: str, how: Rendering, limits: Limits
) -> Image.Image:
    """Render one frame, not yet encoded; see `render_frame`."""
    pixels, _ = display_pixels(frame, ds, number, transfer_syntax_uid, how.window, limits, overlays=True)
    image = with_profile(Image.fromarray(pixels), ds, how.icc_profile)
    profile = image.info.get("icc_profile")
    if how.viewport is not None:
        image = fit(image, how.viewport, pixel_aspect(ds, number), limits)
    image = annotate(image, ds, how.annotations)
    if profile:
        image.info["icc_profile"] = profile
    return image


def display_pixels(
    frame: bytes,
    ds: Dataset,
    number: int,
    transfer_syntax_uid: str,
    window: Window | None,
    limits: Limits,
    overlays: bool = False,
    groups: frozenset[int] | None = None,
) -> tuple[NDArray[np.uint8], PixelFormat]:
    """Decode a frame to 8-bit grey (rows, columns) or RGB (rows, columns, 3).

    Overlays are in white if wanted: those of the groups, or all that are graphics.
    """
    layout = _layout(ds, limits)
    cells, found = decode_frame(frame, layout, transfer_syntax_uid, limits.decoded_bytes)
    pixels = used_bits(ds, cells, found.signed) if layout.keep_unused_bits else cells
    shown, found = _shown(pixels, found, ds, number, window)
    mask = overlay_mask(ds, number, cells, groups) if overlays else None
    return (shown if mask is None else burn_in(shown, mask)), found


def _shown(
    pixels: NDArray[Any], found: PixelFormat, ds: Dataset, number: int, window: Window | None
) -> tuple[NDArray[np.uint8], PixelFormat]:
    if found.samples == 1 and found.photometric == "PALETTE COLOR":
        return _palette(pixels, ds), found
    if found.samples == 1:
        if not found.monochrome:
            found = replace(found, photometric="MONOCHROME2")
        return to_grey(pixels, found, ds, number, window), found
    if found.photometric != "RGB" or found.samples != 3:
        raise NotAcceptable(f"colours in {found.photometric} cannot be rendered")
    return _eight_bits(pixels, found), found


def _layout(ds: Dataset, limits: Limits) -> PixelFormat:
    layout = pixel_format(ds, float_keyword(ds))
    if layout.rows * layout.columns > limits.rendered_pixels:
        raise NotAcceptable(
            f"{describe(ds)} has {layout.columns} x {layout.rows} pixels, more than the limit of "
            f"{limits.rendered_pixels} for rendering"
        )
    return layout


def _palette(pixels: NDArray[Any], ds: Dataset) -> NDArray[np.uint8]:
    """PS3.3 C.7.6.3.1.5, C.7.9.2: look up the colours; segmented tables too."""
    try:
        colours = apply_color_lut(pixels, ds)
    except Exception as error:  # pydicom raises whatever the damage leads to
        raise NotAcceptable(f"the palette cannot be used: {type(error).__name__}") from error
    colours = colours[..., :3]
    # Tables of 16-bit entries that hold 8-bit values are common (C.7.6.3.1.6).
    if colours.dtype.itemsize > 1 and colours.max(initial=0) > 255:
        colours = colours >> 8
    return colours.astype(np.uint8)


def _eight_bits(pixels: NDArray[Any], layout: PixelFormat) -> NDArray[np.uint8]:
    excess = layout.bits_stored - 8
    if excess > 0:
        pixels = pixels >> excess
    elif excess < 0:
        pixels = pixels << -excess
    return np.ascontiguousarray(pixels.astype(np.uint8))


def pixel_aspect(ds: Dataset, number: int) -> float:
    """Height of a pixel divided by its width (PS3.3 C.7.6.3.1.7, 10.7.1.1)."""
    measures = ds
    for groups, index in (("PerFrameFunctionalGroupsSequence", number - 1), ("SharedFunctionalGroupsSequence", 0)):
        items = ds.get(groups)
        if items and index < len(items) and items[index].get("PixelMeasuresSequence"):
            measures = items[index].PixelMeasuresSequence[0]
            break
    for item, keyword in (
        (measures, "PixelSpacing"),
        (ds, "ImagerPixelSpacing"),
        (ds, "NominalScannedPixelSpacing"),
        (ds, "PixelAspectRatio"),
    ):
        try:
            vertical, horizontal = (float(value) for value in item[keyword].value)
        except (KeyError, TypeError, ValueError):
            continue
        if vertical > 0 and horizontal > 0 and 0.01 < vertical / horizontal < 100:
            return vertical / horizontal
    return 1.0


def fit(image: Image.Image, viewport: Viewport, aspect: float, limits: Limits) -> Image.Image:
    """Cut the region, mirror it, and scale it to fit the viewport with square pixels (PS3.18 8.3.5.1.3)."""
    width = viewport.source_width or image.width - viewport.source_x
    height = viewport.source_height or image.height - viewport.source_y
    left, top = viewport.source_x, viewport.source_y
    box = (max(0.0, left), max(0.0, top), min(image.width, left + abs(width)), min(image.height, top + abs(height)))
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        raise InvalidQuery("viewport: the region is outside of the image")
    if width < 0:
        image, box = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), _mirrored(box, image.width)
    if height < 0:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        box = (box[0], image.height - box[3], box[2], image.height - box[1])
    shown_width, shown_height = box[2] - box[0], (box[3] - box[1]) * aspect
    scale = min(viewport.width / shown_width, viewport.height / shown_height)
    size = (max(1, round(shown_width * scale)), max(1, round(shown_height * scale)))
    if size[0] * size[1] > limits.rendered_pixels:
        raise NotAcceptable(f"viewport: more than {limits.rendered_pixels} pixels")
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return image.resize(size, smooth, box=box)


def _mirrored(box: tuple[float, float, float, float], width: int) -> tuple[float, float, float, float]:
    return width - box[2], box[1], width - box[0], box[3]


def encode(image: Image.Image, to: ImageFormat, quality: int = DEFAULT_QUALITY) -> bytes:
    """Encode with Pillow. `quality` is 1 to 100 and means something for JPEG and WebP only (PS3.18 8.3.5.1.2)."""
    out = io.BytesIO()
    profile = image.info.get("icc_profile")
    if to == "JPEG":
        # Chrominance is kept whole where quality is wanted: edges of coloured text in ultrasound.
        image.save(
            out,
            "JPEG",
            quality=min(quality, 95),
            subsampling=0 if quality >= DEFAULT_QUALITY else 2,
            icc_profile=profile,
        )
    elif to == "PNG":
        image.save(out, "PNG", compress_level=4, icc_profile=profile)
    elif to == "WEBP":
        image.save(out, "WEBP", quality=quality, icc_profile=profile)
    else:
        image.save(out, "GIF")
    return out.getvalue()
