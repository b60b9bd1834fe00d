"""Walk the elements of a dataset by their headers, without reading values that nobody asked for (PS3.5 7.1 to 7.5).

This is done for every object received, so the two loops trade a little length for speed. Sequences and items of
defined length are passed over in one step; those of undefined length are walked to find where they end (7.5.2).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from archive.errors import CannotParse
from archive.standard.coding import ITEM, SHORT_VRS, UNDEFINED, Coding, Element, coding, is_vr, show, vr_of
from archive.standard.pixel_data import PIXEL_TAGS, PixelData

Read = Callable[[int, int], bytes]

BLOCK: Final = 1 << 16
FIRST_BLOCK: Final = 1 << 14  # holds all elements before the pixel data of most images
MAX_DEPTH: Final = 64
MAX_VALUE: Final = 1 << 16
MAX_SEQUENCE: Final = 1 << 20
# Eight bytes a frame: room for two million frames.
MAX_OFFSET_TABLE: Final = 1 << 24
MAX_WARNINGS: Final = 20
# Enough to see the header of the next fragment when fragments are too far apart to share a block.
_FAR: Final = 512

_OFFSET_TABLES: Final = frozenset((0x7FE00001, 0x7FE00002))
_SPECIAL: Final = PIXEL_TAGS | _OFFSET_TABLES
# Kept as they are: neither sequences, nor words of a byte order, nor UN.
_PLAIN: Final = frozenset(SHORT_VRS) | {"UC", "UR", "UT"}
_element: Final = tuple.__new__  # makes a `NamedTuple` in a third of the time
_HEADER: Final = 12
_PAD: Final = bytes(_HEADER)


class RawSequence(NamedTuple):
    """The items of a sequence as they are encoded."""

    data: bytes
    coding: Coding


class Everything(dict[int, int]):
    """The watch list that holds every tag, in the byte order of a coding."""

    def __init__(self, code: Coding) -> None:
        super().__init__()
        self._raw = code.raw

    def __contains__(self, raw: object) -> bool:
        return True

    def __missing__(self, raw: int) -> int:
        return self._raw(raw)


_NOTHING: Final[dict[int, int]] = {}


class Walk:
    """One walk over a dataset of `size` bytes; `watch` maps the raw tags to be kept to tags."""

    def __init__(
        self,
        read: Read,
        size: int,
        code: Coding,
        watch: dict[int, int],
        *,
        max_value: int = MAX_VALUE,
        max_sequence: int = MAX_SEQUENCE,
    ) -> None:
        self.elements: dict[int, Element] = {}
        self.sequences: dict[int, RawSequence] = {}
        self.tables: dict[int, bytes] = {}
        self.pixel: PixelData | None = None
        self.warnings: list[str] = []
        self._read = read
        self._size = size
        self.code = code
        self._watch = watch
        self._max_value = max_value
        self._max_sequence = max_sequence
        # The block at hand: its bytes from offset `_base` on. Headers that begin in its first `_reach` bytes are whole.
        self._block = b""
        self._base = 0
        self._reach = 0

    def run(self) -> Walk:
        """Walk the top level to the end of the dataset."""
        self._elements(0, 0, self.code)
        return self

    def item_end(self, start: int, code: Coding) -> int:
        """Return where the elements of an item of undefined length end, which begin at `start`."""
        return self._elements(start, 1, code)

    def _warn(self, message: str) -> None:
        """Note what was tolerated; of a dataset that is garbage throughout, not all of it."""
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(message)

    def _load(self, offset: int, length: int = BLOCK) -> None:
        """Take the block from the offset on to hand, unless what is at hand will do."""
        if self._base <= offset < self._base + self._reach:
            return
        length = min(length, self._size - offset)
        block = self._read(offset, length)
        if len(block) != length:
            raise CannotParse(f"truncated: {length} bytes are due at offset {offset}, {len(block)} were found")
        if offset + length == self._size:
            # So that the header at the very end can be unpacked before it is known to fit.
            block += _PAD
        self._block, self._base, self._reach = block, offset, len(block) - _HEADER

    def _elements(self, offset: int, depth: int, code: Coding) -> int:
        """Walk the elements from the offset on; return where they end, behind the delimiter if they are an item's."""
        loop = self._implicit if code.implicit else self._explicit
        while offset < self._size:
            self._load(offset, BLOCK if offset else FIRST_BLOCK)
            offset = loop(offset, depth, code)
            if offset < 0:
                return ~offset
        if depth:
            raise CannotParse("truncated: the dataset ends within a sequence of undefined length")
        return offset

    def _explicit(self, offset: int, depth: int, code: Coding) -> int:
        """Walk explicit VR elements while they begin in this block; return the offset after, or its complement."""
        block, base, reach, watch = self._block, self._base, self._reach, _NOTHING if depth else self._watch
        unpack, unpack_length, short, long = code.unpack, code.unpack_length, code.short, code.long
        at = offset - base
        raw = start = length = 0
        while at < reach:
            raw, vr, length = unpack(block, at)
            if vr in short:
                start = at + 8
            elif vr in long:
                start = at + 12
                length = unpack_length(block, at + 8)[0]
                if length == UNDEFINED:
                    return self._undefined(raw, code.names[vr], base + at, base + start, depth, code)
            else:
                return self._odd(base + at, depth, code)
            if raw in watch:
                self._keep(raw, code.names[vr], base + at, base + start, length)
            at = start + length
        if base + at > self._size:
            raise self._truncated(code.raw(raw), base + start, length)
        return base + at

    def _implicit(self, offset: int, depth: int, code: Coding) -> int:
        """Walk implicit VR elements while they begin in this block; return the offset after, or its complement."""
        block, base, reach, watch = self._block, self._base, self._reach, _NOTHING if depth else self._watch
        unpack, stops = code.unpack, code.stops
        at = offset - base
        raw = start = length = 0
        while at < reach:
            raw, length = unpack(block, at)
            start = at + 8
            if raw in stops or base + start > self._size:
                return self._odd(base + at, depth, code)
            if length == UNDEFINED:
                return self._undefined(raw, vr_of(code.raw(raw)), base + at, base + start, depth, code)
            if raw in watch:
                self._keep(raw, vr_of(code.raw(raw)), base + at, base + start, length)
            at = start + length
        if base + at > self._size:
            raise self._truncated(code.raw(raw), base + start, length)
        return base + at

    def _truncated(self, tag: int, start: int, length: int) -> CannotParse:
        left = max(self._size - start, 0)
        return CannotParse(f"truncated: element {show(tag)} needs {length} bytes at offset {start}, {left} are left")

    def _value(self, start: int, length: int) -> bytes:
        """Return bytes of the dataset, from the block at hand if it has them."""
        at = start - self._base
        if at >= 0 and at + length <= self._reach:
            return self._block[at : at + length]
        value = self._read(start, length)
        if len(value) != length:
            raise CannotParse(f"truncated: {length} bytes are due at offset {start}, {len(value)} were found")
        return value

    def _keep(self, raw: int, vr: str, offset: int, start: int, length: int) -> None:
        """Keep a watched element; one that does not fit is left for the loop to complain about."""
        tag, at = self._watch[raw], start - self._base
        plain = vr in _PLAIN and tag not in _SPECIAL and self.code.little
        if plain and length <= self._max_value and at + length <= self._reach:
            self.elements[tag] = _element(Element, (vr, self._block[at : at + length]))
        elif start + length <= self._size:
            self._keep_other(tag, vr, offset, start, length)

    def _keep_other(self, tag: int, vr: str, offset: int, start: int, length: int) -> None:
        """Keep what is not a short value in the block at hand."""
        code = self.code
        if vr == "UN":
            # PS3.5 6.2.2 note 3: what is known of the element may be used. Its bytes are little endian.
            vr = vr_of(tag)
            code = coding(implicit=vr == "SQ" or code.implicit, little=True)
        if tag in PIXEL_TAGS:
            if self.pixel is None:
                empty = array("Q")
                self.pixel = PixelData(tag, vr, offset, start, length, start + length, empty, empty)
        elif tag in _OFFSET_TABLES:
            if length <= MAX_OFFSET_TABLE:
                self.tables[tag] = self.code.value("OV", self._value(start, length))
        elif length > (self._max_sequence if vr == "SQ" else self._max_value):
            self._warn(f"the value of {show(tag)} has {length} bytes and was not kept")
        elif vr == "SQ":
            self.sequences[tag] = RawSequence(self._value(start, length), code)
        else:
            self.elements[tag] = Element(vr, code.value(vr, self._value(start, length)))

    def _odd(self, offset: int, depth: int, code: Coding) -> int:
        """Deal with what is no ordinary element: a delimiter, padding, an unknown VR, or the lack of one."""
        left = self._size - offset
        if left < 8:
            return self._padding(offset)
        at = offset - self._base
        raw, length = code.unpack_item(self._block, at)
        if raw in (code.item_end, code.sequence_end):
            if depth:
                # An item that lacks its delimiter ends with its sequence, whose delimiter is left in place.
                return ~(offset + 8 if raw == code.item_end else offset)
            self._warn(f"a stray delimiter at offset {offset} was passed over")
            return offset + 8
        if raw == 0:
            return self._padding(offset)
        if raw == code.item:
            raise CannotParse(f"an item at offset {offset} is in no sequence")
        letters = self._block[at + 4 : at + 6]
        if is_vr(letters):
            return self._unknown_vr(raw, offset, depth, code)
        # Some writers change to implicit VR in mid-dataset; pydicom reads such an element so, too.
        if not depth:
            self._warn(f"element {show(code.raw(raw))} has no VR")
        if length == UNDEFINED:
            return self._undefined(raw, vr_of(code.raw(raw)), offset, offset + 8, depth, code)
        return self._pass(raw, vr_of(code.raw(raw)), offset, offset + 8, length, depth)

    def _pass(self, raw: int, vr: str, offset: int, start: int, length: int, depth: int) -> int:
        """Keep the element if it is watched, and return where it ends."""
        if start + length > self._size:
            raise self._truncated(self.code.raw(raw), start, length)
        if not depth and raw in self._watch:
            self._keep(raw, vr, offset, start, length)
        return start + length

    def _padding(self, offset: int) -> int:
        """Pass over zeros that fill the rest of the dataset; some writers round the length of files up."""
        for start in range(offset, self._size, BLOCK):
            rest = self._value(start, min(BLOCK, self._size - start))
            if rest.count(0) != len(rest):
                if self._size - offset < 8:
                    raise CannotParse(f"truncated: {self._size - offset} bytes at offset {offset} are no element")
                raise CannotParse(f"the bytes at offset {offset} are no data element")
        return self._size

    def _unknown_vr(self, raw: int, offset: int, depth: int, code: Coding) -> int:
        """Pass over an element with a VR of a later edition, which has a 32-bit length (PS3.5 6.2, 7.1.2).

        Letters that never were a VR are found with a 16-bit length, too, and pydicom expects that. The 32-bit
        length is believed if an element or the end follows it.
        """
        at = offset - self._base
        _, _, length = code.unpack(self._block, at)
        long_length = code.unpack_length(self._block, at + 8)[0]
        if length == 0 and long_length == UNDEFINED:
            return self._undefined(raw, "UN", offset, offset + 12, depth, code)
        start = offset + 8
        if length == 0 and self._is_element(offset + 12 + long_length):
            start, length = offset + 12, long_length
        return self._pass(raw, "UN", offset, start, length, depth)

    def _is_element(self, offset: int) -> bool:
        """Whether the dataset ends at the offset, or an explicit VR element or a delimiter may be there."""
        if offset >= self._size:
            return offset == self._size
        header = self._read(offset, min(6, self._size - offset))
        return is_vr(header[4:6]) or header[:2] in (b"\xfe\xff", b"\xff\xfe")

    def _undefined(self, raw: int, vr: str, offset: int, start: int, depth: int, code: Coding) -> int:
        """Walk an element of undefined length: pixel data, a sequence, or UN that holds one (PS3.5 6.2.2, 7.5)."""
        if depth >= MAX_DEPTH:
            raise CannotParse(f"sequences are nested more than {MAX_DEPTH} deep")
        watched = not depth and raw in self._watch
        tag = code.raw(raw)
        if watched and tag in PIXEL_TAGS and self.pixel is None:
            self.pixel = self._fragments(tag, vr, offset, start, code)
            return self.pixel.end
        if vr == "UN":
            # PS3.5 6.2.2 note 2: the items within are in implicit VR little endian, whatever the dataset is in.
            # Some writers keep the byte order of the dataset; the first tag tells.
            little = self._value(start, min(2, self._size - start)) == b"\xfe\xff"
            code = coding(implicit=code.implicit, little=little)
        end = self._items(start, depth, code)
        if watched and end - start <= self._max_sequence:
            self.sequences[tag] = RawSequence(self._value(start, end - start), code)
        return end

    def _items(self, offset: int, depth: int, code: Coding) -> int:
        """Walk items up to the sequence delimiter, and return the offset after it (PS3.5 7.5.2)."""
        while True:
            if self._size - offset < 8:
                raise CannotParse("truncated: the dataset ends within a sequence of undefined length")
            self._load(offset)
            raw, length = code.unpack_item(self._block, offset - self._base)
            offset += 8
            if raw == code.sequence_end:
                return offset
            if raw != code.item:
                raise CannotParse(
                    f"{show(code.raw(raw))} at offset {offset - 8} is neither an item nor a sequence's end"
                )
            if length == UNDEFINED:
                offset = self._elements(offset, depth + 1, self.item_coding(offset, code))
            elif offset + length > self._size:
                raise self._truncated(ITEM, offset, length)
            else:
                offset += length

    def item_coding(self, offset: int, code: Coding) -> Coding:
        """Return the coding of the elements of an item: those of UN, and of careless writers, are in implicit VR."""
        header = self._value(offset, min(8, self._size - offset))
        if code.implicit or len(header) < 8 or is_vr(header[4:6]):
            return code
        return code if code.unpack_item(header, 0)[0] in code.stops else coding(implicit=True, little=code.little)

    def _fragments(self, tag: int, vr: str, offset: int, start: int, code: Coding) -> PixelData:
        """Note where the fragments of encapsulated pixel data are (PS3.5 A.4)."""
        offsets, lengths, table = array("Q"), array("Q"), b""
        at, first, block = start, True, BLOCK
        while self._size - at >= 8:
            self._load(at, block)
            raw, length = code.unpack_item(self._block, at - self._base)
            if raw == code.sequence_end:
                return PixelData(tag, vr, offset, start, None, at + 8, offsets, lengths, table)
            if raw != code.item or length == UNDEFINED:
                raise CannotParse(f"the bytes at offset {at} are not a fragment of the pixel data")
            if at + 8 + length > self._size:
                raise self._truncated(ITEM, at + 8, length)
            if not first:
                offsets.append(at)
                lengths.append(length)
            elif length <= MAX_OFFSET_TABLE:
                table = code.value("UL", self._value(at + 8, length))
            at, first, block = at + 8 + length, False, BLOCK if length < BLOCK else _FAR
        raise CannotParse("truncated: the dataset ends within the fragments of the pixel data")


