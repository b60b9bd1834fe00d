"""Has httpx wait longer than its five seconds, which a machine that is busy with other tests may need."""

from __future__ import annotations

from typing import Final

from httpx._config import DEFAULT_TIMEOUT_CONFIG

_PATIENCE: Final = 120.0
"""Seconds."""


def install() -> None:
    """From now on, for each client that is made without a time limit of its own."""
    for each in ("connect", "read", "write", "pool"):
        setattr(DEFAULT_TIMEOUT_CONFIG, each, _PATIENCE)
