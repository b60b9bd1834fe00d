"""The dashboard in Chromium: charts under our policy, on a wall and on a phone, followed by a click."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from archive.core import Archive
from tests.e2e.browser import BUILD, SCREENSHOTS, chromium
from tests.integration.viewer_api.test_dashboard import ALL, archive
from tests.web_server import serving
from viewer_api import charts
from viewer_api.app import create_app

pytestmark = pytest.mark.browser
__all__ = ["archive"]

FOLDER = BUILD / "dashboard"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


def listened(page: Page) -> list[str]:
    """What goes wrong on the page: errors of scripts, and what our policy refuses."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    return wrong


def test_charts_are_drawn_of_the_tables(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    charts.install(FOLDER, print)
    monkeypatch.setattr(type(archive.settings), "viewer_dir", property(lambda _: FOLDER))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with serving(create_app(archive)) as address, chromium() as browser:
        desk = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="dark")
        wrong = listened(desk)
        desk.goto(f"{address}/dashboard?{ALL}")
        expect(desk.locator(".of-facilities canvas").first).to_be_visible()
        assert desk.locator(".panel.drawn").count() >= 10
        # The table says the same, for who cannot see a canvas, and to who asks for it.
        toggle = desk.locator(".of-modalities button.toggle")
        toggle.click()
        expect(toggle).to_have_attribute("aria-pressed", "true")
        expect(desk.locator(".of-modalities td").first).to_be_visible()
        desk.screenshot(path=SCREENSHOTS / "dashboard.png")
        desk.locator(".of-districts .places a").first.click()
        expect(desk.locator(".narrowed li")).to_have_count(1)
        assert wrong == []

        phone = browser.new_page(viewport={"width": 390, "height": 844})
        wrong = listened(phone)
        phone.goto(f"{address}/dashboard?{ALL}")
        expect(phone.locator(".of-heat canvas").first).to_be_visible()
        wide, seen = phone.evaluate(WIDTHS)
        assert wide == seen
        assert wrong == []

        wall = browser.new_page(viewport={"width": 1920, "height": 1080})
        wrong = listened(wall)
        wall.goto(f"{address}/dashboard?{ALL}&view=wall")
        expect(wall.locator(".panel:not(.away)")).to_have_count(6)
        high = wall.evaluate("[document.documentElement.scrollHeight, window.innerHeight]")
        assert high[0] == high[1], "nobody scrolls a wall"
        assert wrong == []


def test_page_says_everything_without_scripts(archive: Archive) -> None:
    with serving(create_app(archive)) as address, chromium() as browser:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{address}/dashboard?{ALL}")
        expect(page.locator(".of-facilities td").first).to_be_visible()
        page.locator(".of-modalities tbody a").first.click()
        expect(page.locator(".narrowed li")).to_have_count(1)
