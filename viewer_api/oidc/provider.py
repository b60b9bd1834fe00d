"""What a provider says of itself: its addresses (Discovery 1.0) and its keys (RFC 7517), kept for an hour.

Keys are asked for anew when a token names one that we do not know, for providers change them without notice. Who makes
up names of keys gets no more than one question in ten seconds out of that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from config.access import is_loopback
from config.oidc import OIDCProvider
from viewer_api.oidc.errors import ProviderDown
from viewer_api.outgoing import Asker, CannotSend

KEPT: Final = 3600.0
"""Seconds."""
ASKED_AGAIN: Final = 10.0
"""Seconds that must be between two questions for keys, or after one that failed."""
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Metadata:
    """Addresses of a provider and what it can."""

    authorization: str
    token: str
    keys: str
    user: str
    end: str
    names_itself: bool
    """It says in each answer who it is (RFC 9207)."""
    basic: bool
    """It takes the client's secret by HTTP Basic."""


class Provider:
    """One provider of the settings. For all threads."""

    def __init__(self, settings: OIDCProvider, clock: Callable[[], float] = monotonic) -> None:
        self.settings = settings
        self.asker = Asker(settings.timeout, settings.ca_file)
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, list[dict[str, Any]]] | None = None
        self._failed: tuple[float, str] | None = None

    def metadata(self) -> Metadata:
        """Raises `ProviderDown`."""
        with self._lock:
            return self._known_metadata()

    def keys(self, kid: str | None) -> list[dict[str, Any]]:
        """The keys of this name, or all where a token names none. Raises `ProviderDown`."""
        with self._lock:
            now = self._clock()
            if self._keys is None or now - self._keys[0] > KEPT:
                self._ask_for_keys()
            found = self._named(kid)
            if not found and self._keys is not None and now - self._keys[0] > ASKED_AGAIN:
                self._ask_for_keys()
                found = self._named(kid)
            return found

    def document(self, url: str, what: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A JSON object of the provider. Raises `ProviderDown`."""
        return json_object(*self._asked("GET", url, {"Accept": "application/json", **(headers or {})}), what)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Raises `ProviderDown`."""
        return self._asked("POST", url, headers, body)

    def close(self) -> None:
        """Close its connections."""
        self.asker.close()

    def _asked(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, bytes]:
        try:
            return self.asker.ask(method, url, headers, body)
        except CannotSend as error:
            raise ProviderDown(str(error)) from None

    def _known_metadata(self) -> Metadata:
        now = self._clock()
        if self._metadata is not None and now - self._metadata[0] <= KEPT:
            return self._metadata[1]
        # While it is down, each click must not wait for it anew: threads are few.
        if self._failed is not None and now - self._failed[0] <= ASKED_AGAIN:
            raise ProviderDown(self._failed[1])
        issuer = self.settings.issuer
        try:
            address = issuer.rstrip("/") + "/.well-known/openid-configuration"
            made = _metadata(self.document(address, "the configuration"), issuer)
        except ProviderDown as error:
            self._failed = self._clock(), str(error)
            raise
        self._failed = None
        self._metadata = self._clock(), made
        return made

    def _ask_for_keys(self) -> None:
        found = self.document(self._known_metadata().keys, "the keys").get("keys")
        if not isinstance(found, list):
            raise ProviderDown("the keys are no JWK set")
        self._keys = self._clock(), [each for each in found if isinstance(each, dict)]

    def _named(self, kid: str | None) -> list[dict[str, Any]]:
        keys = self._keys[1] if self._keys is not None else []
        return [each for each in keys if kid is None or each.get("kid") == kid]


def json_object(status: int, body: bytes, what: str) -> dict[str, Any]:
    """What stands in an answer. Raises `ProviderDown`."""
    if status != _OK:
        raise ProviderDown(f"{what}: status {status}")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ProviderDown(f"{what}: no JSON") from None
    if not isinstance(found, dict):
        raise ProviderDown(f"{what}: no JSON object")
    return found


def _metadata(found: Mapping[str, Any], issuer: str) -> Metadata:
    if found.get("issuer") != issuer:
        # Discovery 4.3: else whoever can write one file could speak for another provider.
        raise ProviderDown("the configuration names another issuer")
    safe = issuer.startswith("https:")

    def address(name: str, *, needed: bool = True) -> str:
        url = found.get(name)
        if url is None and not needed:
            return ""
        parts = urlsplit(url) if isinstance(url, str) else None
        local = parts is not None and not safe and parts.scheme == "http" and is_loopback(parts.hostname or "")
        if parts is None or not parts.hostname or not (parts.scheme == "https" or local):
            raise ProviderDown(f"the configuration has no {name} that is safe")
        return str(url)

    basic = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Metadata(
        address("authorization_endpoint"),
        address("token_endpoint"),
        address("jwks_uri"),
        address("userinfo_endpoint", needed=False),
        address("end_session_endpoint", needed=False),
        found.get("authorization_response_iss_parameter_supported") is True,
        isinstance(basic, list) and "client_secret_basic" in basic,
    )
