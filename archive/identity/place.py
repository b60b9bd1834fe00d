"""To whom a record belongs, and that it went from one to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archive.identity.records import Record


@dataclass(frozen=True, slots=True)
class Place:
    """To whom a record belongs, and why."""

    person: int
    how: str
    score: float | None = None
    linked_by: str = ""
    linked_at: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For the trace, and to put it back."""
        return {
            "person_id": self.person,
            "how": self.how,
            "score": self.score,
            "linked_by": self.linked_by,
            "linked_at": self.linked_at,
        }


@dataclass(frozen=True, slots=True)
class Moved:
    """That a record went from one place to another."""

    record: Record
    before: Place
    after: Place

    def to_json(self) -> dict[str, Any]:
        """For the trace."""
        before, after = self.before.to_json(), self.after.to_json()
        return {
            "record": self.record.id,
            "issuer": self.record.issuer,
            "identity": self.record.identity,
            "before": before,
            "after": after,
        }


def place_of(record: Record) -> Place:
    """Where a record is."""
    score, by, at = record.extra.get("place", (None, "", None))
    return Place(record.person, record.how, score, by, at.isoformat() if at else None)
