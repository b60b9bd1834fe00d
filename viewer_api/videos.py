"""Frames of stored instances as videos: made once, kept for a while, read from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from threading import BoundedSemaphore
from typing import Final

from archive.core import Archive
from archive.errors import NotAcceptable, Unavailable
from archive.imaging.animate import frame_times
from archive.imaging.mp4_file import MP4File
from archive.imaging.render import Rendering
from archive.imaging.video import write_mp4
from archive.records import StoredInstance
from viewer_api.kept import LARGEST_KEPT, name_of, tag_of
from viewer_api.pictures import header_of, images_of
from viewer_api.ranges import Content, in_memory

# To be counted up when the same instance would make another video.
_MAKER: Final = "mp4-1"
# Encoding keeps a processor busy for seconds; frames and metadata are to be had meanwhile.
_ENCODING: Final = BoundedSemaphore(1)
_PATIENCE: Final = 20.0
"""Seconds to wait for one's turn: who waits holds one of the threads that answer requests."""


def video_of(archive: Archive, inst: StoredInstance, numbers: Sequence[int], how: Rendering) -> Content:
    """The frames of these numbers as MP4.

    Raises `NotAcceptable`; `Unavailable` if others are being made for too long.
    """
    name = name_of(_MAKER, inst, how, list(numbers))
    etag = tag_of(name)
    kept = archive.videos.get(name)
    if kept is not None:
        return in_memory(kept, etag)
    if not _ENCODING.acquire(timeout=_PATIENCE):
        raise Unavailable("other videos are being made; ask again in a while")
    try:
        # Whoever had the turn before may have made the same.
        kept = archive.videos.get(name)
        if kept is not None:
            return in_memory(kept, etag)
        made = _made(archive, inst, numbers, how)
    finally:
        _ENCODING.release()
    if made.size <= LARGEST_KEPT:
        archive.videos.put(name, b"".join(made.read(0, made.size)))
    return Content(made.size, made.read, etag)


def _made(archive: Archive, inst: StoredInstance, numbers: Sequence[int], how: Rendering) -> MP4File:
    ds = header_of(archive, inst)
    images = images_of(archive, inst, numbers, how, ds)
    first = next(images)
    most = archive.settings.web.maximum_video_pixels
    if first.width * first.height * len(numbers) > most:
        raise NotAcceptable(
            f"{len(numbers)} frames of {first.width} x {first.height} pixels are more than the limit of {most} for one "
            "video; ask for fewer frames, or for smaller ones by viewport"
        )
    times = frame_times(ds, numbers, unit=1, shortest=1)
    return write_mp4(chain((first,), images), times, how.quality, archive.settings.spool_dir)