class ItemSpan(NamedTuple):
    """Where an item of a sequence is: its header, its first element, and its end behind the delimiter if it has one."""

    header: int
    start: int
    end: int
    coding: Coding


def item_spans(raw: RawSequence) -> Iterator[ItemSpan]:
    """Find the items of a sequence held in memory (PS3.5 7.5.1).

    Raises
    ------
    CannotParse
        The items do not fit into the sequence, or elements into an item.
    """
    data, code = raw
    outer = Walk(_reader(data, 0), len(data), code, _NOTHING)
    at = 0
    while len(data) - at >= 8:
        found, length = code.unpack_item(data, at)
        if found == code.sequence_end:
            return
        if found != code.item:
            raise CannotParse(f"a sequence holds {show(code.raw(found))} where an item is due")
        start = at + 8
        inner = outer.item_coding(start, code)
        end = outer.item_end(start, inner) if length == UNDEFINED else start + length
        if end > len(data):
            raise CannotParse(f"truncated: an item of a sequence needs {length} bytes")
        yield ItemSpan(at, start, end, inner)
        at = end


def walk_items(raw: RawSequence, *, max_value: int = MAX_VALUE, max_sequence: int = MAX_SEQUENCE) -> Iterator[Walk]:
    """Walk the items of a sequence held in memory and keep all of their elements. Raises as `item_spans` does."""
    for _, start, end, inner in item_spans(raw):
        read = _reader(raw.data, start)
        yield Walk(read, end - start, inner, Everything(inner), max_value=max_value, max_sequence=max_sequence).run()


def _reader(data: bytes, start: int) -> Read:
    return lambda offset, length: data[start + offset : start + offset + length]
