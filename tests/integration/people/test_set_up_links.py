"""Links by which people set their password: good once, for some days, for one person, and only for the password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from archive.core import Archive
from archive.errors import InvalidItem, NotFound, NotPermitted
from archive.people.caller import Caller, Kind, Membership
from archive.people.errors import BadPassword, SessionEnded, WrongCredentials
from archive.people.roles import Right, Role
from config.settings import Settings
from tests.integration.people.test_signing_in import (
    HERE,
    OPERATOR,
    OTHER,
    PASSWORD,
    RADIOLOGIST,
    audited,
    back,
    current,
    make,
    sign_in,
    with_factor,
)
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


def new(archive: Archive, name: str = "lan") -> tuple[int, str]:
    accounts = archive.people.accounts
    assert accounts.create(OPERATOR, name, "Trần Thị Lan", RADIOLOGIST, password=False) == ""
    number = accounts.named(OPERATOR, name).id
    return number, archive.people.set_up.make(OPERATOR, number)


def test_a_link_lets_set_a_password_once(archive: Archive, browser: httpx.Client) -> None:
    number, secret = new(archive)
    assert archive.people.accounts.one(OPERATOR, number).set_up
    # As messengers do that show what is behind a link.
    for _ in range(3):
        shown = browser.get(f"/set-up/{secret}")
        assert shown.status_code == 200
        assert "Xin chào Trần Thị Lan" in shown.text
        assert shown.headers["cache-control"] == "no-store"
        assert "set-cookie" not in shown.headers
    short = browser.post(f"/set-up/{secret}", data={"new": "short", "again": "short"})
    assert short.status_code == 400
    differs = browser.post(f"/set-up/{secret}", data={"new": PASSWORD, "again": OTHER})
    assert differs.status_code == 400
    entered = browser.post(f"/set-up/{secret}", data={"new": PASSWORD, "again": PASSWORD})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert browser.get("/profile").status_code == 200
    assert not archive.people.accounts.one(OPERATOR, number).set_up
    for again in (
        browser.get(f"/set-up/{secret}"),
        browser.post(f"/set-up/{secret}", data={"new": OTHER, "again": OTHER}),
    ):
        assert again.status_code == 404
        assert "Đường dẫn này đã dùng rồi" in again.text
    assert sign_in(archive).stage == "open"
    changes = [detail["change"] for _, _, detail in audited(archive, "account") if "change" in detail]
    assert changes == ["created", "link to set a password made", "password set by a link"]


def test_of_many_at_the_same_moment_one_sets_the_password(archive: Archive) -> None:
    number, secret = new(archive)
    passwords = [f"Mùa-hoa-gạo-đỏ 20{digit}" for digit in range(10, 16)]

    def use(password: str) -> str:
        try:
            archive.people.set_up.use(secret, password, HERE, "")
        except SessionEnded:
            return ""
        return password

    with ThreadPoolExecutor(6) as pool:
        done = [each for each in pool.map(use, passwords) if each]
    assert len(done) == 1
    assert len(archive.people.sessions.of(number)) == 1
    assert sign_in(archive, password=done[0]).stage == "open"


def test_what_ends_a_link(archive: Archive) -> None:
    number, first = new(archive)
    people = archive.people
    second = people.set_up.make(OPERATOR, number)
    with pytest.raises(SessionEnded):
        people.set_up.account(first)
    back(archive, "account", "set_up_expires_at", "now()")
    with pytest.raises(SessionEnded):
        people.set_up.use(second, PASSWORD, HERE, "")
    third = people.set_up.make(OPERATOR, number)
    people.accounts.disable(OPERATOR, number)
    people.accounts.enable(OPERATOR, number)
    with pytest.raises(SessionEnded):
        people.set_up.account(third)
    fourth = people.set_up.make(OPERATOR, number)
    given = people.accounts.reset_password(OPERATOR, number)
    with pytest.raises(SessionEnded):
        people.set_up.account(fourth)
    assert people.signing_in.by_password("lan", given, HERE).stage == "password"
    for guessed in ("", "x", "é", first[:-1], first + "x", "a" * 5000):
        with pytest.raises(SessionEnded):
            people.set_up.account(guessed)


def test_a_link_voids_the_password_and_the_sessions_before(archive: Archive) -> None:
    number = make(archive)
    sign_in(archive)
    secret = archive.people.set_up.make(OPERATOR, number)
    assert archive.people.sessions.of(number) == []
    with pytest.raises(WrongCredentials):
        sign_in(archive)
    # Nor does it come back by the link.
    with pytest.raises(BadPassword, match="used"):
        archive.people.set_up.use(secret, PASSWORD, HERE, "")
    assert archive.people.set_up.use(secret, OTHER, HERE, "").stage == "open"


def test_a_link_is_no_second_factor(archive: Archive, browser: httpx.Client) -> None:
    number = make(archive)
    factor, _ = with_factor(archive)
    secret = archive.people.set_up.make(OPERATOR, number)
    entered = browser.post(f"/set-up/{secret}", data={"new": OTHER, "again": OTHER})
    assert entered.headers["location"] == "/sign-in"
    assert browser.get("/profile").status_code == 303
    assert browser.post("/sign-in/code", data={"code": current(factor)}).status_code == 303
    assert browser.get("/profile").status_code == 200


def test_a_new_administrator_sets_up_both_factors(archive: Archive) -> None:
    strict = archive.settings.access.model_copy(update={"mfa": "administrators"})
    with Archive.open(archive.settings.model_copy(update={"access": strict})) as other:
        accounts = other.people.accounts
        accounts.create(OPERATOR, "chief", "Lê Chính", [Membership(Role.FACILITY_ADMIN, "86001")], password=False)
        secret = other.people.set_up.make(OPERATOR, accounts.named(OPERATOR, "chief").id)
        assert other.people.set_up.use(secret, OTHER, HERE, "").stage == "enrol"


def test_only_who_looks_after_an_account_makes_its_link(archive: Archive) -> None:
    number, _ = new(archive)
    accounts = archive.people.accounts
    accounts.create(OPERATOR, "his", "HIS", [Membership(Role.SERVICE, "86001")], [Right.VIEW])
    accounts.create(OPERATOR, "sso", "SSO", RADIOLOGIST, provider="so-y-te")
    for name in ("his", "sso"):
        with pytest.raises(InvalidItem):
            archive.people.set_up.make(OPERATOR, accounts.named(OPERATOR, name).id)
    other = Caller(Kind.ACCOUNT, "other", {Right.ACCOUNTS: frozenset({"86002"})})
    with pytest.raises(NotFound):
        archive.people.set_up.make(other, number)
    own = Caller(Kind.ACCOUNT, "lan", {Right.ACCOUNTS: frozenset({"86001"})}, account=number)
    with pytest.raises(NotPermitted):
        archive.people.set_up.make(own, number)


def test_links_cannot_be_guessed_for_long(archive: Archive, browser: httpx.Client) -> None:
    _, secret = new(archive)
    for number in range(50):
        assert browser.get(f"/set-up/{number}").status_code == 404
    assert browser.get("/set-up/51").status_code == 429
    assert browser.get(f"/set-up/{secret}").status_code == 429


def test_other_sites_set_no_password(archive: Archive, browser: httpx.Client) -> None:
    _, secret = new(archive)
    form = {"new": PASSWORD, "again": PASSWORD}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert browser.post(f"/set-up/{secret}", data=form, headers=headers).status_code == 403
    assert archive.people.set_up.account(secret).name == "lan"


def test_an_administrator_makes_an_account_with_a_link(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    enter(browser, "chief")
    form = {"name": "mai", "display_name": "Lò Thị Mai", "role": "clinician", "facility": "86001", "way": "link"}
    page = browser.post("/accounts", data=form)
    found = re.search(r'<p class="password"><code>([^<]+)</code>', page.text)
    assert found is not None
    assert "data:image/svg+xml" in page.text
    assert "72 giờ" in page.text
    assert "Chờ đặt mật khẩu" in browser.get("/accounts").text
    with httpx.Client(headers=BROWSER) as phone:
        entered = phone.post(found[1], data={"new": PASSWORD, "again": PASSWORD})
        assert entered.status_code == 303
    number = archive.people.accounts.named(OPERATOR, "mai").id
    again = browser.post(f"/accounts/{number}", data={"action": "link"})
    assert "/set-up/" in again.text
    assert browser.post("/accounts", data={**form, "name": "ba", "way": "at:nobody"}).status_code == 422
