"""Changes to encoded elements, with everything else copied byte for byte (PS3.5 6.1, 7.1, 7.5).

In any coding: implicit or explicit VR, little or big endian, sequences and items of defined and undefined length, which
stay what they are. What cannot be parsed is copied as it is. Group lengths that were right are made right again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pydicom.datadict import private_dictionary_VR

from archive.errors import CannotParse
from archive.standard.coding import LONGEST_SHORT, UNDEFINED, Coding, coding, is_vr, vr_of
from archive.standard.text import CHARSET_VRS, UTF_8, character_sets_of, decode_whole, is_plain
from archive.standard.walk import MAX_DEPTH, Everything, RawSequence, Walk, item_spans

SPECIFIC_CHARACTER_SET: Final = 0x00080005

_NO_LIMIT: Final = 1 << 62


class Span(NamedTuple):
    """Where a data element is: from its tag, from its value, to its end. `vr` is the known one of what came as UN."""

    tag: int
    vr: str
    offset: int
    start: int
    end: int
    coding: Coding
    """Of the items, where it is a sequence."""


class _Outline(Walk):
    """A walk that notes where the elements of the top level are."""

    def __init__(self, data: bytes, code: Coding) -> None:
        super().__init__(
            lambda offset, length: data[offset : offset + length],
            len(data),
            code,
            Everything(code),
            max_sequence=_NO_LIMIT,
        )
        self.spans: list[Span] = []

    def _keep(self, raw: int, vr: str, offset: int, start: int, length: int) -> None:
        # One that does not fit is left for the walk to complain about.
        if start + length <= self._size:
            tag, code = self.code.raw(raw), self.code
            if vr == "UN":
                vr = vr_of(tag)
                code = coding(implicit=vr == "SQ" or code.implicit, little=True)
            self.spans.append(Span(tag, vr, offset, start, start + length, code))

    def _undefined(self, raw: int, vr: str, offset: int, start: int, depth: int, code: Coding) -> int:
        end = super()._undefined(raw, vr, offset, start, depth, code)
        if not depth:
            tag = code.raw(raw)
            found = self.sequences.get(tag) if vr in ("SQ", "UN") else None
            self.spans.append(Span(tag, "SQ" if found else "OB", offset, start, end, found.coding if found else code))
        return end


def outline(data: bytes, code: Coding) -> list[Span]:
    """Find the elements of encoded data that ends between two of them. Raises `CannotParse`."""
    if not data:
        return []
    walk = _Outline(data, code)
    walk.run()
    return walk.spans


def _assembled(data: bytes, code: Coding, pieces: Sequence[tuple[Span | None, bytes]]) -> bytes:
    """Join the pieces, of which those without a span are new or lie between elements, and mend group lengths."""
    parts = [piece for _, piece in pieces]
    unpack = struct.Struct("<L" if code.little else ">L")
    for n, (span, piece) in enumerate(pieces):
        if span is None or span.tag & 0xFFFF or span.end - span.start != unpack.size:
            continue
        group = span.tag >> 16
        members = [(other, size) for other, size in pieces[n + 1 :] if _group(other, size, code) == group]
        before = sum(other.end - other.offset for other, _ in members if other is not None)
        if unpack.unpack_from(data, span.start)[0] == before:
            parts[n] = piece[: span.start - span.offset] + unpack.pack(sum(len(size) for _, size in members))
    return b"".join(parts)


def _group(span: Span | None, piece: bytes, code: Coding) -> int:
    if span is not None:
        return span.tag >> 16
    return int.from_bytes(piece[:2], "little" if code.little else "big") if len(piece) >= 8 else -1


def _with_value(data: bytes, span: Span, code: Coding, value: bytes) -> bytes:
    """The element with another value; an undefined length stays undefined."""
    header = data[span.offset : span.start]
    order = "<" if code.little else ">"
    if len(header) == 12:
        if struct.unpack_from(order + "L", header, 8)[0] == UNDEFINED:
            return header + value
        return header[:8] + struct.pack(order + "L", len(value)) + value
    if code.implicit or not is_vr(header[4:6]):
        if struct.unpack_from(order + "L", header, 4)[0] == UNDEFINED:
            return header + value
        return header[:4] + struct.pack(order + "L", len(value)) + value
    if len(value) > LONGEST_SHORT:
        return code.header(span.tag, "UN", len(value)) + value
    return header[:6] + struct.pack(order + "H", len(value)) + value


# -- elements ------------------------------------------------------------------------------------------------------


def with_changes(data: bytes, code: Coding, changes: Mapping[int, bytes | None]) -> bytes:
    """Replace, add or (None) remove elements of the top level, each given as it is encoded. Raises `CannotParse`."""
    left = dict(sorted(changes.items()))
    pieces: list[tuple[Span | None, bytes]] = []
    at = 0
    for span in outline(data, code):
        if span.offset > at:
            pieces.append((None, data[at : span.offset]))
        at = span.end
        while left and (tag := next(iter(left))) < span.tag:
            _add(pieces, left.pop(tag))
        if span.tag not in changes:
            pieces.append((span, data[span.offset : span.end]))
        elif span.tag in left:
            _add(pieces, left.pop(span.tag))
    for change in left.values():
        _add(pieces, change)
    pieces.append((None, data[at:]))
    return _assembled(data, code, pieces)


def _add(pieces: list[tuple[Span | None, bytes]], change: bytes | None) -> None:
    if change is not None:
        pieces.append((None, change))


# -- text ----------------------------------------------------------------------------------------------------------


class Unicode:
    """Rewrites the text of encoded elements in UTF-8, at every depth, and says so in Specific Character Set.

    Parameters
    ----------
    character_sets : sequence of str
        What the text of the top level is in, as for `archive.standard.text.decode`.
    whatever_items_say : bool
        Items with a Specific Character Set of their own are in the same one nevertheless.
    """

    def __init__(self, character_sets: Sequence[str], *, whatever_items_say: bool) -> None:
        self._character_sets = list(character_sets)
        self._whatever_items_say = whatever_items_say
        self.changed = False
        """Whether any text was not plain ASCII; until then nothing needs to be rewritten."""

    def rewrite(self, data: bytes, code: Coding) -> bytes:
        """Rewrite elements of the top level; Specific Character Set is not added if it is not there."""
        return self._dataset(data, code, self._character_sets, 0)

    def rewrite_items(self, items: RawSequence) -> RawSequence:
        """Rewrite the items of a sequence of the top level."""
        return items._replace(data=self._items(items.data, items.coding, self._character_sets, 0))

    def _dataset(self, data: bytes, code: Coding, character_sets: list[str], depth: int) -> bytes:
        try:
            spans = outline(data, code)
        except CannotParse:
            return data
        pieces: list[tuple[Span | None, bytes]] = []
        at = 0
        same = True
        creators: dict[tuple[int, int], str] = {}
        for span in spans:
            if span.offset > at:
                pieces.append((None, data[at : span.offset]))
            at = span.end
            value = data[span.start : span.end]
            if span.tag == SPECIFIC_CHARACTER_SET:
                if depth and not self._whatever_items_say:
                    character_sets = character_sets_of(value) or character_sets
                new = UTF_8.encode()
            else:
                new = self._value(_known(span, value, creators), value, character_sets, depth)
            if new is value or new == value:
                pieces.append((span, data[span.offset : span.end]))
            else:
                same = False
                pieces.append((span, _with_value(data, span, code, new)))
        pieces.append((None, data[at:]))
        return data if same else _assembled(data, code, pieces)

    def _value(self, span: Span, value: bytes, character_sets: list[str], depth: int) -> bytes:
        if span.vr == "SQ":
            return self._items(value, span.coding, character_sets, depth) if depth < MAX_DEPTH else value
        if span.vr not in CHARSET_VRS or is_plain(value, character_sets):
            return value
        self.changed = True
        text = decode_whole(value, span.vr, character_sets).text.encode()
        return text + b" " if len(text) % 2 else text

    def _items(self, value: bytes, code: Coding, character_sets: list[str], depth: int) -> bytes:
        pieces = []
        at = 0
        try:
            for item in item_spans(RawSequence(value, code)):
                content = value[item.start : item.end]
                new = self._dataset(content, item.coding, character_sets, depth + 1)
                if new is not content:
                    length = code.unpack_item(value, item.header)[1]
                    header = code.item_header(UNDEFINED if length == UNDEFINED else len(new))
                    pieces += [value[at : item.header], header, new]
                    at = item.end
        except CannotParse:
            pass
        return b"".join([*pieces, value[at:]]) if pieces else value


def _known(span: Span, value: bytes, creators: dict[tuple[int, int], str]) -> Span:
    """The span with the VR that is known of a private element that came without one (PS3.5 7.8.1, 6.2.2)."""
    if not span.tag & 0x10000:
        return span
    group, element = span.tag >> 16, span.tag & 0xFFFF
    if 0x10 <= element <= 0xFF:
        creators[group, element] = value.decode("latin_1").strip(" \0")
        return span
    if span.vr != "UN" or (group, element >> 8) not in creators:
        return span
    try:
        vr = str(private_dictionary_VR(span.tag, creators[group, element >> 8]))
    except KeyError:
        return span
    return span._replace(vr=vr, coding=coding(implicit=True, little=True) if vr == "SQ" else span.coding)


def items_of(data: bytes, span: Span) -> bytes:
    """The encoded items of a sequence, without what ends it. Raises `CannotParse`."""
    value = data[span.start : span.end]
    end = 0
    for item in item_spans(RawSequence(value, span.coding)):
        end = item.end
    return value[:end]


def joined(pieces: Iterable[bytes], code: Coding) -> bytes:
    """One item of these elements."""
    content = b"".join(pieces)
    return code.item_header(len(content)) + content
