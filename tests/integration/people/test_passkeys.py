"""Passkeys: as a second factor, instead of a password, and what an attacker tries with them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from typing import Any

import httpx
import pytest

from archive.core import Archive
from archive.people.caller import Membership
from archive.people.passkeys import MOST
from archive.people.roles import Role
from config.settings import Settings
from tests.integration.people.test_signing_in import OPERATOR, PASSWORD, audited, back, make
from tests.integration.people.test_web_sign_in import BROWSER, enter
from tests.passkeys import PRESENT, VERIFIED, Authenticator
from tests.web_server import serving
from viewer_api.app import create_app


@pytest.fixture
def settings(settings: Settings) -> Settings:
    access = settings.access.model_copy(update={"sign_in": "required"})
    return settings.model_copy(update={"access": access})


@pytest.fixture
def url(archive: Archive) -> Iterator[str]:
    with serving(create_app(archive)) as address:
        yield address.replace("127.0.0.1", "localhost")


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=BROWSER, timeout=60) as client:
        yield client


@pytest.fixture
def key(url: str) -> Authenticator:
    return Authenticator(url, "localhost")


def ask(browser: httpx.Client, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = browser.post(path, json=content or {})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def add(browser: httpx.Client, key: Authenticator, **changes: Any) -> httpx.Response:
    given = ask(browser, "/profile/passkeys/options", {"password": PASSWORD})
    content = {"ticket": given["ticket"], "credential": key.create(given, **changes), "name": "Điện thoại"}
    return browser.post("/profile/passkeys", json=content)


def use(browser: httpx.Client, key: Authenticator, to: str = "", **changes: Any) -> httpx.Response:
    given = ask(browser, "/sign-in/passkey/options")
    content = {"ticket": given["ticket"], "credential": key.get(given, **changes), "to": to}
    return browser.post("/sign-in/passkey", json=content)


@pytest.fixture
def number(archive: Archive, browser: httpx.Client, key: Authenticator) -> int:
    """An account with a passkey."""
    made = make(archive)
    enter(browser)
    assert add(browser, key).status_code == 200
    browser.post("/sign-out")
    return made


def test_a_passkey_stands_for_password_and_code(
    archive: Archive, browser: httpx.Client, key: Authenticator, number: int
) -> None:
    entered = use(browser, key, to="/profile")
    assert entered.json() == {"to": "/profile"}
    assert "HttpOnly" in entered.headers["set-cookie"]
    shown = browser.get("/profile").text
    assert "Điện thoại" in shown
    assert "dùng lần cuối" in shown
    assert [detail.get("change") for _, _, detail in audited(archive, "account")][-1] == "passkey added: Điện thoại"
    assert use(browser, key, to="//evil.example").json() == {"to": "/"}


def test_beside_the_password_it_stands_for_the_code(
    archive: Archive, browser: httpx.Client, key: Authenticator, number: int
) -> None:
    # Who has one is asked for it: the password alone no longer opens.
    assert enter(browser).headers["location"] == "/sign-in"
    assert browser.get("/profile").status_code == 303
    page = browser.get("/sign-in").text
    assert 'data-passkey="sign-in"' in page
    assert 'name="code"' not in page
    given = ask(browser, "/sign-in/passkey/options")
    assert len(given["options"]["allowCredentials"]) == 1
    assert use(browser, key).status_code == 200
    assert browser.get("/profile").status_code == 200
    assert len(archive.people.sessions.of(number)) == 1


def test_who_has_not_signed_in_learns_nothing_of_accounts(browser: httpx.Client, number: int) -> None:
    given = ask(browser, "/sign-in/passkey/options")
    assert not given["options"].get("allowCredentials")


def test_a_new_administrator_may_take_one_instead_of_codes(
    archive: Archive, browser: httpx.Client, key: Authenticator
) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    assert enter(browser, "chief").headers["location"] == "/sign-in"
    assert 'data-passkey="enrol"' in browser.get("/sign-in").text
    given = ask(browser, "/sign-in/passkey/new/options")
    content = {"ticket": given["ticket"], "credential": key.create(given), "name": "x", "to": "/accounts"}
    half = browser.cookies["pacs-session"]
    assert browser.post("/sign-in/passkey/new", json=content).json() == {"to": "/accounts"}
    assert browser.cookies["pacs-session"] != half
    assert browser.get("/accounts").status_code == 200
    # It is the only second factor, and there must be one.
    shown = archive.people.passkeys.of(archive.people.accounts.named(OPERATOR, "chief").id)
    refused = browser.post(f"/profile/passkeys/{shown[0].id}/remove", data={"current": PASSWORD})
    assert refused.status_code == 403
    assert "phải có một lớp" in refused.text
    # An administrator takes it away from who has lost it.
    archive.people.accounts.reset_factor(OPERATOR, archive.people.accounts.named(OPERATOR, "chief").id)
    assert use(browser, key).status_code == 403


@pytest.mark.parametrize(
    "lie",
    [
        {"origin": "https://evil.example"},
        {"host": "evil.example"},
        {"flags": PRESENT},
        {"flags": VERIFIED},
        {"flags": 0},
    ],
    ids=str,
)
def test_what_is_signed_for_another_place_or_without_the_person(
    archive: Archive, browser: httpx.Client, key: Authenticator, number: int, lie: dict[str, Any]
) -> None:
    assert use(browser, replace(key, **lie)).status_code == 403
    assert "pacs-session" not in browser.cookies
    enter(browser)
    assert archive.people.sessions.of(number) == []
    reasons = [detail["reason"] for _, outcome, detail in audited(archive, "sign_in") if outcome == "denied"]
    assert reasons == ["a passkey that is not right"]


@pytest.mark.parametrize("changes", [{"type": "webauthn.create"}, {"challenge": "AAAA"}, {"challenge": 7}], ids=str)
def test_what_is_signed_for_another_purpose(
    browser: httpx.Client, key: Authenticator, number: int, changes: dict[str, Any]
) -> None:
    assert use(browser, key, **changes).status_code == 403


def test_another_key_under_the_same_name(browser: httpx.Client, key: Authenticator, url: str, number: int) -> None:
    assert use(browser, Authenticator(url, "localhost", name=key.name)).status_code == 403
    assert use(browser, Authenticator(url, "localhost")).status_code == 403


def test_an_answer_is_good_once(archive: Archive, browser: httpx.Client, key: Authenticator, number: int) -> None:
    given = ask(browser, "/sign-in/passkey/options")
    content = {"ticket": given["ticket"], "credential": key.get(given)}

    def send(_: int) -> int:
        return httpx.post(f"{browser.base_url}/sign-in/passkey", json=content, timeout=60).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(send, range(6))) == [200] + [403] * 5
    assert len(archive.people.sessions.of(number)) == 1
    # Many authenticators have no counter: there the challenge alone must do.
    back(archive, "passkey", "uses", "0")
    key.count = -1
    given = ask(browser, "/sign-in/passkey/options")
    content = {"ticket": given["ticket"], "credential": key.get(given)}
    assert [send(0), send(1)] == [200, 403]


def test_a_copy_of_a_key_is_noticed(browser: httpx.Client, key: Authenticator, number: int) -> None:
    assert use(browser, key).status_code == 200
    key.count = 0
    assert use(browser, key).status_code == 403


def test_tickets_are_for_their_purpose_and_session(
    archive: Archive, browser: httpx.Client, key: Authenticator, url: str, number: int
) -> None:
    given = ask(browser, "/sign-in/passkey/options")
    for ticket in ("", "x", given["ticket"][:-4] + "AAAA", "A" * 4000):
        content = {"ticket": ticket, "credential": key.get(given)}
        assert browser.post("/sign-in/passkey", json=content).status_code == 403
    make(archive, "mallory")
    with httpx.Client(base_url=url, headers=BROWSER) as attacker:
        enter(attacker, "mallory")
        # A ticket that was made for one session puts no passkey into the account of another.
        mallory = ask(attacker, "/profile/passkeys/options", {"password": PASSWORD})
    use(browser, key)
    other = Authenticator(url, "localhost")
    content = {"ticket": mallory["ticket"], "credential": other.create(mallory), "name": "x"}
    assert browser.post("/profile/passkeys", json=content).status_code == 403
    # Nor does one for signing in.
    given = ask(browser, "/sign-in/passkey/options")
    content = {"ticket": given["ticket"], "credential": other.create(given), "name": "x"}
    assert browser.post("/profile/passkeys", json=content).status_code == 403
    assert len(archive.people.passkeys.of(number)) == 1


def test_who_sits_at_an_open_session_adds_no_passkey_without_the_password(
    archive: Archive, browser: httpx.Client, key: Authenticator, number: int
) -> None:
    use(browser, key)
    for password in ("", "wrong"):
        assert browser.post("/profile/passkeys/options", json={"password": password}).status_code == 403
    keys = archive.people.passkeys.of(number)
    assert browser.post(f"/profile/passkeys/{keys[0].id}/remove", data={"current": "wrong"}).status_code == 403
    # Who signs in elsewhere has no password: there it must have been just now.
    back(archive, "account", "password_hash", "''")
    assert browser.post("/profile/passkeys/options", json={}).status_code == 200
    back(archive, "account_session", "created_at", "created_at - interval '11 minutes'")
    answer = browser.post("/profile/passkeys/options", json={})
    assert (answer.status_code, "đăng nhập lại" in answer.json()["message"]) == (403, True)


def test_nobody_removes_the_passkey_of_another(
    archive: Archive, browser: httpx.Client, key: Authenticator, number: int
) -> None:
    make(archive, "mallory")
    enter(browser, "mallory")
    keys = archive.people.passkeys.of(number)
    assert browser.post(f"/profile/passkeys/{keys[0].id}/remove", data={"current": PASSWORD}).status_code == 404
    assert archive.people.passkeys.of(number) == keys


def test_one_key_is_of_one_account_and_an_account_has_ten(
    archive: Archive, browser: httpx.Client, key: Authenticator, url: str, number: int
) -> None:
    use(browser, key)
    assert add(browser, key).status_code == 409
    for _ in range(MOST - 1):
        assert add(browser, Authenticator(url, "localhost")).status_code == 200
    assert browser.post("/profile/passkeys/options", json={"password": PASSWORD}).status_code == 409


def test_removing_works_and_then_the_password_alone_must_be_strong(
    archive: Archive, browser: httpx.Client, key: Authenticator, number: int
) -> None:
    use(browser, key)
    keys = archive.people.passkeys.of(number)
    assert browser.post(f"/profile/passkeys/{keys[0].id}/remove", data={"current": PASSWORD}).status_code == 303
    assert archive.people.passkeys.of(number) == []
    assert use(browser, key).status_code == 403
    assert 'action="/sign-in/password"' in (enter(browser), browser.get("/sign-in").text)[1]


def test_who_was_disabled_stays_out(archive: Archive, browser: httpx.Client, key: Authenticator, number: int) -> None:
    archive.people.accounts.disable(OPERATOR, number)
    assert use(browser, key).status_code == 403


def test_nonsense_is_refused_and_never_breaks_anything(browser: httpx.Client, key: Authenticator, number: int) -> None:
    chosen = random.Random(8)
    given = ask(browser, "/sign-in/passkey/options")
    good = {"ticket": given["ticket"], "credential": key.get(given)}
    values: list[Any] = [None, 7, -1, "", "é", "====", "AA", [], {}, [{}], True, 1e300, "A" * 3000]
    tried = 0
    for path in (["credential"], ["credential", "id"], ["credential", "rawId"], ["credential", "type"]):
        for value in values:
            tried += _send(browser, good, path, value)
    for name in ("authenticatorData", "clientDataJSON", "signature"):
        for _ in range(3):
            tried += _send(browser, good, ["credential", "response", name], chosen.choice(values))
    assert tried > 40


def _send(browser: httpx.Client, good: dict[str, Any], path: list[str], value: Any) -> int:
    bad = deepcopy(good)
    place = bad
    for part in path[:-1]:
        place = place[part]
    if place.get(path[-1]) == value:
        return 0
    place[path[-1]] = value
    # After fifty of them, the throttle answers.
    answer = browser.post("/sign-in/passkey", json=bad)
    assert answer.status_code in (403, 429), (path, value, answer.status_code)
    return 1


def test_other_sites_begin_nothing(browser: httpx.Client) -> None:
    for path in ("/sign-in/passkey/options", "/sign-in/passkey", "/profile/passkeys/options"):
        assert browser.post(path, json={}, headers={"Origin": "https://evil.example"}).status_code == 403
    assert browser.post("/profile/passkeys", json={}).status_code in (303, 401)
    assert browser.post("/sign-in/passkey/new/options").status_code == 403
    assert browser.post("/sign-in/passkey/new", json={}).status_code == 403
