"""Stored instances as datasets to be sent over DICOM, in a transfer syntax that the receiver takes (PS3.4 C.4.2.2)."""

from __future__ import annotations

from collections.abc import Collection, Generator

from archive.correction.outgoing import given_dataset
from archive.imaging.encode import LOSSLESS
from archive.imaging.transcode import TARGETS, can_transcode, transcode
from archive.records import StoredInstance
from archive.standard.file_format import read_file_meta
from storage.base import ObjectStore


def choose_syntax(store: ObjectStore, inst: StoredInstance, accepted: Collection[str]) -> str | None:
    """The best of the accepted transfer syntaxes; None if the instance cannot be given in any.

    As stored, else decoded; compressed without loss only for a receiver that accepts nothing else.
    """
    stored = inst.object.transfer_syntax_uid
    if stored in accepted:
        return stored
    targets = (target for target in (*TARGETS, *LOSSLESS) if target in accepted)
    return next((target for target in targets if can_transcode(store, inst, target)), None)


def dataset_chunks(store: ObjectStore, inst: StoredInstance, syntax: str, limit: int) -> Generator[bytes, None, None]:
    """The dataset, corrected, in the syntax, in chunks, without file meta information.

    What can be told without sending a byte is raised with the first chunk: `NotAcceptable`, `StoreUnavailable`.
    `limit` is the most bytes that decoded pixel data may have.
    """
    if syntax == inst.object.transfer_syntax_uid:
        yield from given_dataset(store, inst)
        return
    chunks = transcode(store, inst, syntax, limit).chunks
    head = next(chunks)
    yield head[read_file_meta(head, at_end=True).dataset_offset :]
    yield from chunks
