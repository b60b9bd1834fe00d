"""Stored objects in another transfer syntax (PS3.18 8.7.3.5, PS3.5 8.2, A.1, A.2, A.4).

Targets are Explicit and Implicit VR Little Endian, and the lossless ones of `archive.imaging.encode`: nothing is ever
lost here. Memory is the header and one frame, however many frames there are.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from pydicom.dataset import Dataset

from archive import retrieve
from archive.errors import NotAcceptable
from archive.imaging.decode import EXPLICIT_VR_LITTLE_ENDIAN, Pixels, can_decode, decode_frame, native_bytes
from archive.imaging.encapsulate import (
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    OffsetTable,
    spooled,
    value_size,
)
from archive.imaging.encode import LOSSLESS, encode_frame, refusal
from archive.imaging.pixels import PIXEL_TAGS, PixelFormat, float_keyword, pixel_format
from archive.imaging.reencode import REMOVED, Reencoder
from archive.pixel_values import read_native
from archive.records import StoredInstance
from archive.standard.coding import UNDEFINED, Element
from archive.standard.file_format import encode_file_meta
from storage.base import ObjectStore

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
TARGETS: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""Native transfer syntaxes; beside these there is `LOSSLESS`."""

_LONGEST_VALUE: Final = 0xFFFFFFFE
# Processes that lose information whatever the parameters (PS3.5 A.4.1, A.4.3).
_ALWAYS_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81))
# Those that do if they say so in the code stream (PS3.5 A.4.4, A.4.10).
_JPEG_2000: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (91, 203))
_EXTENDED_OFFSET_TABLES: Final = (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS)


@dataclass(frozen=True, slots=True)
class Transcoded:
    """A Part 10 file that is made while it is read."""

    transfer_syntax_uid: str
    size: int
    chunks: Generator[bytes, None, None]


def can_transcode(store: ObjectStore, inst: StoredInstance, target: str) -> bool:
    """Whether the instance can be given in the target syntax, as far as its header tells."""
    return not why_not(store, inst, target)


def why_not(store: ObjectStore, inst: StoredInstance, target: str) -> str:
    """Why the instance cannot be given in the target syntax; empty if it can, as far as its header tells.

    The header is read only for compressed targets.
    """
    name = retrieve.syntax_of(inst).name
    if target not in TARGETS and target not in LOSSLESS:
        return "objects are not given in the transfer syntax asked for"
    if inst.object.frame_table is None:
        if target in LOSSLESS:
            return "objects without frames cannot be compressed"
        # Of an image, frames that cannot be told apart, such as a video's, cannot be decoded either.
        possible = inst.rows is None or not retrieve.syntax_of(inst).encapsulated
    else:
        possible = can_decode(inst.object.transfer_syntax_uid)
    if not possible:
        return f"objects in {name} cannot be given in another transfer syntax"
    return _refused(retrieve.read_header(store, inst), target) if target in LOSSLESS else ""


def _refused(ds: Dataset, target: str) -> str:
    try:
        layout = pixel_format(ds, float_keyword(ds))
        high_bit = int(ds.get("HighBit", layout.bits_stored - 1))
    except NotAcceptable as error:
        return str(error)
    except (TypeError, ValueError):
        return "High Bit is no number"
    reason = refusal(layout, high_bit, target)
    return f"{reason} cannot be given in the transfer syntax" if reason else ""


def transcode(store: ObjectStore, inst: StoredInstance, target: str, limit: int) -> Transcoded:
    """Give the instance in the target syntax.

    The header is read and the first frame decoded before this returns, so that what cannot be given is known
    before a response begins. Of a compressed target all frames are encoded before: their offsets come first.

    Parameters
    ----------
    limit : int
        Most bytes of the decoded pixel data.

    Raises
    ------
    NotAcceptable
        No decoder, a damaged frame, too large, or not to be held by the target.
    """
    if reason := why_not(store, inst, target):
        raise NotAcceptable(reason)
    header, _, trailer = retrieve.read_corrected(store, inst)
    code = retrieve.coding_of(header, inst)
    writer = Reencoder(code, implicit_vr=target == IMPLICIT_VR_LITTLE_ENDIAN)
    ds = retrieve.parse(header, inst)
    pixels = _encoded(store, inst, ds, target, limit) if target in LOSSLESS else _native(store, inst, ds, limit)
    changes = {} if pixels is None else pixels.changes
    before = writer.encode(retrieve.parse(header, inst), changes)
    after = writer.encode(retrieve.parse(trailer, inst, code)) if trailer else b""
    meta = encode_file_meta(inst.sop_class_uid, inst.sop_instance_uid, target, "")
    start = meta + before
    if pixels is None:
        return Transcoded(target, len(start) + len(after), _joined((start,), (), after))
    start += writer.header(pixels.tag, pixels.vr, UNDEFINED if pixels.encapsulated else pixels.padded)
    padding = b"\0" * (pixels.padded - pixels.length)
    return Transcoded(
        target, len(start) + pixels.padded + len(after), _joined((start,), pixels.chunks, padding + after)
    )


def encoded_frames(
    store: ObjectStore, inst: StoredInstance, numbers: Iterable[int], target: str, limit: int
) -> Iterator[bytes]:
    """Frames in a lossless target; only these are read. Raises `NotAcceptable`, for the header's sake at once."""
    ds = retrieve.read_header(store, inst)
    if reason := why_not(store, inst, target):
        raise NotAcceptable(reason)
    layout, source = pixel_format(ds), retrieve.frames_syntax(inst)
    frames = retrieve.read_frames(store, inst, numbers)
    return (encode_frame(frame, layout, source, target, limit)[0] for frame in frames)


