"""How the archive tells who is the same person."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.section import Section


class IdentitySettings(Section):
    """Linking patients of different hospitals and numbers to persons."""

    link: Literal["on", "off"] = "on"
    """``on``: patients are looked at as they come, and linked by strong numbers; ``off``: only by hand and by HL7."""
    strong: tuple[Literal["citizen", "insurance", "passport"], ...] = ("citizen", "insurance", "passport")
    """Numbers that link by themselves where name and birth date agree and nothing contradicts."""
    review_bits: float = Field(default=2.0, ge=-20, le=60)
    """Evidence, in bits over even odds, from which a pair is put on the review list: 2 means that four in five of such
    pairs should be the same person."""
    population: int = Field(default=100_000, ge=1000, le=100_000_000)
    """How many people may come, about. Until the archive knows more patients than that, likelihoods are worked out as
    if it knew so many: among few patients chance looks rarer than it is."""
    largest_group: int = Field(default=30, ge=2, le=200)
    """A number that more patients of different names or birth years share names nobody, such as one that is typed where
    none is known; nor does one that ten times as many have."""
    most_candidates: int = Field(default=5, ge=1, le=50)
    """Pairs of one patient on the review list, the best first."""
