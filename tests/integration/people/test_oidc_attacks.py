"""Sign-in at a provider that lies, or with answers that somebody has tampered with: nobody gets in."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from archive.core import Archive
from archive.people.caller import Membership
from archive.people.roles import Role
from config.oidc import OIDCProvider
from config.settings import Settings
from tests.integration.people.test_signing_in import (
    OPERATOR,
    PASSWORD,
    RADIOLOGIST,
    audited,
    current,
    make,
    with_factor,
)
from tests.integration.people.test_signing_in import back as put
from tests.integration.people.test_web_sign_in import BROWSER, enter
from tests.oidc.lying import LyingProvider, lying_provider
from tests.oidc.provider import CLIENT, SECRET, key_pair
from tests.web_server import serving
from viewer_api.app import create_app


@pytest.fixture
def provider() -> Iterator[LyingProvider]:
    with lying_provider() as made:
        yield made


@pytest.fixture
def other() -> Iterator[LyingProvider]:
    with lying_provider() as made:
        yield made


@pytest.fixture
def settings(settings: Settings, provider: LyingProvider, other: LyingProvider) -> Settings:
    shared = {"client_id": CLIENT, "client_secret": SECRET, "label": "Sở Y tế"}
    providers = (
        OIDCProvider.model_validate({**shared, "name": "lie", "issuer": provider.issuer}),
        OIDCProvider.model_validate({**shared, "name": "other", "issuer": other.issuer}),
    )
    access = settings.access.model_copy(update={"sign_in": "required", "mfa": "optional"})
    return settings.model_copy(update={"access": access, "oidc": providers})


@pytest.fixture
def url(archive: Archive) -> Iterator[str]:
    with serving(create_app(archive)) as address:
        yield address


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=BROWSER, timeout=60) as client:
        yield client


def prepared(archive: Archive, name: str = "lan", provider: str = "lie", *roles: Membership) -> int:
    accounts = archive.people.accounts
    accounts.create(OPERATOR, name, "Trần Thị Lan", roles or RADIOLOGIST, provider=provider)
    return accounts.named(OPERATOR, name).id


def begin(browser: httpx.Client, provider: LyingProvider, name: str = "lie", to: str = "") -> dict[str, str]:
    """Go to the provider. Gives what it is asked."""
    sent = browser.get(f"/sign-in/oidc/{name}", params={"to": to} if to else None)
    assert sent.status_code == 303, sent.text
    assert sent.headers["location"].startswith(f"{provider.issuer}/auth?")
    asked = {key: values[0] for key, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}
    provider.nonce = asked["nonce"]
    return asked


def back(browser: httpx.Client, state: str, name: str = "lie", **more: str) -> httpx.Response:
    return browser.get(f"/sign-in/oidc/{name}/back", params={"code": "c-1", "state": state, **more})


def sign_in(browser: httpx.Client, provider: LyingProvider, name: str = "lie", to: str = "") -> httpx.Response:
    return back(browser, begin(browser, provider, name, to)["state"], name)


def is_out(browser: httpx.Client, answer: httpx.Response, status: int = 403) -> bool:
    return answer.status_code == status and "pacs-session" not in browser.cookies


def reasons(archive: Archive) -> list[str]:
    return [detail["reason"] for _, outcome, detail in audited(archive, "sign_in") if outcome == "denied"]


def test_what_is_asked_of_the_provider(archive: Archive, browser: httpx.Client, provider: LyingProvider) -> None:
    number = prepared(archive)
    asked = begin(browser, provider, to="/profile")
    assert (asked["response_type"], asked["client_id"], asked["scope"]) == ("code", CLIENT, "openid profile email")
    assert asked["redirect_uri"] == f"{str(browser.base_url).rstrip('/')}/sign-in/oidc/lie/back"
    entered = back(browser, asked["state"])
    assert (entered.status_code, entered.headers["location"]) == (303, "/profile")
    assert "pacs-begun" not in browser.cookies
    (form,) = provider.forms
    assert form["redirect_uri"] == asked["redirect_uri"]
    assert asked["code_challenge_method"] == "S256"
    challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
    assert challenge == asked["code_challenge"]
    assert "Trần Thị Lan" in browser.get("/profile").text
    assert ("lan", "success", {}) in [(name, outcome, detail) for name, outcome, detail in audited(archive, "sign_in")]
    assert len(archive.people.sessions.of(number)) == 1
    # The next time, the name may be another: it is the subject that counts.
    provider.claims["preferred_username"] = "lan.tran"
    with httpx.Client(base_url=browser.base_url, headers=BROWSER) as second:
        assert sign_in(second, provider).status_code == 303


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"aud": "another"}, "Audience"),
        ({"aud": [CLIENT, "another"]}, "azp"),
        ({"azp": "another"}, "azp"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"iat": 1}, "old"),
        ({"iat": 4_000_000_000}, "not yet valid"),
        ({"nbf": 4_000_000_000}, "not yet valid"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "names nobody"),
        ({"sub": "x" * 300}, "names nobody"),
        ({"sub": 7}, "Subject"),
    ],
    ids=str,
)
def test_a_token_for_somebody_else_or_of_another_time(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, changes: dict[str, Any], reason: str
) -> None:
    prepared(archive)
    asked = begin(browser, provider)
    provider.raw = provider.token(**changes)
    assert is_out(browser, back(browser, asked["state"]))
    assert reason in reasons(archive)[-1]


def test_clocks_may_differ_by_the_leeway_and_no_more(
    archive: Archive, browser: httpx.Client, provider: LyingProvider
) -> None:
    prepared(archive)
    for off, status in ((-20, 303), (-3600, 403)):
        asked = begin(browser, provider)
        provider.raw = provider.token(exp=int(time.time()) + off)
        assert back(browser, asked["state"]).status_code == status


def _none(provider: LyingProvider) -> str:
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    return jwt.encode(claims, None, "none")


def _public_key_as_secret(provider: LyingProvider) -> str:
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    pem = jwt.PyJWK(provider.public[0], algorithm="RS256").key
    secret = pem.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # The library refuses to sign so; an attacker does not ask it.
    head = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"' + provider.keys[0]["kid"].encode() + b'"}')
    body = urlsafe_b64encode(json.dumps(claims).encode())
    signed = head.rstrip(b"=") + b"." + body.rstrip(b"=")
    return (signed + b"." + urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")).decode()


def _client_secret(provider: LyingProvider) -> str:
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    return jwt.encode(claims, SECRET, "HS256")


def _own_key(provider: LyingProvider) -> str:
    """Signed with a key of the attacker that calls itself as the real one, and comes along in the head."""
    own = key_pair()
    own["kid"] = provider.keys[0]["kid"]
    provider.head = {"jwk": {key: own[key] for key in ("kty", "n", "e")}, "jku": "https://evil.example/jwks"}
    return provider.token(own)


def _unknown_key(provider: LyingProvider) -> str:
    return provider.token(key_pair())


def _tampered(provider: LyingProvider) -> str:
    head, body, signature = provider.token().split(".")
    return f"{head}.{body[:-2]}{'A' if body[-2] != 'A' else 'B'}{body[-1]}.{signature}"


def _other_algorithm(provider: LyingProvider) -> str:
    """A key pair of the provider, in a way of signing that is not in the settings."""
    return provider.token({**provider.keys[0], "alg": "RS512"}, "RS512")


@pytest.mark.parametrize(
    "forge",
    [
        _none,
        _public_key_as_secret,
        _client_secret,
        _own_key,
        _unknown_key,
        _tampered,
        _other_algorithm,
        lambda _: "",
        lambda _: "a.b.c",
        lambda _: "x" * 20_000,
    ],
)
def test_a_token_that_the_provider_has_not_signed(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, forge: Callable[[LyingProvider], str]
) -> None:
    prepared(archive)
    asked = begin(browser, provider)
    provider.raw = forge(provider)
    assert is_out(browser, back(browser, asked["state"]))


def test_keys_for_encryption_or_of_another_kind_sign_nothing(
    archive: Archive, browser: httpx.Client, provider: LyingProvider
) -> None:
    prepared(archive)
    for change in ({"use": "enc"}, {"alg": "RS512"}):
        signing = provider.keys[0]
        provider.keys = [{**signing, **change, "kid": f"k-{change}"}]
        asked = begin(browser, provider)
        provider.raw = provider.token({**signing, "kid": f"k-{change}"})
        assert is_out(browser, back(browser, asked["state"]))
        provider.keys = [signing]


def test_a_state_that_is_not_of_this_browser(archive: Archive, url: str, provider: LyingProvider) -> None:
    prepared(archive)
    with (
        httpx.Client(base_url=url, headers=BROWSER) as victim,
        httpx.Client(base_url=url, headers=BROWSER) as attacker,
    ):
        # Who has begun nothing cannot be signed in as the attacker (login CSRF) ...
        asked = begin(attacker, provider)
        assert is_out(victim, back(victim, asked["state"]))
        # ... nor who has begun something else.
        own = begin(victim, provider)
        assert is_out(victim, back(victim, asked["state"]))
        # The ticket is good for one answer, right or wrong.
        assert is_out(victim, back(victim, own["state"]))
        for state in ("", own["state"][:-1], own["state"] + "x", "é"):
            begin(victim, provider)
            assert is_out(victim, back(victim, state))
        own = begin(victim, provider)
        victim.cookies.set("pacs-begun", "A" * 200)
        assert is_out(victim, back(victim, own["state"]))
    assert provider.forms == []


def test_an_answer_cannot_be_used_twice(archive: Archive, browser: httpx.Client, provider: LyingProvider) -> None:
    prepared(archive)
    asked = begin(browser, provider)
    cookie = f"pacs-begun={browser.cookies['pacs-begun']}"
    assert back(browser, asked["state"]).status_code == 303
    # Even if the provider took the code again, and the browser kept its ticket.
    again = httpx.get(
        f"{browser.base_url}/sign-in/oidc/lie/back",
        params={"code": "c-1", "state": asked["state"]},
        headers={**BROWSER, "Cookie": cookie},
    )
    assert again.status_code == 403
    assert "used" in reasons(archive)[-1]


def test_of_many_at_the_same_moment_one_gets_in(
    archive: Archive, browser: httpx.Client, provider: LyingProvider
) -> None:
    number = prepared(archive)
    asked = begin(browser, provider)
    headers = {**BROWSER, "Cookie": f"pacs-begun={browser.cookies['pacs-begun']}"}

    def come(_: int) -> int:
        address = f"{browser.base_url}/sign-in/oidc/lie/back"
        return httpx.get(
            address, params={"code": "c", "state": asked["state"]}, headers=headers, timeout=60
        ).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(come, range(8)))
    assert sorted(statuses) == [303] + [403] * 7
    assert len(archive.people.sessions.of(number)) == 1


def test_answers_of_another_provider(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, other: LyingProvider
) -> None:
    """Mix-up: the code of one provider must not be given to another, nor its word be taken for the other's."""
    prepared(archive)
    asked = begin(browser, provider)
    assert is_out(browser, back(browser, asked["state"], "other"))
    assert (provider.forms, other.forms) == ([], [])
    asked = begin(browser, provider)
    assert is_out(browser, back(browser, asked["state"], iss=other.issuer))
    assert provider.forms == []
    assert "iss" in reasons(archive)[-1]
    # A provider that says who it is in each answer has to.
    other.metadata = {"authorization_response_iss_parameter_supported": True}
    asked = begin(browser, other, "other")
    assert is_out(browser, back(browser, asked["state"], "other"))
    assert other.forms == []


