"""Files of the corpus as stored instances, without an index: what ingest would have written."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from archive.records import ObjectRecord, StoredInstance
from archive.standard.file_format import encode_file_meta, read_file_meta
from archive.standard.frames import frame_table
from archive.standard.scan import scan
from storage.base import ObjectStore

_NAMES = (0x00080016, 0x00080018, 0x00080060, 0x0020000D, 0x0020000E)
_PIXELS = (0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100)
_WANTED = frozenset((*_NAMES, *_PIXELS))


def store_file(store: ObjectStore, path: Path, key: str | None = None) -> StoredInstance:
    """Put a Part 10 file into the store with our own file meta information, as ingest does."""
    return store_bytes(store, path.read_bytes(), key or hashlib.sha256(str(path).encode()).hexdigest()[:32])


def store_bytes(store: ObjectStore, file: bytes, key: str) -> StoredInstance:
    meta = read_file_meta(file, at_end=True)
    dataset = file[meta.dataset_offset :]
    sop_class, sop_instance = meta.sop_class_uid, meta.sop_instance_uid
    head = encode_file_meta(sop_class, sop_instance, meta.transfer_syntax_uid, "TEST")
    with store.create(key) as writer:
        writer.write(head)
        writer.write(dataset)
        writer.commit()

    def read(offset: int, length: int) -> bytes:
        return dataset[offset : offset + length]

    found = scan(read, len(dataset), meta.transfer_syntax_uid, _WANTED)

    def text(tag: int) -> str:
        return found.elements[tag].value.decode("latin-1").strip(" \0") if tag in found.elements else ""

    def number(tag: int, default: int = 0) -> int:
        element = found.elements.get(tag)
        if element is None or not element.value:
            return default
        if element.vr == "IS":
            digits = "".join(c for c in text(tag) if c.isdigit())
            return int(digits or default)
        return int.from_bytes(element.value[:2], "little")

    table = frame_table(
        found,
        rows=number(0x00280010),
        columns=number(0x00280011),
        samples_per_pixel=number(0x00280002, 1),
        bits_allocated=number(0x00280100),
        number_of_frames=number(0x00280008, 1) if 0x00280008 in found.elements else None,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        read=read,
        photometric_interpretation=text(0x00280004),
    )
    return StoredInstance(
        study_instance_uid=text(0x0020000D),
        series_instance_uid=text(0x0020000E),
        sop_instance_uid=text(0x00080018),
        sop_class_uid=text(0x00080016),
        modality=text(0x00080060),
        number_of_frames=table.count if table else 0,
        rows=number(0x00280010) or None,
        columns=number(0x00280011) or None,
        version=1,
        object=ObjectRecord(
            key=key,
            size=len(head) + len(dataset),
            digest=hashlib.sha256(dataset).digest(),
            transfer_syntax_uid=meta.transfer_syntax_uid,
            dataset_offset=len(head),
            header_length=found.header_length,
            trailer_offset=found.trailer_offset,
            frame_table=None if table is None else table.to_bytes(),
        ),
        received_at=datetime.now(UTC),
    )
