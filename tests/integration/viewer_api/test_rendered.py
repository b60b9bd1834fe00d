"""Rendered instances over HTTP: moving pictures (PS3.18 8.7.4, 10.4.1.1.3)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageSequence

from tests.corpus import storage_objects
from tests.web_server import shared_web, store_files  # noqa: F401

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
