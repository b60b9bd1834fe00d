"""Which bytes of a dataset are which frame (PS3.5 8.1.1, 8.2, A.4; PS3.3 C.7.6.3.1.1, C.7.6.3.1.8)."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from archive.errors import CannotParse
from archive.standard.pixel_data import PixelData
from archive.standard.scan import Scan
from archive.standard.uids import transfer_syntax
from archive.standard.walk import Read

_Offsets = npt.NDArray[np.uint64]

_RLE: Final = "1.2.840.10008.1.2.5"
_ITEM = struct.Struct("<II")
_ITEM_RAW: Final = 0xE000FFFE
_SEQUENCE_END_RAW: Final = 0xE0DDFFFE
# JPEG, JPEG-LS and JPEG 2000 streams end with the same marker (ITU-T T.81 B.1.1.3, T.87, T.800 A.4.4); padding and,
# from some writers, a little more may follow. They begin with SOI, SOC and SIZ, or the signature box of JP2.
_END_MARKER: Final = b"\xff\xd9"
_END_WITHIN: Final = 10
_START_MARKERS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP")
# PS3.3 C.7.6.3.1.2: chroma is shared by two pixels, or four; bits in a pixel for each 8 allocated.
_SHARED_CHROMA: Final = {"YBR_FULL_422": 2.0, "YBR_PARTIAL_422": 2.0, "YBR_PARTIAL_420": 1.5}

_FORMAT: Final = struct.Struct("<BBQI")
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Where each frame is in the dataset.

    Native frames follow one another without gaps, down to the bit (PS3.5 8.1.1). The span of an encapsulated frame
    goes from the item header of its first fragment to the end of its last one; see `strip_item_headers`.
    """

    count: int
    start: int
    """Offset of the first frame."""
    bits: int
    """Bits in a native frame; 0 if the frames are encapsulated."""
    lengths: array[int]
    """Lengths of the spans of encapsulated frames."""
    offsets: array[int]
    """Offsets of the spans of encapsulated frames."""

    @property
    def encapsulated(self) -> bool:
        """Whether spans hold fragments with item headers."""
        return self.bits == 0

    def span(self, frame_index: int) -> tuple[int, int]:
        """Return offset and length of the bytes that hold a frame, counted from 0.

        Raises
        ------
        IndexError
            There is no such frame.
        """
        if not 0 <= frame_index < self.count:
            raise IndexError(f"frame {frame_index} of {self.count}")
        if self.encapsulated:
            return self.offsets[frame_index], self.lengths[frame_index]
        first = frame_index * self.bits
        return self.start + first // 8, (first + self.bits + 7) // 8 - first // 8

    def bit_offset(self, frame_index: int) -> int:
        """Return in which bit of its span a frame begins: other than 0 only for packed bits; see `extract_bits`."""
        return frame_index * self.bits % 8

    def to_bytes(self) -> bytes:
        """Encode the table for the index: the first offset and the lengths. Empty if native: it can be computed."""
        if not self.encapsulated:
            return b""
        unit = "I" if max(self.lengths) < 1 << 32 else "Q"
        lengths = np.array(self.lengths, dtype="<u4" if unit == "I" else "<u8").tobytes()
        return _FORMAT.pack(_VERSION, ord(unit), self.start, self.count) + lengths

    @classmethod
    def from_bytes(cls, data: bytes) -> FrameTable:
        """Decode a table of encapsulated frames.

        Raises
        ------
        ValueError
            The bytes are not what `to_bytes` wrote.
        """
        if len(data) < _FORMAT.size:
            raise ValueError("not a frame table")
        version, unit, start, count = _FORMAT.unpack_from(data)
        size = {ord("I"): 4, ord("Q"): 8}.get(unit, 0)
        if version != _VERSION or len(data) != _FORMAT.size + size * count or count == 0:
            raise ValueError("not a frame table")
        lengths = np.frombuffer(data, dtype=f"<u{size}", offset=_FORMAT.size).astype(np.uint64)
        return _contiguous(start, lengths)


