"""Passkeys in Chromium, with an authenticator of the browser's own (WebDriver, virtual authenticators)."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from archive.core import Archive
from archive.people.caller import Membership
from archive.people.roles import Role
from config.settings import Settings
from tests.e2e.browser import SCREENSHOTS, Complaints, chromium
from tests.integration.people.test_signing_in import OPERATOR, PASSWORD, make
from tests.web_server import serving
from viewer_api.app import create_app

pytestmark = pytest.mark.browser


@pytest.fixture
def settings(settings: Settings) -> Settings:
    access = settings.access.model_copy(update={"sign_in": "required"})
    return settings.model_copy(update={"access": access})


def authenticator(page: Page) -> None:
    """A telephone that verifies whoever holds it."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def type_in(page: Page, name: str) -> None:
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form[action='/sign-in'] button").click()


def test_a_person_adds_a_passkey_and_signs_in_by_it(archive: Archive) -> None:
    make(archive)
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with serving(create_app(archive)) as address, chromium() as launched:
        url = address.replace("127.0.0.1", "localhost")
        with launched.new_context(viewport={"width": 1400, "height": 900}, base_url=url) as context:
            page = context.new_page()
            authenticator(page)
            with Complaints(page) as complaints:
                page.goto("/sign-in?to=/profile")
                type_in(page, "lan")
                page.wait_for_url("**/profile")
                form = page.locator("form[data-passkey=add]")
                form.locator("input[name=name]").fill("Máy tính phòng đọc")
                form.locator("input[name=current]").fill(PASSWORD)
                with page.expect_navigation():
                    form.get_by_role("button").click()
                page.get_by_text("Máy tính phòng đọc").wait_for()
                page.screenshot(path=SCREENSHOTS / "passkeys_profile_1400.png", full_page=True)
                page.set_viewport_size({"width": 390, "height": 844})
                page.screenshot(path=SCREENSHOTS / "passkeys_profile_390.png", full_page=True)
                # Without name, password and code.
                page.locator("form.sign-out button").click()
                page.wait_for_url("**/sign-in")
                page.goto("/sign-in?to=/profile")
                page.screenshot(path=SCREENSHOTS / "passkeys_sign_in_390.png", full_page=True)
                page.get_by_role("button", name="khóa truy cập").click()
                page.wait_for_url("**/profile")
                # Beside the password.
                page.locator("form.sign-out button").click()
                page.wait_for_url("**/sign-in")
                type_in(page, "lan")
                page.get_by_role("button", name="Xác thực bằng khóa truy cập").wait_for()
                page.screenshot(path=SCREENSHOTS / "passkeys_code_390.png", full_page=True)
                page.get_by_role("button", name="Xác thực bằng khóa truy cập").click()
                page.wait_for_url(f"{url}/")
            assert complaints.found == []
        with launched.new_context(viewport={"width": 1400, "height": 900}, base_url=url) as context:
            page = context.new_page()
            authenticator(page)
            # An authenticator without a key for us: the page says so.
            page.goto("/sign-in")
            page.get_by_role("button", name="khóa truy cập").click()
            page.get_by_role("alert").get_by_text("Không thành").wait_for()
            # A new administrator takes one instead of codes.
            type_in(page, "chief")
            page.get_by_role("button", name="thay cho mã").click()
            page.wait_for_function("() => location.pathname !== '/sign-in'")
            page.goto("/accounts")
            page.get_by_text("Xác thực hai lớp").first.wait_for()
            page.screenshot(path=SCREENSHOTS / "accounts_1400.png", full_page=True)
            page.set_viewport_size({"width": 390, "height": 844})
            page.screenshot(path=SCREENSHOTS / "accounts_390.png", full_page=True)
            form = page.locator("form#new")
            form.locator("input[name=name]").fill("mai.lo")
            form.locator("input[name=display_name]").fill("Lò Thị Mai")
            form.locator("select[name=role]").select_option("clinician")
            form.get_by_role("button").click()
            link = page.locator("p.password").inner_text()
            page.screenshot(path=SCREENSHOTS / "accounts_link_390.png", full_page=True)
        with launched.new_context(viewport={"width": 390, "height": 844}, base_url=url) as context:
            phone = context.new_page()
            phone.goto(link)
            phone.screenshot(path=SCREENSHOTS / "set_up_390.png", full_page=True)
            for field in ("new", "again"):
                phone.locator(f"input[name={field}]").fill("Mùa-hoa-gạo-đỏ 2026")
            phone.get_by_role("button", name="Đặt mật khẩu").click()
            phone.wait_for_url(f"{url}/")
            assert archive.people.accounts.named(OPERATOR, "mai.lo").used_at is not None
