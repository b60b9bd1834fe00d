"""What passes between storage commitment in the archive and the DICOM node. No SQL, no DIMSE."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from archive.records import Scope

COMMITTED: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_OBJECT_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
DUPLICATE_TRANSACTION_UID: Final = 0x0131
RESOURCE_LIMITATION: Final = 0x0213

REASONS: Final = {
    COMMITTED: "committed",
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_OBJECT_INSTANCE: "no such object instance",
    CLASS_INSTANCE_CONFLICT: "class / instance conflict",
    SOP_CLASS_NOT_SUPPORTED: "referenced SOP class not supported",
    DUPLICATE_TRANSACTION_UID: "duplicate transaction UID",
    RESOURCE_LIMITATION: "resource limitation",
}
"""Failure Reason (PS3.3 C.14.1.1), and 0 for none."""


def reason_text(reason: int | None) -> str:
    """What a reason means, for people."""
    if reason is None:
        return "no answer yet"
    return REASONS.get(reason, "failed") + (f" ({reason:04X})" if reason else "")


class Reference(NamedTuple):
    """An instance that a request is about."""

    sop_class_uid: str
    sop_instance_uid: str


class Result(NamedTuple):
    """What became of a reference: `COMMITTED` or a Failure Reason."""

    sop_class_uid: str
    sop_instance_uid: str
    reason: int


def content_digest(references: Iterable[Reference]) -> bytes:
    """Equal for requests about the same instances, in whatever order they are named."""
    digest = hashlib.sha256()
    for reference in sorted(references):
        digest.update("\0".join(reference).encode() + b"\n")
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Requester:
    """The peer that asks."""

    ae_title: str
    called_ae_title: str
    address: str
    facility: str
    scope: Scope
    """What it may see."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A request that this process works on, as long as its lease lasts."""

    id: int
    lease: int
    transaction_uid: str
    requester: Requester
    duplicate: bool
    attempts: int
    received_at: datetime
    failed_count: int | None


@dataclass(frozen=True, slots=True)
class Order:
    """A request of ours to another archive, being worked on."""

    id: int
    lease: int
    ae_title: str
    transaction_uid: str
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request of ours stands."""

    id: int
    ae_title: str
    state: str
    """``waiting``, ``asked``, ``answered`` or ``failed``."""
    problem: str
    results: dict[str, int | None]
    """By SOP Instance UID: `COMMITTED`, a Failure Reason, or None while there is no answer."""

    @property
    def is_over(self) -> bool:
        return self.state in ("answered", "failed")

    @property
    def all_committed(self) -> bool:
        return bool(self.results) and all(reason == COMMITTED for reason in self.results.values())
