"""Reading stored instances: whole, their headers, or single frames by byte range (PS3.18 10.4).

Nothing here reads more of an object than it needs: frame 2,000 of a 2 GB multi-frame costs one small read.
Offsets of `ObjectRecord` count from the start of the dataset, which is inflated first where it was deflated.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset as parse_dataset

from archive.correction.apply import apply
from archive.errors import CannotParse, NotFound, StoreUnavailable
from archive.records import StoredInstance
from archive.standard.coding import SHORT_VRS, UNDEFINED, Coding, coding, is_vr
from archive.standard.frames import FrameTable, bits_per_frame, extract_bits, native_frame_table, strip_item_headers
from archive.standard.scan import inflate, scan
from archive.standard.uids import TransferSyntax, transfer_syntax
from config.logs import fields
from storage.base import CHUNK_SIZE, ObjectReader, ObjectStore, Ranges
from storage.errors import ObjectNotFound, StorageError

log = logging.getLogger(__name__)

Read = Callable[[int, int], bytes]

# Frames asked for together that lie together are read together, up to this many bytes.
_TOGETHER: Final = 4 << 20
_REMEMBERED: Final = 4096
_LONG_HEADER: Final = 12
_REST: Final = 1 << 31

_IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"

_SAMPLES: Final = 0x00280002
_PHOTOMETRIC: Final = 0x00280004
_ROWS: Final = 0x00280010
_COLUMNS: Final = 0x00280011
_BITS_ALLOCATED: Final = 0x00280100
_WANTED: Final = frozenset((_SAMPLES, _PHOTOMETRIC, _ROWS, _COLUMNS, _BITS_ALLOCATED))
_FLOATS: Final = {0x7FE00008: 4, 0x7FE00009: 8}


@contextmanager
def store_errors(inst: StoredInstance) -> Iterator[None]:
    """Raise what the store raises as StoreUnavailable. That a located object is gone is a fault to be repaired."""
    try:
        yield
    except ObjectNotFound as error:
        log.error(
            "object of the index is missing in the store",
            extra=fields(sop_instance_uid=inst.sop_instance_uid, key=inst.object.key),
        )
        raise StoreUnavailable("the object store has lost an object; it is to be repaired") from error
    except StorageError as error:
        log.error(
            "object cannot be read",
            extra=fields(sop_instance_uid=inst.sop_instance_uid, key=inst.object.key, error=type(error).__name__),
        )
        raise StoreUnavailable("the object store cannot be read") from error


def syntax_of(inst: StoredInstance) -> TransferSyntax:
    """The transfer syntax in which the instance is stored."""
    syntax = transfer_syntax(inst.object.transfer_syntax_uid)
    if syntax is None:  # ingest takes nothing else
        raise CannotParse("the object is stored in a transfer syntax that cannot be parsed")
    return syntax


def read_object(store: ObjectStore, inst: StoredInstance) -> Generator[bytes, None, None]:
    """The stored Part 10 file, in chunks."""
    yield from _chunks(inst, lambda: store.open(inst.object.key), inst.object.size)


def read_dataset_as_stored(store: Ranges, inst: StoredInstance) -> Generator[bytes, None, None]:
    """The bytes of the dataset as they are stored, deflated ones too, without file meta information, in chunks."""
    begin = inst.object.dataset_offset
    return read_stored(store, inst, begin, inst.object.size - begin)


def read_stored(store: Ranges, inst: StoredInstance, begin: int, length: int) -> Generator[bytes, None, None]:
    """A range of the stored file, in chunks."""
    yield from _chunks(inst, lambda: store.open_range(inst.object.key, begin, length), length)


def _chunks(inst: StoredInstance, start: Callable[[], ObjectReader], size: int) -> Generator[bytes, None, None]:
    """Read all of a reader; an object that ends early is not given out as whole."""
    with store_errors(inst), start() as reader:
        left = size
        while left:
            chunk = reader.read(min(left, CHUNK_SIZE))
            if not chunk:
                log.error("object is shorter than the index says", extra=fields(key=inst.object.key, missing=left))
                raise StoreUnavailable("the stored object is incomplete; it is to be repaired")
            left -= len(chunk)
            yield chunk


def read_range(store: Ranges, inst: StoredInstance, offset: int, length: int) -> Generator[bytes, None, None]:
    """A range of the dataset, in chunks."""
    if length == 0:
        return
    if syntax_of(inst).deflated:
        with dataset_reader(store, inst) as read:
            for start in range(offset, offset + length, CHUNK_SIZE):
                yield read(start, min(CHUNK_SIZE, offset + length - start))
        return
    begin = inst.object.dataset_offset + offset
    yield from _chunks(inst, lambda: store.open_range(inst.object.key, begin, length), length)


@contextmanager
def dataset_reader(store: Ranges, inst: StoredInstance) -> Iterator[Read]:
    """Random access to the dataset: ``read(offset, length)``; a deflated one is inflated once (PS3.5 A.5)."""

    def stored(offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        begin = inst.object.dataset_offset + offset
        return b"".join(_chunks(inst, lambda: store.open_range(inst.object.key, begin, length), length))

    if not syntax_of(inst).deflated:
        yield stored
        return
    with inflate(stored, inst.object.size - inst.object.dataset_offset) as (read, length):
        yield _bounded(read, length)


def _bounded(read: Read, size: int) -> Read:
    def checked(offset: int, length: int) -> bytes:
        data = read(offset, length)
        if len(data) != min(length, size - offset):
            raise StoreUnavailable("the stored object is incomplete; it is to be repaired")
        return data

    return checked


class Encoded(NamedTuple):
    """The encoded elements of a dataset without the value of its pixel data."""

    header: bytes
    pixel_header: bytes
    """Tag, VR and length of the pixel data, and maybe the first bytes of the value; empty if there are none."""
    trailer: bytes


def read_header(store: Ranges, inst: StoredInstance) -> Dataset:
    """All elements but the pixel data, corrected and parsed."""
    # Behind the pixel data nothing else begins than before it: elements in the same encoding.
    encoded = read_corrected(store, inst)
    return parse(encoded.header + encoded.trailer, inst)


def read_encoded(store: Ranges, inst: StoredInstance) -> Encoded:
    """The encoded elements before the pixel data, and those behind, by one or two small reads."""
    stored = inst.object
    trailer = b""
    with dataset_reader(store, inst) as read:
        start = read(0, _within(inst, stored.header_length + _LONG_HEADER))
        if stored.trailer_offset is not None:
            rest = _REST if syntax_of(inst).deflated else stored.size - stored.dataset_offset - stored.trailer_offset
            trailer = read(stored.trailer_offset, rest)
    # Zeros that round the length of a file up are no elements.
    trailer = trailer if trailer.strip(b"\0") else b""
    return Encoded(start[: stored.header_length], start[stored.header_length :], trailer)


def read_corrected(store: Ranges, inst: StoredInstance) -> Encoded:
    """The elements as they are to be given. Offsets of the stored object do not hold in them."""
    return corrected(inst, read_encoded(store, inst))


def corrected(inst: StoredInstance, encoded: Encoded) -> Encoded:
    """The elements with the corrections of the object applied; the same ones where that changes nothing."""
    if inst.corrections is None:
        return encoded
    header, trailer = apply(inst.corrections, encoded.header, encoded.trailer, coding_of(encoded.header, inst))
    return encoded._replace(header=header, trailer=trailer)


def _within(inst: StoredInstance, length: int) -> int:
    """The length, as far as the dataset goes; how long a deflated one is shows when it is inflated."""
    return length if syntax_of(inst).deflated else min(length, inst.object.size - inst.object.dataset_offset)


def coding_of(header: bytes, inst: StoredInstance) -> Coding:
    """How the dataset is encoded. Some writers announce explicit VR and write implicit VR, or the reverse."""
    syntax = syntax_of(inst)
    implicit = syntax.implicit_vr if len(header) < 6 else not is_vr(header[4:6])
    return coding(implicit=implicit, little=syntax.little_endian)


def parse(encoded: bytes, inst: StoredInstance, code: Coding | None = None) -> Dataset:
    """Parse encoded elements; values are left encoded until they are looked at."""
    code = code or coding_of(encoded, inst)
    return parse_dataset(io.BytesIO(encoded), code.implicit, code.little)


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The element that holds the pixels of a stored object."""

    tag: int
    vr: str
    offset: int
    """Of the value, in the dataset."""
    length: int | None
    """Of the value; None if it is encapsulated."""
    bits_per_frame: int
    """Of native frames."""
    word: int
    """Bytes of the words to be turned round to get little endian; 1 for none."""


