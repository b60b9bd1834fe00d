"""Checks tokens that a provider has signed: identity tokens (Core 3.1.3.7) and logout tokens (Back-Channel Logout 2.6).

Only algorithms of the settings count, all of which use key pairs: a token that is not signed, or signed with a public
key as if it were a secret, is none.
"""

from __future__ import annotations

import hmac
import time
from typing import Any, Final

import jwt

from viewer_api.oidc.errors import BadAnswer
from viewer_api.oidc.provider import Provider

_FAMILIES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_LOGOUT: Final = "http://schemas.openid.net/event/backchannel-logout"
OLDEST: Final = 600.0
"""Seconds: a token for a sign-in or a logout of now was made now."""
LONGEST: Final = 16_384


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
    if len(token) > LONGEST:
        raise BadAnswer("the token is too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        raise BadAnswer("this is no token") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in settings.algorithms:
        raise BadAnswer("the token is signed in a way that does not count (alg)")
    if "crit" in header or not (kid is None or isinstance(kid, str)):
        raise BadAnswer("the head of the token cannot be understood")
    keys = [each for each in provider.keys(kid) if _fits(each, algorithm)]
    if not keys:
        raise BadAnswer("the provider has no such key (kid)")
    refused = ""
    for key in keys:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(key, algorithm=algorithm),
                algorithms=[algorithm],
                audience=settings.client_id,
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={"require": list(required)},
            )
        except jwt.PyJWTError as error:
            refused = refused or f"the token does not hold: {error}"
            continue
        if claims["iat"] < time.time() - OLDEST - settings.leeway:
            raise BadAnswer("the token is old (iat)")
        return claims
    raise BadAnswer(refused)


def _fits(key: dict[str, Any], algorithm: str) -> bool:
    """Whether a key is meant for signatures of this kind."""
    return (
        key.get("kty") == _FAMILIES[algorithm[:2]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )
