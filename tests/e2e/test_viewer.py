"""OHIF in a real browser: every kind of image is opened, and its pixels on the screen are compared with our rendering."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser

from archive.people.caller import Membership
from archive.people.commands import OPERATOR
from archive.people.roles import Role
from tests.e2e.browser import Complaints, Sample, chromium, install_viewer, likeness, send
from tests.e2e.viewer import HARMLESS, Viewer, rendering
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
def viewer(browser: Browser, site: httpx.Client) -> Iterator[Viewer]:
    """The viewer, with the first study open."""
    with browser.new_context(viewport={"width": 1280, "height": 800}, base_url=str(site.base_url)) as context:
        opened = Viewer(context.new_page())
        opened.load(SAMPLES[0].study)
        opened.wait_for_image(SAMPLES[0].study)
        yield opened


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.file)
def test_the_viewer_shows_the_image(site: httpx.Client, viewer: Viewer, sample: Sample) -> None:
    with Complaints(viewer.page) as complaints:
        viewer.go(sample.study)
        viewer.wait_for_image(sample.study)
        shown, expected = viewer.shown(), rendering(site, sample.path)
        viewer.keep(sample.file.removesuffix(".dcm"))
        assert np.asarray(shown).std() > 5, "the canvas is blank"
        assert shown.width / shown.height == pytest.approx(expected.width / expected.height, rel=0.02)
        assert likeness(shown, expected) > 0.95
        if sample.frames > 1:
            viewer.scroll()
            viewer.wait_for_image(sample.study, 1)
            second = viewer.shown()
            assert np.any(np.asarray(second) != np.asarray(shown)), "the same pixels after scrolling"
            assert likeness(second, rendering(site, sample.path, 2)) > 0.95
    assert [text for text in complaints.found if not HARMLESS.search(text)] == []


def test_the_viewer_starts_in_vietnamese_and_talks_to_us_alone(site: httpx.Client, browser: Browser) -> None:
    """A fresh load, as from a link in the study list."""
    with browser.new_context(base_url=str(site.base_url)) as context:
        page = context.new_page()
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        with Complaints(page) as complaints:
            viewer = Viewer(page)
            viewer.load(SAMPLES[0].study)
            viewer.wait_for_image(SAMPLES[0].study)
        assert page.evaluate("localStorage.getItem('i18nextLng')") == "vi"
        assert [url for url in addresses if not url.startswith((str(site.base_url), "blob:", "data:"))] == []
        assert page.evaluate("navigator.serviceWorker.getRegistrations().then(found => found.length)") == 0
        assert [text for text in complaints.found if not HARMLESS.search(text)] == []


def test_a_study_that_does_not_exist_is_said(viewer: Viewer) -> None:
    viewer.go("1.2.3.4.5.6.7.8.9")
    viewer.page.locator("[data-cy=study-not-found-message]").wait_for()


def test_who_has_signed_in_sees_the_images_of_their_hospital(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> None:
    """The viewer sends the cookie along by itself, for metadata and for pixels."""
    with (
        fresh_archive(
            postgres,
            tmp_path_factory.mktemp("signed_in"),
            web={"viewer": install_viewer()},
            access={},
            facilities=[{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}, {"code": "86002", "name": "TTYT huyện"}],
        ) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        passwords = {}
        for name, facility in (("an", "86001"), ("binh", "86002")):
            roles = [Membership(Role.RADIOLOGIST, facility)]
            accounts = archive.people.accounts
            passwords[name] = accounts.create(OPERATOR, name, "BS. Trần Văn " + name, roles, one_time=False)
        client.post("/sign-in", data={"name": "an", "password": passwords["an"]})
        send(client, SAMPLES[:1])
        for name, seen in (("an", True), ("binh", False)):
            with browser.new_context(viewport={"width": 1400, "height": 900}, base_url=url) as context:
                page = context.new_page()
                page.goto(f"/viewer/viewer?StudyInstanceUIDs={SAMPLES[0].study}")
                page.locator("input[name=name]").fill(name)
                page.locator("input[name=password]").fill(passwords[name])
                page.locator("form.card button").click()
                if seen:
                    page.wait_for_url("**/viewer/viewer?StudyInstanceUIDs=*")
                    viewer = Viewer(page)
                    viewer.wait_for_image(SAMPLES[0].study)
                    assert np.asarray(viewer.shown()).std() > 5, "the canvas is blank"
                else:
                    page.locator("[data-cy=study-not-found-message]").wait_for()


def test_who_was_away_signs_in_again_and_is_back_at_the_study(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> None:
    """The session ends between two images: what asks for the next one leads to the sign-in, and that back."""
    with (
        fresh_archive(
            postgres,
            tmp_path_factory.mktemp("away"),
            web={"viewer": install_viewer()},
            access={},
            facilities=[{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}],
        ) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
        browser.new_context(viewport={"width": 1400, "height": 900}, base_url=url) as context,
    ):
        accounts, roles = archive.people.accounts, [Membership(Role.RADIOLOGIST, "86001")]
        password = accounts.create(OPERATOR, "an", "BS. Trần Văn An", roles, one_time=False)
        number = accounts.named(OPERATOR, "an").id
        client.post("/sign-in", data={"name": "an", "password": password})
        send(client, SAMPLES[:2])
        page = context.new_page()
        viewer = Viewer(page)

        def enter() -> None:
            page.locator("input[name=name]").fill("an")
            page.locator("input[name=password]").fill(password)
            page.locator("form.card button").click()
            page.wait_for_url("**/viewer/viewer?StudyInstanceUIDs=*")

        def end_the_session() -> None:
            archive.people.sessions.end_all(number)
            # The server remembers for a few seconds that it held.
            while context.request.get("/profile/alive").status != 401:
                pass

        viewer.load(SAMPLES[0].study)
        enter()
        viewer.wait_for_image(SAMPLES[0].study)
        end_the_session()
        viewer.go(SAMPLES[1].study)
        page.wait_for_url("**/sign-in?to=*")
        enter()
        viewer.wait_for_image(SAMPLES[1].study)
        # The images are all here, and yet somebody is at work: each minute the session is used by that alone.
        page.clock.install()
        page.reload()
        viewer.wait_for_image(SAMPLES[1].study)
        page.clock.fast_forward("01:05")
        with page.expect_response("**/profile/alive") as told:
            page.mouse.move(700, 450)
            page.mouse.move(710, 460)
        assert told.value.status == 204
        end_the_session()
        page.clock.fast_forward("01:05")
        page.mouse.move(720, 470)
        page.wait_for_url("**/sign-in?to=*")
        assert page.locator("canvas.cornerstone-canvas").count() == 0