def pixel_element(store: Ranges, inst: StoredInstance) -> PixelElement | None:
    """Find the pixels; None if there are none. What is found is kept: it is the same for the same bytes."""
    known = _pixel_elements.get(inst.object.digest)
    if known is None:
        encoded = read_encoded(store, inst)
        known = (_find_pixels(inst, encoded) if encoded.pixel_header else None,)
        if len(_pixel_elements) >= _REMEMBERED:
            _pixel_elements.clear()
        _pixel_elements[inst.object.digest] = known
    return known[0]


_pixel_elements: dict[bytes, tuple[PixelElement | None]] = {}


def pixel_header(encoded: Encoded, inst: StoredInstance) -> tuple[int, str, int, int]:
    """Tag, VR, bytes of the element header, and length of the value of the pixel data."""
    element, code = encoded.pixel_header, coding_of(encoded.header, inst)
    raw, length = code.unpack_item(element, 0)
    if not is_vr(element[4:6]):
        return code.raw(raw), "OW", 8, length
    vr = element[4:6].decode()
    if vr in SHORT_VRS:
        return code.raw(raw), vr, 8, code.unpack(element, 0)[2]
    return code.raw(raw), vr, 12, code.unpack_length(element, 8)[0]


def _find_pixels(inst: StoredInstance, encoded: Encoded) -> PixelElement:
    header, code = encoded.header, coding_of(encoded.header, inst)
    tag, vr, offset, length = pixel_header(encoded, inst)
    found = scan(lambda at, count: header[at : at + count], len(header), _plain(inst, code), _WANTED).elements

    def number(tag: int, default: int) -> int:
        return int.from_bytes(found[tag].value[:2], "little") if tag in found and found[tag].value else default

    photometric = found[_PHOTOMETRIC].value.decode("ascii", "replace").strip(" \0") if _PHOTOMETRIC in found else ""
    bits = number(_BITS_ALLOCATED, 0)
    return PixelElement(
        tag,
        vr,
        inst.object.header_length + offset,
        None if length == UNDEFINED else length,
        bits_per_frame(number(_ROWS, 0), number(_COLUMNS, 0), number(_SAMPLES, 1), bits, photometric),
        _word(tag, vr, bits) if syntax_of(inst).pixels_big_endian else 1,
    )


