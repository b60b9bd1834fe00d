"""What is corrected of one object: kept in its row, as JSON, beside the bytes that stay as received."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

WORKLIST: Final = "worklist "
"""Before the number of the item that a value was taken from."""


@dataclass(frozen=True, slots=True)
class Change:
    """One attribute that is given with another value than it was received with."""

    tag: int
    vr: str
    was: str
    """The original value as text, ``""`` if there was none."""
    value: str | None
    """The corrected one; None where the attribute is taken out. Of a code sequence, value, scheme and meaning."""
    why: str
    """The rule, or the worklist item, that it comes of."""

    @property
    def key(self) -> str:
        """The tag as the DICOM JSON model writes it."""
        return f"{self.tag:08X}"


@dataclass(frozen=True, slots=True)
class Corrections:
    """All that is corrected of an object."""

    character_set: str | None
    """What its text is in; None for what the object itself declares."""
    changes: tuple[Change, ...]
    peer: str
    """AE title of the sender whose rules these are."""
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the row."""
        found: dict[str, Any] = {"peer": self.peer, "at": self.at.astimezone(UTC).isoformat()}
        if self.character_set:
            found["character_set"] = self.character_set
        if self.changes:
            found["changes"] = [{**asdict(change), "tag": change.key} for change in self.changes]
        return found

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Corrections:
        """From the row."""
        changes = tuple(Change(**{**change, "tag": int(change["tag"], 16)}) for change in found.get("changes", ()))
        return cls(found.get("character_set"), changes, found["peer"], datetime.fromisoformat(found["at"]))

    def from_worklist(self) -> dict[str, str]:
        """What was taken from a worklist item, by keyword, and under ``""`` the number of the item."""
        taken = [change for change in self.changes if change.why.startswith(WORKLIST) and change.value]
        values = {keyword_for_tag(change.tag): change.value or "" for change in taken}
        return values | ({"": taken[0].why.removeprefix(WORKLIST)} if taken else {})

    def same_as(self, other: Corrections | None) -> bool:
        """Whether both correct the same, whenever they were made."""
        return other is not None and (self.character_set, self.changes) == (other.character_set, other.changes)
