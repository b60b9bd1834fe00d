"""The link to the images in an outgoing ORU^R01, opened in Chromium by who may, by who may not, and by nobody yet."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from archive.core import Archive
from archive.people.caller import Membership
from archive.people.roles import Role
from config.settings import Settings
from tests.e2e.browser import chromium, install_viewer
from tests.e2e.viewer import Viewer
from tests.factories import ct_image, store
from tests.hl7 import items, listening, order, send, with_hl7
from tests.integration.hl7.receiver import hl7apy_server
from tests.integration.hl7.test_sending import sign, telling
from tests.integration.people.test_signing_in import PASSWORD, make
from tests.web_server import serving
from viewer_api.app import create_app

pytestmark = pytest.mark.browser

NAME = "NGUYỄN^ĐỨC^VĂN"


def result(settings: Settings, url: str) -> tuple[str, str]:
    """Order by HL7, store its images, sign its report: the study, and the link that the hospital is sent.

    By an archive of its own, as the process of HL7 has one.
    """
    web = settings.web.model_copy(update={"public_url": url})
    with hl7apy_server() as (port, taken):
        with_hospital = telling(with_hl7(settings.model_copy(update={"web": web})), port)
        with Archive.open(with_hospital) as archive, listening(archive) as listener:
            assert send(listener.port, order("1", accession="ACC1"))[0][1] == "AA"
            [item] = items(archive)
            image = ct_image(
                StudyInstanceUID=item.study_instance_uid, AccessionNumber="ACC1", PatientID="BN0001",
                PatientName=NAME, SpecificCharacterSet="ISO_IR 192", StudyDescription="CT sọ não",
            )  # fmt: skip
            store(archive, image)
            with archive.messages.senders(0.05):
                sign(archive, item.study_instance_uid, "Không có gì bất thường")
                message = taken.get(timeout=120)
    [link] = [each.obx_5.to_er7().split("^")[0] for each in message.obx if each.obx_3.obx_3_1.value == "IMAGES"]
    return item.study_instance_uid, link


def sign_in(page: Page, name: str) -> None:
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form[action='/sign-in'] button").click()


def opened(browser: Browser, link: str) -> Page:
    """The link in a browser that nobody has used yet."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.goto(link)
    return page


def test_the_link_in_a_result_shows_the_study_to_who_may_see_it(settings: Settings) -> None:
    web = settings.web.model_copy(update={"viewer": install_viewer()})
    access = settings.access.model_copy(update={"sign_in": "required"})
    settings = settings.model_copy(update={"web": web, "access": access})
    with Archive.open(settings) as archive, serving(create_app(archive)) as url, chromium() as browser:
        make(archive, "here", Membership(Role.RADIOLOGIST, "86001"))
        make(archive, "elsewhere", Membership(Role.RADIOLOGIST, "86002"))
        study, link = result(settings, url)
        assert link.startswith(url)
        _nobody_yet(browser, link, study)
        _who_may_not(browser, link, study)


def _nobody_yet(browser: Browser, link: str, study: str) -> None:
    """Nothing is shown before the sign-in, which leads to the study; then the link opens at once."""
    page = opened(browser, link)
    page.locator("input[name=password]").wait_for()
    assert page.url.startswith(link.partition("/viewer/")[0] + "/sign-in")
    assert "CT sọ não" not in page.content()
    sign_in(page, "here")
    viewer = Viewer(page)
    viewer.wait_for_image(study)
    expect(page.get_by_text("CT sọ não").first).to_be_visible()
    viewer.keep("result_link")
    page.goto("about:blank")
    page.goto(link)
    viewer.wait_for_image(study)
    page.context.close()


def _who_may_not(browser: Browser, link: str, study: str) -> None:
    """A radiologist of another hospital is told nothing of the study, neither by the viewer nor by what it asks."""
    page = opened(browser, link)
    page.locator("input[name=password]").wait_for()
    with page.expect_response(lambda answer: f"/studies/{study}" in answer.url) as asked:
        sign_in(page, "elsewhere")
    assert asked.value.json() == []
    origin = link.partition("/viewer/")[0]
    assert page.request.get(f"{origin}/dicom-web/studies/{study}/metadata").status == 404
    expect(page.get_by_text("not available at this time")).to_be_visible()
    Viewer(page).keep("result_link_elsewhere")
    assert "CT sọ não" not in page.inner_text("body")
    assert page.evaluate("() => (window.cornerstone?.getEnabledElements?.() ?? []).length") == 0
    page.context.close()
