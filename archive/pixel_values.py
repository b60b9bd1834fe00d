"""The value of the pixel data as one run of bytes, of which any part can be read: what bulk data are, and videos."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, NamedTuple

from archive.records import StoredInstance
from archive.retrieve import PixelElement, dataset_reader, read_range, swap, syntax_of
from archive.standard.coding import coding
from storage.base import ObjectStore

_ITEM_HEADER: Final = 8
_BLOCK: Final = 1 << 14
"""Bytes read to find item headers: many fragments of a video are short."""


class Fragment(NamedTuple):
    """Where the bytes of a fragment are in the dataset."""

    offset: int
    length: int


def read_native(
    store: ObjectStore, inst: StoredInstance, pixels: PixelElement, offset: int = 0, length: int | None = None
) -> Generator[bytes, None, None]:
    """The value of native pixel data, little endian, or `length` bytes of it from `offset`."""
    whole = pixels.length or 0
    end = whole if length is None else offset + length
    # Words are turned round as a whole, so they are read as a whole.
    begin = offset - offset % pixels.word
    stop = min(end + -end % pixels.word, whole)
    at, rest = begin, b""
    for chunk in read_range(store, inst, pixels.offset + begin, stop - begin):
        if pixels.word == 1:
            yield chunk
            continue
        data = rest + chunk if rest else chunk
        full = len(data) - len(data) % pixels.word
        rest = data[full:]
        yield swap(data[:full], pixels.word)[max(0, offset - at) : max(0, end - at)]
        at += full
    if rest:
        yield rest[max(0, offset - at) : end - at]


def fragments(store: ObjectStore, inst: StoredInstance, pixels: PixelElement) -> list[Fragment]:
    """The fragments of encapsulated pixel data, without the offset table (PS3.5 A.4)."""
    code = coding(implicit=False, little=True)
    found: list[Fragment] = []
    at, block, start = pixels.offset, b"", 0
    # How long an inflated dataset is shows only at its end.
    size = None if syntax_of(inst).deflated else inst.object.size - inst.object.dataset_offset
    with dataset_reader(store, inst) as read:
        while True:
            if not start <= at <= start + len(block) - _ITEM_HEADER:
                block, start = read(at, _ITEM_HEADER if size is None else max(_ITEM_HEADER, min(_BLOCK, size - at))), at
            raw, length = code.unpack_item(block, at - start)
            if raw != code.item:
                return found[1:]
            found.append(Fragment(at + _ITEM_HEADER, length))
            at += _ITEM_HEADER + length


def read_fragments(
    store: ObjectStore, inst: StoredInstance, parts: list[Fragment], offset: int, length: int
) -> Generator[bytes, None, None]:
    """Bytes of the stream that the fragments make when joined: what a video player wants."""
    for part in parts:
        if length <= 0:
            return
        if offset < part.length:
            count = min(length, part.length - offset)
            yield from read_range(store, inst, part.offset + offset, count)
            length -= count
        offset = max(0, offset - part.length)
