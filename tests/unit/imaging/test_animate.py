"""Moving pictures (PS3.18 8.7.4) and how long their frames are shown (PS3.3 C.7.6.5)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageSequence
from pydicom.dataset import Dataset

from archive.imaging.animate import frame_times, gif, webp


@pytest.mark.parametrize(
    ("attributes", "times"),
    [
        ({}, [100, 100, 100]),
        ({"FrameTime": "33.333"}, [30, 40, 30]),
        ({"FrameTime": "33.333", "CineRate": "20"}, [50, 50, 50]),
        ({"CineRate": "20", "RecommendedDisplayFrameRate": "5"}, [200, 200, 200]),
        ({"FrameTimeVector": ["0", "200", "400"]}, [200, 400, 400]),
        ({"FrameTime": "0"}, [100, 100, 100]),
        ({"FrameTime": "-4"}, [100, 100, 100]),
        ({"FrameTime": "1"}, [20, 20, 20]),
        ({"FrameTime": "1e8"}, [60_000, 60_000, 60_000]),
        ({"FrameTimeVector": "7"}, [100, 100, 100]),
    ],
)
def test_how_long_frames_are_shown(attributes: dict[str, object], times: list[int]) -> None:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    assert frame_times(ds, [1, 2, 3]) == times


def frames(count: int, colour: bool) -> Iterator[Image.Image]:
    for number in range(count):
        shade = np.full((8, 12), 10 + 40 * number, np.uint8)
        yield Image.fromarray(np.stack([shade, 255 - shade, shade], 2) if colour else shade)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_each_frame_is_there_for_its_time_and_it_loops(kind: str, colour: bool) -> None:
    times = [100, 200, 50, 40]
    made = frames(4, colour)
    data = b"".join(gif(made, times)) if kind == "GIF" else webp(made, times, 100)
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size, image.info["loop"]) == (kind, (12, 8), 0)
    shown = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(image)]
    assert [duration for _, duration in shown] == times
    for (found, _), wanted in zip(shown, frames(4, colour), strict=True):
        apart = np.asarray(found).astype(int) - np.asarray(wanted.convert("RGB")).astype(int)
        assert np.abs(apart).max() <= (0 if kind == "GIF" else 6)


def test_frames_are_taken_one_at_a_time() -> None:
    taken: list[int] = []

    def counted() -> Iterator[Image.Image]:
        for number, frame in enumerate(frames(4, False)):
            taken.append(number)
            yield frame

    pieces = gif(counted(), [100] * 4)
    next(pieces)
    assert taken == [0]
    next(pieces), next(pieces)
    assert taken == [0, 1]
