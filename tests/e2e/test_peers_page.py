"""The pages of devices in Chromium: one is added, called by storescu at once, tested, disabled, removed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from archive.core import Archive
from archive.people.commands import OPERATOR
from config.peers import Peer
from config.settings import Settings
from dicom_node import checking
from tests.e2e.browser import SCREENSHOTS, chromium
from tests.integration.dicom_node.running import Node, running
from tests.integration.registry.test_checking import storescp
from tests.web_server import serving
from viewer_api.app import create_app

pytestmark = pytest.mark.browser

SIZES = {"wide": {"width": 1400, "height": 900}, "narrow": {"width": 390, "height": 844}}


def calls(node: Node, title: str) -> bool:
    command = ["echoscu", "-aet", title, "-aec", "PACS", "127.0.0.1", str(node.port)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0


def look(page: Page, name: str) -> None:
    """A picture of the whole page in each size; none may be wider than its window."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        page.screenshot(path=SCREENSHOTS / f"peers_{name}_{size}.png", full_page=True)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= viewport["width"], f"{name} {size}: {width}"
    page.set_viewport_size(SIZES["wide"])  # type: ignore[arg-type]


def test_a_device_from_its_first_call_to_its_end(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "PATIENCE", 120.0)
    strict = settings.model_copy(update={"unknown_peers": "reject"})
    with (
        Archive.open(strict) as web,
        Archive.open(strict) as archive,
        running(strict, archive) as node,
        checking.checking(archive),
        serving(create_app(web)) as address,
        storescp(tmp_path) as port,
        chromium() as browser,
    ):
        others = {
            "CT_BVT_01": {"description": "CT 64 lát, tầng 2", "addresses": ["10.86.1.20", "10.86.1.21"]},
            "XQ_SO_2": {"rights": ["store", "commit", "worklist"], "default_character_set": "TCVN3"},
            "PACS_HUYEN": {"rights": ["store", "find", "move"], "sees": "province", "host": "10.9.1.1", "port": 104},
        }
        for title, settings_of in others.items():
            web.registry.add(OPERATOR, title, {"facility": "86002", **settings_of})
        web.registry.disable(OPERATOR, "XQ_SO_2", None)
        page = browser.new_page(viewport=SIZES["wide"])  # type: ignore[arg-type]
        assert not calls(node, "STORE")
        page.goto(f"{address}/peers")
        look(page, "list")
        # It stands there as one that has called.
        page.locator(".strangers li", has_text="STORE").get_by_role("link").click()
        expect(page.locator("input[name=ae_title]")).to_have_value("STORE")
        expect(page.locator("textarea[name=addresses]")).to_have_value("127.0.0.1")
        look(page, "new")
        page.locator("select[name=facility]").select_option("86001")
        page.locator("input[name=description]").fill("Trạm đọc ảnh")
        page.locator("input[name=host]").fill("127.0.0.1")
        page.get_by_role("button", name="Thêm", exact=True).click()
        expect(page.locator("#fault-host")).to_be_visible()
        look(page, "wrong")
        page.locator("input[name=port]").fill(str(port))
        page.get_by_role("button", name="Thêm", exact=True).click()
        expect(page.locator("h2", has_text="STORE")).to_be_visible()
        assert calls(node, "STORE")
        page.get_by_role("button", name="Thử ngay").click()
        # Nobody reloads it.
        expect(page.locator("#test .done")).to_have_text(re.compile("Kết nối tốt: STORE trả lời sau"))
        look(page, "one")
        for summary in page.locator("details summary").all():
            summary.click()
        look(page, "unfolded")
        page.get_by_role("button", name="Tắt thiết bị").click()
        expect(page.locator(".peer .state")).to_have_text("Đã tắt")
        archive.peers.refresh()
        assert not calls(node, "STORE")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Xóa thiết bị").click()
        expect(page.locator("table")).to_be_visible()
        assert web.peers.known("STORE") is None


def test_a_device_that_stands_in_the_file_too(settings: Settings) -> None:
    with Archive.open(settings) as before:
        before.registry.add(OPERATOR, "CT9", {"facility": "86001"})
    by_hand = settings.model_copy(update={"peers": (*settings.peers, Peer(ae_title="CT9", facility="86002"))})
    with Archive.open(by_hand) as archive, serving(create_app(archive)) as address, chromium() as browser:
        page = browser.new_page(viewport=SIZES["wide"])  # type: ignore[arg-type]
        page.goto(f"{address}/peers")
        expect(page.locator("tr.overruled")).to_have_count(1)
        page.locator("tr.overruled a").click()
        expect(page.locator(".card .message")).to_contain_text("pacs.toml")
        look(page, "overruled")