def _plain(inst: StoredInstance, code: Coding) -> str:
    """The transfer syntax of the dataset once it is inflated."""
    if not syntax_of(inst).deflated:
        return inst.object.transfer_syntax_uid
    return _IMPLICIT_VR_LITTLE_ENDIAN if code.implicit else _EXPLICIT_VR_LITTLE_ENDIAN


def _word(tag: int, vr: str, bits_allocated: int) -> int:
    """How many bytes were swapped for big endian (PS3.5 7.3, A.3): pixels of 32 bits as a whole, as readers expect."""
    if tag in _FLOATS:
        return _FLOATS[tag]
    if bits_allocated <= 8:
        return 2 if vr == "OW" and bits_allocated == 8 else 1
    return bits_allocated // 8


def frame_table(store: Ranges, inst: StoredInstance) -> FrameTable:
    """Where the frames are. Raises NotFound if the object has none that can be told apart."""
    table = inst.object.frame_table
    if table is None:
        raise NotFound("the object has no frames")
    if table:
        return FrameTable.from_bytes(table)
    pixels = pixel_element(store, inst)
    if pixels is not None and pixels.length is not None:
        found = native_frame_table(
            pixels.offset,
            pixels.length,
            bits_per_frame=pixels.bits_per_frame,
            number_of_frames=inst.number_of_frames,
        )
        if found is not None:
            return found
    raise NotFound("the object has no frames")


