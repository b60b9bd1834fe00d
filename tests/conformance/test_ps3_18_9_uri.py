"""PS3.18 9: the URI service (WADO-URI)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.corpus import storage_objects
from tests.web_server import shared_web, store_files  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CT, MULTI, SR = "CT_small.dcm", "emri_small_jpeg_ls_lossless.dcm", "test-SR.dcm"
JLS = "1.2.840.10008.1.2.4.80"
PATHS = {path.name: path for path in storage_objects() if path.name in (CT, MULTI, SR)}


@pytest.fixture(scope="module")
def web(shared_web: httpx.Client) -> Iterator[httpx.Client]:  # noqa: F811
    store_files(shared_web, *PATHS.values())
    yield shared_web


def names(name: str) -> dict[str, str]:
    ds = pydicom.dcmread(PATHS[name], stop_before_pixels=True)
    uids = {"studyUID": ds.StudyInstanceUID, "seriesUID": ds.SeriesInstanceUID, "objectUID": ds.SOPInstanceUID}
    return {"requestType": "WADO", **uids}


def get(web: httpx.Client, name: str, accept: str = "*/*", **parameters: str) -> httpx.Response:
    return web.get("/dicom-web/wado", params={**names(name), **parameters}, headers={"accept": accept})


def picture(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    image = Image.open(io.BytesIO(response.content))
    assert response.headers["content-type"] == f"image/{str(image.format).lower()}"
    return image


def test_an_image_comes_as_jpeg_unless_something_else_is_wanted(web: httpx.Client) -> None:
    """9.1.2.2.1."""
    assert picture(get(web, CT)).format == "JPEG"
    assert picture(get(web, CT, contentType="image/png")).format == "PNG"
    assert picture(get(web, CT, contentType="image/webp,image/png;q=0.1")).format == "WEBP"
    assert picture(get(web, CT, accept="image/gif")).format == "GIF"


def test_what_is_no_image_comes_as_dicom(web: httpx.Client) -> None:
    response = get(web, SR)
    assert response.headers["content-type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    assert pydicom.dcmread(io.BytesIO(response.content)).Modality == "SR"
    assert get(web, SR, contentType="image/jpeg").status_code == 406


@pytest.mark.parametrize(
    ("asked", "given"),
    [("", "1.2.840.10008.1.2.1"), ("1.2.840.10008.1.2", "1.2.840.10008.1.2"), (JLS, JLS), ("*", JLS)],
)
def test_a_dicom_object_comes_in_the_syntax_asked_for(web: httpx.Client, asked: str, given: str) -> None:
    """9.1.2.3.2."""
    response = get(web, MULTI, contentType="application/dicom", transferSyntax=asked)
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={given}"
    assert pydicom.dcmread(io.BytesIO(response.content)).file_meta.TransferSyntaxUID == given


def test_a_syntax_that_cannot_be_given_is_406(web: httpx.Client) -> None:
    response = get(web, MULTI, contentType="application/dicom", transferSyntax="1.2.840.10008.1.2.4.50")
    assert response.status_code == 406
    assert JLS in response.json()["detail"]


def test_frames_are_numbered_from_one(web: httpx.Client) -> None:
    first, second = (picture(get(web, MULTI, frameNumber=n, contentType="image/png")) for n in ("1", "2"))
    assert np.asarray(first).tobytes() != np.asarray(second).tobytes()
    assert np.asarray(picture(get(web, MULTI, contentType="image/png"))).tobytes() == np.asarray(first).tobytes()
    path = "/dicom-web/studies/{studyUID}/series/{seriesUID}/instances/{objectUID}/frames/2/rendered".format(
        **names(MULTI)
    )
    rendered = web.get(path, headers={"accept": "image/png"})
    assert np.asarray(picture(rendered)).tobytes() == np.asarray(second).tobytes()


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ({"rows": "64"}, (64, 64)),
        ({"columns": "32", "rows": "200"}, (32, 32)),
        ({"region": "0.5,0,1,1"}, (64, 128)),
        ({"region": "0,0,0.5,0.5", "rows": "128"}, (128, 128)),
    ],
)
def test_size_and_region(web: httpx.Client, parameters: dict[str, str], size: tuple[int, int]) -> None:
    """9.1.2.2.4 to 9.1.2.2.6: CT_small has 128 x 128 pixels."""
    assert picture(get(web, CT, **parameters)).size == size


def test_the_region_is_that_part_of_the_image(web: httpx.Client) -> None:
    whole = np.asarray(picture(get(web, CT, contentType="image/png")))
    part = np.asarray(picture(get(web, CT, contentType="image/png", region="0.25,0.5,0.75,1")))
    assert np.array_equal(part, whole[64:128, 32:96])


def test_a_window_changes_the_picture(web: httpx.Client) -> None:
    """9.1.2.2.7."""
    dark = np.asarray(picture(get(web, CT, windowCenter="5000", windowWidth="10")))
    bright = np.asarray(picture(get(web, CT, windowCenter="-5000", windowWidth="10")))
    assert dark.max() < 5 and bright.min() > 250


@pytest.mark.parametrize(
    ("parameters", "status", "named"),
    [
        ({"requestType": ""}, 400, "requestType"),
        ({"requestType": "WADI"}, 400, "requestType"),
        ({"studyUID": ""}, 400, "studyUID"),
        ({"objectUID": "1.2.x"}, 400, "objectUID"),
        ({"objectUID": "1.2.3.4.5"}, 404, ""),
        ({"frameNumber": "2"}, 400, "frameNumber"),
        ({"frameNumber": "0"}, 400, "frameNumber"),
        ({"frameNumber": "²"}, 400, "frameNumber"),
        ({"rows": "-1"}, 400, "rows"),
        ({"columns": "9" * 30}, 400, "columns"),
        ({"region": "0,0,1"}, 400, "region"),
        ({"region": "0.5,0,0.5,1"}, 400, "region"),
        ({"region": "nan,0,1,1"}, 400, "region"),
        ({"windowWidth": "5"}, 400, "windowCenter"),
        ({"windowCenter": "5", "windowWidth": "0"}, 400, "windowWidth"),
        ({"imageQuality": "0"}, 400, "imageQuality"),
        ({"contentType": "text/html"}, 406, ""),
        ({"contentType": "application/dicom", "rows": "5"}, 400, "rows"),
        ({"contentType": "application/dicom", "transferSyntax": "x"}, 400, "transferSyntax"),
        ({"anonymize": "yes"}, 406, "anonymize"),
        ({"annotation": "everything"}, 400, "annotation"),
        ({"presentationUID": "1.2"}, 400, "presentationSeriesUID"),
    ],
)
def test_what_cannot_be_done_is_said(web: httpx.Client, parameters: dict[str, str], status: int, named: str) -> None:
    response = get(web, CT, **parameters)
    assert response.status_code == status
    assert named in response.json()["detail"]
