"""Computed images with anatomy enough to window, scroll and reformat: a thorax (CT) and a coronary angiogram (XA).

Coordinates are the patient's in millimetres (PS3.3 C.7.6.2.1.1): x to the left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
SIZE = 256
PIXEL = 1.5
"""Millimetres between pixel centres."""
AIR, LUNG, FAT, SOFT, BLOOD, BONE = -1000.0, -860.0, -100.0, 45.0, 55.0, 380.0


@dataclass(frozen=True, slots=True)
class _Tube:
    """A vessel or an airway: a straight piece with a radius at each end."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radii: tuple[float, float]


def _lung_vessels(rng: np.random.Generator) -> list[_Tube]:
    """Vessels that branch from each hilum into its lung."""
    tubes = []
    for side in (-1, 1):
        for _ in range(34):
            hilum = np.array([side * 32.0, 8.0, 10.0])
            direction = np.array([side * rng.uniform(0.2, 1), rng.uniform(-1, 1), rng.uniform(-1.2, 1.1)])
            direction /= np.linalg.norm(direction)
            middle = hilum + direction * rng.uniform(20, 38)
            tubes.append(_Tube(tuple(hilum), tuple(middle), (4.2, 2.6)))
            for _ in range(3):
                end = middle + (direction + rng.uniform(-0.7, 0.7, 3)) * rng.uniform(18, 38)
                tubes.append(_Tube(tuple(middle), tuple(end), (2.4, 0.8)))
    return tubes


