"""Sign-in by providers of OpenID Connect: a hospital's or the health department's own accounts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from config.access import is_loopback
from config.section import Section, secret

ProviderAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""What a token may be signed with. Always a key pair: a shared secret proves nothing about who made the token."""
GivenRole = Literal["radiologist", "clinician", "technician", "facility_admin", "analyst", "province_admin"]


class ProviderRole(Section):
    """A role that somebody has here who has something there."""

    value: str = Field(min_length=1)
    """One of the values of the claim."""
    role: GivenRole
    facility: str = Field(min_length=1)
    """Code of a facility; ``*`` for all."""

    @model_validator(mode="after")
    def _province(self) -> Self:
        if self.role == "province_admin" and self.facility != "*":
            raise ValueError('province_admin is for all facilities: facility = "*"')
        return self


class OIDCProvider(Section):
    """A provider (OpenID Connect Core 1.0, Discovery 1.0)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    """In addresses: ``/sign-in/oidc/NAME/back`` is what the provider must know as our redirect URI."""
    label: str = Field(min_length=1, max_length=60)
    """On the button."""
    issuer: str
    """Exactly as the provider writes it; ``/.well-known/openid-configuration`` is below it."""
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = SecretStr("")
    client_secret_file: Path | None = None
    """Without a secret, we are a public client: PKCE alone protects the code."""
    ca_file: Path | None = None
    """Certificates of the authorities that may vouch for it, in PEM; those of the operating system when unset."""
    timeout: float = Field(default=10, gt=0, le=60)
    """Seconds for each of connecting, sending and waiting."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    algorithms: tuple[ProviderAlgorithm, ...] = Field(default=("RS256", "PS256", "ES256", "EdDSA"), min_length=1)
    leeway: float = Field(default=30, ge=0, le=300)
    """Seconds by which clocks may differ."""
    name_claim: str = Field(default="preferred_username", min_length=1)
    """The claim that is the sign-in name here. ``email`` counts only where the provider has verified it."""
    accounts: Literal["prepared", "made"] = "prepared"
    """``prepared``: an administrator has made the account for this provider; ``made``: the first sign-in makes it."""
    roles_claim: str = ""
    """The claim that gives roles, with dots into objects (``realm_access.roles``). Empty: roles are given here."""
    roles: tuple[ProviderRole, ...] = ()
    factor_amr: tuple[str, ...] = ()
    """Values of ``amr`` (RFC 8176) that stand for a second factor; empty: none does, and ours is asked for."""
    factor_acr: tuple[str, ...] = ()
    """Values of ``acr`` that do; they are asked for, too."""
    max_age_minutes: float = Field(default=0, ge=0)
    """Minutes after which the provider must ask for the password again; 0: as it likes."""
    sign_out: bool = True
    """Whether who signs out here is led to sign out there."""

    @field_validator("issuer")
    @classmethod
    def _safe(cls, value: str) -> str:
        parts = urlsplit(value)
        if not parts.hostname or parts.query or parts.fragment:
            raise ValueError("an issuer is an address without ? and #")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError("an issuer begins with https://")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        object.__setattr__(self, "client_secret", secret(self.client_secret, self.client_secret_file, "client_secret"))
        if "openid" not in self.scopes:
            raise ValueError("scopes must have openid")
        if bool(self.roles_claim) != bool(self.roles):
            raise ValueError("roles_claim and roles are given together")
        if self.accounts == "made" and not self.roles:
            raise ValueError('accounts = "made" needs roles: who gets an account must get a role')
        if self.ca_file is not None:
            try:
                ssl.create_default_context(cafile=str(self.ca_file))
            except (OSError, ssl.SSLError) as error:
                raise ValueError(f"ca_file {self.ca_file}: {getattr(error, 'strerror', None) or error}") from None
        return self