def _contiguous(start: int, lengths: _Offsets) -> FrameTable:
    """Make the table of spans that follow one another; fragments do (PS3.5 A.4)."""
    offsets = np.cumsum(lengths, dtype=np.uint64) - lengths + np.uint64(start)
    return FrameTable(
        len(lengths), start, 0, array("Q", lengths.astype("=u8").tobytes()), array("Q", offsets.astype("=u8").tobytes())
    )


def frame_table(
    scan: Scan,
    *,
    rows: int,
    columns: int,
    samples_per_pixel: int,
    bits_allocated: int,
    number_of_frames: int | None,
    transfer_syntax_uid: str,
    read: Read,
    photometric_interpretation: str = "",
) -> FrameTable | None:
    """Find the frames of the pixel data; None, and a warning in the scan, if they cannot be told apart.

    The shape, and the photometric interpretation (YBR_FULL_422 has two samples a pixel), matter for native pixel
    data only. `number_of_frames` is None if absent, which means one; anything below 1 is taken for unknown. `read`
    reads the dataset, inflated if it was deflated; it is used if only the ends of fragments can tell.
    """
    pixel = scan.pixel
    if pixel is None:
        return None
    frames = 1 if number_of_frames is None else number_of_frames
    if pixel.value_length is None:
        found = _encapsulated(pixel, frames, transfer_syntax_uid, read)
        problem = f"the {len(pixel.fragment_offsets)} fragments of the pixel data cannot be told apart as frames"
    else:
        found = native_frame_table(
            pixel.value_offset,
            pixel.value_length,
            bits_per_frame=bits_per_frame(rows, columns, samples_per_pixel, bits_allocated, photometric_interpretation),
            number_of_frames=frames,
        )
        problem = f"the pixel data have {pixel.value_length} bytes, less than a frame"
    if found is None:
        scan.warnings.append(problem)
    elif frames > 0 and found.count != frames:
        scan.warnings.append(f"{frames} frames were announced, {found.count} are there")
    return found


def bits_per_frame(
    rows: int, columns: int, samples_per_pixel: int, bits_allocated: int, photometric_interpretation: str = ""
) -> int:
    """Return the number of bits of a native frame (PS3.5 8.1.1, PS3.3 C.7.6.3.1.2)."""
    samples: float = samples_per_pixel
    if samples_per_pixel == 3:
        samples = _SHARED_CHROMA.get(photometric_interpretation.strip(), samples)
    return int(max(rows, 0) * max(columns, 0) * max(samples, 0) * max(bits_allocated, 0))


def native_frame_table(
    value_offset: int, value_length: int, *, bits_per_frame: int, number_of_frames: int
) -> FrameTable | None:
    """Compute the table of native frames (PS3.5 8.1.1); no more of them than there are bytes for, None for none."""
    if bits_per_frame <= 0:
        return None
    room = value_length * 8 // bits_per_frame
    count = min(number_of_frames, room) if number_of_frames > 0 else room
    if count == 0:
        return None
    return FrameTable(count, value_offset, bits_per_frame, array("Q"), array("Q"))


def _encapsulated(pixel: PixelData, frames: int, transfer_syntax_uid: str, read: Read) -> FrameTable | None:
    """Find the first fragment of each frame by whatever tells (PS3.5 A.4, PS3.3 C.7.6.3.1.8).

    A table or a count is believed at once if it agrees with Number of Frames; a well-formed offset table that does
    not agree is believed if nothing else agrees either.
    """
    total = len(pixel.fragment_offsets)
    syntax = transfer_syntax(transfer_syntax_uid)
    # PS3.5 8.2.5 ff.: the fragments of a video are cut anywhere.
    if total == 0 or (syntax is not None and syntax.video and frames != 1):
        return None
    if frames == 1:
        return _spans(pixel, np.zeros(1, dtype=np.int64))
    every = np.arange(total, dtype=np.int64)
    tables = [
        found
        for found in (_by_table(pixel, pixel.extended_offset_table, "<u8"), _by_table(pixel, pixel.basic_offset_table))
        if found is not None
    ]
    # PS3.5 A.4.2: an RLE frame is one fragment.
    candidates = [*tables, every] if frames > 0 or transfer_syntax_uid == _RLE or total == 1 else tables
    for firsts in candidates:
        if len(firsts) == frames or frames < 1:
            return _spans(pixel, firsts)
    if transfer_syntax_uid != _RLE and frames <= total:
        for firsts in (_by_ends(pixel, read), _by_starts(pixel, read)):
            if len(firsts) == frames or (frames < 1 and len(firsts)):
                return _spans(pixel, firsts)
    return _spans(pixel, tables[0]) if tables else None


