"""What is hashed of a record, and how hashes are chained. Pure.

The hash of a record is SHA-256 over the hash before it and the record in a form that is the same for the same content:
JSON with sorted keys, UTF-8, times in UTC to the microsecond. The first record of a segment follows a hash made of the
segment's number, so no record can be taken over to another place or segment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from archive.audit.events import SECURITY, AuditEvent
from archive.people.caller import Caller

LONGEST: Final = 2000
"""Characters of a text that are kept; whoever asks must not be able to fill the disk."""
MOST: Final = 1000
"""Studies, and entries of a list, that one record names. `detail` says how many there were."""
_VERSION: Final = 1
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """A record before it has its place in the chain: what is kept of an event."""

    recorded_at: datetime
    action: str
    outcome: str
    kind: str
    name: str
    account_id: int | None
    address: str
    home: list[str]
    studies: list[str]
    owners: list[str]
    patient_id: str
    issuer_of_patient_id: str
    purpose: str
    detail: dict[str, Any]

    @property
    def keeping(self) -> str:
        """Which of the two times to keep holds: that of records about patients, or that of all else."""
        about_patient = self.action not in SECURITY or bool(self.studies or self.patient_id)
        return "access" if about_patient else "security"


COLUMNS: Final = tuple(Entry.__dataclass_fields__)


def entry_of(event: AuditEvent, now: datetime) -> Entry:
    """The event as it is kept: bounded, and without characters that PostgreSQL cannot hold."""
    caller = event.caller
    detail: dict[str, Any] = {}
    for key, value in event.detail.items():
        detail[clean(key)] = value if isinstance(value, int) else _cleaned(value)
    if len(event.studies) > MOST:
        detail["studies_in_all"] = len(event.studies)
    return Entry(
        recorded_at=now,
        action=event.action.value,
        outcome=event.outcome.value,
        kind=caller.kind.value,
        name=clean(caller.name),
        account_id=caller.account,
        address=clean(caller.address),
        home=home_of(caller),
        studies=[clean(uid) for uid in event.studies[:MOST]],
        owners=[],
        patient_id=clean(event.patient_id),
        issuer_of_patient_id=clean(event.issuer_of_patient_id),
        purpose=clean(event.purpose or caller.purpose),
        detail=detail,
    )


def home_of(caller: Caller) -> list[str]:
    """Codes of the facilities that the caller belongs to; none for those who belong to the province."""
    if caller.home:
        return sorted(caller.home)
    return sorted({code for where in caller.rights.values() for code in where or ()})


def clean(value: str) -> str:
    """The text, bounded, with U+FFFD for what cannot be kept."""
    return _UNFIT.sub("\ufffd", value[:LONGEST])


def _cleaned(value: str | Sequence[str]) -> str | list[str]:
    return clean(value) if isinstance(value, str) else [clean(each) for each in value[:MOST]]


def genesis(segment: int) -> bytes:
    """What the first record of a segment follows."""
    return hashlib.sha256(orjson.dumps(["audit segment", _VERSION, segment])).digest()


def chained(before: bytes, segment: int, sequence: int, entry: Entry | Mapping[str, Any]) -> bytes:
    """The hash of this record, which follows one with that hash."""
    values = asdict(entry) if isinstance(entry, Entry) else dict(entry)
    moment: datetime = values["recorded_at"]
    values["recorded_at"] = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    body = orjson.dumps([_VERSION, segment, sequence, values], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(before + body).digest()


def study_uids(entries: Iterable[Entry]) -> list[str]:
    """The studies that these name, each once."""
    return sorted({uid for entry in entries for uid in entry.studies})