def test_the_same_subject_of_another_provider_is_somebody_else(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, other: LyingProvider
) -> None:
    prepared(archive)
    assert sign_in(browser, provider).status_code == 303
    with httpx.Client(base_url=browser.base_url, headers=BROWSER) as attacker:
        assert is_out(attacker, sign_in(attacker, other, "other"))
    assert "no account" in reasons(archive)[-1]


def test_a_name_elsewhere_opens_no_account_of_ours(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, other: LyingProvider
) -> None:
    make(archive)
    assert is_out(browser, sign_in(browser, provider))
    # Nor one that was prepared for another provider, or belongs to somebody there already.
    prepared(archive, "mai", "other")
    provider.claims["preferred_username"] = "mai"
    assert is_out(browser, sign_in(browser, provider))
    other.claims["preferred_username"] = "mai"
    assert sign_in(browser, other, "other").status_code == 303
    other.claims["sub"] = "s-2"
    with httpx.Client(base_url=browser.base_url, headers=BROWSER) as attacker:
        assert is_out(attacker, sign_in(attacker, other, "other"))
    # And it has no password that could be guessed.
    assert enter(browser, "mai", "").status_code == 403
    assert enter(browser, "mai", PASSWORD).status_code == 403


def test_who_was_disabled_stays_out(archive: Archive, browser: httpx.Client, provider: LyingProvider) -> None:
    number = prepared(archive)
    archive.people.accounts.disable(OPERATOR, number)
    assert is_out(browser, sign_in(browser, provider))
    assert reasons(archive)[-1] == "disabled"


