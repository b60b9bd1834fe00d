"""Encoded frames as a value of Pixel Data with its offset table (PS3.5 A.4, PS3.3 C.7.6.3.1.8, C.7.6.3.1.9).

The table stands before the frames, and a frame's length is known when it is encoded: so the fragments wait in a
spool, in memory as far as they are small and on disk beyond that.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from archive.private_file import PrivateFile
from archive.standard.coding import SEQUENCE_END, Element, coding
from storage.base import CHUNK_SIZE

EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS: Final = 0x7FE00002

_IN_MEMORY: Final = 8 << 20
_LITTLE: Final = coding(implicit=False, little=True)
_DELIMITER: Final = struct.pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
_LARGEST_OFFSET: Final = 0xFFFFFFFF


@dataclass(slots=True)
class OffsetTable:
    """Where the frames are, each of which is one fragment."""

    lengths: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def _offsets(self) -> list[int]:
        return [0, *accumulate(length + 8 for length in self.lengths)]

    @property
    def fragments_size(self) -> int:
        """Bytes of all fragments with their item headers."""
        return sum(self.lengths) + 8 * len(self.lengths)

    @property
    def extended(self) -> bool:
        """Whether the basic table cannot hold the offsets."""
        return self._offsets[-2] > _LARGEST_OFFSET

    def basic(self) -> bytes:
        """The item of the Basic Offset Table, empty if there is an extended one (PS3.5 A.4)."""
        offsets = [] if self.extended else self._offsets[:-1]
        return _LITTLE.item_header(4 * len(offsets)) + struct.pack(f"<{len(offsets)}L", *offsets)

    def elements(self) -> dict[int, Element]:
        """The Extended Offset Table and its lengths, if needed."""
        if not self.extended:
            return {}
        offsets, count = self._offsets[:-1], len(self.lengths)
        return {
            EXTENDED_OFFSET_TABLE: Element("OV", struct.pack(f"<{count}Q", *offsets)),
            EXTENDED_OFFSET_TABLE_LENGTHS: Element("OV", struct.pack(f"<{count}Q", *self.lengths)),
        }


def spooled(frames: Iterable[bytes], table: OffsetTable) -> Generator[bytes, None, None]:
    """Take frames of even length at the first `next`, which gives nothing; then give the value of Pixel Data.

    The spool is deleted when the generator ends, is closed or is dropped.
    """
    with PrivateFile(_IN_MEMORY) as spool:
        for frame in frames:
            table.lengths.append(len(frame))
            spool.write(_LITTLE.item_header(len(frame)))
            spool.write(frame)
        spool.seek(0)
        yield b""
        yield table.basic()
        while chunk := spool.read(CHUNK_SIZE):
            yield chunk
        yield _DELIMITER


def value_size(table: OffsetTable) -> int:
    """Bytes of the value that `spooled` gives, with its delimiter."""
    return len(table.basic()) + table.fragments_size + len(_DELIMITER)
