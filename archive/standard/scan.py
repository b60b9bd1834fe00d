"""What the archive must know of a dataset at ingest: chosen elements and where the pixel data are (PS3.5 7, 8, A.4).

Everything is checked to fit, to the end of the dataset, so that an object that was cut off is never acknowledged.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from archive.errors import CannotParse, UnsupportedTransferSyntax
from archive.private_file import PrivateFile
from archive.standard.coding import Element, coding, is_vr
from archive.standard.pixel_data import PIXEL_TAGS, PixelData
from archive.standard.uids import TransferSyntax, transfer_syntax
from archive.standard.walk import BLOCK, RawSequence, Read, Walk, walk_items

__all__ = ["Element", "PixelData", "Read", "Scan", "inflate", "scan", "scan_head"]

MAX_INFLATED: Final = 2 << 30
_IN_MEMORY: Final = 8 << 20
_EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
_EXTENDED_OFFSET_TABLE_LENGTHS: Final = 0x7FE00002


@dataclass(slots=True)
class Scan:
    """What one pass over a dataset found. Offsets count from the first byte after the file meta information."""

    elements: dict[int, Element]
    """The wanted top-level elements that are present and no sequences; values are in little endian."""
    pixel: PixelData | None
    size: int
    """Length of the dataset, inflated if it was deflated."""
    implicit_vr: bool
    """As found, which may differ from what the transfer syntax says."""
    little_endian: bool
    deflated: bool
    """Offsets refer to the inflated dataset."""
    warnings: list[str]
    """What was tolerated; safe to log."""
    _sequences: dict[int, RawSequence] = field(default_factory=dict)

    @property
    def header_length(self) -> int:
        """Number of bytes to be read to get all elements before the pixel data."""
        return self.size if self.pixel is None else self.pixel.element_offset

    @property
    def trailer_offset(self) -> int | None:
        """Where elements (or padding) after the pixel data begin; None if nothing follows."""
        return self.pixel.end if self.pixel is not None and self.pixel.end < self.size else None

    @property
    def sequences(self) -> Mapping[int, RawSequence]:
        """The wanted sequences that are present, as encoded."""
        return self._sequences

    def sequence(self, tag: int) -> list[dict[int, Element]]:
        """Return the items of a wanted sequence; empty if it is absent or empty (PS3.5 7.5).

        Sequences within the items are elements of VR SQ with their encoded items as value.

        Raises
        ------
        CannotParse
            The items do not fit into the sequence, or elements into an item.
        """
        raw = self._sequences.get(tag)
        if raw is None:
            return []
        return [
            walk.elements | {nested: Element("SQ", inner.data) for nested, inner in walk.sequences.items()}
            for walk in walk_items(raw)
        ]


def scan(read: Read, size: int, transfer_syntax_uid: str, wanted: frozenset[int]) -> Scan:
    """Walk all top-level elements of a dataset and collect the wanted ones (PS3.5 7.1 to 7.5, A.4).

    Parameters
    ----------
    read : callable
        ``read(offset, length)`` returns bytes of the dataset; offset 0 is the first after the file meta information.
    size : int
        Length of the dataset.
    transfer_syntax_uid : str
        As announced. If the VRs show that implicit and explicit were mixed up, what was found counts.
    wanted : frozenset[int]
        Top-level tags whose values, or sequences, are to be collected.

    Raises
    ------
    CannotParse
        Truncated, or no dataset.
    UnsupportedTransferSyntax
        No stored dataset is in this transfer syntax.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax is None:
        raise UnsupportedTransferSyntax(f"datasets in transfer syntax {transfer_syntax_uid[:64]!r} cannot be stored")
    if syntax.deflated:
        with inflate(read, size) as (inflated, length):
            return _scan(inflated, length, syntax, wanted)
    return _scan(read, size, syntax, wanted)


