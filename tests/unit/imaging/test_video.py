"""Frames as MP4: what a player finds in it (PS3.18 Table 8.7.4-1)."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from archive.errors import NotAcceptable
from archive.imaging.mp4_file import MP4File
from archive.imaging.video import LARGEST_SIDE, write_mp4


def frames(count: int, mode: str = "L", width: int = 64, height: int = 48) -> Iterator[Image.Image]:
    for number in range(count):
        shade = 20 + 10 * number
        yield Image.new(mode, (width, height), shade if mode == "L" else (shade, 255 - shade, 128))


def content(file: MP4File) -> bytes:
    return b"".join(file.read(0, file.size))


def played(file: MP4File) -> tuple[av.VideoStream, list[av.VideoFrame]]:
    container = av.open(io.BytesIO(content(file)), "r")
    stream = container.streams.video[0]
    return stream, list(container.decode(stream))


@pytest.mark.parametrize(("mode", "shown"), [("L", "gray"), ("RGB", "rgb24")])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 47), (16, 17)])
def test_each_frame_is_there_and_looks_as_before(
    tmp_path: Path, mode: str, shown: str, width: int, height: int
) -> None:
    with write_mp4(frames(20, mode, width, height), [40] * 20, 100, tmp_path) as file:
        stream, found = played(file)
        assert (stream.codec_context.name, len(found)) == ("h264", 20)
        assert (stream.width, stream.height) == (width + width % 2, height + height % 2)
        for expected, frame in zip(frames(20, mode, width, height), found, strict=True):
            pixels = frame.to_ndarray(format=shown)[:height, :width].astype(int)
            assert np.abs(pixels - np.asarray(expected).astype(int)).max() <= 6


def test_each_frame_is_shown_for_its_time(tmp_path: Path) -> None:
    times = [33, 33, 34, 200, 1, 500]
    with write_mp4(frames(6), times, 50, tmp_path) as file:
        stream, found = played(file)
        starts = [float(frame.pts * stream.time_base) * 1000 for frame in found]
        assert starts == pytest.approx([sum(times[:n]) for n in range(6)], abs=0.5)


def test_it_plays_while_it_loads_and_says_what_its_colours_are(tmp_path: Path) -> None:
    with write_mp4(frames(5), [40] * 5, 90, tmp_path) as file:
        found = content(file)
        assert found[4:8] == b"ftyp"
        assert 0 < found.find(b"moov") < found.find(b"mdat")
        context = played(file)[0].codec_context
        assert (context.pix_fmt, context.profile, int(context.colorspace), int(context.color_range)) == (
            "yuv420p",
            "High",
            1,
            1,
        )


def test_nothing_stays_on_disk(tmp_path: Path) -> None:
    with write_mp4(frames(5), [40] * 5, 90, tmp_path) as file:
        assert os.listdir(tmp_path) == []
        assert file.size

    def breaks() -> Iterator[Image.Image]:
        yield from frames(2)
        raise NotAcceptable("the frame is damaged")

    with pytest.raises(NotAcceptable):
        write_mp4(breaks(), [40] * 5, 90, tmp_path)
    assert os.listdir(tmp_path) == []


def test_less_quality_is_a_smaller_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (10, 64, 64), dtype=np.uint8)
    sizes = []
    for quality in (1, 50, 100):
        with write_mp4((Image.fromarray(each) for each in noise), [40] * 10, quality, tmp_path) as file:
            sizes.append(file.size)
    assert sizes[0] < sizes[1] < sizes[2]


def test_what_no_player_shows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAcceptable, match="viewport"):
        write_mp4(frames(2, "L", LARGEST_SIDE + 1, 16), [40] * 2, 90, tmp_path)


def test_a_large_video_is_on_disk_and_can_be_read_from_anywhere(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (120, 256, 256), dtype=np.uint8)
    with write_mp4((Image.fromarray(each) for each in noise), [40] * 120, 100, tmp_path) as file:
        whole = content(file)
        assert len(whole) == file.size > 5 << 20
        assert len(played(file)[1]) == 120
        for start, end in ((0, 10), (20, 6000), (4000, 4200), (1 << 20, (1 << 20) + 5), (file.size - 3, file.size + 9)):
            assert b"".join(file.read(start, end - start)) == whole[start:end]


def test_what_was_written_behind_the_start_is_not_written_again(tmp_path: Path) -> None:
    with MP4File(tmp_path) as file:
        file.write(bytes(5000))
        file.seek(10)
        file.write(b"x" * 100)
        file.seek(4500)
        with pytest.raises(OSError, match="start"):
            file.write(b"x")
        with pytest.raises(ValueError):
            file.finish()
