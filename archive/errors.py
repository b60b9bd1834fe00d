"""What can go wrong in the archive. No codes here: each edge maps the whole tree in one table.

ArchiveError
├── BadObject                     the object itself cannot be taken
│   ├── CannotParse                   not DICOM, truncated, or a structure that cannot be read
│   ├── InvalidUID                    a UID is missing or breaks PS3.5 9.1
│   ├── SOPClassMismatch              the dataset is of another class or instance than was announced
│   ├── UnsupportedSOPClass           not a storage SOP class
│   ├── UnsupportedTransferSyntax     not a transfer syntax for stored objects
│   ├── ObjectTooLarge                larger than the settings allow
│   └── ConflictingDuplicate          this SOP Instance UID is stored with other bytes, and policy is to refuse
├── InvalidQuery                  a key, value or parameter of a query cannot be understood
├── TooManyMatches                the query is too broad
├── NotFound                      nothing (visible) matches
├── Forgotten                     what is asked for was kept once, and is not any more
├── NotAcceptable                 the object cannot be given in the form asked for
├── NotPermitted                  the caller lacks the right
├── Withdrawn                     whoever asked no longer waits for the answer
├── InvalidItem                   fields of a worklist item are missing or wrong
├── Conflict                      what is asked contradicts what is kept
├── Outdated                      what is to be changed was changed meanwhile
└── Unavailable                   try again later
    ├── IndexUnavailable              PostgreSQL cannot be reached or gave up
    └── StoreUnavailable              the object store cannot be reached, is full, or lost an object
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self


class ArchiveError(Exception):
    """Base of all errors of the archive. The message is safe to show to the peer: no patient data, no internals."""


class BadObject(ArchiveError):
    """The object cannot be taken; sending it again will not help."""


class CannotParse(BadObject):
    """Not DICOM, truncated, or a structure that cannot be read."""


class InvalidUID(BadObject):
    """A UID is missing or is not a UID (PS3.5 9.1)."""


class SOPClassMismatch(BadObject):
    """The dataset is of another SOP class or instance than was announced."""


class UnsupportedSOPClass(BadObject):
    """Not a storage SOP class."""


class UnsupportedTransferSyntax(BadObject):
    """Not a transfer syntax in which composite objects are exchanged."""


class ObjectTooLarge(BadObject):
    """Larger than the settings allow."""


class ConflictingDuplicate(BadObject):
    """This SOP Instance UID is stored with other bytes, and the policy is to refuse the newcomer."""


class InvalidQuery(ArchiveError):
    """A key, value or parameter of a query cannot be understood."""


class TooManyMatches(ArchiveError):
    """The query is too broad; the message says how to narrow it."""


class NotFound(ArchiveError):
    """Nothing that the caller may see matches."""


class Forgotten(ArchiveError):
    """What is asked for was kept for a time that is over. The message says how to go on."""


class NotAcceptable(ArchiveError):
    """The object cannot be given in the transfer syntax or media type asked for."""


class NotPermitted(ArchiveError):
    """The caller lacks the right."""


class Withdrawn(ArchiveError):
    """Whoever asked no longer waits for the answer, so it is not worked out."""


class InvalidItem(ArchiveError):
    """Fields of a worklist item are missing or wrong. `faults` says of each what is wrong, never its value."""

    def __init__(self, message: str, faults: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.faults = dict(faults or {})

    @classmethod
    def of(cls, faults: Mapping[str, str]) -> Self:
        """The error about these fields."""
        return cls("; ".join(f"{field} {text}" for field, text in faults.items()), faults)


class Conflict(ArchiveError):
    """What is asked contradicts what is kept."""


class Outdated(ArchiveError):
    """What is to be changed is no longer as the caller has seen it."""


class Unavailable(ArchiveError):
    """Nothing is wrong with the request; the archive cannot serve it now."""


class IndexUnavailable(Unavailable):
    """PostgreSQL cannot be reached or gave up."""


class StoreUnavailable(Unavailable):
    """The object store cannot be reached, is full, or lost an object."""