def scan_head(head: bytes, transfer_syntax_uid: str, wanted: frozenset[int]) -> dict[int, Element]:
    """Collect wanted elements from the first bytes of a dataset that may go on; what lies beyond is left out.

    For names that stand near the start. Never raises: what is wrong with a dataset is for `scan` of all of it to say.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax is None:
        return {}
    if syntax.deflated:
        with suppress(zlib.error):
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, BLOCK)
    implicit = not is_vr(head[4:6])
    watch = _watch(wanted, syntax.little_endian)
    walk = Walk(
        lambda offset, length: head[offset : offset + length],
        len(head),
        coding(implicit=implicit, little=syntax.little_endian),
        watch,
    )
    with suppress(CannotParse):
        walk.run()
    return walk.elements


@lru_cache(maxsize=64)
def _watch(wanted: frozenset[int], little: bool) -> dict[int, int]:
    """Map the raw tags to look out for to tags; there are only a handful of sets of wanted tags."""
    raw = coding(implicit=False, little=little).raw
    return {raw(tag): tag for tag in wanted | PIXEL_TAGS | {_EXTENDED_OFFSET_TABLE, _EXTENDED_OFFSET_TABLE_LENGTHS}}


def _scan(read: Read, size: int, syntax: TransferSyntax, wanted: frozenset[int]) -> Scan:
    if size < 8:
        raise CannotParse("the dataset is empty" if size <= 0 else "truncated: the dataset is shorter than an element")
    first = read(0, 8)
    # pydicom looks at the same place: a first element long enough for its length to look like a VR does not exist.
    explicit = is_vr(first[4:6])
    code = coding(implicit=not explicit, little=syntax.little_endian)
    walk = Walk(read, size, code, _watch(wanted, syntax.little_endian))
    if explicit == syntax.implicit_vr:
        found, due = ("explicit", "implicit") if explicit else ("implicit", "explicit")
        walk.warnings.append(f"the dataset is in {found} VR, {due} VR was announced")
    walk.run()
    pixel = walk.pixel
    if pixel is not None:
        pixel.extended_offset_table = walk.tables.get(_EXTENDED_OFFSET_TABLE, b"")
        pixel.extended_offset_table_lengths = walk.tables.get(_EXTENDED_OFFSET_TABLE_LENGTHS, b"")
        if pixel.encapsulated != syntax.encapsulated:
            walk.warnings.append("the pixel data are " + ("" if pixel.encapsulated else "not ") + "encapsulated")
    return Scan(
        elements=walk.elements,
        pixel=pixel,
        size=size,
        implicit_vr=code.implicit,
        little_endian=code.little,
        deflated=syntax.deflated,
        warnings=walk.warnings,
        _sequences=walk.sequences,
    )


@contextmanager
def inflate(read: Read, size: int, limit: int = MAX_INFLATED) -> Iterator[tuple[Read, int]]:
    """Inflate a deflated dataset into a temporary file; give a reader of it and its length (PS3.5 A.5).

    Only the length is limited, not the ratio: sparse segmentations are legitimately deflated a thousandfold, which
    is also the most that deflate can do, so the size received bounds the damage as well.

    Raises
    ------
    CannotParse
        Not a deflate stream, truncated, or longer than the limit.
    """
    with PrivateFile(_IN_MEMORY) as file:
        length = _inflate(read, size, file, limit)

        def read_inflated(offset: int, count: int) -> bytes:
            file.seek(offset)
            return file.read(count)

        yield read_inflated, length


def _inflate(read: Read, size: int, file: PrivateFile, limit: int) -> int:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    length = offset = 0
    try:
        while not inflater.eof:
            # A block of input may make a thousand blocks of output: they are taken one at a time.
            data = inflater.unconsumed_tail
            if not data:
                data = read(offset, min(BLOCK, size - offset))
                offset += len(data)
            # At the end of the input a little output may still be due.
            length += file.write(inflater.decompress(data, 1 << 20) if data else inflater.flush())
            if length > limit:
                raise CannotParse(f"the dataset inflates to more than {limit} bytes")
            if not data and not inflater.eof:
                raise CannotParse(f"truncated: the deflated dataset does not end within {size} bytes")
    except zlib.error:
        raise CannotParse("the dataset is not a deflate stream") from None
    return length