def native_frames(
    store: ObjectStore, inst: StoredInstance, numbers: Iterable[int], limit: int
) -> tuple[int, Iterator[bytes]]:
    """Frames decoded to native little endian, and the size of each (all are of one size)."""
    ds = retrieve.read_header(store, inst)
    layout = pixel_format(ds, float_keyword(ds))
    frames = retrieve.read_frames(store, inst, numbers)
    if not inst.object.frame_table:
        return layout.frame_bytes, frames
    uid = inst.object.transfer_syntax_uid
    first, found = decode_frame(next(frames), layout, uid, limit)
    rest = (native_bytes(decode_frame(frame, layout, uid, limit)[0], layout) for frame in frames)
    return replace(found, planar=0).frame_bytes, chain((native_bytes(first, layout),), rest)


@dataclass(frozen=True, slots=True)
class _Pixels:
    tag: int
    vr: str
    length: int
    changes: dict[int, Element | None]
    chunks: Iterable[bytes]
    encapsulated: bool = False

    @property
    def padded(self) -> int:
        return self.length + self.length % 2


def _encoded(store: ObjectStore, inst: StoredInstance, ds: Dataset, target: str, limit: int) -> _Pixels:
    layout, source = pixel_format(ds), retrieve.frames_syntax(inst)
    count = retrieve.frame_table(store, inst).count
    length = layout.decoded_bytes * count
    if length > limit:
        raise NotAcceptable(f"the decoded pixel data take {length} bytes, more than the limit of {limit}")
    table, changes = OffsetTable(), dict[int, Element | None]()

    def frames() -> Iterator[bytes]:
        first: PixelFormat | None = None
        for frame in retrieve.read_frames(store, inst, range(1, count + 1)):
            stream, found = encode_frame(frame, layout, source, target, limit)
            if first is None:
                first = found
                changes.update(_changes(ds, layout, found, inst.object.transfer_syntax_uid, frame))
            _check_same(found, first)
            yield stream

    chunks = spooled(frames(), table)
    next(chunks)
    changes.update(table.elements())
    return _Pixels(PIXEL_TAGS["PixelData"], "OB", value_size(table), changes, chunks, encapsulated=True)


def _native(store: ObjectStore, inst: StoredInstance, ds: Dataset, limit: int) -> _Pixels | None:
    where = retrieve.pixel_element(store, inst)
    if where is None:
        return None
    if where.length is not None:
        vr = where.vr if where.vr in ("OB", "OW", "OF", "OD") else "OW"
        return _Pixels(where.tag, vr, where.length, {}, read_native(store, inst, where))
    if not inst.object.frame_table:
        raise NotAcceptable("the frames cannot be told apart, so they cannot be decoded")
    layout = pixel_format(ds)
    count = retrieve.frame_table(store, inst).count
    length = (layout.rows * layout.columns * layout.samples * layout.bits_allocated * count + 7) // 8
    if length > limit or length > _LONGEST_VALUE:
        raise NotAcceptable(f"the decoded pixel data take {length} bytes, more than the limit of {limit}")
    if layout.bits_allocated == 1 and count > 1 and layout.rows * layout.columns % 8:
        raise NotAcceptable("one-bit frames that do not fill their bytes cannot be joined")
    uid = inst.object.transfer_syntax_uid
    frames = retrieve.read_frames(store, inst, range(1, count + 1))
    stream = next(frames)
    first, found = decode_frame(stream, layout, uid, limit)
    rest = (_same(*decode_frame(frame, layout, uid, limit), found) for frame in frames)
    return _Pixels(
        where.tag,
        "OW" if layout.bits_allocated > 8 else "OB",
        length,
        _changes(ds, layout, found, uid, stream),
        chain((native_bytes(first, found),), rest),
    )


def _same(pixels: Pixels, found: PixelFormat, first: PixelFormat) -> bytes:
    """The bytes of a frame whose colours are in the same space as the first one's, which the header tells of."""
    _check_same(found, first)
    return native_bytes(pixels, found)


def _check_same(found: PixelFormat, first: PixelFormat) -> None:
    if found.photometric != first.photometric:
        raise NotAcceptable(f"frames are in {first.photometric} and in {found.photometric}")


def _changes(ds: Dataset, layout: PixelFormat, found: PixelFormat, uid: str, frame: bytes) -> dict[int, Element | None]:
    """What of the header is no longer true. What tells of lossy compression stays true."""
    changes: dict[int, Element | None] = {tag: REMOVED for tag in _EXTENDED_OFFSET_TABLES if tag in ds}
    if found.photometric != layout.photometric:
        changes[0x00280004] = Element("CS", found.photometric.encode())
    if found.samples > 1:
        changes[0x00280006] = Element("US", struct.pack("<H", found.planar))
    lossy = uid in _ALWAYS_LOSSY or (uid in _JPEG_2000 and is_irreversible(frame))
    if lossy and ds.get("LossyImageCompression") != "01":
        changes[0x00282110] = Element("CS", b"01")  # PS3.3 C.7.6.1.1.5: once lossy, always said
    return changes


def is_irreversible(stream: bytes) -> bool:
    """Whether a JPEG 2000 code stream uses the irreversible wavelet (ITU-T T.800 A.6.1, Table A.20)."""
    at = stream.find(b"\xff\x4f\xff\x51") + 2  # behind the boxes of a JP2 file, which some put around it
    while at >= 2 and at + 14 <= len(stream) and stream[at] == 0xFF and stream[at + 1] != 0x90:
        if stream[at + 1] == 0x52:
            return stream[at + 13] == 0
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return False


def _joined(start: Iterable[bytes], middle: Iterable[bytes], end: bytes) -> Generator[bytes, None, None]:
    yield from start
    yield from middle
    if end:
        yield end
