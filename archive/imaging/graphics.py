"""Graphic annotations of presentation states: polylines, circles, text (PS3.3 C.10.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from archive.imaging.text import font, printable

Point = tuple[float, float]
_MOST_POINTS = 100_000


@dataclass(frozen=True, slots=True)
class Place:
    """How pixels of the image become pixels of the picture."""

    area: tuple[int, int, int, int]
    """Left, top, width and height of the part of the image that is shown."""
    rotation: int
    flipped: bool
    size: tuple[int, int]

    def at(self, point: Point, units: str) -> Point:
        """Where a point is seen: PIXEL counts from 1 in the image, DISPLAY from 0 to 1 in the picture."""
        if units == "DISPLAY":
            return point[0] * self.size[0], point[1] * self.size[1]
        left, top, width, height = self.area
        across, down = (point[0] - 0.5 - left) / width, (point[1] - 0.5 - top) / height
        turned = {90: (1 - down, across), 180: (1 - across, 1 - down), 270: (down, 1 - across)}
        across, down = turned.get(self.rotation, (across, down))
        return (1 - across if self.flipped else across) * self.size[0], down * self.size[1]


def draw(image: Image.Image, annotation: Dataset, place: Place) -> None:
    """Draw an item of the Graphic Annotation Sequence in white; what cannot be understood is left out."""
    canvas = ImageDraw.Draw(image)
    for item in annotation.get("GraphicObjectSequence") or ():
        try:
            _graphic(canvas, item, place)
        except (AttributeError, TypeError, ValueError, OverflowError):
            continue
    for item in annotation.get("TextObjectSequence") or ():
        try:
            _text(canvas, item, place)
        except (AttributeError, TypeError, ValueError, OverflowError):
            continue


def _graphic(canvas: ImageDraw.ImageDraw, item: Dataset, place: Place) -> None:
    units, kind = str(item.GraphicAnnotationUnits), str(item.GraphicType)
    points = [place.at(point, units) for point in _points(item.GraphicData)]
    filled = item.get("GraphicFilled") == "Y"
    if kind == "POINT":
        _cross(canvas, points[0])
    elif kind in ("POLYLINE", "INTERPOLATED") and len(points) > 1:
        if filled:
            canvas.polygon(points, fill="white", outline="white")
        else:
            canvas.line(points, fill="white")
    elif kind == "CIRCLE":
        (x, y), edge = points[:2]
        radius = ((edge[0] - x) ** 2 + (edge[1] - y) ** 2) ** 0.5
        canvas.ellipse(
            (x - radius, y - radius, x + radius, y + radius), outline="white", fill="white" if filled else None
        )
    elif kind == "ELLIPSE":
        xs, ys = zip(*points[:4], strict=True)
        canvas.ellipse((min(xs), min(ys), max(xs), max(ys)), outline="white", fill="white" if filled else None)


def _text(canvas: ImageDraw.ImageDraw, item: Dataset, place: Place) -> None:
    lines = [printable(line) for line in str(item.UnformattedTextValue).splitlines()[:50]]
    anchor = None
    if "AnchorPoint" in item:
        anchor = place.at(_points(item.AnchorPoint)[0], str(item.get("AnchorPointAnnotationUnits") or "PIXEL"))
    if "BoundingBoxTopLeftHandCorner" in item:
        units = str(item.get("BoundingBoxAnnotationUnits") or "PIXEL")
        corners = [place.at(_points(item[f"BoundingBox{name}HandCorner"].value)[0], units) for name in _CORNERS]
        at = min(x for x, _ in corners), min(y for _, y in corners)
    else:
        if anchor is None:
            return
        at = anchor
    size = max(9, min(48, min(place.size) // 28))
    if anchor is not None and item.get("AnchorPointVisibility") == "Y":
        canvas.line([anchor, at], fill="white")
    for index, line in enumerate(lines):
        spot = at[0], at[1] + index * size * 5 // 4
        canvas.text(spot, line, fill="white", font=font(size), stroke_width=1, stroke_fill="black")


_CORNERS = ("TopLeft", "BottomRight")


def _cross(canvas: ImageDraw.ImageDraw, point: Point) -> None:
    x, y = point
    canvas.line([(x - 3, y), (x + 3, y)], fill="white")
    canvas.line([(x, y - 3), (x, y + 3)], fill="white")


def _points(values: Any) -> list[Point]:
    numbers: Sequence[float] = [float(value) for value in values][:_MOST_POINTS]
    pairs = [(numbers[at], numbers[at + 1]) for at in range(0, len(numbers) - 1, 2)]
    if not pairs or not all(abs(value) < 1e6 for pair in pairs for value in pair):
        raise ValueError("points are expected")
    return pairs
