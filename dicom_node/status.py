"""The tables from domain errors to DIMSE status codes (PS3.7 Annex C; PS3.4 B.2.3, C.4.1.1.4).

Total: every class under `ArchiveError` is looked up through its bases, and a test walks them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from archive import errors

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
UNRECOGNIZED_OPERATION: Final = 0x0211
PENDING: Final = 0xFF00
PENDING_UNSUPPORTED_KEYS: Final = 0xFF01
CANCEL: Final = 0xFE00
SOME_SUBOPERATIONS_FAILED: Final = 0xB000
UNABLE_TO_PERFORM: Final = 0xA702
NOT_OBEYED: Final = 0xB007
"""Data Set does not match SOP Class (PS3.4 B.2.3): the nearest of its warnings to "stored, and not obeyed"."""
_WARNINGS: Final = frozenset((0x0001, 0x0107, 0x0116))


class UnknownDestination(errors.NotFound):
    """No peer of that AE title is listed with an address to send to."""


C_STORE_STATUS: Final[dict[type[errors.ArchiveError], int]] = {
    errors.CannotParse: 0xC000,
    errors.InvalidUID: 0xC000,
    errors.SOPClassMismatch: 0xA900,
    errors.UnsupportedSOPClass: 0x0122,
    errors.UnsupportedTransferSyntax: 0xC000,
    # Not A700: the sender would try the same object for ever.
    errors.ObjectTooLarge: 0xC000,
    errors.ConflictingDuplicate: 0x0111,
    errors.BadObject: 0xC000,
    errors.NotPermitted: 0x0124,
    errors.Unavailable: 0xA700,
    errors.InvalidQuery: PROCESSING_FAILURE,
    errors.TooManyMatches: PROCESSING_FAILURE,
    errors.NotFound: PROCESSING_FAILURE,
    errors.Forgotten: PROCESSING_FAILURE,
    errors.NotAcceptable: PROCESSING_FAILURE,
    errors.Withdrawn: PROCESSING_FAILURE,
    errors.InvalidItem: PROCESSING_FAILURE,
    errors.Conflict: PROCESSING_FAILURE,
    errors.Outdated: PROCESSING_FAILURE,
    errors.ArchiveError: PROCESSING_FAILURE,
}

C_FIND_STATUS: Final[dict[type[errors.ArchiveError], int]] = {
    errors.BadObject: 0xC000,
    errors.InvalidQuery: 0xA900,
    errors.TooManyMatches: 0xA700,
    errors.NotPermitted: 0x0124,
    errors.Withdrawn: CANCEL,
    errors.Unavailable: 0xA700,
    errors.ArchiveError: PROCESSING_FAILURE,
}
"""PS3.4 Table C.4-1."""

C_RETRIEVE_STATUS: Final[dict[type[errors.ArchiveError], int]] = {
    errors.BadObject: 0xC000,
    errors.InvalidQuery: 0xA900,
    errors.NotPermitted: 0x0124,
    errors.Unavailable: 0xA701,
    UnknownDestination: 0xA801,
    errors.ArchiveError: PROCESSING_FAILURE,
}
"""PS3.4 Tables C.4-2 and C.4-3."""

MEANING: Final = {
    0x0000: "Success: the object is durable and indexed, or was already",
    NOT_OBEYED: "Warning: a rejection note was stored and does not hide all that it names; the comment says why",
    0x0110: "Processing failure",
    0x0111: "Duplicate SOP Instance: stored with other content, and the policy is to refuse",
    0x0122: "SOP Class not supported",
    0x0124: "Refused: not authorized",
    0x0211: "Unrecognized operation",
    0xA700: "Refused: out of resources; send again later",
    0xA900: "Error: data set does not match SOP class",
    0xC000: "Error: cannot understand",
}


C_FIND_MEANING: Final = {
    0x0000: "Success: all matches were given",
    0x0110: "Processing failure",
    0x0124: "Refused: not authorized",
    0xA700: "Refused: out of resources; narrow the query (the comment says how), or try again later",
    0xA900: "Error: identifier does not match SOP class",
    0xC000: "Error: unable to process, the identifier cannot be read",
    0xFE00: "Cancel: matching terminated by C-CANCEL",
    0xFF00: "Pending: a match",
    0xFF01: "Pending: a match; some optional keys are not supported and were ignored",
}


C_RETRIEVE_MEANING: Final = {
    0x0000: "Success: all sub-operations succeeded, or nothing matches",
    0x0110: "Processing failure",
    0x0124: "Refused: not authorized",
    0xA701: "Refused: out of resources, the matches cannot be counted; try again later",
    0xA702: "Refused: out of resources, no sub-operation succeeded",
    0xA801: "Refused: move destination unknown (C-MOVE)",
    0xA900: "Error: identifier does not match SOP class",
    0xB000: "Warning: one or more sub-operations failed or gave a warning",
    0xC000: "Error: unable to process, the identifier cannot be read",
    0xFE00: "Cancel: sub-operations terminated by C-CANCEL",
    0xFF00: "Pending: sub-operations are continuing",
}


def c_store_status(error: BaseException) -> tuple[int, str]:
    """Status and error comment for what went wrong with a C-STORE. What is not ours is told without its text."""
    return status_of(error, C_STORE_STATUS)


def c_find_status(error: BaseException) -> tuple[int, str]:
    """The same for a C-FIND."""
    return status_of(error, C_FIND_STATUS)


def c_retrieve_status(error: BaseException) -> tuple[int, str]:
    """The same for a C-GET or C-MOVE."""
    return status_of(error, C_RETRIEVE_STATUS)


def is_warning(status: int) -> bool:
    """Whether a status tells of success with a warning (PS3.7 C.1, PS3.4 B.2.3)."""
    return status >> 12 == 0xB or status in _WARNINGS


def status_of(error: BaseException, table: Mapping[type[errors.ArchiveError], int]) -> tuple[int, str]:
    """Status and comment by a table with the error or a base of it. What is not ours is told without its text."""
    if isinstance(error, errors.ArchiveError):
        for kind in type(error).__mro__:
            if kind in table:
                return table[kind], str(error)
    return PROCESSING_FAILURE, "internal error, see the log of the archive"