@dataclass(slots=True)
class Thorax:
    """A thorax whose right upper lobe has a nodule of `nodule` millimetres radius."""

    nodule: float
    _x: Plane = field(init=False)
    _y: Plane = field(init=False)
    _vessels: list[_Tube] = field(init=False)

    def __post_init__(self) -> None:
        axis = ((np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL).astype(np.float32)
        self._x, self._y = np.meshgrid(axis, axis)
        self._vessels = _lung_vessels(np.random.default_rng(20261030))

    def slice(self, z: float) -> NDArray[np.int16]:
        """Hounsfield units of the transverse plane at `z`, as a scanner would give them: with noise."""
        image = np.full((SIZE, SIZE), AIR, np.float32)
        self._wall(image, z)
        self._lungs(image, z)
        self._mediastinum(image, z)
        self._spine(image, z)
        self._below_diaphragm(image, z)
        table = (np.abs(self._y - 128 - self._x**2 / 900) < 2.5) & (np.abs(self._x) < 170)
        image[table] = 120
        image = _soften(image)
        noise = np.random.default_rng(round(z * 1000) & 0xFFFFFFFF).normal(0, 11, image.shape)
        return np.clip(np.rint(image + noise), -1024, 3071).astype(np.int16)

    def _ellipse(self, centre: tuple[float, float], radii: tuple[float, float]) -> Plane:
        """Below 1 inside of the ellipse."""
        return ((self._x - centre[0]) / radii[0]) ** 2 + ((self._y - centre[1]) / radii[1]) ** 2

    def _wall(self, image: Plane, z: float) -> None:
        """Skin, fat, muscle, ribs that slope downwards to the front, and the sternum."""
        narrow = 1 - 0.28 * max(0.0, (z - 70) / 75) ** 2  # towards the neck
        body = self._ellipse((0, 0), (165 * narrow, 108 * narrow))
        image[body < 1] = FAT
        image[body < 0.86] = SOFT
        slope = z - 0.45 * self._y
        ribs = (body > 0.68) & (body < 0.78) & (np.mod(slope, 26) < 10)
        image[ribs] = BONE
        image[ribs & (body > 0.705) & (body < 0.755) & (np.abs(np.mod(slope, 26) - 5) < 2.6)] = 150
        if z > -70:
            sternum = (np.abs(self._x) < 17) & (np.abs(self._y + 86 * narrow) < 5.5)
            image[sternum] = 240

    def _lungs(self, image: Plane, z: float) -> None:
        for side in (-1, 1):
            height = 1 - ((z - 0) / 138) ** 2
            if height <= 0:
                continue
            scale = height**0.5
            inside = self._ellipse((side * 72, 2), (58 * scale, 82 * scale)) < 1
            image[inside] = LUNG + 30 * (self._y[inside] / 80)  # denser at the back, by gravity
            for tube in self._vessels:
                if tube.start[0] * side > 0:
                    self._draw(image, tube, z, BLOOD, inside)
        if self.nodule and abs(z - 62) < self.nodule:
            radius = (self.nodule**2 - (z - 62) ** 2) ** 0.5
            image[self._ellipse((-74, 24), (radius, radius)) < 1] = 35

    def _mediastinum(self, image: Plane, z: float) -> None:
        core = self._ellipse((0, 2), (36, 62)) < 1
        image[core & (image < 0)] = FAT + 60
        image[self._ellipse((26, 44), (12.5, 12.5)) < 1] = BLOOD  # descending aorta
        if 30 < z < 120:
            image[self._ellipse((-16, -14), (10, 10)) < 1] = BLOOD  # superior vena cava
        if 20 < z < 58:
            image[self._ellipse((-2, -22), (15, 15)) < 1] = BLOOD  # ascending aorta
        if 58 <= z < 80:  # arch
            arch = np.abs(self._ellipse((8, 14), (20, 40)) - 1) < 0.55
            image[arch & (self._x > -12)] = BLOOD
        heart = 1 - ((z + 38) / 62) ** 2
        if heart > 0:
            scale = heart**0.5
            wall = self._ellipse((20, -24), (60 * scale, 46 * scale))
            image[wall < 1] = SOFT
            image[wall < 0.55] = BLOOD
        if z > 34:
            image[self._ellipse((-2, 14), (9, 8)) < 1] = AIR  # trachea
        else:
            for side in (-1, 1):
                self._draw(image, _Tube((0, 14, 36), (side * 38, 16, 2), (7.5, 4.5)), z, AIR, None)
        image[self._ellipse((6, 34), (7, 5)) < 1] = SOFT  # oesophagus

    def _spine(self, image: Plane, z: float) -> None:
        disc = np.mod(z, 30) < 6
        body = self._ellipse((0, 66), (21, 17))
        image[body < 1] = 90 if disc else BONE + 100
        if not disc:
            image[body < 0.72] = 190
        image[self._ellipse((0, 91), (14, 12)) < 1] = BONE
        image[self._ellipse((0, 90), (9, 8)) < 1] = 25  # canal
        if np.mod(z, 30) > 12:
            image[(np.abs(self._x) < 3) & (self._y > 100) & (self._y < 116)] = BONE
            image[(np.abs(self._x) < 34) & (np.abs(self._y - 96) < 4) & (np.abs(self._x) > 14)] = BONE - 80

    def _below_diaphragm(self, image: Plane, z: float) -> None:
        """The liver under the right dome, the stomach with its air bubble under the left."""
        liver = 1 - ((z + 170) / 92) ** 2
        if liver > 0:
            scale = liver**0.5
            inside = (self._ellipse((-52, -4), (92 * scale, 84 * scale)) < 1) & (image < 60) & (self._y < 62)
            image[inside & (self._ellipse((0, 0), (138, 86)) < 1)] = 62
        stomach = 1 - ((z + 165) / 70) ** 2
        if stomach > 0:
            scale = stomach**0.5
            inside = self._ellipse((78, 2), (52 * scale, 58 * scale)) < 1
            image[inside] = 38
            image[inside & (self._y < -22)] = AIR + 40

    def _draw(self, image: Plane, tube: _Tube, z: float, value: float, inside: NDArray[np.bool_] | None) -> None:
        """Fill the cut of the tube with this plane, only where `inside`."""
        start, end = np.array(tube.start), np.array(tube.end)
        reach = max(tube.radii)
        if not min(start[2], end[2]) - reach <= z <= max(start[2], end[2]) + reach:
            return
        low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
        columns, rows = _window(low[0], high[0]), _window(low[1], high[1])
        axis = end - start
        px, py = self._x[rows, columns] - start[0], self._y[rows, columns] - start[1]
        pz = z - start[2]
        along = np.clip((px * axis[0] + py * axis[1] + pz * axis[2]) / (axis @ axis), 0, 1)
        distance = (px - along * axis[0]) ** 2 + (py - along * axis[1]) ** 2 + (pz - along * axis[2]) ** 2
        hit = distance < (tube.radii[0] + along * (tube.radii[1] - tube.radii[0])) ** 2
        if inside is not None:
            hit &= inside[rows, columns]
        image[rows, columns][hit] = value


def _window(low: float, high: float) -> slice:
    """The rows or columns that hold the span from `low` to `high` millimetres."""
    first, last = (int(edge / PIXEL + SIZE / 2) for edge in (low, high))
    return slice(max(first, 0), min(last + 1, SIZE))


def _soften(image: Plane) -> Plane:
    """Partial volume: what a pixel that lies on an edge sees of both sides."""
    for axis in (0, 1):
        image = 0.25 * np.roll(image, 1, axis) + 0.5 * image + 0.25 * np.roll(image, -1, axis)
    return image


def angiogram(frames: int = 24, size: int = 512) -> NDArray[np.uint8]:
    """Frames of a left coronary injection: contrast runs down the vessels, then washes out. One vessel is narrowed."""
    rng = np.random.default_rng(41)
    row, column = np.mgrid[0:size, 0:size].astype(np.float32) / size
    background = 168 - 50 * (column - 0.55) ** 2 - 46 * ((row - 0.5) ** 2 + (column - 0.4) ** 2)
    background -= 16 * (np.abs(column - 0.78 - 0.02 * np.sin(row * 40)) < 0.07)  # spine
    background -= 9 * (np.abs(np.mod(row * 1.0 + 0.5 * column, 0.2) - 0.1) < 0.022)  # ribs
    thickness, arrival = _coronaries(size)
    images = np.empty((frames, size, size), np.uint8)
    for index in range(frames):
        time = index / (frames - 1) * 1.9
        filling = np.clip((time - arrival) * 9, 0, 1) * np.clip((1.75 - time + arrival * 0.3) * 3, 0, 1)
        contrast = 14 * thickness * filling
        image = background - contrast + rng.normal(0, 2.4, (size, size))
        images[index] = np.clip(np.rint(image), 0, 255)
    return images


def _coronaries(size: int) -> tuple[Plane, Plane]:
    """Thickness of contrast-filled vessel and the time at which contrast arrives, for each pixel."""
    thickness = np.zeros((size, size), np.float32)
    arrival = np.full((size, size), 9, np.float32)
    row, column = np.mgrid[0:size, 0:size].astype(np.float32)
    vessels = (  # start, bend, end (parts of the picture), radius, start and end of filling, narrowing
        ((0.20, 0.30), (0.24, 0.36), (0.27, 0.42), 8.0, 0.0, 0.1, False),
        ((0.27, 0.42), (0.45, 0.62), (0.85, 0.66), 6.5, 0.1, 0.75, True),
        ((0.27, 0.42), (0.55, 0.30), (0.80, 0.38), 6.0, 0.1, 0.7, False),
        ((0.42, 0.55), (0.56, 0.70), (0.66, 0.82), 4.2, 0.3, 0.65, False),
        ((0.50, 0.33), (0.62, 0.46), (0.72, 0.52), 4.0, 0.4, 0.7, False),
        ((0.58, 0.63), (0.70, 0.56), (0.82, 0.54), 3.2, 0.45, 0.8, False),
    )
    for start, bend, end, radius, begin, finish, narrowed in vessels:
        for step in np.linspace(0, 1, 140):
            a, b, c = (1 - step) ** 2, 2 * step * (1 - step), step**2
            centre = [size * (a * start[i] + b * bend[i] + c * end[i]) for i in (0, 1)]
            width = radius * (1 - 0.45 * step)
            if narrowed and abs(step - 0.33) < 0.045:
                width *= 0.35
            top, left = (max(0, int(value - width - 2)) for value in centre)
            box = (slice(top, int(centre[0] + width + 2)), slice(left, int(centre[1] + width + 2)))
            distance = (row[box] - centre[0]) ** 2 + (column[box] - centre[1]) ** 2
            depth = np.sqrt(np.maximum(width**2 - distance, 0))
            fresh = depth > thickness[box]
            thickness[box][fresh] = depth[fresh]
            arrival[box][fresh & (arrival[box] > 8)] = begin + step * (finish - begin)
    return thickness, arrival
