"""Stored objects in another transfer syntax (PS3.18 8.7.3.5, PS3.5 8.2, A.1, A.2).

Targets are Explicit and Implicit VR Little Endian: nothing is ever compressed again, so nothing is ever lost here.
Memory is the header and one frame, however many frames there are.
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
from archive.imaging.decode import EXPLICIT_VR_LITTLE_ENDIAN, can_decode, decode_frame, native_bytes
from archive.imaging.pixels import PixelFormat, float_keyword, pixel_format
from archive.imaging.reencode import REMOVED, Reencoder
from archive.records import StoredInstance
from archive.standard.coding import Element
from archive.standard.file_format import encode_file_meta
from storage.base import ObjectStore

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
TARGETS: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

_LONGEST_VALUE: Final = 0xFFFFFFFE
# Processes that lose information whatever the parameters (PS3.5 A.4.1, A.4.3).
_ALWAYS_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81))
_EXTENDED_OFFSET_TABLES: Final = (0x7FE00001, 0x7FE00002)


@dataclass(frozen=True, slots=True)
class Transcoded:
    """A Part 10 file that is made while it is read."""

    transfer_syntax_uid: str
    size: int
    chunks: Generator[bytes, None, None]


def can_transcode(inst: StoredInstance, target: str) -> bool:
    """Whether the instance can be given in the target syntax, as far as can be said without reading it."""
    if target not in TARGETS:
        return False
    if inst.object.frame_table is None:
        # Of an image, frames that cannot be told apart, such as a video's, cannot be decoded either.
        return inst.rows is None or not retrieve.syntax_of(inst).encapsulated
    return can_decode(inst.object.transfer_syntax_uid)


def transcode(store: ObjectStore, inst: StoredInstance, target: str, limit: int) -> Transcoded:
    """Give the instance in the target syntax.

    The header is read and the first frame decoded before this returns, so that what cannot be given is known
    before a response begins.

    Parameters
    ----------
    limit : int
        Most bytes of the decoded pixel data.

    Raises
    ------
    NotAcceptable
        No decoder, a damaged frame, or too large.
    """
    if not can_transcode(inst, target):
        name = retrieve.syntax_of(inst).name
        raise NotAcceptable(f"objects in {name} cannot be given in another transfer syntax")
    header, _, trailer = retrieve.read_corrected(store, inst)
    code = retrieve.coding_of(header, inst)
    writer = Reencoder(code, implicit_vr=target == IMPLICIT_VR_LITTLE_ENDIAN)
    pixels = _pixels(store, inst, retrieve.parse(header, inst), limit)
    changes = {} if pixels is None else pixels.changes
    before = writer.encode(retrieve.parse(header, inst), changes)
    after = writer.encode(retrieve.parse(trailer, inst, code)) if trailer else b""
    meta = encode_file_meta(inst.sop_class_uid, inst.sop_instance_uid, target, "")
    start = meta + before
    if pixels is None:
        return Transcoded(target, len(start) + len(after), _joined((start,), (), after))
    start += writer.header(pixels.tag, pixels.vr, pixels.padded)
    padding = b"\0" * (pixels.padded - pixels.length)
    return Transcoded(
        target, len(start) + pixels.padded + len(after), _joined((start,), pixels.chunks, padding + after)
    )


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

    @property
    def padded(self) -> int:
        return self.length + self.length % 2


def _pixels(store: ObjectStore, inst: StoredInstance, ds: Dataset, limit: int) -> _Pixels | None:
    where = retrieve.pixel_element(store, inst)
    if where is None:
        return None
    if where.length is not None:
        vr = where.vr if where.vr in ("OB", "OW", "OF", "OD") else "OW"
        return _Pixels(where.tag, vr, where.length, {}, retrieve.read_native(store, inst, where))
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
    first, found = decode_frame(next(frames), layout, uid, limit)
    rest = (_same(*decode_frame(frame, layout, uid, limit), found) for frame in frames)
    return _Pixels(
        where.tag,
        "OW" if layout.bits_allocated > 8 else "OB",
        length,
        _changes(ds, layout, found, uid),
        chain((native_bytes(first, found),), rest),
    )


def _same(pixels: object, found: PixelFormat, first: PixelFormat) -> bytes:
    """The bytes of a frame whose colours are in the same space as the first one's, which the header tells of."""
    if found.photometric != first.photometric:
        raise NotAcceptable(f"frames are in {first.photometric} and in {found.photometric}")
    return native_bytes(pixels, found)  # type: ignore[arg-type]


def _changes(ds: Dataset, layout: PixelFormat, found: PixelFormat, uid: str) -> dict[int, Element | None]:
    """What of the header is no longer true behind decoding. What tells of lossy compression stays true."""
    changes: dict[int, Element | None] = {tag: REMOVED for tag in _EXTENDED_OFFSET_TABLES if tag in ds}
    if found.photometric != layout.photometric:
        changes[0x00280004] = Element("CS", found.photometric.encode())
    if found.samples > 1:
        changes[0x00280006] = Element("US", struct.pack("<H", 0))
    if uid in _ALWAYS_LOSSY and ds.get("LossyImageCompression") != "01":
        changes[0x00282110] = Element("CS", b"01")  # PS3.3 C.7.6.1.1.5: once lossy, always said
    return changes


def _joined(start: Iterable[bytes], middle: Iterable[bytes], end: bytes) -> Generator[bytes, None, None]:
    yield from start
    yield from middle
    if end:
        yield end
