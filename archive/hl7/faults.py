"""What is wrong with a message, as an acknowledgement says it (HL7 v2.5.1 2.15.5, tables 0008 and 0357)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SEGMENT_SEQUENCE: Final = 100
REQUIRED_FIELD_MISSING: Final = 101
DATA_TYPE: Final = 102
TABLE_VALUE: Final = 103
UNSUPPORTED_MESSAGE: Final = 200
UNSUPPORTED_EVENT: Final = 201
UNSUPPORTED_PROCESSING: Final = 202
UNSUPPORTED_VERSION: Final = 203
UNKNOWN_KEY: Final = 204
DUPLICATE_KEY: Final = 205
LOCKED: Final = 206
INTERNAL: Final = 207

MEANING: Final = {
    SEGMENT_SEQUENCE: "Segment sequence error",
    REQUIRED_FIELD_MISSING: "Required field missing",
    DATA_TYPE: "Data type error",
    TABLE_VALUE: "Table value not found",
    UNSUPPORTED_MESSAGE: "Unsupported message type",
    UNSUPPORTED_EVENT: "Unsupported event code",
    UNSUPPORTED_PROCESSING: "Unsupported processing id",
    UNSUPPORTED_VERSION: "Unsupported version id",
    UNKNOWN_KEY: "Unknown key identifier",
    DUPLICATE_KEY: "Duplicate key identifier",
    LOCKED: "Application record locked",
    INTERNAL: "Application internal error",
}
"""HL7 table 0357."""
REJECTING: Final = frozenset(
    (UNSUPPORTED_MESSAGE, UNSUPPORTED_EVENT, UNSUPPORTED_PROCESSING, UNSUPPORTED_VERSION, DUPLICATE_KEY, INTERNAL)
)
"""Answered with AR or CR; all others with AE or CE (HL7 v2.5.1 2.9.2.2)."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where in a message: segment, which one of that name from 1, field, component; 0 or empty where it is not told."""

    segment: str = ""
    sequence: int = 1
    field: int = 0
    component: int = 0

    def __str__(self) -> str:
        if not self.segment:
            return ""
        which = f"[{self.sequence}]" if self.sequence > 1 else ""
        place = f"-{self.field}" if self.field else ""
        return f"{self.segment}{which}{place}" + (f".{self.component}" if self.component else "")


NOWHERE: Final = Location()
"""Of the message as a whole."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `text` never has a value of the message in it."""

    code: int
    text: str
    where: Location = NOWHERE

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where.segment else self.text


class Refused(Exception):
    """The message cannot be taken; sending it again as it is will not help."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults

    @property
    def rejects(self) -> bool:
        """Whether the answer is a reject, not an error."""
        return any(fault.code in REJECTING for fault in self.faults)


def refuse(code: int, text: str, where: Location = NOWHERE) -> Refused:
    """The exception for one fault."""
    return Refused(Fault(code, text, where))
