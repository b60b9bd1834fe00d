"""Corrections applied to encoded elements on their way out (PS3.3 C.12.1.1.2, C.12.1.1.9).

Text goes out in UTF-8 where it was received in a character set that the object does not declare, or where a corrected
value needs letters that its character set may lack. What was there before is told in Original Attributes Sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Final

from archive.correction.record import Change, Corrections
from archive.correction.rules import character_sets, unicode_of
from archive.errors import CannotParse
from archive.standard.coding import Coding, Element
from archive.standard.rewrite import SPECIFIC_CHARACTER_SET, Span, items_of, joined, outline, with_changes
from archive.standard.text import UTF_8
from archive.standard.uids import IMPLEMENTATION_VERSION_NAME

ORIGINAL_ATTRIBUTES_SEQUENCE: Final = 0x04000561
_MODIFIED_ATTRIBUTES_SEQUENCE: Final = 0x04000550
_ATTRIBUTE_MODIFICATION_DATE_TIME: Final = 0x04000562
_MODIFYING_SYSTEM: Final = 0x04000563
_SOURCE_OF_PREVIOUS_VALUES: Final = 0x04000564
_REASON: Final = 0x04000565

COERCE: Final = "COERCE"
CORRECT: Final = "CORRECT"


def apply(corrections: Corrections, header: bytes, trailer: bytes, code: Coding) -> tuple[bytes, bytes]:
    """The elements before and behind the pixel data as they are to be given; the same where nothing is different.

    Both are in the coding `code`. Raises `CannotParse`, which no stored object should.
    """
    given = _Given(corrections, header, trailer, code)
    changes: dict[int, bytes | None] = {change.tag: given.corrected(change) for change in corrections.changes}
    items = []
    if given.converted:
        changes[SPECIFIC_CHARACTER_SET] = code.element(SPECIFIC_CHARACTER_SET, "CS", UTF_8.encode())
        # An item of its own: Specific Character Set in an item is also about the text beside it.
        before = given.declaration or code.element(SPECIFIC_CHARACTER_SET, "CS", b"")
        items.append(given.item([before], CORRECT if corrections.character_set else COERCE))
    if corrections.changes:
        originals = [
            given.original(change.tag, change.vr)
            for change in sorted(corrections.changes, key=lambda change: change.tag)
        ]
        items.append(given.item(originals, COERCE))
    if not items:
        return header, trailer
    changes[ORIGINAL_ATTRIBUTES_SEQUENCE] = given.original_attributes(items)
    return with_changes(given.header, code, changes), given.trailer


class _Given:
    """The elements of one object with their text in the character set that they go out in."""

    def __init__(self, corrections: Corrections, header: bytes, trailer: bytes, code: Coding) -> None:
        self._corrections = corrections
        self._code = code
        self.header, self.trailer = header, trailer
        self._spans = _by_tag(header, code)
        span = self._spans.get(SPECIFIC_CHARACTER_SET)
        self.declaration = header[span.offset : span.end] if span else b""
        named = {SPECIFIC_CHARACTER_SET: Element("CS", header[span.start : span.end])} if span else {}
        declared = character_sets(named, None)
        # Even where all that was received is ASCII, what is put beside it may not be.
        foreign = any(not (change.value or "").isascii() for change in corrections.changes) and declared != [UTF_8]
        self.converted = foreign
        if corrections.character_set or foreign:
            text = unicode_of(corrections, named)
            rewritten = text.rewrite(header, code), text.rewrite(trailer, code)
            if text.changed or foreign:
                self.header, self.trailer = rewritten
                self._spans = _by_tag(self.header, code)
                self.converted = True

    def corrected(self, change: Change) -> bytes | None:
        """The corrected element; None if there is to be none."""
        if change.value is None:
            return None
        if change.vr == "SQ":
            return self._code.element(change.tag, "SQ", self._item_of_code(*change.value.split("\\")))
        return self._text(change.tag, change.vr, change.value)

    def _item_of_code(self, value: str, scheme: str, meaning: str) -> bytes:
        """An item of the Code Sequence Macro (PS3.3 8.8)."""
        parts = ((0x00080100, "SH", value), (0x00080102, "SH", scheme), (0x00080104, "LO", meaning))
        return joined((self._text(*part) for part in parts), self._code)

    def _text(self, tag: int, vr: str, value: str) -> bytes:
        return self._code.element(tag, vr, value.encode())

    def original(self, tag: int, vr: str) -> bytes:
        """The element as it was, but for the encoding of its text; without a value if it was not there."""
        span = self._spans.get(tag)
        return self.header[span.offset : span.end] if span else self._code.element(tag, vr, b"")

    def item(self, originals: Iterable[bytes], reason: str) -> bytes:
        """An item of Original Attributes Sequence."""
        code, corrections = self._code, self._corrections
        at = corrections.at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
        elements = (
            code.element(_MODIFIED_ATTRIBUTES_SEQUENCE, "SQ", joined(originals, code)),
            self._text(_ATTRIBUTE_MODIFICATION_DATE_TIME, "DT", at),
            self._text(_MODIFYING_SYSTEM, "LO", IMPLEMENTATION_VERSION_NAME),
            self._text(_SOURCE_OF_PREVIOUS_VALUES, "LO", corrections.peer),
            self._text(_REASON, "CS", reason),
        )
        return joined(elements, code)

    def original_attributes(self, items: list[bytes]) -> bytes:
        """The sequence with the items that it had before, and ours.

        One that came as UN in another coding stays as it is: what others have told is not taken away.
        """
        span = self._spans.get(ORIGINAL_ATTRIBUTES_SEQUENCE)
        before = b""
        if span is not None and span.end > span.start:
            try:
                before = items_of(self.header, span) if span.vr == "SQ" and span.coding is self._code else b""
            except CannotParse:
                before = b""
            if not before:
                return self.header[span.offset : span.end]
        return self._code.element(ORIGINAL_ATTRIBUTES_SEQUENCE, "SQ", before + b"".join(items))


def _by_tag(header: bytes, code: Coding) -> dict[int, Span]:
    """The elements by tag; of two with the same one the last, which readers take."""
    return {span.tag: span for span in outline(header, code)}
