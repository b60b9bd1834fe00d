"""The authorization code flow: where the browser is sent, and what is made of what it brings back.

What must be known of the beginning at the end is sealed in a cookie of the browser that began. So a code that somebody
else got, or planted, is of no use (RFC 9700 2.1 and 4.4-4.7).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from archive.people.federation import Vouched
from archive.people.tickets import Tickets
from config.oidc import OIDCProvider
from viewer_api.oidc.errors import BadAnswer
from viewer_api.oidc.provider import Provider, json_object
from viewer_api.oidc.tokens import identity

SECONDS: Final = 600.0
"""For which a sign-in elsewhere is waited for."""
_PURPOSE: Final = "oidc"
_LONGEST_TO: Final = 1500
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_MANY: Final = 1000
_LONGEST_SUBJECT: Final = 255


def begin(provider: Provider, tickets: Tickets, redirect: str, to: str) -> tuple[str, str]:
    """Where to send the browser, and the ticket that it must bring back. Raises `ProviderDown`."""
    settings, metadata = provider.settings, provider.metadata()
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": redirect,
        "scope": " ".join(settings.scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    if settings.factor_acr:
        asked["acr_values"] = " ".join(settings.factor_acr)
    if settings.max_age_minutes:
        asked["max_age"] = str(int(settings.max_age_minutes * 60))
    content = {"provider": settings.name, "state": state, "nonce": nonce, "verifier": verifier, "redirect": redirect}
    content["to"] = to if len(to) <= _LONGEST_TO else ""
    joint = "&" if "?" in metadata.authorization else "?"
    return metadata.authorization + joint + urlencode(asked), tickets.issue(_PURPOSE, content, SECONDS)


def finish(provider: Provider, tickets: Tickets, ticket: str, answer: Mapping[str, str]) -> tuple[Vouched, str]:
    """Who it is, and where they wanted to go. Raises `BadAnswer`, `ProviderDown`."""
    settings = provider.settings
    begun = tickets.read(_PURPOSE, ticket)
    if begun is None or begun["provider"] != settings.name:
        raise BadAnswer("this browser has begun no sign-in there")
    if not hmac.compare_digest(begun["state"].encode(), answer.get("state", "").encode()):
        raise BadAnswer("the answer is to another sign-in (state)")
    metadata = provider.metadata()
    # RFC 9207 2.4: an answer of another provider must not be taken for one of this.
    if (metadata.names_itself or "iss" in answer) and answer.get("iss") != settings.issuer:
        raise BadAnswer("the answer is of another provider (iss)")
    if "error" in answer:
        raise BadAnswer(f"the provider says {_short(answer['error'])}")
    tokens = _exchanged(provider, answer.get("code", ""), begun)
    raw = tokens.get("id_token")
    if not isinstance(raw, str):
        raise BadAnswer("the provider gave no identity token")
    claims = identity(provider, raw, begun["nonce"])
    if not 0 < len(claims["sub"]) <= _LONGEST_SUBJECT:
        raise BadAnswer("the token names nobody (sub)")
    if not tickets.spend(_PURPOSE, begun["state"], SECONDS):
        raise BadAnswer("this sign-in has been used")
    claims = _with_user(provider, claims, tokens.get("access_token"))
    return vouched(settings, claims, raw), begun["to"]


def end_address(provider: Provider, token: str, back: str) -> str:
    """Where to sign out there (RP-Initiated Logout 2); empty if it has no such place. Raises `ProviderDown`."""
    metadata = provider.metadata()
    if not provider.settings.sign_out or not metadata.end:
        return ""
    asked = {"client_id": provider.settings.client_id, "post_logout_redirect_uri": back}
    if token:
        asked["id_token_hint"] = token
    return metadata.end + ("&" if "?" in metadata.end else "?") + urlencode(asked)


def vouched(settings: OIDCProvider, claims: Mapping[str, Any], token: str) -> Vouched:
    """What the archive is told."""
    amr = claims.get("amr")
    methods = {each for each in amr if isinstance(each, str)} if isinstance(amr, list) else set()
    return Vouched(
        subject=claims["sub"],
        name=_name(settings, claims),
        display_name=_text(claims, "name"),
        values=_values(settings.roles_claim, claims),
        second_factor=bool(methods & set(settings.factor_amr)) or _text(claims, "acr") in settings.factor_acr,
        session=_text(claims, "sid"),
        token=token,
    )


def _exchanged(provider: Provider, code: str, begun: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens for a code (RFC 6749 4.1.3). Raises `BadAnswer`, `ProviderDown`."""
    if not code:
        raise BadAnswer("the answer has no code")
    settings, metadata = provider.settings, provider.metadata()
    secret = settings.client_secret.get_secret_value()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": begun["redirect"],
        "code_verifier": begun["verifier"],
    }
    headers = dict(_FORM)
    if secret and metadata.basic:
        pair = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
    else:
        form["client_id"] = settings.client_id
        form |= {"client_secret": secret} if secret else {}
    status, body = provider.post(metadata.token, headers, urlencode(form).encode())
    if status == 400:
        # RFC 6749 5.2: the code is not good (any more).
        found = json_object(200, body, "the token")
        raise BadAnswer(f"the provider says {_short(str(found.get('error')))}")
    return json_object(status, body, "the token")


def _with_user(provider: Provider, claims: dict[str, Any], access: object) -> dict[str, Any]:
    """With what stands in UserInfo only, if something that we want is missing (Core 5.3). Raises `ProviderDown`."""
    settings, address = provider.settings, provider.metadata().user
    wanted = {settings.name_claim, "name", settings.roles_claim.split(".")[0], settings.roles_claim} - {""}
    wanted |= {"email_verified"} if settings.name_claim == "email" else set()
    if not address or not isinstance(access, str) or wanted <= claims.keys():
        return claims
    user = provider.document(address, "the user", {"Authorization": f"Bearer {access}"})
    if user.get("sub") != claims["sub"]:
        # Core 5.3.2: these would be the claims of somebody else.
        raise BadAnswer("UserInfo is about somebody else (sub)")
    # How somebody signed in is told by the signed token alone.
    return {**{name: user[name] for name in wanted & user.keys()}, **claims}


def _name(settings: OIDCProvider, claims: Mapping[str, Any]) -> str:
    if settings.name_claim == "email" and claims.get("email_verified") is not True:
        return ""
    return _text(claims, settings.name_claim)


def _values(path: str, claims: Mapping[str, Any]) -> frozenset[str]:
    if not path:
        return frozenset()
    # A claim may have dots in its own name, as those that are addresses.
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    given = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return frozenset(each for each in given[:_MANY] if isinstance(each, str))


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _short(text: str) -> str:
    return "".join(c for c in text[:40] if c.isalnum() or c in "_-")
