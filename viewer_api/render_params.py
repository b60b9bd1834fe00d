"""Query parameters of the rendered resources (PS3.18 8.3.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from archive.errors import InvalidQuery
from archive.imaging.colour import ICC_PROFILES, IccProfile
from archive.imaging.grey import Function, Window
from archive.imaging.render import DEFAULT_QUALITY, ImageFormat, Rendering, Viewport
from archive.imaging.text import ANNOTATIONS, Annotation

_FUNCTIONS: Final[dict[str, Function]] = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_LARGEST_VIEWPORT: Final = 65_535


def rendering(params: Mapping[str, str], to: ImageFormat, default: Viewport | None = None) -> Rendering:
    """How to render, by the parameters of PS3.18 8.3.5.1. Raises InvalidQuery (400)."""
    return Rendering(
        window=_window(params["window"]) if "window" in params else None,
        viewport=_viewport(params["viewport"]) if "viewport" in params else default,
        quality=picture_quality(params["quality"], "quality") if "quality" in params else DEFAULT_QUALITY,
        format=to,
        annotations=burned_in(params.get("annotation", "")),
        icc_profile=_icc_profile(params.get("iccprofile", "no"), to),
    )


def burned_in(text: str) -> tuple[Annotation, ...]:
    """``annotation=patient,technique`` (PS3.18 8.3.5.1.1)."""
    values = [part.strip().lower() for part in text.split(",") if part.strip()]
    if any(value not in ANNOTATIONS for value in values):
        raise InvalidQuery("annotation: patient and technique are known")
    return tuple(each for each in ANNOTATIONS if each in values)


def _icc_profile(text: str, to: ImageFormat) -> IccProfile:
    """``iccprofile=no|yes|srgb`` (PS3.18 8.3.5.1.5)."""
    for known in ICC_PROFILES:
        if text.strip().lower() == known:
            if known != "no" and to in ("GIF", "MP4"):
                raise InvalidQuery("iccprofile: image/gif and video/mp4 hold no profile")
            return known
    raise InvalidQuery("iccprofile: no, yes or srgb is expected")


def _window(text: str) -> Window:
    """``window=center,width[,function]`` (PS3.18 8.3.5.1.4); the function may be left out, though it should not."""
    values = text.split(",")
    if len(values) not in (2, 3):
        raise InvalidQuery("window: center, width and function are expected")
    center, width, name = *values[:2], (values[2].strip().lower() if len(values) == 3 else "linear")
    if name not in _FUNCTIONS:
        raise InvalidQuery("window: the function is linear, linear-exact or sigmoid")
    window = Window(number(center, "window"), number(width, "window"), _FUNCTIONS[name])
    if not window.valid:
        raise InvalidQuery("window: the width is to be greater than 0, and for linear at least 1")
    return window


def _viewport(text: str) -> Viewport:
    """``viewport=vw,vh[,sx,sy,sw,sh]`` (PS3.18 8.3.5.1.3); empty source values take their defaults."""
    values = [part.strip() for part in text.split(",")]
    if len(values) not in (2, 6):
        raise InvalidQuery("viewport: two or six numbers are expected")
    width, height = (round(number(value, "viewport")) for value in values[:2])
    if not (1 <= width <= _LARGEST_VIEWPORT and 1 <= height <= _LARGEST_VIEWPORT):
        raise InvalidQuery(f"viewport: width and height are 1 to {_LARGEST_VIEWPORT}")
    if len(values) == 2:
        return Viewport(width, height)
    left, top, region_width, region_height = (number(value, "viewport") if value else None for value in values[2:])
    if (left or 0) < 0 or (top or 0) < 0 or region_width == 0 or region_height == 0:
        raise InvalidQuery("viewport: the region begins within the image and is not empty")
    return Viewport(width, height, left or 0, top or 0, region_width, region_height)


def picture_quality(text: str, name: str) -> int:
    """A whole number from 1 to 100 (PS3.18 8.3.5.1.2). Raises InvalidQuery that names the parameter."""
    if not (text.isdecimal() and text.isascii() and 1 <= int(text[:9]) <= 100):
        raise InvalidQuery(f"{name}: a whole number from 1 to 100 is expected")
    return int(text)


def number(text: str, name: str) -> float:
    """A finite number. Raises InvalidQuery that names the parameter."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidQuery(f"{name}: numbers are expected")
    return value
