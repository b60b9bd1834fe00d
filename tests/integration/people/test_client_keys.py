"""Programs that sign instead of showing a secret (RFC 7523), and assertions that must not count."""

from __future__ import annotations

import hmac
import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from archive.core import Archive
from archive.errors import InvalidItem, NotPermitted
from archive.people.caller import Caller, Kind, Membership
from archive.people.roles import Right, Role
from archive.people.signatures import BadKey, public_keys
from config.settings import Settings
from tests.integration.people.test_signing_in import OPERATOR, RADIOLOGIST, audited, make
from tests.integration.people.test_web_sign_in import BROWSER, enter
from tests.oidc.provider import key_pair
from tests.web_server import serving
from viewer_api.app import create_app
from viewer_api.sign_in.tokens import ASSERTION

KEY = key_pair()
OTHER = key_pair()


def public(key: dict[str, Any]) -> dict[str, Any]:
    hidden = {"d", "p", "q", "dp", "dq", "qi"}
    return {name: value for name, value in key.items() if name not in hidden}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    access = settings.access.model_copy(update={"sign_in": "required", "mfa": "optional"})
    return settings.model_copy(update={"access": access})


@pytest.fixture
def url(archive: Archive) -> Iterator[str]:
    with serving(create_app(archive)) as address:
        yield address


@pytest.fixture
def number(archive: Archive) -> int:
    """A program with KEY."""
    accounts = archive.people.accounts
    accounts.create(OPERATOR, "his", "HIS", [Membership(Role.SERVICE, "86001")], [Right.VIEW])
    made = accounts.named(OPERATOR, "his").id
    assert archive.people.programs.set_keys(OPERATOR, made, json.dumps({"keys": [public(KEY)]})) == 1
    return made


def signed(url: str, key: dict[str, Any] = KEY, algorithm: str = "RS256", head: Any = None, **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": "his", "sub": "his", "aud": f"{url}/oauth/token", "iat": now, "exp": now + 120}
    claims = {**claims, "jti": uuid.uuid4().hex, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    private = jwt.PyJWK({**key, "alg": algorithm}, algorithm=algorithm).key
    return jwt.encode(claims, private, algorithm, headers={"kid": key["kid"], **(head or {})})


def ask(url: str, assertion: str, **more: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": assertion}
    return httpx.post(f"{url}/oauth/token", data={**form, **more}, timeout=60)


def test_a_program_signs_and_gets_a_token(archive: Archive, url: str, number: int) -> None:
    for audience in (f"{url}/oauth/token", url, [f"{url}/", "https://other.example"]):
        answer = ask(url, signed(url, aud=audience))
        assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{url}/dicom-web/studies", headers=headers).status_code in (200, 204)
    form = {"token": token, "client_assertion_type": ASSERTION, "client_assertion": signed(url)}
    assert httpx.post(f"{url}/oauth/revoke", data=form).status_code == 200
    assert httpx.get(f"{url}/dicom-web/studies", headers=headers).status_code == 401
    assert ask(url, signed(url), client_id="his").status_code == 200
    assert [outcome for _, outcome, _ in audited(archive, "sign_in")].count("success") == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"iss": None},
        {"iss": 7},
        {"sub": "other"},
        {"sub": None},
        {"aud": "https://other.example/oauth/token"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
    ],
    ids=str,
)
def test_an_assertion_for_another_time_place_or_program(
    archive: Archive, url: str, number: int, changes: dict[str, Any]
) -> None:
    if "iss" in changes and not isinstance(changes["iss"], str | None):
        head, _, signature = signed(url).split(".")
        body = urlsafe_b64encode(json.dumps({"iss": 7, "sub": "his"}).encode()).decode().rstrip("=")
        assertion = f"{head}.{body}.{signature}"
    else:
        assertion = signed(url, **changes)
    answer = ask(url, assertion)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})
    assert [outcome for _, outcome, _ in audited(archive, "sign_in")] == ["denied"]


def _none(url: str) -> str:
    return jwt.encode(jwt.decode(signed(url), options={"verify_signature": False}), None, "none")


def _public_key_as_secret(url: str) -> str:
    claims = jwt.decode(signed(url), options={"verify_signature": False})
    pem = jwt.PyJWK(public(KEY)).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = ({"alg": "HS256", "kid": KEY["kid"]}, claims)
    text = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return (text + b"." + urlsafe_b64encode(hmac.digest(pem, text, "sha256")).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "forge",
    [
        _none,
        _public_key_as_secret,
        lambda url: signed(url, OTHER),
        lambda url: signed(url, {**OTHER, "kid": KEY["kid"]}),
        lambda url: signed(url, OTHER, head={"jwk": public(OTHER)}),
        lambda url: signed(url, head={"crit": ["exp"]}),
        lambda url: signed(url)[:-4] + "AAAA",
        lambda _: "a.b.c",
        lambda _: "x",
    ],
)
def test_an_assertion_that_the_program_has_not_signed(
    archive: Archive, url: str, number: int, forge: Callable[[str], str]
) -> None:
    assert ask(url, forge(url)).status_code == 401


