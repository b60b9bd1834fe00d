"""The study list in a real browser: search, keyboard, phone, the way into the viewer and back."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import SCREENSHOTS, Complaints, Sample, chromium, install_viewer, send
from tests.web_server import dataset, fresh_archive, part10, serving, store
from viewer_api.app import create_app

pytestmark = pytest.mark.browser

IMAGES = [
    Sample("693_UNCR.dcm", "CT sọ não"),
    Sample("MR-SIEMENS-DICOM-WithOverlays.dcm", "MR ổ bụng"),
    Sample("US1_UNCR.dcm", "Siêu âm"),
    Sample("OBXXXX1A.dcm", "Siêu âm thai"),
]
_FITS = "document.documentElement.scrollWidth <= window.innerWidth"
HOSTILE = "<b>bold</b><script>hacked()</script>^A"


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    viewer = install_viewer()
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("list"), web={"viewer": viewer}) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        send(client, IMAGES)
        others = [
            part10(dataset(PatientName=f"LÊ^THỊ {n:02}", PatientID=f"BN{n:04}", StudyDate=f"202401{1 + n % 28:02}"))
            for n in range(50)
        ]
        hostile = part10(dataset(PatientName=HOSTILE, PatientID="HOSTILE", StudyDate="20230101"))
        assert store(client, *others, hostile).status_code == 200
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def page(browser: Browser, site: httpx.Client) -> Iterator[Page]:
    with browser.new_context(
        viewport={"width": 1360, "height": 800}, base_url=str(site.base_url), locale="vi-VN"
    ) as context:
        yield context.new_page()


def _screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_the_list_loads_its_thumbnails_and_complains_about_nothing(page: Page) -> None:
    with Complaints(page) as complaints:
        page.goto("/")
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(50)
        expect(rows.first.locator("td.name")).to_contain_text("THỬ")
        page.wait_for_function(
            "() => [...document.querySelectorAll('img.thumbnail')].slice(0, 4).every(image => image.naturalWidth > 0)"
        )
    _screenshot(page, "study_list")
    assert page.evaluate(_FITS), "it scrolls sideways"
    assert complaints.found == []


@pytest.mark.parametrize(("scheme", "name"), [("dark", "study_list_dark"), ("light", "study_list_light")])
def test_both_colour_schemes(page: Page, scheme: str, name: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto("/")
    page.wait_for_function(
        "() => [...document.querySelectorAll('img.thumbnail')].slice(0, 4).every(image => image.naturalWidth > 0)"
    )
    _screenshot(page, name)


def test_searching_stays_on_the_page_and_out_of_the_address(page: Page) -> None:
    page.goto("/")
    page.get_by_label("Họ tên").fill("le thi 07")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("td.name")).to_have_text("LÊ THỊ 07")
    assert page.url.endswith("/")
    page.get_by_label("Họ tên").fill("")
    page.locator(".pill", has_text="MR").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("td.text").first).to_have_text("MR ổ bụng")
    page.locator(".pill", has_text="MR").click()
    page.get_by_role("button", name="Hôm nay").click()
    expect(page.locator(".empty")).to_be_visible()
    assert page.get_by_label("Từ ngày").input_value() == page.get_by_label("Đến ngày").input_value() != ""
    _screenshot(page, "study_list_empty")
    page.get_by_role("button", name="Tất cả").click()
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("button", name="Trang sau").click()
    expect(page.locator("caption")).to_contain_text("51–55 trong 55")


def test_a_hostile_name_is_only_text(page: Page) -> None:
    page.goto("/")
    with Complaints(page) as complaints:
        page.get_by_label("Mã bệnh nhân").fill("HOSTILE")
        page.keyboard.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("td.name")).to_have_text("<b>bold</b><script>hacked()</script> A")
    assert complaints.found == []


def test_the_keyboard_is_enough(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_label("Họ tên")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("td.open a").nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("td.open a").nth(1)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Họ tên")).to_be_focused()


def test_a_study_opens_in_the_viewer_and_the_logo_leads_back(page: Page) -> None:
    page.goto("/")
    page.locator("tbody tr", has_text="CT sọ não").get_by_role("link", name="Xem ảnh").click()
    page.wait_for_url("**/viewer/viewer?StudyInstanceUIDs=*")
    page.wait_for_function(
        "() => window.cornerstone?.getEnabledElements?.()[0]?.viewport.viewportStatus === 'rendered'", timeout=60_000
    )
    page.get_by_role("link", name="PACS tỉnh").click()
    expect(page.locator("tbody tr")).to_have_count(50)


def test_it_works_on_a_phone(browser: Browser, site: httpx.Client) -> None:
    with browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, base_url=str(site.base_url)
    ) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.locator("tbody tr")).to_have_count(50)
        assert page.evaluate(_FITS), "it scrolls sideways"
        page.locator("tbody tr").first.scroll_into_view_if_needed()
        _screenshot(page, "study_list_phone")


def test_it_works_without_scripts(browser: Browser, site: httpx.Client) -> None:
    with browser.new_context(java_script_enabled=False, base_url=str(site.base_url)) as context:
        page = context.new_page()
        page.goto("/?lang=en")
        page.get_by_label("Patient name").fill("le thi 07")
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator("tbody tr")).to_have_count(1)
        assert page.url.endswith("/")
