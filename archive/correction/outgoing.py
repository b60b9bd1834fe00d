"""Stored objects as they are given: as received where nothing is to be corrected, else with another header.

Pixel data are streamed from the store and never looked at. A deflated dataset is inflated and deflated again.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterable
from typing import Final, NamedTuple

from archive.records import StoredInstance
from archive.retrieve import (
    Encoded,
    corrected,
    dataset_reader,
    read_dataset_as_stored,
    read_encoded,
    read_object,
    read_range,
    read_stored,
    syntax_of,
)
from storage.base import CHUNK_SIZE, ObjectStore

_LEVEL: Final = 6


class Given(NamedTuple):
    """Bytes that are made while they are read, and how many they are if that is known beforehand."""

    size: int | None
    chunks: Generator[bytes, None, None]


def given_object(store: ObjectStore, inst: StoredInstance) -> Given:
    """The Part 10 file in the transfer syntax that it is stored in.

    The header is read before this returns if it is to be corrected.
    """
    parts = _parts(store, inst)
    if parts is None:
        return Given(inst.object.size, read_object(store, inst))
    meta = b"".join(read_stored(store, inst, 0, inst.object.dataset_offset))
    size = None if parts.size is None else len(meta) + parts.size
    return Given(size, _joined((meta,), parts.chunks))


def given_dataset(store: ObjectStore, inst: StoredInstance) -> Generator[bytes, None, None]:
    """The same without file meta information."""
    parts = _parts(store, inst)
    return read_dataset_as_stored(store, inst) if parts is None else parts.chunks


def _parts(store: ObjectStore, inst: StoredInstance) -> Given | None:
    """The corrected dataset; None if it is the stored one."""
    if inst.corrections is None:
        return None
    before = read_encoded(store, inst)
    after = corrected(inst, before)
    if after == before:
        return None
    if syntax_of(inst).deflated:
        return Given(None, deflated(_inflated(store, inst, before, after)))
    stored = inst.object
    end = stored.size - stored.dataset_offset
    trailer = b""
    if after.trailer != before.trailer and stored.trailer_offset is not None:
        end, trailer = stored.trailer_offset, after.trailer
    middle = end - stored.header_length
    pixels = read_range(store, inst, stored.header_length, middle)
    return Given(len(after.header) + middle + len(trailer), _joined((after.header,), pixels, (trailer,)))


def _inflated(
    store: ObjectStore, inst: StoredInstance, before: Encoded, after: Encoded
) -> Generator[bytes, None, None]:
    yield after.header
    at = inst.object.header_length
    new_trailer = after.trailer != before.trailer
    end = inst.object.trailer_offset if new_trailer else None
    with dataset_reader(store, inst) as read:
        while end is None or at < end:
            chunk = read(at, CHUNK_SIZE if end is None else min(CHUNK_SIZE, end - at))
            if not chunk:
                break
            at += len(chunk)
            yield chunk
    if new_trailer:
        yield after.trailer


def deflated(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    """A deflate stream without a header, of even length (PS3.5 A.5)."""
    deflater = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    length = 0
    for chunk in chunks:
        data = deflater.compress(chunk)
        length += len(data)
        if data:
            yield data
    data = deflater.flush()
    yield data + bytes((length + len(data)) % 2)


def _joined(*runs: Iterable[bytes]) -> Generator[bytes, None, None]:
    for run in runs:
        for chunk in run:
            if chunk:
                yield chunk
