"""Checks tokens that a provider has signed: identity tokens (Core 3.1.3.7), logout tokens (Back-Channel Logout 2.6)."""

from __future__ import annotations

import hmac
import time
from typing import Any, Final

from archive.people.signatures import BadToken, head
from archive.people.signatures import claims as claims_of
from viewer_api.oidc.errors import BadAnswer
from viewer_api.oidc.provider import Provider

_LOGOUT: Final = "http://schemas.openid.net/event/backchannel-logout"
OLDEST: Final = 600.0
"""Seconds: a token for a sign-in or a logout of now was made now."""


def identity(provider: Provider, token: str, nonce: str) -> dict[str, Any]:
    """The claims of an identity token for us and for this sign-in. Raises `BadAnswer`, `ProviderDown`."""
    claims = _verified(provider, token, ("exp", "iat", "sub", "aud", "iss"))
    settings = provider.settings
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise BadAnswer("the token is for another sign-in (nonce)")
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != settings.client_id:
        raise BadAnswer("the token is for another program (azp)")
    if settings.max_age_minutes:
        at = claims.get("auth_time")
        if not isinstance(at, int | float) or at < time.time() - settings.max_age_minutes * 60 - settings.leeway:
            raise BadAnswer("the provider did not ask for the password again (auth_time)")
    return claims


def logout(provider: Provider, token: str) -> dict[str, Any]:
    """The claims of a logout token. Raises `BadAnswer`, `ProviderDown`."""
    claims = _verified(provider, token, ("exp", "iat", "jti", "aud", "iss"))
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_LOGOUT), dict):
        raise BadAnswer("this is no logout token")
    # An identity token, which browsers see, must not be taken for one.
    if "nonce" in claims:
        raise BadAnswer("this is no logout token: it has a nonce")
    if not any(isinstance(claims.get(name), str) and claims[name] for name in ("sub", "sid")):
        raise BadAnswer("the logout token names nobody")
    return claims


def _verified(provider: Provider, token: str, required: tuple[str, ...]) -> dict[str, Any]:
    settings = provider.settings
    try:
        algorithm, kid = head(token, settings.algorithms)
        found = claims_of(
            token,
            provider.keys(kid),
            algorithm,
            audience=settings.client_id,
            issuer=settings.issuer,
            leeway=settings.leeway,
            required=required,
        )
    except BadToken as error:
        raise BadAnswer(str(error)) from None
    if found["iat"] < time.time() - OLDEST - settings.leeway:
        raise BadAnswer("the token is old (iat)")
    return found