def test_our_second_factor_is_asked_for_and_cannot_be_tried_out(
    archive: Archive, browser: httpx.Client, provider: LyingProvider
) -> None:
    number = make(archive)
    secret, _ = with_factor(archive)
    put(archive, "account", "provider", "'lie'")
    put(archive, "account", "password_hash", "''")
    provider.claims["amr"] = ["pwd", "mfa"]
    assert sign_in(browser, provider).headers["location"] == "/sign-in"
    assert browser.get("/profile").status_code == 303
    # To begin anew gives no more tries.
    for _ in range(5):
        browser.post("/sign-in/code", data={"code": "000000"})
        sign_in(browser, provider)
    assert browser.post("/sign-in/code", data={"code": current(secret)}).status_code == 403
    archive.people.accounts.unlock(OPERATOR, number)
    sign_in(browser, provider)
    assert browser.post("/sign-in/code", data={"code": current(secret)}).status_code == 303
    assert browser.get("/profile").status_code == 200


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example/", "/\\evil.example", "/sign-in", "javascript:alert(1)"]
)
def test_nobody_is_led_to_another_site(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, to: str
) -> None:
    prepared(archive)
    assert sign_in(browser, provider, to=to).headers["location"] == "/"


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ({"issuer": "https://evil.example"}, 503),
        ({"authorization_endpoint": "http://evil.example/auth"}, 503),
        ({"token_endpoint": None}, 503),
        ({"jwks_uri": "file:///etc/passwd"}, 503),
        ({"token_endpoint": "http://169.254.169.254/latest"}, 503),
    ],
    ids=str,
)
def test_a_provider_that_says_wrong_things_of_itself(
    browser: httpx.Client, provider: LyingProvider, metadata: dict[str, Any], status: int
) -> None:
    provider.metadata = metadata
    answer = browser.get("/sign-in/oidc/lie")
    assert answer.status_code == status
    assert "không trả lời" in answer.text


