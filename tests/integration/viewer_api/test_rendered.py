"""Rendered instances over HTTP: moving pictures (PS3.18 8.7.4, 10.4.1.1.3)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageSequence

from archive.core import Archive
from tests.corpus import storage_objects
from tests.web_server import serving, shared_web, store_files  # noqa: F401
from viewer_api.app import create_app

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MULTI, COLOUR, CT = "emri_small_jpeg_ls_lossless.dcm", "examples_ybr_color.dcm", "CT_small.dcm"
PATHS = {path.name: path for path in storage_objects() if path.name in (MULTI, COLOUR, CT)}


@pytest.fixture(scope="module")
def web(shared_web: httpx.Client) -> Iterator[httpx.Client]:  # noqa: F811
    store_files(shared_web, *PATHS.values())
    yield shared_web


def get(web: httpx.Client, name: str, accept: str, frames: str = "", **parameters: str) -> httpx.Response:
    ds = pydicom.dcmread(PATHS[name], stop_before_pixels=True)
    path = f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    return web.get(f"{path}{frames}/rendered", params=parameters, headers={"accept": accept})


def moving(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    image = Image.open(io.BytesIO(response.content))
    assert response.headers["content-type"] == f"image/{str(image.format).lower()}"
    return image


def greys(image: Image.Image) -> list[np.ndarray]:
    return [np.asarray(frame.convert("L")).astype(int) for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize(("accept", "allowed"), [("image/gif", 0), ("image/webp", 30)])
def test_several_frames_move(web: httpx.Client, accept: str, allowed: int) -> None:
    image = moving(get(web, MULTI, accept, quality="100"))
    shown = greys(image)
    assert (len(shown), image.size, image.info["loop"]) == (10, (64, 64), 0)
    for number, frame in enumerate(shown, 1):
        still = greys(moving(get(web, MULTI, "image/png", f"/frames/{number}")))[0]
        assert np.abs(frame - still).max() <= allowed


def test_colours_move_as_long_as_the_object_says(web: httpx.Client) -> None:
    image = moving(get(web, COLOUR, "image/gif", viewport="80,60"))
    times = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert (len(times), image.size) == (30, (80, 60))
    assert sum(times) == pytest.approx(30 * 33.333, abs=10)


def test_a_list_of_frames_moves(web: httpx.Client) -> None:
    assert moving(get(web, MULTI, "image/gif", "/frames/3,1-2")).n_frames == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("accept", ["*/*", "image/*", "image/png", "image/jpeg, image/gif;q=0.5"])
def test_who_does_not_ask_for_it_gets_the_first_frame(web: httpx.Client, accept: str) -> None:
    assert getattr(moving(get(web, MULTI, accept)), "n_frames", 1) == 1


def test_one_frame_stands_still(web: httpx.Client) -> None:
    assert getattr(moving(get(web, CT, "image/gif")), "n_frames", 1) == 1
    assert getattr(moving(get(web, MULTI, "image/webp", "/frames/2")), "n_frames", 1) == 1


def test_more_than_one_picture_may_have_is_refused(web: httpx.Client) -> None:
    response = get(web, MULTI, "image/webp", viewport="4000,4000")
    assert response.status_code == 406
    assert "viewport" in response.json()["detail"]


def video(response: httpx.Response) -> tuple[av.VideoStream, list[av.VideoFrame]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "video/mp4"
    container = av.open(io.BytesIO(response.content))
    stream = container.streams.video[0]
    return stream, list(container.decode(stream))


@pytest.mark.parametrize(
    "accept", ["video/mp4", "video/*", "video/webm, video/mp4;q=0.5", "image/png;q=0.1, video/mp4"]
)
def test_several_frames_are_a_video(web: httpx.Client, accept: str) -> None:
    stream, shown = video(get(web, MULTI, accept, quality="100"))
    assert (len(shown), stream.width, stream.height) == (10, 64, 64)
    for number, frame in enumerate(shown, 1):
        still = greys(moving(get(web, MULTI, "image/png", f"/frames/{number}")))[0]
        # Fine detail in H.264 is not exact; the right frame is far nearer than its neighbours are.
        assert np.abs(frame.to_ndarray(format="gray").astype(int) - still).mean() <= 4


def test_a_video_lasts_as_long_as_the_object_says(web: httpx.Client) -> None:
    stream, shown = video(get(web, COLOUR, "video/mp4", viewport="80,60"))
    assert (len(shown), stream.width, stream.height) == (30, 80, 60)
    assert float(shown[-1].pts * stream.time_base) == pytest.approx(29 * 0.033333, abs=0.002)


def test_a_list_of_frames_is_a_video(web: httpx.Client) -> None:
    assert len(video(get(web, MULTI, "video/mp4", "/frames/3,1-2"))[1]) == 3


def test_a_video_is_made_once_and_read_from_anywhere(web: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = get(web, MULTI, "video/mp4", viewport="32,32")

    def again(*_: object) -> None:
        raise AssertionError("it is made again")

    monkeypatch.setattr("viewer_api.videos.write_mp4", again)
    assert get(web, MULTI, "video/mp4", viewport="32,32").content == first.content
    ds = pydicom.dcmread(PATHS[MULTI], stop_before_pixels=True)
    path = f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    headers = {"Accept": "video/mp4", "Range": "bytes=10-19", "If-Range": first.headers["etag"]}
    part = web.get(f"{path}/rendered?viewport=32,32", headers=headers)
    assert (part.status_code, part.content) == (206, first.content[10:20])
    headers = {"Accept": "video/mp4", "If-None-Match": first.headers["etag"]}
    assert web.get(f"{path}/rendered?viewport=32,32", headers=headers).status_code == 304


def test_what_is_no_video_is_refused(web: httpx.Client) -> None:
    assert get(web, CT, "video/mp4").status_code == 406
    assert get(web, MULTI, "video/mp4", "/frames/1").status_code == 406
    assert get(web, MULTI, "video/webm").status_code == 406
    assert get(web, MULTI, "video/mp4", iccprofile="srgb").status_code == 400
    large = get(web, MULTI, "video/mp4", viewport="5000,5000")
    assert (large.status_code, "viewport" in large.json()["detail"]) == (406, True)


def test_longer_videos_than_the_settings_allow_are_refused(archive: Archive) -> None:
    settings = archive.settings.web.model_copy(update={"maximum_video_pixels": 64 * 64 * 10 - 1})
    archive.settings = archive.settings.model_copy(update={"web": settings})
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=60) as client:
        store_files(client, PATHS[MULTI])
        assert get(client, MULTI, "video/mp4").status_code == 406
        assert len(video(get(client, MULTI, "video/mp4", "/frames/1-9"))[1]) == 9
