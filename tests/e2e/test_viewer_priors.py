"""Which other studies OHIF shows beside the one that was opened: those of the same person, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import chromium, install_viewer
from tests.e2e.viewer import Viewer
from tests.integration.identity.test_linking import CITIZEN, A, B, kept, linked
from tests.web_server import fresh_archive, serving
from viewer_api.app import create_app

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


def test_priors_are_those_of_the_person_and_not_of_the_number(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> None:
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("priors"), web={"viewer": install_viewer()}) as archive,
        serving(create_app(archive)) as url,
        browser.new_context(viewport={"width": 1400, "height": 900}, base_url=url) as context,
    ):
        mine = kept(archive, A, "100", (CITIZEN, "CCCD"), StudyDescription="CT HOM NAY")
        kept(archive, B, "B7", (CITIZEN, "CCCD"), StudyDescription="CT NAM TRUOC")
        stranger = {"PatientName": "TRẦN^VĂN BÌNH", "PatientBirthDate": "19550302", "PatientSex": "M"}
        kept(archive, B, "100", StudyDescription="CT NGUOI KHAC", **stranger)
        linked(archive)
        page = context.new_page()
        viewer = Viewer(page)
        with page.expect_response(lambda answer: "relatedto=" in answer.url) as asked:
            viewer.load(mine)
            viewer.wait_for_image(mine)
        assert "00100020=" not in asked.value.url
        expect(page.get_by_text("CT NAM TRUOC")).to_be_visible()
        expect(page.get_by_text("CT HOM NAY").first).to_be_visible()
        assert page.get_by_text("CT NGUOI KHAC").count() == 0
