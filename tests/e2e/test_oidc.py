"""Sign-in at a real provider of OpenID Connect (npm oidc-provider): by HTTP, and by a person in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from archive.core import Archive
from archive.people.caller import Membership
from archive.people.commands import OPERATOR
from archive.people.roles import Role
from config.settings import Settings, load
from tests.e2e.browser import SCREENSHOTS, chromium
from tests.oidc.provider import CLIENT, SECRET, RealProvider, key_pair, real_provider, sign_in_there
from tests.web_server import serving
from viewer_api.app import create_app

BROWSER = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
GROUPS = [
    {"value": "cdha", "role": "radiologist", "facility": "86001"},
    {"value": "it", "role": "province_admin", "facility": "*"},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[RealProvider]:
    with real_provider() as made:
        yield made


@contextmanager
def site(
    settings: Settings, provider: RealProvider, access: dict[str, Any], **more: Any
) -> Iterator[tuple[Archive, str]]:
    """The archive with this provider, which knows its address."""
    listed = {"name": "real", "label": "Tài khoản Sở Y tế", "issuer": provider.issuer, "client_id": CLIENT}
    given = load(
        environ={},
        data_dir=settings.data_dir,
        database={"url": settings.database.url.get_secret_value(), "pool_size": 8},
        storage={"minimum_free_bytes": 0},
        facilities=[{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}],
        access=access,
        oidc=[{**listed, "client_secret": SECRET, **more}],
    )
    with Archive.open(given) as archive, serving(create_app(archive)) as url:
        provider.configure(url)
        yield archive, url


@contextmanager
def entered(url: str, login: str, amr: str = "") -> Iterator[tuple[httpx.Client, httpx.Response]]:
    """A browser that has gone to the provider and come back."""
    with httpx.Client(base_url=url, headers=BROWSER, timeout=60) as browser:
        sent = browser.get("/sign-in/oidc/real", params={"to": "/profile"})
        assert sent.status_code == 303, sent.text
        yield browser, browser.get(sign_in_there(sent.headers["location"], login, amr))


def test_the_first_sign_in_makes_an_account_with_the_roles_of_the_provider(
    settings: Settings, provider: RealProvider
) -> None:
    provider.users = {"u1": {"preferred_username": "Mai.Lo", "name": "Lò Thị Mai", "groups": ["cdha", "x"]}}
    with site(settings, provider, {"mfa": "optional"}, accounts="made", roles_claim="groups", roles=GROUPS) as (
        archive,
        url,
    ):
        with entered(url, "u1") as (browser, answer):
            assert answer.headers["location"] == "/profile"
            assert "Lò Thị Mai" in browser.get("/profile").text
            assert "Bác sĩ" in browser.get("/profile").text
        made = archive.people.accounts.named(OPERATOR, "mai.lo")
        assert made.memberships == (Membership(Role.RADIOLOGIST, "86001"),)
        # Roles change there, and the next sign-in brings it here.
        provider.users["u1"]["groups"] = ["it"]
        provider.configure()
        with entered(url, "u1") as (browser, answer):
            assert answer.status_code == 303
        found = archive.people.accounts.named(OPERATOR, "mai.lo")
        assert (found.id, found.memberships) == (made.id, (Membership(Role.PROVINCE_ADMIN, None),))
        # Who has none any more gets in no more, and is out where still in.
        provider.users["u1"]["groups"] = []
        provider.configure()
        with entered(url, "u1") as (browser, answer):
            assert answer.status_code == 403
        assert archive.people.sessions.of(made.id) == []
        # Who never had one gets no account.
        provider.users["u2"] = {"preferred_username": "binh", "name": "Bình", "groups": ["y"]}
        provider.configure()
        with entered(url, "u2") as (browser, answer):
            assert answer.status_code == 403
        assert [each.name for each in archive.people.accounts.listed(OPERATOR)] == ["mai.lo"]


def test_a_second_factor_there_counts_only_where_the_settings_say_so(
    settings: Settings, provider: RealProvider
) -> None:
    provider.users = {"u1": {"preferred_username": "lan", "name": "Lan"}}
    for more, amr, to in (
        ({}, "pwd otp", "/sign-in?to=%2Fprofile"),
        ({"factor_amr": ["otp"]}, "", "/sign-in?to=%2Fprofile"),
        ({"factor_amr": ["otp"]}, "pwd otp", "/profile"),
        ({"factor_acr": ["urn:two"]}, "pwd x", "/profile"),
        ({"factor_acr": ["urn:three"]}, "pwd x", "/sign-in?to=%2Fprofile"),
    ):
        with site(settings, provider, {"mfa": "everybody"}, **more) as (archive, url):
            if not archive.people.accounts.listed(OPERATOR):
                roles = [Membership(Role.RADIOLOGIST, "86001")]
                archive.people.accounts.create(OPERATOR, "lan", "Trần Thị Lan", roles, provider="real")
            with entered(url, "u1", amr) as (browser, answer):
                assert answer.headers["location"] == to, (more, amr)
                if to != "/profile":
                    assert 'action="/sign-in/factor"' in browser.get("/sign-in").text


def test_keys_may_change_at_any_time(settings: Settings, provider: RealProvider) -> None:
    provider.users = {"u1": {"preferred_username": "lan", "name": "Lan"}}
    with site(settings, provider, {"mfa": "optional"}, algorithms=["RS256", "ES256"]) as (archive, url):
        roles = [Membership(Role.RADIOLOGIST, "86001")]
        archive.people.accounts.create(OPERATOR, "lan", "Trần Thị Lan", roles, provider="real")
        with entered(url, "u1") as (_, answer):
            assert answer.status_code == 303
    provider.keys = [key_pair("ES256")]
    with site(settings, provider, {"mfa": "optional"}, algorithms=["RS256", "ES256"]) as (_, url):
        provider.configure(id_token_signed_response_alg="ES256")
        with entered(url, "u1") as (_, answer):
            assert answer.status_code == 303
    # What the settings do not list is not taken, though the provider signs with it.
    with (
        site(settings, provider, {"mfa": "optional"}, algorithms=["RS256"]) as (_, url),
        entered(url, "u1") as (_, answer),
    ):
        assert answer.status_code == 403
    provider.keys = [key_pair()]
    provider.client.pop("id_token_signed_response_alg")
    provider.configure()


def test_a_mail_address_counts_only_if_it_is_verified(settings: Settings, provider: RealProvider) -> None:
    provider.users = {"u1": {"email": "Lan.Tran@bv.example.vn", "email_verified": False, "name": "Lan"}}
    with site(settings, provider, {"mfa": "optional"}, name_claim="email") as (archive, url):
        roles = [Membership(Role.RADIOLOGIST, "86001")]
        archive.people.accounts.create(OPERATOR, "lan.tran@bv.example.vn", "Trần Thị Lan", roles, provider="real")
        for verified, status in ((False, 403), ("true", 403), (True, 303)):
            provider.users["u1"]["email_verified"] = verified
            provider.configure()
            with entered(url, "u1") as (_, answer):
                assert answer.status_code == status


def test_a_code_is_good_once_and_for_who_began(settings: Settings, provider: RealProvider) -> None:
    provider.users = {"u1": {"preferred_username": "lan", "name": "Lan"}}
    with site(settings, provider, {"mfa": "optional"}) as (archive, url):
        roles = [Membership(Role.RADIOLOGIST, "86001")]
        archive.people.accounts.create(OPERATOR, "lan", "Trần Thị Lan", roles, provider="real")
        with (
            httpx.Client(base_url=url, headers=BROWSER) as victim,
            httpx.Client(base_url=url, headers=BROWSER) as thief,
        ):
            sent = victim.get("/sign-in/oidc/real").headers["location"]
            answer = httpx.URL(sign_in_there(sent, "u1"))
            begun = victim.cookies["pacs-begun"]
            # A stolen answer is of no use in another browser, also with that one's own state.
            state = httpx.URL(thief.get("/sign-in/oidc/real").headers["location"]).params["state"]
            assert thief.get(answer).status_code == 403
            thief.get("/sign-in/oidc/real")
            assert thief.get(answer.copy_set_param("state", state)).status_code == 403
            assert victim.get(answer).status_code == 303
            # Replayed with everything that the browser had.
            victim.cookies.set("pacs-begun", begun)
            assert victim.get(answer).status_code == 403


def test_signing_out_goes_on_at_the_provider_and_from_there_comes_here(
    settings: Settings, provider: RealProvider
) -> None:
    provider.users = {"u1": {"preferred_username": "lan", "name": "Lan"}}
    with site(settings, provider, {"mfa": "optional"}) as (archive, url):
        roles = [Membership(Role.RADIOLOGIST, "86001")]
        archive.people.accounts.create(OPERATOR, "lan", "Trần Thị Lan", roles, provider="real")
        number = archive.people.accounts.named(OPERATOR, "lan").id
        with httpx.Client(timeout=30) as there, httpx.Client(base_url=url, headers=BROWSER, timeout=60) as browser:
            leads = browser.get("/sign-in/oidc/real").headers["location"]
            assert browser.get(sign_in_there(leads, "u1", there=there)).status_code == 303
            assert len(archive.people.sessions.of(number)) == 1
            # Signed out at the provider, as by the page of another program: it tells us (back channel).
            shown = there.get(f"{provider.issuer}/session/end")
            form = re.search(r'name="xsrf" value="([^"]+)"', shown.text)
            assert form is not None
            there.post(f"{provider.issuer}/session/end/confirm", data={"xsrf": form[1], "logout": "yes"})
            assert archive.people.sessions.of(number) == []


@pytest.mark.browser
def test_a_person_signs_in_and_out_in_a_browser(settings: Settings, provider: RealProvider, tmp_path: Path) -> None:
    provider.users = {"u1": {"preferred_username": "lan", "name": "Lan"}}
    with site(settings, provider, {"mfa": "optional"}) as (archive, url), chromium() as launched:
        roles = [Membership(Role.RADIOLOGIST, "86001")]
        archive.people.accounts.create(OPERATOR, "lan", "Trần Thị Lan", roles, provider="real")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for width, height in ((1400, 900), (390, 844)):
            with launched.new_context(viewport={"width": width, "height": height}, base_url=url) as context:
                page = context.new_page()
                page.goto("/profile")
                page.screenshot(path=SCREENSHOTS / f"oidc_sign_in_{width}.png")
                page.get_by_role("link", name="Tài khoản Sở Y tế").click()
                page.locator("input[name=login]").fill("u1")
                page.get_by_role("button").click()
                page.wait_for_url("**/profile")
                assert "Trần Thị Lan" in page.inner_text("header")
                assert [each["name"] for each in context.cookies(url) if each["name"] == "pacs-begun"] == []
                # Out here, and by the way of the provider back at our sign-in.
                page.locator("form.sign-out button").click()
                page.wait_for_url(f"{provider.issuer}/session/end*")
                page.get_by_role("button", name="Yes").click()
                page.wait_for_url("**/sign-in*")
                page.goto("/profile")
                page.wait_for_url("**/sign-in?to=*")
                page.get_by_role("link", name="Tài khoản Sở Y tế").click()
                # It asks again who one is: nobody who sits down next is let in as this person.
                page.locator("input[name=login]").wait_for()
