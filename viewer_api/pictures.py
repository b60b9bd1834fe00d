"""Frames of stored instances as pictures, for all resources that give some."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from threading import BoundedSemaphore
from typing import Final

from archive.core import Archive
from archive.errors import NotAcceptable
from archive.imaging.pixels import describe
from archive.imaging.render import ImageFormat, Limits, Rendering, render_frame
from archive.records import StoredInstance
from archive.retrieve import frames_syntax, read_frames, read_header
from viewer_api.media_types import GIF, JPEG, PNG, WEBP

FORMATS: Final[dict[str, ImageFormat]] = {JPEG: "JPEG", PNG: "PNG", GIF: "GIF", WEBP: "WEBP"}
"""Media types of pictures."""
# Rendering keeps a processor busy and holds some copies of the decoded frame: more at once would only need memory.
_RENDERING: Final = BoundedSemaphore(max(2, os.cpu_count() or 2))


def pictures_of(archive: Archive, inst: StoredInstance, numbers: Sequence[int], how: Rendering) -> Iterator[bytes]:
    """The frames of these numbers, from 1, rendered one after the other. Raises `NotAcceptable`."""
    if inst.object.frame_table is None:
        raise NotAcceptable(no_image(archive, inst))
    web = archive.settings.web
    limits = Limits(web.maximum_decoded_bytes, web.maximum_rendered_pixels)
    ds, syntax = read_header(archive.store, inst), frames_syntax(inst)
    for number, frame in zip(numbers, read_frames(archive.store, inst, numbers), strict=True):
        with _RENDERING:
            picture = render_frame(frame, ds, number, syntax, how, limits)
        yield picture


def no_image(archive: Archive, inst: StoredInstance) -> str:
    """The sentence that says what the object is instead of an image."""
    return f"{describe(read_header(archive.store, inst))} has no image to render"