def test_an_assertion_is_good_once(archive: Archive, url: str, number: int) -> None:
    assertion = signed(url)
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(lambda _: ask(url, assertion).status_code, range(6)))
    assert sorted(statuses) == [200] + [401] * 5


def test_one_way_at_a_time(archive: Archive, url: str, number: int) -> None:
    assert ask(url, signed(url), client_secret="x").status_code == 400
    assert ask(url, "").status_code == 400
    assert ask(url, signed(url), client_assertion_type="urn:other").status_code == 400
    assert ask(url, signed(url), client_id="other").status_code == 401
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": signed(url)}
    assert httpx.post(f"{url}/oauth/token", data=form, auth=("his", "x")).status_code == 400
    # With keys there is no secret any more, also not an empty one.
    for secret in ("", "x"):
        answer = httpx.post(f"{url}/oauth/token", data={"grant_type": "client_credentials"}, auth=("his", secret))
        assert answer.status_code == 401


def test_who_was_disabled_or_is_a_person_gets_no_token(archive: Archive, url: str, number: int) -> None:
    make(archive)
    assert ask(url, signed(url, iss="lan", sub="lan")).status_code == 401
    token = ask(url, signed(url)).json()["access_token"]
    archive.people.accounts.disable(OPERATOR, number)
    assert ask(url, signed(url)).status_code == 401
    assert httpx.get(f"{url}/dicom-web/studies", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_new_keys_replace_the_old_ones(archive: Archive, url: str, number: int) -> None:
    pair = ec.generate_private_key(ec.SECP256R1())
    pem = pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    edwards = ed25519.Ed25519PrivateKey.generate()
    pem += edwards.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert archive.people.programs.set_keys(OPERATOR, number, pem) == 2
    assert ask(url, signed(url)).status_code == 401
    made: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(pair))
    made.pop("key_ops", None)
    assert ask(url, signed(url, {**made, "kid": "any"}, "ES256")).status_code == 200
    made = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(edwards))
    made.pop("key_ops", None)
    assert ask(url, signed(url, {**made, "kid": "any"}, "EdDSA")).status_code == 200


def _weak() -> str:
    pair = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _private() -> str:
    pair = ec.generate_private_key(ec.SECP256R1())
    return pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "make_text",
    [
        _weak,
        _private,
        lambda: json.dumps(KEY),
        lambda: json.dumps({"keys": [KEY]}),
        lambda: json.dumps({"kty": "oct", "k": "c2VjcmV0"}),
        lambda: json.dumps({"kty": "oct"}),
        lambda: json.dumps({**public(KEY), "use": "enc"}),
        lambda: json.dumps({"kty": "RSA"}),
        lambda: json.dumps({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        lambda: json.dumps({"keys": []}),
        lambda: json.dumps([1]),
        lambda: json.dumps({"keys": [7]}),
        lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        lambda: "nothing",
        lambda: "",
    ],
)
def test_what_is_no_public_key(make_text: Callable[[], str]) -> None:
    with pytest.raises(BadKey):
        public_keys(make_text())


def test_only_who_looks_after_a_program_sets_its_keys(archive: Archive, number: int) -> None:
    text = json.dumps(public(KEY))
    archive.people.accounts.create(OPERATOR, "mai", "Mai", RADIOLOGIST)
    with pytest.raises(InvalidItem):
        archive.people.programs.set_keys(OPERATOR, archive.people.accounts.named(OPERATOR, "mai").id, text)
    own = Caller(Kind.SERVICE, "his", {Right.ACCOUNTS: None}, account=number)
    with pytest.raises(NotPermitted):
        archive.people.programs.set_keys(own, number, text)
    with pytest.raises(InvalidItem):
        archive.people.programs.set_keys(OPERATOR, number, json.dumps({"keys": [public(KEY)] * 6}))


def test_an_administrator_pastes_keys_and_finds_and_renames(
    archive: Archive, url: str, number: int, tmp_path: Path
) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    make(archive, "mai", Membership(Role.CLINICIAN, "86001"))
    with httpx.Client(base_url=url, headers=BROWSER) as browser:
        enter(browser, "chief")
        page = f"/accounts/{number}"
        assert browser.post(page, data={"action": "keys", "keys": json.dumps(public(OTHER))}).status_code == 303
        assert ask(url, signed(url, OTHER)).status_code == 200
        assert browser.post(page, data={"action": "keys", "keys": json.dumps(OTHER)}).status_code == 422
        assert browser.post(page, data={"action": "rename", "display_name": "Phần mềm HIS"}).status_code == 303
        assert browser.post(page, data={"action": "rename", "display_name": ""}).status_code == 422
        found = browser.get("/accounts", params={"find": "phan mem"}).text
        assert "Phần mềm HIS" in found
        assert ">mai<" not in found
        own = archive.people.accounts.named(OPERATOR, "chief").id
        assert browser.post(f"/accounts/{own}", data={"action": "rename", "display_name": "x"}).status_code == 403
