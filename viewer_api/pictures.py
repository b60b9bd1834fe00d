"""Frames of stored instances as pictures, for all resources that give some."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from itertools import chain
from threading import BoundedSemaphore
from typing import Final, NamedTuple

from PIL import Image
from pydicom.dataset import Dataset

from archive.core import Archive
from archive.errors import NotAcceptable
from archive.imaging.animate import frame_times, gif, webp
from archive.imaging.pixels import describe
from archive.imaging.presentation import present
from archive.imaging.render import ImageFormat, Limits, Rendering, encode, picture
from archive.ready_metadata import fingerprint
from archive.records import StoredInstance
from archive.retrieve import frames_syntax, read_frames, read_header
from viewer_api.kept import each, keeping, name_of
from viewer_api.media_types import GIF, JPEG, MP4, PNG, WEBP

FORMATS: Final[dict[str, ImageFormat]] = {JPEG: "JPEG", PNG: "PNG", GIF: "GIF", WEBP: "WEBP"}
"""Media types of pictures."""
MOVING: Final[dict[str, ImageFormat]] = {GIF: "GIF", WEBP: "WEBP", MP4: "MP4"}
"""Those that can hold several frames."""
# To be counted up when the same instance would make another picture.
_PICTURE: Final = "picture-1"
_MOVING_PICTURE: Final = "moving-1"
# Rendering keeps a processor busy and holds some copies of the decoded frame: more at once would only need memory.
_RENDERING: Final = BoundedSemaphore(max(2, os.cpu_count() or 2))


class State(NamedTuple):
    """A presentation state that is applied to images."""

    dataset: Dataset
    instance: StoredInstance


def pictures_of(
    archive: Archive, inst: StoredInstance, numbers: Sequence[int], how: Rendering, state: State | None = None
) -> Iterator[bytes]:
    """The frames of these numbers, from 1, rendered one after the other, as a presentation state says if one is given.

    Raises `NotAcceptable`.
    """

    def make(places: Sequence[int]) -> Iterator[bytes]:
        wanted = [numbers[place] for place in places]
        shown = None if state is None else state.dataset
        for image in images_of(archive, inst, wanted, how, header_of(archive, inst), shown):
            yield encode(image, how.format, how.quality)

    return each(archive.frames, [picture_name(inst, number, how, state) for number in numbers], make)


def picture_name(inst: StoredInstance, number: int, how: Rendering, state: State | None = None) -> str:
    """The name of a picture, by all that it depends on."""
    return name_of(_PICTURE, inst, number, how, None if state is None else fingerprint(state.instance))


def moving_name(inst: StoredInstance, numbers: Sequence[int], how: Rendering) -> str:
    """The name of a picture that moves."""
    return name_of(_MOVING_PICTURE, inst, list(numbers), how)


def moving_picture(
    archive: Archive, inst: StoredInstance, numbers: Sequence[int], how: Rendering
) -> Generator[bytes, None, None]:
    """The frames of these numbers as one animated GIF or WebP, in pieces.

    Raises `NotAcceptable` with the first piece, also if all frames together have more pixels than one picture may.
    """
    name = moving_name(inst, numbers, how)
    kept = archive.frames.get(name)
    if kept is not None:
        yield kept
    else:
        yield from keeping(archive.frames, name, _moving(archive, inst, numbers, how))


def _moving(
    archive: Archive, inst: StoredInstance, numbers: Sequence[int], how: Rendering
) -> Generator[bytes, None, None]:
    ds = header_of(archive, inst)
    most = archive.settings.web.maximum_rendered_pixels
    images = images_of(archive, inst, numbers, how, ds)
    first = next(images)
    if first.width * first.height * len(numbers) > most:
        raise NotAcceptable(
            f"{len(numbers)} frames of {first.width} x {first.height} pixels are more than the limit of {most} for one "
            "picture; ask for fewer frames, or for smaller ones by viewport"
        )
    times = frame_times(ds, numbers)
    if how.format == "GIF":
        yield from gif(chain([first], images), times)
    else:
        yield webp(chain([first], images), times, how.quality)


def header_of(archive: Archive, inst: StoredInstance) -> Dataset:
    """The header of an image. Raises `NotAcceptable` for what is none."""
    if inst.object.frame_table is None:
        raise NotAcceptable(no_image(archive, inst))
    return read_header(archive.store, inst)


def images_of(
    archive: Archive,
    inst: StoredInstance,
    numbers: Sequence[int],
    how: Rendering,
    ds: Dataset,
    state: Dataset | None = None,
) -> Iterator[Image.Image]:
    """The frames of these numbers, rendered one after the other, as a presentation state says if one is given."""
    web = archive.settings.web
    limits = Limits(web.maximum_decoded_bytes, web.maximum_rendered_pixels)
    syntax = frames_syntax(inst)
    for number, frame in zip(numbers, read_frames(archive.store, inst, numbers), strict=True):
        with _RENDERING:
            if state is None:
                image = picture(frame, ds, number, syntax, how, limits)
            else:
                image = present(frame, ds, number, syntax, state, how, limits)
        yield image


def no_image(archive: Archive, inst: StoredInstance) -> str:
    """The sentence that says what the object is instead of an image."""
    return f"{describe(read_header(archive.store, inst))} has no image to render"