def _spans(pixel: PixelData, firsts: npt.NDArray[np.int64]) -> FrameTable:
    """Make the table from the indices of the first fragments of the frames."""
    starts = np.frombuffer(pixel.fragment_offsets, dtype=np.uint64)[firsts]
    end = pixel.fragment_offsets[-1] + 8 + pixel.fragment_lengths[-1]
    return _contiguous(int(starts[0]), np.diff(starts, append=np.uint64(end)))


def _by_table(pixel: PixelData, table: bytes, dtype: str = "<u4") -> npt.NDArray[np.int64] | None:
    """Return the first fragments by an offset table, or None if an entry is not where a fragment begins.

    Offsets count from the item header of the first fragment, in the basic and in the extended table.
    """
    width = np.dtype(dtype).itemsize
    if not table or len(table) % width:
        return None
    offsets = np.frombuffer(table, dtype=dtype).astype(np.uint64)
    starts = np.frombuffer(pixel.fragment_offsets, dtype=np.uint64)
    starts = starts - starts[0]
    if len(offsets) > len(starts) or offsets[0] != 0 or np.any(offsets[1:] <= offsets[:-1]):
        return None
    indices = np.searchsorted(starts, offsets)
    if indices[-1] >= len(starts) or np.any(starts[indices] != offsets):
        return None
    return indices.astype(np.int64)


def _by_ends(pixel: PixelData, read: Read) -> npt.NDArray[np.int64]:
    """Return the first fragments by the end-of-image markers of the fragments before."""
    firsts = [0]
    for index, (offset, length) in enumerate(zip(pixel.fragment_offsets, pixel.fragment_lengths, strict=True)):
        tail = min(length, _END_WITHIN)
        if _END_MARKER in read(offset + 8 + length - tail, tail):
            firsts.append(index + 1)
    if firsts[-1] == len(pixel.fragment_offsets):
        firsts.pop()
    return np.array(firsts, dtype=np.int64)


def _by_starts(pixel: PixelData, read: Read) -> npt.NDArray[np.int64]:
    """Return the fragments that begin with a start-of-image marker; none if the first one does not."""
    firsts = [
        index
        for index, offset in enumerate(pixel.fragment_offsets)
        if read(offset + 8, min(8, pixel.fragment_lengths[index])).startswith(_START_MARKERS)
    ]
    return np.array(firsts if firsts[:1] == [0] else [], dtype=np.int64)


def strip_item_headers(data: bytes) -> bytes:
    """Join the fragments of a frame: remove the item headers from a span (PS3.5 A.4).

    Raises
    ------
    CannotParse
        The span is not a whole number of fragments.
    """
    parts = []
    at = 0
    view = memoryview(data)
    while at < len(data):
        if len(data) - at < 8:
            raise CannotParse(f"truncated: {len(data) - at} bytes at the end of a frame are no fragment")
        raw, length = _ITEM.unpack_from(data, at)
        if raw == _SEQUENCE_END_RAW:
            break
        at += 8
        if raw != _ITEM_RAW or at + length > len(data):
            raise CannotParse(f"the bytes at offset {at - 8} of a frame are not a fragment")
        parts.append(view[at : at + length])
        at += length
    return b"".join(parts)


def extract_bits(data: bytes, bit_offset: int, bits: int) -> bytes:
    """Return a frame of packed bits that begins within a byte, as bytes that begin with it (PS3.5 8.1.1, 8.2)."""
    unpacked = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    return np.packbits(unpacked[bit_offset : bit_offset + bits], bitorder="little").tobytes()
