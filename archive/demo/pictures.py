"""Small base images of the demo's past: computed once, then varied a little for each study, in milliseconds."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archive.demo.phantom import SIZE, Thorax

Picture = NDArray[np.float32]
"""Between 0 (black) and 1 (white); of CT, Hounsfield units."""
_CT_LEVELS: Final = (60.0, 20.0, -40.0)


@cache
def _grid(size: int = SIZE) -> tuple[Picture, Picture]:
    """Column and row, from -1 to 1."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def _inside(x: Picture, y: Picture, centre: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.bool_]:
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1


def _smooth(image: Picture, times: int) -> Picture:
    for _ in range(times):
        for axis in (0, 1):
            image = 0.25 * np.roll(image, 1, axis) + 0.5 * image + 0.25 * np.roll(image, -1, axis)
    return image


@cache
def _chest_ct(level: float) -> Picture:
    return Thorax(nodule=6).slice(level).astype(np.float32)


@cache
def _chest_film() -> Picture:
    """The computed thorax seen from the front, as rays pass through it."""
    thorax = Thorax(nodule=0)
    heights = np.linspace(140, -146, 48)
    attenuation = np.stack([np.clip(thorax.slice(z) + 1000.0, 0, 1700).sum(axis=0) for z in heights])
    rows = np.linspace(0, len(heights) - 1, SIZE)
    lower = rows.astype(int).clip(0, len(heights) - 2)
    part = (rows - lower)[:, None]
    film = attenuation[lower] * (1 - part) + attenuation[lower + 1] * part
    film = np.sqrt(film / film.max())
    film = (film - 0.25) / 0.75
    x, y = _grid()
    shoulders = np.clip(1 - np.abs(y + 1.05) * 4, 0, 1) * (np.abs(x) > 0.3) * 0.3
    return _smooth(np.clip(film + shoulders, 0, 1).astype(np.float32), 2)


@cache
def _head(mr: bool) -> Picture:
    """A slice through the brain: Hounsfield units, or T2 weighted."""
    x, y = _grid()
    bone, white, grey, water, fat, air = (0.1, 0.42, 0.55, 1.0, 0.8, 0.0) if mr else (900, 28, 38, 6, -90, -1000)
    image = np.full_like(x, air)
    image[_inside(x, y, (0, 0), (0.74, 0.92))] = fat
    image[_inside(x, y, (0, 0), (0.7, 0.88))] = bone
    image[_inside(x, y, (0, 0), (0.62, 0.8))] = water
    folds = 0.025 * np.sin(22 * np.arctan2(y, x)) + 0.015 * np.sin(37 * np.arctan2(y, x) + 1)
    radius = np.hypot(x / 0.59, y / 0.77) + folds
    image[radius < 0.99] = grey
    image[radius + 2 * folds < 0.86] = white
    image[(np.abs(x) < 0.012) & (np.abs(y) > 0.25) & (radius < 0.97)] = water
    for side in (-1, 1):
        horn = _inside(x, y, (side * 0.13, -0.16), (0.07, 0.2)) | _inside(x, y, (side * 0.2, 0.28), (0.08, 0.22))
        image[horn] = water
        image[_inside(x, y, (side * 0.24, 0.02), (0.1, 0.2))] = grey
    return _smooth(image.astype(np.float32), 2)


@cache
def _forearm() -> Picture:
    """Radius and ulna."""
    x, y = _grid()
    image = 0.28 * np.clip(1 - (x / (0.5 + 0.08 * y)) ** 2, 0, 1) ** 0.5
    for centre, width in ((-0.2 + 0.05 * y**2, 0.13), (0.2 - 0.04 * y**2, 0.1)):
        flare = width * (1 + 0.8 * np.clip(np.abs(y) - 0.6, 0, 1))
        across = np.abs(x - centre) / flare
        shaft = np.sqrt(np.clip(1 - across**2, 0, 1))
        marrow = np.sqrt(np.clip(1 - (across / 0.55) ** 2, 0, 1)) * (np.abs(y) < 0.75)
        image += (np.abs(y) < 0.88) * (0.62 * shaft - 0.26 * marrow)
    return _smooth(np.clip(image, 0, 1).astype(np.float32), 3)