def test_a_provider_that_is_down_is_not_asked_by_each_click(
    archive: Archive, browser: httpx.Client, provider: LyingProvider
) -> None:
    prepared(archive)
    provider.metadata = {"issuer": "x"}
    for _ in range(5):
        assert browser.get("/sign-in/oidc/lie").status_code == 503
    assert len(provider.asked) == 1
    # Whoever signs in by a password gets in.
    make(archive, "mai")
    assert enter(browser, "mai").status_code == 303


@pytest.mark.parametrize("status", [400, 401, 500, 302])
def test_a_provider_that_gives_no_tokens(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, status: int
) -> None:
    prepared(archive)
    asked = begin(browser, provider)
    provider.status = status
    answer = back(browser, asked["state"])
    assert is_out(browser, answer, 403 if status == 400 else 503)


def test_a_refusal_of_the_provider_is_told(archive: Archive, browser: httpx.Client, provider: LyingProvider) -> None:
    asked = begin(browser, provider)
    answer = browser.get(
        "/sign-in/oidc/lie/back",
        params={"state": asked["state"], "error": "access_denied", "error_description": "<b>x"},
    )
    assert is_out(browser, answer)
    assert "<b>x" not in answer.text
    assert "access_denied" in reasons(archive)[-1]
    asked = begin(browser, provider)
    doubled = f"/sign-in/oidc/lie/back?state={asked['state']}&state={asked['state']}&code=c"
    assert is_out(browser, browser.get(doubled))
    assert is_out(browser, back(browser, begin(browser, provider)["state"], junk="x" * 9000))