def read_frames(store: Ranges, inst: StoredInstance, numbers: Iterable[int]) -> Generator[bytes, None, None]:
    """The frames of these numbers, from 1, in their order.

    Native frames come little endian and octet-aligned, whatever they are stored as; encapsulated ones come as they
    are stored, without item headers.

    Raises
    ------
    NotFound
        The object has no such frame.
    """
    table = frame_table(store, inst)
    pixels = None if table.encapsulated else pixel_element(store, inst)
    wanted = list(numbers)
    for number in wanted:
        if not 1 <= number <= table.count:
            raise NotFound(f"the object has no frame {number}; it has {table.count}")
    with dataset_reader(store, inst) as read:
        for run in _runs(wanted, table):
            base, end = _span(table, run[0])[0], sum(_span(table, run[-1]))
            word = 1 if pixels is None else pixels.word
            base -= (base - table.start) % word
            end += (table.start - end) % word
            data = read(base, end - base)
            if word > 1:
                data = swap(data, word)
            for number in run:
                offset, length = _span(table, number)
                yield _frame(table, number, data[offset - base : offset - base + length])


def frame_place(store: Ranges, inst: StoredInstance, number: int) -> tuple[int, int] | None:
    """Offset and length of the bytes of the stored file that are the frame as `read_frames` gives it.

    None where they are not there in one piece. Raises as `read_frames` does.
    """
    table = frame_table(store, inst)
    if table.encapsulated or table.bits % 8 or syntax_of(inst).deflated:
        return None
    pixels = pixel_element(store, inst)
    if pixels is not None and pixels.word > 1:
        return None
    if not 1 <= number <= table.count:
        raise NotFound(f"the object has no frame {number}; it has {table.count}")
    offset, length = _span(table, number)
    return inst.object.dataset_offset + offset, length


def _frame(table: FrameTable, number: int, span: bytes) -> bytes:
    if table.encapsulated:
        return strip_item_headers(span)
    shift = table.bit_offset(number - 1)
    return extract_bits(span, shift, table.bits) if shift or table.bits % 8 else span


def _span(table: FrameTable, number: int) -> tuple[int, int]:
    return table.span(number - 1)


def _runs(numbers: list[int], table: FrameTable) -> Generator[list[int], None, None]:
    """Group frames that follow one another, so that they are read together."""
    run: list[int] = []
    size = 0
    for number in numbers:
        length = table.span(number - 1)[1]
        if run and (number != run[-1] + 1 or size + length > _TOGETHER):
            yield run
            run, size = [], 0
        run.append(number)
        size += length
    if run:
        yield run


def swap(data: bytes, word: int) -> bytes:
    """Turn words of `word` bytes round; a rest that is no whole word stays as it is."""
    whole = len(data) - len(data) % word
    return np.frombuffer(data[:whole], f">u{word}").astype(f"<u{word}").tobytes() + data[whole:]


def frames_syntax(inst: StoredInstance) -> str:
    """The transfer syntax of what `read_frames` gives: native frames are little endian."""
    return inst.object.transfer_syntax_uid if inst.object.frame_table else _EXPLICIT_VR_LITTLE_ENDIAN
