"""Who must sign in, and for how long that holds."""

from __future__ import annotations

from typing import Literal

from config.section import Section


class AccessSettings(Section):
    """Sign-in. The defaults are those of security level 3 (docs/operations.md)."""

    sign_in: Literal["required", "off"] = "off"
    """``off``: whoever reaches the port may do everything; only for a service on loopback."""
