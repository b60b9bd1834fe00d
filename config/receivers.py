"""Systems that we send signed requests to."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from config.section import Section, secret

_SHORTEST_SECRET: Final = 16


def web_address(value: str) -> str:
    """A validator: the address of a receiver of ours."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("url begins with https:// or http:// and names a host")
    if parts.username is not None or parts.fragment:
        raise ValueError("url has neither user nor fragment")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or not value.isascii() or any(c <= " " for c in value):
        raise ValueError("url has a port that is none, or a character that must be written as %XX")
    return value


def _check_authorities(ca_file: Path | None, url: str) -> None:
    """Raise `ValueError` unless who is to vouch for a receiver can be read, and is asked at all."""
    if ca_file is None:
        return
    if not url.startswith("https:"):
        raise ValueError("ca_file goes with a url that begins with https://")
    try:
        ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ca_file {ca_file}: {getattr(error, 'strerror', None) or error}") from None


class Receiver(Section):
    """Where to send, what signs it, and who may vouch for the other side."""

    url: Annotated[str, AfterValidator(web_address)]
    secret: SecretStr = SecretStr("")
    """What signs each request, of at least 16 characters; ``whsec_`` and Base64, or any text."""
    secret_file: Path | None = None
    ca_file: Path | None = None
    """Certificates of the authorities that may vouch for the receiver, in PEM; those of the operating system when
    unset."""
    timeout: float = Field(default=10, gt=0, le=120)
    """Seconds for each of connecting, sending and waiting for the answer."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        object.__setattr__(self, "secret", secret(self.secret, self.secret_file, "secret"))
        if not self.url:
            return self  # of a receiver that may be left out
        if len(self.secret.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError(f"url needs a secret of at least {_SHORTEST_SECRET} characters, or a secret_file")
        _check_authorities(self.ca_file, self.url)
        return self


class Subscriber(Receiver):
    """A receiver that is sent to again and again, and whose secret can be changed meanwhile."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    enabled: bool = True
    old_secret: SecretStr = SecretStr("")
    """While the secret is being changed: what was valid before. Requests carry a signature by each."""
    old_secret_file: Path | None = None

    @model_validator(mode="after")
    def _read_old_secret(self) -> Self:
        object.__setattr__(self, "old_secret", secret(self.old_secret, self.old_secret_file, "old_secret"))
        return self