def test_user_info_of_somebody_else_does_not_count(
    archive: Archive, browser: httpx.Client, provider: LyingProvider
) -> None:
    prepared(archive)
    del provider.claims["preferred_username"]
    provider.user = {"sub": "s-2", "preferred_username": "lan"}
    assert is_out(browser, sign_in(browser, provider))
    provider.user = {"sub": "s-1", "preferred_username": "lan"}
    assert sign_in(browser, provider).status_code == 303


def test_fifty_wrong_answers_shut_an_address_out(
    archive: Archive, browser: httpx.Client, provider: LyingProvider
) -> None:
    for _ in range(50):
        assert back(browser, "x").status_code == 403
    assert back(browser, "x").status_code == 429
    assert browser.get("/sign-in/oidc/lie").status_code == 429


def test_there_is_no_such_provider(browser: httpx.Client) -> None:
    for path in ("/sign-in/oidc/nobody", "/sign-in/oidc/nobody/back"):
        assert browser.get(path).status_code == 404
    assert browser.post("/sign-in/oidc/nobody/logout").status_code == 404


def _without(name: str) -> Callable[[LyingProvider], str]:
    return lambda provider: provider.logout_token(**{name: None})


@pytest.mark.parametrize(
    "make_token",
    [
        lambda provider: provider.token(jti="1"),
        lambda provider: provider.logout_token(nonce="n"),
        lambda provider: provider.logout_token(aud="another"),
        lambda provider: provider.logout_token(iss="https://evil.example"),
        lambda provider: provider.logout_token(events={"http://schemas.openid.net/event/other": {}}),
        lambda provider: provider.logout_token(iat=1),
        lambda provider: provider.logout_token(exp=1),
        lambda provider: provider.logout_token(key=key_pair()),
        _without("jti"),
        _without("events"),
        _without("sub"),
        _without("exp"),
        lambda _: "",
    ],
)
def test_only_the_provider_signs_people_out(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, make_token: Callable[[LyingProvider], str]
) -> None:
    number = prepared(archive)
    sign_in(browser, provider)
    told = httpx.post(f"{browser.base_url}/sign-in/oidc/lie/logout", data={"logout_token": make_token(provider)})
    assert told.status_code == 400
    assert len(archive.people.sessions.of(number)) == 1


def test_the_provider_signs_people_out_once(
    archive: Archive, browser: httpx.Client, provider: LyingProvider, other: LyingProvider
) -> None:
    number = prepared(archive)
    provider.claims["sid"] = "there-1"
    sign_in(browser, provider)
    prepared(archive, "mai", "other")
    other.claims = {"sub": "s-1", "preferred_username": "mai", "name": "Mai", "sid": "there-1"}
    with httpx.Client(base_url=browser.base_url, headers=BROWSER) as second:
        assert sign_in(second, other, "other").status_code == 303, reasons(archive)
        address = f"{browser.base_url}/sign-in/oidc/lie/logout"
        assert httpx.post(address, data={"logout_token": provider.logout_token(sid="there-2")}).status_code == 200
        assert len(archive.people.sessions.of(number)) == 1
        token = provider.logout_token(sub=None)
        assert httpx.post(address, data={"logout_token": token}).status_code == 200
        assert browser.get("/profile").status_code == 303
        # The other provider's session of the same name is not of this one.
        assert second.get("/profile").status_code == 200
    sign_in(browser, provider)
    assert httpx.post(address, data={"logout_token": token}).status_code == 400
    assert browser.get("/profile").status_code == 200
    provider.claims.pop("sid")
    assert httpx.post(address, data={"logout_token": provider.logout_token()}).status_code == 200
    assert browser.get("/profile").status_code == 303


def test_roles_are_not_taken_from_a_provider_without_a_rule(
    archive: Archive, browser: httpx.Client, provider: LyingProvider
) -> None:
    number = prepared(archive)
    provider.claims |= {"roles": ["province_admin"], "groups": ["province_admin"]}
    sign_in(browser, provider)
    held = archive.people.accounts.one(OPERATOR, number).memberships
    assert {each.role for each in held} == {Role.RADIOLOGIST}
