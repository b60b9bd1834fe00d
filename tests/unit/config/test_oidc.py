"""Providers of sign-in in the settings."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from archive.people.roles import Role
from config.oidc import GivenRole
from config.settings import SettingsError, load

PROVIDER: dict[str, Any] = {
    "name": "so-y-te",
    "label": "Sở Y tế",
    "issuer": "https://sso.example.vn",
    "client_id": "pacs",
}
FACILITIES = [{"code": "86001", "name": "BV"}]
ROLES = [{"value": "x", "role": "radiologist", "facility": "86001"}]


def test_the_roles_that_can_be_given_are_those_of_people() -> None:
    assert set(get_args(GivenRole)) == {each.value for each in Role} - {"service"}


def test_a_provider_that_is_whole() -> None:
    given = load(environ={}, facilities=FACILITIES, oidc=[{**PROVIDER, "roles_claim": "groups", "roles": ROLES}])
    assert given.oidc[0].algorithms == ("RS256", "PS256", "ES256", "EdDSA")
    assert load(environ={}, oidc=[{**PROVIDER, "issuer": "http://127.0.0.1:8081"}]).oidc[0].accounts == "prepared"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "http://sso.example.vn"}, "https://"),
        ({"issuer": "https://sso.example.vn?x=1"}, "without"),
        ({"issuer": "sso"}, "address"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"algorithms": []}, "algorithms"),
        ({"scopes": ["profile"]}, "openid"),
        ({"accounts": "made"}, "needs roles"),
        ({"roles_claim": "groups"}, "together"),
        ({"roles": ROLES}, "together"),
        ({"roles_claim": "g", "roles": [{**ROLES[0], "facility": "99999"}]}, "not listed"),
        ({"roles_claim": "g", "roles": [{**ROLES[0], "role": "service"}]}, "role"),
        ({"roles_claim": "g", "roles": [{**ROLES[0], "role": "province_admin"}]}, "all facilities"),
        ({"name": "../x"}, "name"),
        ({"client_secret_file": "/nonexistent"}, "client_secret_file"),
        ({"ca_file": "/nonexistent"}, "ca_file"),
        ({"secret": "x"}, "no such setting"),
    ],
    ids=str,
)
def test_a_provider_that_would_not_be_safe_stops_the_start(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(environ={}, facilities=FACILITIES, oidc=[{**PROVIDER, **changes}])


@pytest.mark.parametrize("change", [{"name": "other"}, {"issuer": "https://other.example.vn"}])
def test_two_providers_are_told_apart(change: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="two providers"):
        load(environ={}, oidc=[PROVIDER, {**PROVIDER, **change}])
