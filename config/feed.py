"""The change feed, and the webhooks that get it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from config.peers import View
from config.routes import QUIET, FacilityCode
from config.section import Section, secret

ChangeKind = Literal["stored", "replaced", "hidden", "shown", "corrected", "complete"]


class FeedSettings(Section):
    """What the feed tells, and for how long."""

    quiet: float = Field(default=QUIET, gt=0)
    """Seconds without a new object after which a study is told to be complete."""
    keep_days: float = Field(default=14, gt=0)
    """Days after which a change is deleted from the feed."""
    most_listeners: int = Field(default=200, ge=1)
    """Requests of one web process that wait for changes at the same time, streams among them."""
    first_wait: float = Field(default=5, gt=0)
    """Seconds until a webhook that failed is tried again; doubled each time, up to `longest_wait`."""
    longest_wait: float = Field(default=900, gt=0)


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


SHORTEST_SECRET: Final = 16


def check_authorities(ca_file: Path | None, url: str) -> None:
    """Raise `ValueError` unless who is to vouch for a receiver can be read, and is asked at all."""
    if ca_file is None:
        return
    if not url.startswith("https:"):
        raise ValueError("ca_file goes with a url that begins with https://")
    try:
        ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ca_file {ca_file}: {getattr(error, 'strerror', None) or error}") from None


class Webhook(Section):
    """A receiver that changes are sent to, in order, until it has taken each."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    url: Annotated[str, AfterValidator(web_address)]
    enabled: bool = True
    secret: SecretStr = SecretStr("")
    """What signs each request; ``whsec_`` and Base64, or any text."""
    secret_file: Path | None = None
    old_secret: SecretStr = SecretStr("")
    """While the secret is being changed: what was valid before. Requests carry a signature by each."""
    old_secret_file: Path | None = None
    ca_file: Path | None = None
    """Certificates of the authorities that may vouch for the receiver, in PEM; those of the operating system when
    unset."""
    kinds: tuple[ChangeKind, ...] = ()
    """All when empty."""
    facilities: tuple[FacilityCode, ...] = ()
    """Codes of the facilities that own the studies; all when empty."""
    view: View = "clinical"
    timeout: float = Field(default=10, gt=0, le=120)
    """Seconds for each of connecting, sending and waiting for the answer."""
    most: int = Field(default=100, ge=1, le=1000)
    """Changes in one request."""

    @model_validator(mode="after")
    def _read_secrets(self) -> Self:
        object.__setattr__(self, "secret", secret(self.secret, self.secret_file, "secret"))
        object.__setattr__(self, "old_secret", secret(self.old_secret, self.old_secret_file, "old_secret"))
        if len(self.secret.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"a webhook needs a secret of at least {SHORTEST_SECRET} characters, or a secret_file")
        return self

    @model_validator(mode="after")
    def _authorities_can_be_read(self) -> Self:
        check_authorities(self.ca_file, self.url)
        return self
