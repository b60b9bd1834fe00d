"""What facilities share, and for how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.section import Section


class SharingSettings(Section):
    """Referrals, consultations, patients under care, break-glass."""

    longest_days: float = Field(default=365, gt=0)
    """Most days for which somebody can share something."""
    referral_days: float = Field(default=30, gt=0)
    """Days for which a referral holds unless it says otherwise."""
    consultation_days: float = Field(default=14, gt=0)
    care: Literal["on", "off"] = "on"
    """``on``: a facility sees what others have of a patient of whom it got a study, or has an order."""
    care_days: int = Field(default=30, ge=1)
    """Days since that study or the day of that order for which it does."""
    care_notices: bool = True
    """Whether the other facilities are told, once for each patient."""
    break_glass_hours: float = Field(default=8, gt=0, le=72)
    """Hours for which broken glass lets see."""
    break_glass_tries: int = Field(default=10, ge=1)
    """Times a day that one account may try to identify a patient so, found or not."""
