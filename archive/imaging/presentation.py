"""Grayscale Softcopy Presentation States: how a radiologist left an image (PS3.3 A.33.1, PS3.4 N.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from archive.errors import InvalidQuery, NotAcceptable
from archive.imaging.graphics import Place, draw
from archive.imaging.grey import Window, lookup_table
from archive.imaging.overlays import GROUPS, overlay_mask
from archive.imaging.pixels import float_keyword, pixel_format
from archive.imaging.render import Limits, Rendering, display_pixels
from archive.imaging.text import annotate

GRAYSCALE_SOFTCOPY: Final = "1.2.840.10008.5.1.4.1.1.11.1"
_ACTIVATION_LAYER: Final = 0x1001
_MODALITY: Final = ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept")
_VOI: Final = ("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction")
_SHAPE: Final = ("PresentationLUTSequence", "PresentationLUTShape")
_GROUPS: Final = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


class Reference(NamedTuple):
    """An image that a presentation state is about; no frames means all."""

    series_instance_uid: str
    sop_instance_uid: str
    frames: tuple[int, ...]


def references(state: Dataset) -> Iterator[Reference]:
    """The images in the order in which they are named (PS3.3 C.11.11)."""
    for series in state.get("ReferencedSeriesSequence") or ():
        for image in series.get("ReferencedImageSequence") or ():
            uids = str(series.get("SeriesInstanceUID") or ""), str(image.get("ReferencedSOPInstanceUID") or "")
            if all(uids):
                yield Reference(*uids, _numbers(image.get("ReferencedFrameNumber")))


@dataclass(frozen=True, slots=True)
class Presentation:
    """A presentation state for one frame of an image."""

    state: Dataset
    sop_instance_uid: str
    frame: int

    def item(self, keyword: str) -> Dataset | None:
        """The first item of a sequence that is for the frame."""
        return next(self.items(keyword), None)

    def items(self, keyword: str) -> Iterator[Dataset]:
        """The items of a sequence that are for the frame: all images where none is named."""
        for item in self.state.get(keyword) or ():
            named = item.get("ReferencedImageSequence") or ()
            if not named or any(map(self._is_meant, named)):
                yield item

    def _is_meant(self, image: Dataset) -> bool:
        frames = _numbers(image.get("ReferencedFrameNumber"))
        same = str(image.get("ReferencedSOPInstanceUID")) == self.sop_instance_uid
        return same and (not frames or self.frame in frames)


def present(
    frame: bytes, ds: Dataset, number: int, transfer_syntax_uid: str, state: Dataset, how: Rendering, limits: Limits
) -> Image.Image:
    """Render a frame as the presentation state says; what of the image itself would shape it does not count.

    Raises
    ------
    NotAcceptable
        The image is none in grey, or the displayed area is beyond the limits.
    """
    shown = Presentation(state, str(ds.get("SOPInstanceUID")), number)
    header, overlays = _header(ds, shown)
    pixels, found = display_pixels(
        frame, header, number, transfer_syntax_uid, how.window, limits, overlays=True, groups=overlays
    )
    if not found.monochrome:
        raise NotAcceptable("a Grayscale Softcopy Presentation State is for images in grey")
    _close_shutter(pixels, state)
    image, place = _displayed(Image.fromarray(pixels), shown, how, limits)
    for item in shown.items("GraphicAnnotationSequence"):
        draw(image, item, place)
    return annotate(image, ds, how.annotations)


def _header(ds: Dataset, shown: Presentation) -> tuple[Dataset, frozenset[int]]:
    """The header of the image with the transformations of the state in place of its own, and the overlays shown."""
    header, state = ds.copy(), shown.state
    for keyword in (*_MODALITY, *_VOI, *_SHAPE, *_GROUPS):
        if keyword in header:
            del header[keyword]
    header.PhotometricInterpretation = "MONOCHROME2"  # its polarity is in the Presentation LUT Shape (PS3.4 N.2.1)
    sources: list[tuple[Dataset, tuple[str, ...]]] = [(state, (*_MODALITY, *_SHAPE))]
    voi = shown.item("SoftcopyVOILUTSequence")
    if voi is not None:
        sources.append((voi, _VOI))
    for source, keywords in sources:
        for keyword in keywords:
            if keyword in source:
                header[keyword] = source[keyword]
    if voi is None:
        window = _full_range(header)
        header.WindowCenter, header.WindowWidth, header.VOILUTFunction = window.center, window.width, window.function
    active = frozenset(group for group in GROUPS if (group, _ACTIVATION_LAYER) in state)
    for group in active:
        if (group, 0x3000) in state:
            header.update({element.tag: element for element in state.group_dataset(group)})
    return header, active


def _full_range(header: Dataset) -> Window:
    """All that the Modality LUT may give (PS3.4 N.2.1.2)."""
    items = header.get("ModalityLUTSequence")
    table = lookup_table(items[0]) if items else None
    if table is not None:
        low, high = 0.0, float((1 << table[2]) - 1)
    else:
        layout = pixel_format(header, float_keyword(header))
        span = 1 << layout.bits_stored
        first = -(span // 2) if layout.signed else 0
        slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
        low, high = sorted((first * slope + intercept, (first + span - 1) * slope + intercept))
    return Window(round((low + high) / 2, 4), round(max(high - low, 1e-3), 4), "LINEAR_EXACT")


def _close_shutter(pixels: NDArray[np.uint8], state: Dataset) -> None:
    """Hide what is outside of the shutters (PS3.3 C.7.6.11, C.7.6.15); several hold together."""
    shapes = state.get("ShutterShape") or ()
    shapes = [shapes] if isinstance(shapes, str) else list(shapes)
    hidden = np.zeros(pixels.shape, bool)
    height, width = pixels.shape
    for shape in shapes:
        area = Image.new("1", (width, height))
        drawn = ImageDraw.Draw(area)
        try:
            if shape == "RECTANGULAR":
                edges = [int(state[f"Shutter{side}Edge"].value) - 1 for side in _SIDES]
                drawn.rectangle((min(edges[0], edges[2]) + 1, min(edges[1], edges[3]) + 1,
                                 max(edges[0], edges[2]) - 1, max(edges[1], edges[3]) - 1), fill=1)  # fmt: skip
            elif shape == "CIRCULAR":
                row, column = (int(value) - 1 for value in state.CenterOfCircularShutter)
                radius = int(state.RadiusOfCircularShutter)
                drawn.ellipse((column - radius, row - radius, column + radius, row + radius), fill=1)
            elif shape == "POLYGONAL":
                corners = [int(value) - 1 for value in state.VerticesOfThePolygonalShutter]
                drawn.polygon(list(zip(corners[1::2], corners[::2], strict=True)), fill=1)
            elif shape == "BITMAP":
                group = frozenset({int(state.ShutterOverlayGroup)})
                bits = overlay_mask(state, 1, pixels, group)
                hidden |= np.zeros(pixels.shape, bool) if bits is None else bits
                continue
            else:
                continue
        except (AttributeError, KeyError, TypeError, ValueError):
            continue  # a shutter that cannot be told hides nothing
        hidden |= ~np.asarray(area)
    value = state.get("ShutterPresentationValue")
    pixels[hidden] = value >> 8 if isinstance(value, int) else 0


_SIDES: Final = ("LeftVertical", "UpperHorizontal", "RightVertical", "LowerHorizontal")


def _displayed(image: Image.Image, shown: Presentation, how: Rendering, limits: Limits) -> tuple[Image.Image, Place]:
    """Cut the displayed area, turn it, and scale it (PS3.3 C.10.4, C.10.6: rotated first, then flipped)."""
    area = shown.item("DisplayedAreaSelectionSequence")
    left, top, right, bottom = _area(area, image)
    width, height = right - left, bottom - top
    turned = _rotation(shown.state) in (90, 270)
    across, down = float(width), height * _aspect(area)
    across, down = (down, across) if turned else (across, down)
    scale = 1.0
    if how.viewport is not None:
        if how.viewport.source_width is not None or how.viewport.source_x or how.viewport.source_y:
            raise InvalidQuery("viewport: the presentation state says which region is shown")
        scale = min(how.viewport.width / across, how.viewport.height / down)
    size = max(1, round(across * scale)), max(1, round(down * scale))
    if max(width * height, size[0] * size[1]) > limits.rendered_pixels:
        raise NotAcceptable(f"the displayed area has more than {limits.rendered_pixels} pixels")
    place = Place(
        (left, top, width, height), _rotation(shown.state), shown.state.get("ImageHorizontalFlip") == "Y", size
    )
    part = image.crop((left, top, right, bottom))  # what is outside of the image is black
    if place.rotation:
        part = part.transpose(_TURNS[place.rotation])
    if place.flipped:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if part.size != size:
        part = part.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    return part, place


# PIL turns to the left, DICOM to the right.
_TURNS: Final = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


def _rotation(state: Dataset) -> int:
    rotation = state.get("ImageRotation") or 0
    return int(rotation) if rotation in _TURNS else 0


def _area(item: Dataset | None, image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom from 0; the corners are named as they are seen after turning."""
    if item is None:
        return 0, 0, image.width, image.height
    try:
        x, y = zip(item.DisplayedAreaTopLeftHandCorner, item.DisplayedAreaBottomRightHandCorner, strict=True)
        return int(min(x)) - 1, int(min(y)) - 1, int(max(x)), int(max(y))
    except (AttributeError, TypeError, ValueError):
        return 0, 0, image.width, image.height


def _aspect(item: Dataset | None) -> float:
    """Height of a pixel divided by its width."""
    for keyword in ("PresentationPixelSpacing", "PresentationPixelAspectRatio"):
        try:
            vertical, horizontal = (float(value) for value in item[keyword].value)  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            continue
        if vertical > 0 and horizontal > 0 and 0.01 < vertical / horizontal < 100:
            return vertical / horizontal
    return 1.0


def _numbers(value: Any) -> tuple[int, ...]:
    if value is None or value == "":
        return ()
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        return tuple(int(each) for each in values)
    except (TypeError, ValueError):
        return ()
