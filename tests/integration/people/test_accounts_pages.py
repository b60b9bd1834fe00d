"""The pages under ``/accounts``, as administrators of a facility and of the province see them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from archive.core import Archive
from archive.people.caller import Membership
from archive.people.errors import WrongCredentials
from archive.people.roles import Role
from config.settings import Settings
from tests.integration.people.test_signing_in import HERE, OPERATOR, PASSWORD, back, make
from tests.integration.people.test_web_sign_in import BROWSER, enter
from tests.web_server import serving
from viewer_api.app import create_app


@pytest.fixture
def settings(settings: Settings) -> Settings:
    access = settings.access.model_copy(update={"sign_in": "required", "mfa": "optional"})
    return settings.model_copy(update={"access": access})


@pytest.fixture
def browser(archive: Archive) -> Iterator[httpx.Client]:
    with (
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, headers=BROWSER, timeout=60) as client,
    ):
        yield client


def shown(page: httpx.Response) -> str:
    found = re.search(r'<p class="password"><code>([^<]+)</code>', page.text)
    assert found is not None
    return found[1]


def test_a_facility_admin_makes_an_account_and_looks_after_it(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    enter(browser, "chief")
    listed = browser.get("/accounts")
    assert "chief" in listed.text
    assert "TTYT huyện" not in listed.text
    assert 'value="province_admin"' not in listed.text
    form = {"name": "Mai ", "display_name": "Lò Thị Mai", "role": "clinician", "facility": "86001"}
    given = shown(browser.post("/accounts", data=form))
    assert archive.people.signing_in.by_password("mai", given, HERE).stage == "password"
    assert browser.post("/accounts", data=form).status_code == 409
    number = archive.people.accounts.named(OPERATOR, "mai").id
    page = browser.get(f"/accounts/{number}")
    assert "Bác sĩ lâm sàng · Bệnh viện Đa khoa tỉnh" in page.text
    roles = {"action": "roles", "kept": "clinician@86001", "role": "technician", "facility": "86001"}
    assert browser.post(f"/accounts/{number}", data=roles).status_code == 303
    held = archive.people.accounts.one(OPERATOR, number).memberships
    assert {each.role for each in held} == {Role.CLINICIAN, Role.TECHNICIAN}
    for action in ("confirm", "unlock", "factor", "disable"):
        assert browser.post(f"/accounts/{number}", data={"action": action}).status_code == 303
    assert "Đã vô hiệu hóa" in browser.get(f"/accounts/{number}").text
    assert browser.post(f"/accounts/{number}", data={"action": "enable"}).status_code == 303
    again = shown(browser.post(f"/accounts/{number}", data={"action": "password"}))
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_password("mai", given, HERE)
    assert archive.people.signing_in.by_password("mai", again, HERE)
    assert browser.post(f"/accounts/{number}", data={"action": "explode"}).status_code == 422
    assert browser.post(f"/accounts/{number}", data={"action": "roles"}).status_code == 422


@pytest.mark.parametrize(
    ("role", "facility", "status"),
    [
        ("radiologist", "86002", 403),
        ("radiologist", "*", 403),
        ("province_admin", "*", 403),
        ("analyst", "*", 403),
        ("province_admin", "86001", 422),
        ("service", "86001", 422),
        ("king", "86001", 422),
        ("", "86001", 422),
    ],
)
def test_what_the_form_does_not_offer_is_not_taken_either(
    archive: Archive, browser: httpx.Client, role: str, facility: str, status: int
) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    enter(browser, "chief")
    form = {"name": "x1", "display_name": "X", "role": role, "facility": facility, "right": ["operate"]}
    assert browser.post("/accounts", data=form).status_code == status
    assert len(archive.people.accounts.listed(OPERATOR)) == 1


def test_accounts_of_others_are_not_there(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    other = make(archive, "binh", Membership(Role.RADIOLOGIST, "86002"))
    further = make(archive, "boss", Membership(Role.RADIOLOGIST, "86001"), Membership(Role.PROVINCE_ADMIN, None))
    enter(browser, "chief")
    assert "binh" not in browser.get("/accounts").text
    assert browser.get(f"/accounts/{other}").status_code == 404
    assert browser.post(f"/accounts/{other}", data={"action": "password"}).status_code == 404
    assert 'name="action"' not in browser.get(f"/accounts/{further}").text
    assert browser.post(f"/accounts/{further}", data={"action": "password"}).status_code == 403
    own = archive.people.accounts.named(OPERATOR, "chief").id
    refused = browser.post(f"/accounts/{own}", data={"action": "disable"})
    assert refused.status_code == 403


def test_the_province_sees_all_and_makes_programs(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "boss", Membership(Role.PROVINCE_ADMIN, None))
    make(archive, "binh", Membership(Role.RADIOLOGIST, "86002"))
    enter(browser, "boss")
    assert "binh" in browser.get("/accounts").text
    form = {"name": "his", "display_name": "HIS", "role": "service", "facility": "*", "right": ["operate", "store"]}
    secret = shown(browser.post("/accounts", data=form))
    assert archive.people.programs.token(archive.people.programs.by_secret("his", secret, HERE), HERE)
    number = archive.people.accounts.named(OPERATOR, "his").id
    assert "checked" in browser.get(f"/accounts/{number}").text
    changed = {"action": "roles", "kept": "service@*", "right": ["store"]}
    assert browser.post(f"/accounts/{number}", data=changed).status_code == 303
    assert [right.value for right in archive.people.accounts.one(OPERATOR, number).rights] == ["store"]


def test_who_does_not_look_after_accounts_gets_no_such_page(archive: Archive, browser: httpx.Client) -> None:
    number = make(archive)
    enter(browser)
    for path in ("/accounts", f"/accounts/{number}"):
        assert browser.get(path).status_code == 403
        assert browser.post(path, data={"action": "password"}).status_code == 403


def test_roles_that_are_due_come_first(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "boss", Membership(Role.PROVINCE_ADMIN, None))
    make(archive, "zung")
    enter(browser, "boss")
    back(archive, "account", "reviewed_at", "CASE name WHEN 'zung' THEN now() - interval '200 days' ELSE now() END")
    page = browser.get("/accounts").text
    assert page.index("zung") < page.index("boss")
    assert "Cần xác nhận lại vai trò" in page
    assert PASSWORD not in page
