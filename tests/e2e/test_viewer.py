"""OHIF in a real browser: every kind of image is opened, and its pixels on the screen are compared with our rendering."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from tests.e2e.browser import SCREENSHOTS, Complaints, Sample, chromium, install_viewer, likeness, picture, send
from tests.web_server import fresh_archive, serving
from viewer_api.app import create_app

pytestmark = pytest.mark.browser

SAMPLES = [
    Sample("JPGLosslessP14SV1_1s_1f_8b.dcm", "JPEG lossless 8 bit"),
    Sample("JPEG-LL.dcm", "JPEG lossless 16 bit"),
    Sample("MR-SIEMENS-DICOM-WithOverlays.dcm", "16 bit MR"),
    Sample("693_UNCR.dcm", "16 bit signed CT"),
    Sample("RG3_J2KI.dcm", "JPEG 2000 lossy, monochrome 1"),
    Sample("693_J2KR.dcm", "JPEG 2000 lossless"),
    Sample("examples_jpeg2k.dcm", "JPEG 2000 colour"),
    Sample("US1_UNCR.dcm", "RGB"),
    Sample("OBXXXX1A.dcm", "palette"),
    Sample("examples_ybr_color.dcm", "YBR JPEG baseline, 30 frames", frames=30),
    Sample("SC_rgb_dcmtk_+eb+cy+s4.dcm", "JPEG baseline"),
    Sample("emri_small_jpeg_ls_lossless.dcm", "JPEG-LS, 10 frames", frames=10),
    Sample("OBXXXX1A_rle.dcm", "RLE palette"),
    Sample("SC_rgb_rle.dcm", "RLE RGB"),
    Sample("image_dfl.dcm", "deflated 8 bit"),
    Sample("emri_small_big_endian.dcm", "big endian 16 bit, 10 frames", frames=10),
    Sample("SC_rgb_expb.dcm", "big endian RGB"),
]
# What OHIF itself complains about, whatever it is given.
HARMLESS = re.compile(r"third-party cookie|Download the React DevTools", re.IGNORECASE)

_RENDERED = """([study, index]) => {
    const enabled = window.cornerstone?.getEnabledElements?.() ?? [];
    const viewport = enabled[0]?.viewport;
    if (!viewport || viewport.viewportStatus !== 'rendered' || !viewport.getCornerstoneImage) { return false; }
    const image = viewport.getCornerstoneImage();
    return Boolean(image) && viewport.getCurrentImageIdIndex() === index
        && image.imageId === viewport.getImageIds()[index] && image.imageId.includes(`/studies/${study}/`);
}"""
# Loading the program takes longer than all the rest; between studies its own router is used, as its own list does.
_GO = """address => {
    history.pushState({}, '', address);
    dispatchEvent(new PopStateEvent('popstate', { state: {} }));
}"""
# The part of the canvas that the image takes, by the corners of its pixels in the world of the viewport.
_CANVAS = """() => {
    const viewport = window.cornerstone.getEnabledElements()[0].viewport;
    const { imageData, dimensions } = viewport.getImageData();
    const corners = [[-0.5, -0.5, 0], [dimensions[0] - 0.5, dimensions[1] - 0.5, 0]]
        .map(corner => viewport.worldToCanvas(imageData.indexToWorld(corner)));
    const canvas = viewport.getCanvas();
    const scale = canvas.width / canvas.clientWidth;
    return { url: canvas.toDataURL('image/png'), box: corners.flat().map(value => value * scale) };
}"""


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The web service with one study for each sample."""
    viewer = install_viewer()
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("viewer"), web={"viewer": viewer}) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        send(client, SAMPLES)
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def page(browser: Browser, site: httpx.Client) -> Iterator[Page]:
    """The viewer, with the first study open."""
    with browser.new_context(viewport={"width": 1280, "height": 800}, base_url=str(site.base_url)) as context:
        opened = context.new_page()
        opened.goto(_address(SAMPLES[0]))
        _wait(opened, SAMPLES[0])
        yield opened


def _address(sample: Sample) -> str:
    return f"/viewer/viewer?StudyInstanceUIDs={sample.study}"


def _wait(page: Page, sample: Sample, index: int = 0) -> None:
    page.wait_for_function(_RENDERED, arg=[sample.study, index], timeout=60_000)


def _shown(page: Page) -> Image.Image:
    """The image as the viewport shows it."""
    canvas = page.evaluate(_CANVAS)
    left, top, right, bottom = canvas["box"]
    box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
    return picture(canvas["url"]).crop(tuple(round(value) for value in box))


def _expected(site: httpx.Client, sample: Sample, frame: int = 1) -> Image.Image:
    address = f"{sample.path}/frames/{frame}/rendered"
    response = site.get(address, headers={"Accept": "image/png"})
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.file)
def test_the_viewer_shows_the_image(site: httpx.Client, page: Page, sample: Sample) -> None:
    with Complaints(page) as complaints:
        page.evaluate(_GO, _address(sample))
        _wait(page, sample)
        shown, expected = _shown(page), _expected(site, sample)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"viewer_{sample.file.removesuffix('.dcm')}.png")
        assert np.asarray(shown).std() > 5, "the canvas is blank"
        assert shown.width / shown.height == pytest.approx(expected.width / expected.height, rel=0.02)
        assert likeness(shown, expected) > 0.95
        if sample.frames > 1:
            _scroll_to_second_frame(site, page, sample, shown)
    assert [text for text in complaints.found if not HARMLESS.search(text)] == []


def _scroll_to_second_frame(site: httpx.Client, page: Page, sample: Sample, first: Image.Image) -> None:
    page.locator("canvas.cornerstone-canvas").first.hover()
    page.mouse.wheel(0, 100)
    _wait(page, sample, 1)
    second = _shown(page)
    assert np.any(np.asarray(second) != np.asarray(first)), "the same pixels after scrolling"
    assert likeness(second, _expected(site, sample, 2)) > 0.95


def test_the_viewer_starts_in_vietnamese_and_talks_to_us_alone(site: httpx.Client, browser: Browser) -> None:
    """A fresh load, as from a link in the study list."""
    with browser.new_context(base_url=str(site.base_url)) as context:
        page = context.new_page()
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        with Complaints(page) as complaints:
            page.goto(_address(SAMPLES[0]))
            _wait(page, SAMPLES[0])
        assert page.evaluate("localStorage.getItem('i18nextLng')") == "vi"
        assert [url for url in addresses if not url.startswith((str(site.base_url), "blob:", "data:"))] == []
        assert page.evaluate("navigator.serviceWorker.getRegistrations().then(found => found.length)") == 0
        assert [text for text in complaints.found if not HARMLESS.search(text)] == []


def test_a_study_that_does_not_exist_is_said(page: Page) -> None:
    page.evaluate(_GO, "/viewer/viewer?StudyInstanceUIDs=1.2.3.4.5.6.7.8.9")
    page.locator("[data-cy=study-not-found-message]").wait_for()
