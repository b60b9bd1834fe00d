"""Links for patients: how long they hold, and how hard they are to guess."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from config.section import Section, secret


class MessageGateway(Section):
    """Sends short messages (SMS, Zalo) for the archive: a program of the province's, or of its provider's.

    It is sent ``{"to": "+84...", "text": "..."}``, signed like webhooks, and answers 2xx when it has taken the message.
    """

    url: str = ""
    """None: there are no one-time codes by phone."""
    secret: SecretStr = SecretStr("")
    secret_file: Path | None = None
    ca_file: Path | None = None
    """Certificates of the authorities that may vouch for it, in PEM; those of the operating system when unset."""
    timeout: float = Field(default=10, gt=0, le=60)
    """Seconds for each of connecting, sending and waiting for the answer."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        object.__setattr__(self, "secret", secret(self.secret, self.secret_file, "secret"))
        if not self.url:
            return self
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError("url begins with https:// or http://, names a host and no user")
        if len(self.secret.get_secret_value()) < 16:
            raise ValueError("the gateway needs a secret of at least 16 characters, or a secret_file")
        if self.ca_file is not None:
            try:
                ssl.create_default_context(cafile=str(self.ca_file))
            except (OSError, ssl.SSLError) as error:
                raise ValueError(f"ca_file {self.ca_file}: {getattr(error, 'strerror', None) or error}") from None
        return self


class LinkSettings(Section):
    """Links by which patients see their images instead of on film."""

    days: int = Field(default=30, ge=1, le=3650)
    """Days that a link holds if nothing else is said."""
    most_days: int = Field(default=365, ge=1, le=3650)
    """Longest time that may be asked for."""
    tries: int = Field(default=5, ge=1, le=20)
    """Wrong answers in a row that lock a link until staff make another."""
    session_minutes: float = Field(default=60, gt=0, le=1440)
    """After that the second factor is asked for again."""
    copies: bool = True
    """Whether a link may allow to download the images."""
    code_minutes: float = Field(default=5, gt=0, le=60)
    """How long a one-time code by phone is good for."""
    code_wait: float = Field(default=60, ge=0, le=3600)
    """Seconds until another may be sent."""
    codes_a_day: int = Field(default=5, ge=1, le=50)
    """Messages for one link in a day."""
    messages: MessageGateway = MessageGateway()
