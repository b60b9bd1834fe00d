"""Frames as one moving picture: animated GIF and WebP (PS3.18 8.7.4, Rendered Media Types for multi-frame images).

Frames are taken one at a time: what is held is one of them, and of WebP what is encoded so far.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

from PIL import GifImagePlugin, Image
from pydicom.dataset import Dataset

DEFAULT_RATE: Final = 10.0
"""Frames in a second where the object says nothing."""
# Browsers show what is faster than this at a tenth of a second.
_SHORTEST: Final = 20
_LONGEST: Final = 60_000


def frame_times(ds: Dataset, numbers: Sequence[int], unit: int = 10, shortest: int = _SHORTEST) -> list[int]:
    """Milliseconds for which each of the frames (from 1) is shown (PS3.3 C.7.6.5.1.1, C.7.6.5.1.2).

    Recommended Display Frame Rate goes before Cine Rate, and these before Frame Time Vector and Frame Time, which say
    how the frames were acquired. Rounded to the unit (GIF counts hundredths of a second) so that errors do not add up.
    """
    rate = _positive(ds.get("RecommendedDisplayFrameRate")) or _positive(ds.get("CineRate"))
    vector = ds.get("FrameTimeVector")
    single = _positive(ds.get("FrameTime")) or 1000 / DEFAULT_RATE
    exact = []
    for number in numbers:
        if rate:
            exact.append(1000 / rate)
        else:
            # The vector holds the time from the frame before; the last frame is shown as long as the one before it.
            exact.append(_at(vector, number) or _at(vector, number - 1) or single)
    times, over = [], 0.0
    for each in exact:
        wanted = min(max(each, shortest), _LONGEST) + over
        times.append(max(shortest, round(wanted / unit) * unit))
        over = wanted - times[-1]
    return times


def _at(vector: Any, index: int) -> float | None:
    return _positive(vector[index]) if isinstance(vector, Sequence) and 0 <= index < len(vector) else None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < 1e9 else None


def gif(frames: Iterator[Image.Image], times: Sequence[int]) -> Generator[bytes, None, None]:
    """An animated GIF that loops, in pieces: each frame is given out before the next is taken."""
    for index, (frame, time) in enumerate(zip(frames, times, strict=True)):
        shown = frame.convert("P") if frame.mode == "L" else frame.convert("RGB").quantize(256)
        if index == 0:
            yield b"".join(GifImagePlugin.getheader(shown, info={"loop": 0})[0])
        yield b"".join(GifImagePlugin.getdata(shown, duration=time, include_color_table=frame.mode != "L"))
    yield b";"


def webp(frames: Iterator[Image.Image], times: Sequence[int], quality: int) -> bytes:
    """An animated WebP that loops."""
    out = io.BytesIO()
    first = next(frames)
    rest = [_Frames(frames, len(times) - 1)] if len(times) > 1 else []
    first.save(out, "WEBP", save_all=True, append_images=rest, duration=list(times), loop=0, quality=quality, method=0)
    return out.getvalue()


class _Frames(Image.Image):
    """Images of an iterator, as an image of several frames: Pillow would hold a list of them at once."""

    def __init__(self, frames: Iterator[Image.Image], count: int) -> None:
        super().__init__()
        self._frames = frames
        self.n_frames = count

    def seek(self, frame: int) -> None:  # noqa: ARG002
        """Take the next frame; they are only asked for in order."""
        image = next(self._frames)
        image.load()
        self.im, self._mode, self._size = image.im, image.mode, image.size
