"""The audit trail: how long it is kept, how it is sealed, where it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from config.section import Section, secret

YEAR: int = 365


class SyslogSettings(Section):
    """The audit record repository that gets a copy of each record as a DICOM audit message (PS3.15 A.5)."""

    host: str = ""
    """Nothing is sent when empty."""
    port: int = Field(default=6514, ge=1, le=65535)
    protocol: Literal["tls", "tcp", "udp"] = "tls"
    """``tls``: RFC 5425. ``tcp``: the same framing without protection. ``udp``: RFC 5426, which may lose messages."""
    ca_file: Path | None = None
    """Who signs the certificate of the repository; the system's authorities when unset."""
    certificate_file: Path | None = None
    key_file: Path | None = None
    """Our own certificate, where the repository asks for one."""
    timeout: float = Field(default=10, gt=0, le=300)
    """Seconds for connecting and for sending."""
    searches: bool = True
    """Whether queries are sent too; without them there are far fewer messages."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("give certificate_file and key_file, or neither")
        return self


class AuditSettings(Section):
    """The audit trail."""

    key: SecretStr = SecretStr("")
    """Signs the anchors. Whoever has the database but not this key cannot forge the trail unnoticed."""
    key_file: Path | None = None
    old_key: SecretStr = SecretStr("")
    """What signed them before: anchors by it are good as well."""
    old_key_file: Path | None = None
    anchor_seconds: float = Field(default=60, ge=1, le=3600)
    """How often the state of the trail is written down outside of it."""
    access_keep_days: int = Field(default=0, ge=0)
    """Days that records about patients are kept; 0: for good, at least as long as any record of a patient."""
    security_keep_days: int = Field(default=400, ge=YEAR)
    """Days that all other records are kept: sign-in, accounts, settings, operation."""
    look_minutes: float = Field(default=15, gt=0, le=720)
    """Looks of one caller at one study within this time are one look, told with the number of instances at its end."""
    mass_studies: int = Field(default=100, ge=1)
    """Studies of different patients that one caller sees within an hour from which on the review page says so."""
    working_hours: str = Field(default="06:00-20:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")
    """Outside of these, the review page looks for a tenth of that number."""
    syslog: SyslogSettings = SyslogSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 0 < self.access_keep_days < 5 * YEAR:
            raise ValueError("access_keep_days is 0 (for good) or at least 1825 (five years)")
        object.__setattr__(self, "key", secret(self.key, self.key_file, "key"))
        object.__setattr__(self, "old_key", secret(self.old_key, self.old_key_file, "old_key"))
        if 0 < len(self.key.get_secret_value()) < 16:
            raise ValueError("the audit key has at least 16 characters")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """What may have signed anchors, the newest first."""
        return tuple(filter(None, (self.key.get_secret_value(), self.old_key.get_secret_value())))
