"""Where the pixel data of a dataset are (PS3.5 8, A.4; PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

# Float Pixel Data, Double Float Pixel Data, Pixel Data.
PIXEL_TAGS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))


@dataclass(slots=True)
class PixelData:
    """Where the pixel data lie in the dataset; offsets count from its first byte (PS3.5 8, A.4)."""

    tag: int
    vr: str
    element_offset: int
    value_offset: int
    value_length: int | None
    """Length of native pixel data; None if they are encapsulated."""
    end: int
    """Offset of what follows, if anything does."""
    fragment_offsets: array[int]
    """Offsets of the item headers of the fragments, without the basic offset table's."""
    fragment_lengths: array[int]
    """Lengths of the fragments without their item headers."""
    basic_offset_table: bytes = b""
    extended_offset_table: bytes = b""
    extended_offset_table_lengths: bytes = b""

    @property
    def encapsulated(self) -> bool:
        """Whether the pixel data are fragments (PS3.5 A.4)."""
        return self.value_length is None
