"""Who must sign in, and for how long that holds."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field

from config.section import Section


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class AccessSettings(Section):
    """Sign-in. The defaults are those of security level 3 (docs/operations.md, "Who may do what")."""

    sign_in: Literal["required", "off"] = "required"
    """``off``: whoever reaches the port may do everything; only for a service on loopback."""
    mfa: Literal["administrators", "everybody", "optional"] = "administrators"
    """Who must have a second factor; anybody may."""
    idle_minutes: float = Field(default=15, gt=0)
    """Minutes without a request after which a session ends."""
    idle_minutes_administrators: float = Field(default=5, gt=0)
    session_hours: float = Field(default=12, gt=0)
    """Hours after which a session ends whatever happens in it."""
    token_minutes: float = Field(default=15, gt=0)
    """Minutes for which the token of a program holds."""
    tries: int = Field(default=5, ge=1)
    """Wrong passwords or codes in a row after which a name is locked."""
    lock_minutes: float = Field(default=15, gt=0)
    disable_after_days: float = Field(default=45, ge=0)
    """Days without use after which an account is disabled; 0: never."""
    password_days: float = Field(default=0, ge=0)
    """Days after which a password must be changed; 0: never."""
    password_days_administrators: float = Field(default=60, ge=0)
    one_time_hours: float = Field(default=72, gt=0)
    """Hours for which a password that somebody else has set can be used to set an own one."""
    review_days: float = Field(default=183, gt=0)
    """Days after which the roles of an account are to be confirmed."""
    key_file: Path | None = None
    """32 bytes that seal second factors in the database; ``data_dir/access.key`` unless set, made at the first use."""