@cache
def _fan(thyroid: bool) -> Picture:
    """What an ultrasound probe sees before speckle: a sector, with organs as areas of echoes."""
    x, y = _grid()
    depth, angle = np.hypot(x, y + 1.15), np.arctan2(x, y + 1.15)
    seen = (depth > 0.3) & (depth < 2.05) & (np.abs(angle) < 0.62)
    image = np.where(seen, 0.34 + 0.05 * np.sin(depth * 60), 0)
    if thyroid:
        for side in (-1, 1):
            image[_inside(x, y, (side * 0.3, -0.1), (0.2, 0.28)) & seen] = 0.55
            image[_inside(x, y, (side * 0.5, 0.05), (0.08, 0.1)) & seen] = 0.03
        image[_inside(x, y, (0.27, -0.05), (0.07, 0.08)) & seen] = 0.2
        image[_inside(x, y, (0, 0.1), (0.16, 0.2)) & seen] = 0.12
    else:
        image[_inside(x, y, (-0.05, -0.05), (0.7, 0.55)) & seen] = 0.42
        image[_inside(x, y, (0.25, 0.15), (0.16, 0.24)) & seen] = 0.02
        image[_inside(x, y, (-0.3, 0.5), (0.3, 0.17)) & seen] = 0.3
        image[_inside(x, y, (-0.3, 0.5), (0.14, 0.06)) & seen] = 0.68
        for place in ((-0.3, -0.1), (-0.05, -0.25), (-0.15, 0.15)):
            image[_inside(x, y, place, (0.05, 0.04)) & seen] = 0.05
    return image.astype(np.float32)


def picture(name: str, seed: int, index: int) -> NDArray[np.uint16]:
    """One image as stored values: CT as Hounsfield units plus 1024, all else from 0 to 4095 or, of ultrasound, 255."""
    rng = np.random.default_rng([seed, index])
    if name in ("chest-ct", "head-ct"):
        base = _chest_ct(_CT_LEVELS[index % 3]) if name == "chest-ct" else _head(mr=False)
        image = _moved(base, rng, -1000) + rng.normal(0, 9, base.shape)
        return _stored(image + 1024, 4095)
    if name in ("abdomen-us", "thyroid-us"):
        fan = _moved(_fan(thyroid=name == "thyroid-us"), rng, 0)
        speckle = _smooth(rng.rayleigh(0.8, fan.shape).astype(np.float32), 1)
        return _stored(255 * fan * speckle, 255)
    base = _chest_film() if name == "chest-film" else _forearm() if name == "forearm-film" else _head(mr=True)
    image = _moved(base, rng, 0) * rng.uniform(0.9, 1.05) + rng.normal(0, 0.012, base.shape)
    return _stored(image * 3600 + 60, 4095)


def _stored(values: NDArray[np.floating[Any]], highest: int) -> NDArray[np.uint16]:
    found: NDArray[np.uint16] = np.clip(np.rint(values), 0, highest).astype(np.uint16)
    return found


def _moved(base: Picture, rng: np.random.Generator, outside: float) -> Picture:
    """Another patient: somewhat larger or smaller, a little to the side."""
    size = base.shape[0]
    scale, shift = rng.uniform(0.93, 1.1), rng.uniform(-6, 6, 2)
    places = [np.rint((np.arange(size) - size / 2) * scale + size / 2 + move).astype(int) for move in shift]
    inside = [(place >= 0) & (place < size) for place in places]
    rows, columns = (place.clip(0, size - 1) for place in places)
    return np.where(inside[0][:, None] & inside[1][None, :], base[np.ix_(rows, columns)], np.float32(outside))
