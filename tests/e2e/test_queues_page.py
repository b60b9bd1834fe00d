"""The page of the queues in Chromium: it keeps itself up to date, and its buttons do what they say."""

from __future__ import annotations

import pytest
from playwright.sync_api import Dialog, expect

from archive.core import Archive
from config.peers import Peer
from config.routes import Route
from config.settings import Settings
from tests.e2e.browser import SCREENSHOTS, chromium
from tests.factories import ct_image, store
from tests.integration.archive.support import sql
from tests.web_server import serving
from viewer_api.app import create_app

pytestmark = pytest.mark.browser


def test_the_page_follows_the_queues_and_steers_them(settings: Settings) -> None:
    peers = [
        Peer(ae_title="TINH_PACS", facility="86001", host="10.86.0.5", port=104, description="Kho ảnh tỉnh bạn"),
        Peer(ae_title="WS_CDHA", facility="86001", host="10.86.1.9", port=104, description="Trạm đọc, Khoa CĐHA"),
    ]
    routes = [Route(name="CT về tỉnh", destinations=("TINH_PACS", "WS_CDHA"))]
    changed = Settings.model_validate({**settings.model_dump(), "peers": [*settings.peers, *peers], "routes": routes})
    with Archive.open(changed) as archive, serving(create_app(archive)) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 620})
        page.goto(f"{address}/queues")
        waiting = page.locator("tr.queue", has_text="TINH_PACS").locator("td.number").first
        expect(waiting).to_have_text("0")
        image = ct_image()
        store(archive, image)
        archive.routing.send(image.StudyInstanceUID, "TINH_PACS")
        # Nobody reloads it.
        expect(waiting).to_have_text("1")
        sql(
            archive,
            "UPDATE route_task SET state = 'failed', refusals = 5, error = 'status 0122: SOP class not supported'",
        )
        sql(
            archive,
            "UPDATE route_destination SET failures = 3, error = 'cannot connect: Connection refused', "
            "retry_at = now() + interval '9 minutes'",
        )
        summary = page.locator("summary")
        expect(summary).to_be_visible(timeout=20_000)
        summary.click()
        page.locator("caption").click()
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "queues.png")
        page.locator("tr.queue", has_text="WS_CDHA").get_by_role("button", name="Tạm dừng").click()
        expect(page.locator("tr.queue", has_text="WS_CDHA").locator(".state")).to_have_text("Tạm dừng")
        asked: list[str] = []

        def refuse(dialog: Dialog) -> None:
            asked.append(dialog.message)
            dialog.dismiss()

        page.once("dialog", refuse)
        summary.click()
        page.locator("li").get_by_role("button", name="Bỏ").click()
        assert asked and archive.routing.queues()[0].failed == 1
        page.once("dialog", lambda dialog: dialog.accept())
        page.locator("li").get_by_role("button", name="Bỏ").click()
        expect(page.locator("tr.queue", has_text="TINH_PACS").locator("td.number").nth(2)).to_have_text("0")
        assert archive.routing.queues()[0].failed == 0
