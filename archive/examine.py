"""From the bytes of an object, wherever they are, to what the index needs to know about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from archive.correction.rules import Worklist, correct, no_worklist
from archive.description import Description, describe
from archive.records import Arrival, ObjectRecord, Source
from archive.rejection.causes import KEY_OBJECT_SELECTION
from archive.rejection.note import read_note
from archive.standard.scan import Read, scan

_QUARANTINE: Final = "\x1f"
"""No patient ID has this character in it: it ends before one (PS3.5 6.1.2.5)."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What was said about an object beside its dataset: in the C-STORE request or in the file meta information."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the bytes of an object lie. Sizes and offsets in bytes of the file."""

    key: str
    block: int
    size: int
    dataset_offset: int
    digest: bytes


def examine(
    read: Read, announced: Announcement, placed: Placed, source: Source, worklist: Worklist = no_worklist
) -> Arrival:
    """Scan and describe a dataset; ``read(offset, length)`` reads it from its first byte.

    Raises `BadObject` of some kind when the object cannot be taken.
    """
    syntax = announced.transfer_syntax_uid
    wanted = Description.WANTED if source.coercion is None else Description.WANTED | source.coercion.tags
    size = placed.size - placed.dataset_offset
    scanned = scan(read, size, syntax, wanted)
    received_at = datetime.now(UTC)
    corrections = correct(scanned.elements, source, received_at, worklist)
    uids = announced.sop_class_uid, announced.sop_instance_uid, syntax
    described = describe(scanned, source, corrections, *uids, read)
    if source.quarantine:
        # Nothing that a stranger says becomes part of what is known of a patient.
        identity = f"{_QUARANTINE}{source.quarantine}{_QUARANTINE}{described.patient_identity}"
        described = replace(described, patient_identity=identity)
    is_key_object = described.instance.sop_class_uid == KEY_OBJECT_SELECTION
    return Arrival(
        source=source,
        issuer=described.issuer,
        patient_identity=described.patient_identity,
        study_instance_uid=described.study_instance_uid,
        series_instance_uid=described.series_instance_uid,
        instance=described.instance,
        object=ObjectRecord(
            key=placed.key,
            size=placed.size,
            digest=placed.digest,
            transfer_syntax_uid=syntax,
            dataset_offset=placed.dataset_offset,
            header_length=scanned.header_length,
            trailer_offset=scanned.trailer_offset,
            frame_table=described.frame_table,
        ),
        block=placed.block,
        received_at=received_at,
        parents=described.parents,
        warnings=described.warnings,
        corrections=corrections,
        note=read_note(read, scanned, size) if is_key_object else None,
    )
