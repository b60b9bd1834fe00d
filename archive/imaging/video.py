"""Frames as an MP4 file with H.264, which every browser plays (PS3.18 Table 8.7.4-1).

Frames are taken one at a time; the file grows on disk. What is held is some frames within the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archive.errors import NotAcceptable
from archive.imaging.mp4_file import MP4File

LARGEST_SIDE: Final = 4096
"""Pixels; more are not decoded by what is in browsers and telephones."""
_MILLISECONDS: Final = Fraction(1, 1000)
_BT_709: Final = 1
_LIMITED_RANGE: Final = 1
# One thread: how many videos are made at once is for the caller to decide. No frames out of order: players seek better.
_OPTIONS: Final = {"preset": "veryfast", "bf": "0"}
_PROFILE: Final = "High"


def write_mp4(frames: Iterator[Image.Image], times: Sequence[int], quality: int, folder: Path) -> MP4File:
    """Encode the frames; give the file, which is gone when it is closed.

    Parameters
    ----------
    frames : Iterator[Image.Image]
        All of one size, grey or in colour.
    times : Sequence[int]
        Milliseconds for which each is shown.
    quality : int
        1 to 100, as of a JPEG.
    folder : Path
        Where there is room for temporary files.

    Raises
    ------
    NotAcceptable
        The frames are too large for players.
    """
    file = MP4File(folder)
    try:
        with av.open(file, "w", format="mp4") as container:
            _encode(container, frames, times, quality)
        file.finish()
    except BaseException:
        file.close()
        raise
    return file


def _encode(
    container: av.container.OutputContainer, frames: Iterator[Image.Image], times: Sequence[int], quality: int
) -> None:
    stream: av.VideoStream | None = None
    shown_at = 0
    for image, time in zip(frames, times, strict=True):
        if stream is None:
            stream = _stream(container, image, len(times), sum(times), quality)
        frame = av.VideoFrame.from_ndarray(_even(image), format="gray" if image.mode == "L" else "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base, frame.duration = shown_at, _MILLISECONDS, time
        shown_at += time
        container.mux(stream.encode(frame))
    if stream is not None:
        container.mux(stream.encode(None))


def _stream(
    container: av.container.OutputContainer, image: Image.Image, count: int, duration: int, quality: int
) -> av.VideoStream:
    width, height = image.width + image.width % 2, image.height + image.height % 2
    if max(width, height) > LARGEST_SIDE:
        raise NotAcceptable(f"a video has at most {LARGEST_SIDE} pixels a side; ask for a smaller one by viewport")
    # Constant rate factor: 10 looks like the original, 46 like nothing much.
    options = {**_OPTIONS, "crf": str(round(46 - 0.36 * quality))}
    stream = container.add_stream("libx264", rate=Fraction(1000 * count, duration), options=options)
    context = stream.codec_context
    context.thread_count = 1
    context.profile = _PROFILE
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = _MILLISECONDS
    context.colorspace = context.color_primaries = context.color_trc = _BT_709
    context.color_range = _LIMITED_RANGE
    return stream


def _even(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels, with the last column and row doubled where they are odd: chrominance is shared by two by two."""
    pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    odd = [(0, image.height % 2), (0, image.width % 2), (0, 0)][: pixels.ndim]
    return np.pad(pixels, odd, mode="edge") if image.height % 2 or image.width % 2 else np.ascontiguousarray(pixels)
