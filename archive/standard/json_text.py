"""The DICOM JSON model as text, for many objects that are much alike (PS3.18 Annex F).

Of the slices of a series nine elements in ten are the same, byte for byte. So what an encoded element becomes is
remembered by its bytes (`archive.standard.alike`), and is looked up instead of made. Only what every reader takes the
same way is written here: little endian, elements in ascending order, lengths that fit. Anything else raises `Unusual`
and is left to `archive.standard.json_model`, which also writes the single elements.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import orjson

from archive.standard.alike import Alike, Step
from archive.standard.coding import UNDEFINED, Coding, Element, coding, follows_pixel_representation, is_vr, vr_of
from archive.standard.json_model import BulkPath, BulkURI, ElementWriter
from archive.standard.pixel_data import PIXEL_TAGS
from archive.standard.text import character_sets_of
from archive.standard.uids import transfer_syntax

MARK: Final = "\x7f"
"""Stands in the text where a Bulk Data URI begins and where it ends, for what only the request knows.

It is in no value: it is a control character, which DICOM does not have (PS3.5 6.1.3)."""

_MARK: Final = MARK.encode()
_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
_TRAILING_PADDING: Final = 0xFFFCFFFC
_PIXEL_DATA: Final = 0x7FE00010
_OFFSET_TABLES: Final = frozenset((0x7FE00001, 0x7FE00002))
_UTF_8: Final = b'"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'
_PLAIN_VRS: Final = frozenset(("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI"))
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]*").fullmatch
_DEEPEST: Final = 16
# Longer values hardly ever come twice; of elements with so many bytes, the first are not asked for any more.
_LONGEST: Final = 4096
_MOST: Final = 16 << 20
_MOST_ORDERS: Final = 1000


def with_addresses(text: bytes, root: str, suffix: str) -> bytes:
    """Complete the Bulk Data URIs: `root` before each, `suffix` behind."""
    before, behind = (orjson.dumps(each)[1:-1] for each in (root, suffix))
    return b"".join(_around(text, before, behind))


def _around(text: bytes, before: bytes, behind: bytes) -> list[bytes]:
    """The text without marks, and with something put around what is between two of them."""
    # To look for a single byte is many times faster than for two of which the first is on each line.
    parts = text.split(_MARK)
    parts[1::2] = [b"%b%b%b" % (before, address, behind) for address in parts[1::2]]
    return parts


def marked(instance: str) -> BulkURI:
    """What to give to `header_json` to get such text."""
    return lambda path: f"{MARK}{instance}{'/'.join(map(str, path))}{MARK}"


class Unusual(Exception):
    """The elements are not as they should be, or so rare that they are not written here."""


class TextWriter:
    """Writes the headers of objects one after the other; best those of one series. For one thread at a time."""

    def __init__(self, inline_limit: int = 1024) -> None:
        """Binary values of more than `inline_limit` bytes are bulk data."""
        self._alike: dict[tuple[tuple[str, ...], bool, bool], Alike] = {}
        self._orders: set[tuple[int, ...]] = set()
        self._writer = ElementWriter(marked(""), inline_limit)
        self._kept = 0

    def write(self, encoded: bytes, transfer_syntax_uid: str, pixels: tuple[int, str] | None, instance: str) -> bytes:
        """Return the JSON object of encoded elements, as `archive.standard.json_model.header_json` has it.

        Each Bulk Data URI is `instance` and the path of the element, between two `MARK`; see `with_addresses`.

        Parameters
        ----------
        encoded : bytes
            Elements without the pixel data, as `header_json` takes them.
        pixels : tuple or None
            Tag and VR of the pixel data.
        instance : str
            Between the root of the service and the path of an element: ``/studies/1.2/.../bulkdata/``.

        Raises
        ------
        Unusual
        """
        syntax = transfer_syntax(transfer_syntax_uid)
        if syntax is not None and not syntax.little_endian:
            raise Unusual
        code = coding(implicit=not is_vr(encoded[4:6]), little=True)
        try:
            end, written = _Node(self, encoded, code, (), [], signed=False).run(0, len(encoded), delimited=False)
        except (struct.error, IndexError):
            raise Unusual from None
        if end != len(encoded):
            raise Unusual
        if pixels is not None:
            _insert(written, self.element(pixels[0], Element(pixels[1], b""), [], []))
        text = b"{%b}" % b",".join(written)
        if not text.isascii():
            # Declared where nothing was, but text needs it.
            at = bisect_left(written, _UTF_8[:10])
            if not written[at : at + 1] or not written[at].startswith(_UTF_8[:10]):
                written.insert(at, _UTF_8)
                text = b"{%b}" % b",".join(written)
        return b"".join(_around(text, _MARK + orjson.dumps(instance)[1:-1], _MARK))

    def alike(self, character_sets: tuple[str, ...], *, signed: bool, implicit: bool) -> Alike:
        """What elements become that are encoded so, and stand behind such a Specific Character Set."""
        key = (character_sets, signed, implicit)
        if (found := self._alike.get(key)) is None:
            found = self._alike[key] = Alike()
        return found

    def remember(self, alike: Alike, element: bytes, written: bytes) -> None:
        """Keep what an element becomes, unless it is too long."""
        if len(element) > _LONGEST:
            return
        if self._kept >= _MOST:
            for each in self._alike.values():
                each.elements.clear()
            self._kept = 0
        self._kept += len(element) + len(written)
        alike.elements[element] = written

    def check_order(self, tags: list[int], code: Coding) -> None:
        """Raise `Unusual` unless the raw tags ascend."""
        order = tuple(tags)
        if order in self._orders:
            return
        ascending = [code.raw(raw) for raw in order]
        if any(first >= second for first, second in pairwise(ascending)):
            raise Unusual
        if len(self._orders) < _MOST_ORDERS:
            self._orders.add(order)

    def element(self, tag: int, element: Element, character_sets: Sequence[str], path: BulkPath) -> bytes:
        """Return ``"00080060":{"vr":"CS","Value":["CT"]}``."""
        key = f"{tag:08X}"
        if element.vr in _PLAIN_VRS:
            # Padding, and then nothing that must be looked at twice: the same for every character set.
            value = element.value.strip(b" \0")
            if value and _PLAIN(value):
                return b'"%b":{"vr":"%b","Value":["%b"]}' % (key.encode(), element.vr.encode(), value)
        writer = self._writer
        writer.beyond_ascii = False
        written = _member(key, writer.element(tag, key, element, list(character_sets), path))
        if writer.beyond_ascii and written.isascii():
            raise Unusual  # text that was dropped, but for which UTF-8 may have to be declared
        return written


class _Node:
    """One run of elements: a dataset, or an item of a sequence in it."""

    def __init__(
        self,
        texts: TextWriter,
        data: bytes,
        code: Coding,
        character_sets: tuple[str, ...],
        path: BulkPath,
        *,
        signed: bool,
    ) -> None:
        self._texts = texts
        self._data = data
        self._code = code
        self._sets = character_sets
        self._path = path
        self._signed = signed
        self._alike = texts.alike(character_sets, signed=signed, implicit=code.implicit)
        # The items of sequences are short, and not alike among themselves.
        self._steps: list[Step] | None = None if path else []

    def run(self, at: int, end: int, *, delimited: bool) -> tuple[int, list[bytes]]:
        """Write the elements from `at` on; return the offset behind the last, and what they became.

        They go up to `end`, or end before with a delimiter.
        """
        code, tags = self._code, list[int]()
        loop = self._implicit if code.implicit else self._explicit
        at, written = loop(at, end, tags)
        self._texts.check_order(tags, code)
        self._learn()
        if delimited:
            if code.unpack_item(self._data, at) != (code.item_end, 0):
                raise Unusual
            return at + 8, written
        if at != end:
            raise Unusual
        return at, written

    def _explicit(self, at: int, end: int, tags: list[int]) -> tuple[int, list[bytes]]:
        data, alike, steps, written = self._data, self._alike, self._steps, list[bytes]()
        code = self._code
        unpack, unpack_length, short, long = code.unpack, code.unpack_length, code.short, code.long
        while at < end:
            raw, vr, length = unpack(data, at)
            if steps is not None and (run := alike.runs.get(raw)) is not None:
                if data.startswith(run.encoded, at):
                    tags += run.tags
                    if run.written:
                        written.append(run.written)
                    at += len(run.encoded)
                    continue
                alike.broken(run, data, at)
            if vr in short:
                start = at + 8
            elif vr in long:
                start = at + 12
                length = unpack_length(data, at + 8)[0]
            elif raw == code.item_end:
                break
            else:
                raise Unusual
            tags.append(raw)
            known = None
            if length == UNDEFINED:
                stop, made = self._sequence(code.raw(raw), code.names[vr], start, end)
            else:
                stop = start + length
                known = alike.elements.get(data[at:stop])
                if known is None:
                    made = self._new(code.raw(raw), code.names[vr], at, start, stop, end)
                    alike = self._alike
                else:
                    made = known
            if made:
                written.append(made)
            if steps is not None:
                steps.append(Step(raw, at, stop, made, known is not None))
            at = stop
        return at, written

    def _implicit(self, at: int, end: int, tags: list[int]) -> tuple[int, list[bytes]]:
        data, alike, steps, written = self._data, self._alike, self._steps, list[bytes]()
        code = self._code
        unpack, stops = code.unpack, code.stops
        while at < end:
            raw, length = unpack(data, at)
            if steps is not None and (run := alike.runs.get(raw)) is not None:
                if data.startswith(run.encoded, at):
                    tags += run.tags
                    if run.written:
                        written.append(run.written)
                    at += len(run.encoded)
                    continue
                alike.broken(run, data, at)
            if raw in stops:
                if raw == code.item_end:
                    break
                raise Unusual
            tags.append(raw)
            start = at + 8
            known = None
            if length == UNDEFINED:
                tag = code.raw(raw)
                stop, made = self._sequence(tag, vr_of(tag), start, end)
            else:
                stop = start + length
                known = alike.elements.get(data[at:stop])
                if known is None:
                    tag = code.raw(raw)
                    made = self._new(tag, vr_of(tag), at, start, stop, end)
                    alike = self._alike
                else:
                    made = known
            if made:
                written.append(made)
            if steps is not None:
                steps.append(Step(raw, at, stop, made, known is not None))
            at = stop
        return at, written

    def _new(self, tag: int, vr: str, at: int, start: int, stop: int, end: int) -> bytes:
        """Write an element that is not remembered; empty if it is left out."""
        if stop > end or tag in _OFFSET_TABLES:
            raise Unusual
        element = self._data[at:stop]
        if tag & 0xFFFF == 0 or tag >> 16 in (0, 2) or tag == _TRAILING_PADDING:
            self._texts.remember(self._alike, element, b"")
            return b""
        if vr == "UN":
            # PS3.5 6.2.2 note 3: what is known of the element may be used.
            vr = vr_of(tag)
            if vr == "SQ":
                return self._items(tag, start, stop, coding(implicit=True, little=True), delimited=False)[1]
        if vr == "SQ":
            _, written = self._items(tag, start, stop, self._code, delimited=False)
        else:
            value = self._data[start:stop]
            if tag in PIXEL_TAGS:
                if tag != _PIXEL_DATA:
                    raise Unusual
                value = b""
            if tag in (_SPECIFIC_CHARACTER_SET, _PIXEL_REPRESENTATION):
                return self._decisive(tag, vr, value)
            if self._signed and self._code.implicit and vr == "US" and follows_pixel_representation(tag):
                vr = "SS"
            written = self._texts.element(tag, Element(vr, value), self._sets, self._path)
        if not self._path or _MARK not in written:
            self._texts.remember(self._alike, element, written)
        return written

    def _decisive(self, tag: int, vr: str, value: bytes) -> bytes:
        """Write an element by which those behind it are read."""
        if tag == _SPECIFIC_CHARACTER_SET:
            self._sets = tuple(character_sets_of(value))
            written = _UTF_8 if self._sets else b'"00080005":{"vr":"CS"}'
        else:
            self._signed = value[:1] == b"\x01"
            if self._signed and self._code.implicit and vr == "US" and follows_pixel_representation(tag):
                raise Unusual
            written = self._texts.element(tag, Element(vr, value), self._sets, self._path)
        self._learn()
        self._alike = self._texts.alike(self._sets, signed=self._signed, implicit=self._code.implicit)
        return written

    def _learn(self) -> None:
        """Have the elements up to here remembered."""
        if self._steps:
            self._alike.learn(self._steps, self._data, self._code)
            self._steps.clear()

    def _sequence(self, tag: int, vr: str, start: int, end: int) -> tuple[int, bytes]:
        """Write a sequence of undefined length."""
        if vr != "SQ" or tag & 0xFFFF == 0 or tag >> 16 in (0, 2):
            raise Unusual
        return self._items(tag, start, end, self._code, delimited=True)

    def _items(self, tag: int, at: int, end: int, code: Coding, *, delimited: bool) -> tuple[int, bytes]:
        """Write the items of a sequence; return the offset behind it, and what it became."""
        data, key, index, items = self._data, f"{tag:08X}", 0, list[bytes]()
        if len(self._path) >= 2 * _DEEPEST:
            raise Unusual
        while delimited or at < end:
            raw, length = code.unpack_item(data, at)
            at += 8
            if raw != code.item:
                if raw == code.sequence_end and delimited and not length:
                    break
                raise Unusual
            if length and not code.implicit and not is_vr(data[at + 4 : at + 6]) and not _ends(data, at, code):
                raise Unusual
            node = _Node(self._texts, data, code, self._sets, [*self._path, key, index], signed=self._signed)
            undefined = length == UNDEFINED
            stop = end if undefined else at + length
            if stop > end:
                raise Unusual
            at, written = node.run(at, stop, delimited=undefined)
            items.append(b"{" + b",".join(written) + b"}")
            index += 1
        if not items:
            return at, _member(key, {"vr": "SQ"})
        return at, b'"%b":{"vr":"SQ","Value":[%b]}' % (key.encode(), b",".join(items))


def _ends(data: bytes, at: int, code: Coding) -> bool:
    return code.unpack_item(data, at) == (code.item_end, 0)


def _member(key: str, value: dict[str, Any]) -> bytes:
    return b'"%b":%b' % (key.encode(), orjson.dumps(value))


def _insert(written: list[bytes], member: bytes) -> None:
    at = bisect_left(written, member[:10])
    if written[at : at + 1] and written[at].startswith(member[:10]):
        raise Unusual
    written.insert(at, member)
