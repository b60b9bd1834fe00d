"""Links for patients: how long they hold, and how hard they are to guess."""

from __future__ import annotations

from pydantic import Field

from config.section import Section


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
