"""The DICOM JSON model of a dataset (PS3.18 Annex F).

Values are taken from their encoded bytes: pydicom's own conversion raises on what devices really send (a decimal
string that is none, infinity), and is several times slower. pydicom is the oracle of the tests.
"""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

from archive.errors import CannotParse
from archive.standard.coding import Element, coding, follows_pixel_representation, is_vr, vr_of
from archive.standard.pixel_data import PIXEL_TAGS
from archive.standard.text import character_sets_of, decode, parse_int
from archive.standard.uids import transfer_syntax
from archive.standard.walk import MAX_DEPTH, Everything, RawSequence, Walk, walk_items

BulkPath = list[str | int]
"""Tags as eight hex digits, with the index of the item after each sequence's: ["54000100", 0, "54001010"]."""
BulkURI = Callable[[BulkPath], str]
JSONDataset = dict[str, dict[str, Any]]
_Node = Iterable[tuple[int, "Element | RawSequence | Sequence[Dataset]"]]

_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
# Viewers need the palettes to show the image, and do not all fetch them as bulk data.
_INLINE: Final = frozenset((*range(0x00281201, 0x00281205), *range(0x00281221, 0x00281225)))
_TRAILING_PADDING: Final = 0xFFFCFFFC
_UTF_8: Final = "ISO_IR 192"
_NO_LIMIT: Final = 1 << 62

_SINGLE_TEXT: Final = frozenset(("LT", "ST", "UR", "UT"))
_NUMBERS: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_PN_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def dataset_json(ds: Dataset, bulk_uri: BulkURI | None, inline_limit: int = 1024) -> JSONDataset:
    """Return the DICOM JSON model of a dataset (PS3.18 F.2), with keys in ascending order.

    Text is decoded, so Specific Character Set says UTF-8. Group lengths and groups 0000 and 0002 are left out.

    Parameters
    ----------
    ds : Dataset
        As read by pydicom, or made.
    bulk_uri : callable or None
        Gives the URI of a bulk data element by its path. With None everything is inline but the pixel data, which
        are left out.
    inline_limit : int
        Binary values of more bytes are bulk data; pixel data always are, palettes never.
    """
    return ElementWriter(bulk_uri, inline_limit).top(_of_dataset(ds), implicit=bool(ds.original_encoding[0]))


def header_json(
    header: bytes,
    transfer_syntax_uid: str,
    bulk_uri: BulkURI | None,
    inline_limit: int = 1024,
    *,
    default: str | None = None,
    actual: str | None = None,
) -> JSONDataset:
    """Return the DICOM JSON model of encoded elements, such as those before the pixel data, without pydicom.

    `header` begins at the first byte after the file meta information and ends between two elements. A deflated
    dataset must have been inflated. `default` is the character set to assume where none is declared, `actual`
    that of whatever is declared.

    Raises
    ------
    CannotParse
        The bytes are not whole elements.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    code = coding(implicit=not is_vr(header[4:6]), little=syntax is None or syntax.little_endian)
    walk = Walk(
        lambda offset, length: header[offset : offset + length],
        len(header),
        code,
        Everything(code),
        max_value=_NO_LIMIT,
        max_sequence=_NO_LIMIT,
    ).run()
    writer = ElementWriter(bulk_uri, inline_limit, assumed=actual or default or "", believes=actual is None)
    return writer.top(_of_walk(walk), implicit=code.implicit)


def sequence_json(items: RawSequence, character_sets: list[str]) -> list[JSONDataset]:
    """Return the items of a sequence in the DICOM JSON model; of one that cannot be parsed to its end, those before."""
    written: list[JSONDataset] = (
        ElementWriter(None, _NO_LIMIT).sequence(items, character_sets, [], False).get("Value", [])
    )
    return written


def _of_walk(walk: Walk) -> _Node:
    """Return the elements and sequences of a walk, and a stand-in for the pixel data."""
    found: dict[int, Element | RawSequence | Sequence[Dataset]] = {**walk.elements, **walk.sequences}
    found.update({tag: Element("OV", table) for tag, table in walk.tables.items()})
    if walk.pixel is not None:
        found[walk.pixel.tag] = Element(walk.pixel.vr, b"")
    return sorted(found.items(), key=lambda each: each[0])


def _of_dataset(ds: Dataset) -> _Node:
    """Return the elements of a pydicom dataset, as far as possible as they were encoded."""
    for element in ds.elements():
        if isinstance(element, RawDataElement):
            yield int(element.tag), _of_raw(element)
        elif element.VR == "SQ":
            yield int(element.tag), element.value or ()
        else:
            yield int(element.tag), _encoded(element)


def _of_raw(raw: RawDataElement) -> Element | RawSequence:
    value, vr, tag = raw.value or b"", raw.VR, int(raw.tag)
    code = coding(implicit=raw.is_implicit_VR, little=raw.is_little_endian)
    if vr is None or vr == "UN" or len(vr) != 2:  # pydicom says "OB or OW" where it read an implicit VR
        if vr == "UN":
            # PS3.5 6.2.2 note 2: what is in UN is in implicit VR little endian.
            code = coding(implicit=True, little=True)
        vr = vr_of(tag)
    return RawSequence(bytes(value), code) if vr == "SQ" else Element(vr, code.value(vr, bytes(value)))


def _encoded(element: DataElement) -> Element:
    """Encode an element that pydicom decoded, or that a program made; text as UTF-8."""
    vr = element.VR if len(element.VR) == 2 else vr_of(int(element.tag))
    if isinstance(element.value, bytes):
        return Element(vr, element.value)
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = True
    try:
        write_data_element(buffer, DataElement(element.tag, vr, element.value, already_converted=True), ["utf8"])
    except (TypeError, ValueError, AttributeError, struct.error):
        return Element(vr, b"")
    # Marked so that the writer does not apply the character set of the dataset a second time.
    return _Made(vr, buffer.getvalue()[8:])


class _Made(Element):
    """An element whose text is UTF-8, whatever its dataset declares."""


class ElementWriter:
    """Writes nodes: runs of (tag, value) in ascending order."""

    beyond_ascii: bool
    """Text was not in ASCII."""

    def __init__(
        self, bulk_uri: BulkURI | None, inline_limit: int, *, assumed: str = "", believes: bool = True
    ) -> None:
        self._bulk_uri = bulk_uri
        self._inline_limit = inline_limit
        self._assumed = assumed.split("\\") if assumed else []
        self._believes = believes
        self.beyond_ascii = False

    def top(self, node: _Node, *, implicit: bool) -> JSONDataset:
        """Write the top level; declare UTF-8 if any text needs it, although the dataset declared nothing."""
        written = self._node(node, self._assumed, [], signed=False, implicit=implicit)
        if self.beyond_ascii and "00080005" not in written:
            written["00080005"] = {"vr": "CS", "Value": [_UTF_8]}
            written = dict(sorted(written.items()))
        return written

    def _node(
        self, node: _Node, character_sets: list[str], path: BulkPath, *, signed: bool, implicit: bool
    ) -> JSONDataset:
        written: JSONDataset = {}
        for tag, value in node:
            if tag & 0xFFFF == 0 or tag >> 16 in (0, 2) or tag == _TRAILING_PADDING:
                continue
            key = f"{tag:08X}"
            if not isinstance(value, Element):
                written[key] = self.sequence(value, character_sets, [*path, key], signed)
                continue
            if tag == _CHARACTER_SET:
                if self._believes:
                    character_sets = character_sets_of(value.value) or self._assumed
                written[key] = {"vr": "CS", "Value": [_UTF_8]} if character_sets else {"vr": "CS"}
                continue
            if tag == _PIXEL_REPRESENTATION:
                signed = value.value[:1] == b"\x01"
            if signed and implicit and value.vr == "US" and follows_pixel_representation(tag):
                value = value._replace(vr="SS")
            if tag in PIXEL_TAGS and self._bulk_uri is None:
                continue
            written[key] = self.element(tag, key, value, character_sets, path)
        return written

    def sequence(
        self, items: RawSequence | Sequence[Dataset], character_sets: list[str], path: BulkPath, signed: bool
    ) -> dict[str, Any]:
        """Write a sequence (PS3.18 F.2.2); of one that cannot be parsed to its end, the items before."""
        written: list[JSONDataset] = []
        if len(path) < 2 * MAX_DEPTH:
            for index, (node, implicit) in enumerate(_items(items)):
                written.append(self._node(node, character_sets, [*path, index], signed=signed, implicit=implicit))
        return {"vr": "SQ", "Value": written} if written else {"vr": "SQ"}

    def element(
        self, tag: int, key: str, element: Element, character_sets: list[str], path: BulkPath
    ) -> dict[str, Any]:
        """Write an element that is no sequence (PS3.18 F.2.2)."""
        vr, value = element
        if vr in _BINARY or tag in PIXEL_TAGS:
            bulk = tag in PIXEL_TAGS or (len(value) > self._inline_limit and tag not in _INLINE)
            if bulk and self._bulk_uri is not None:
                return {"vr": vr, "BulkDataURI": self._bulk_uri([*path, key])}
            return {"vr": vr, "InlineBinary": b64encode(value).decode()} if value else {"vr": vr}
        if isinstance(element, _Made):
            character_sets = [_UTF_8]
        values = _numbers(vr, value) if vr in _NUMBERS or vr == "AT" else self._texts(vr, value, character_sets)
        return {"vr": vr, "Value": values} if values else {"vr": vr}

    def _texts(self, vr: str, value: bytes, character_sets: list[str]) -> list[Any]:
        """Return the values of a VR that is text; empty ones as null (PS3.18 F.2.5)."""
        text = decode(value, vr, character_sets)
        if not text:
            return []
        self.beyond_ascii = self.beyond_ascii or not text.isascii()
        if vr in _SINGLE_TEXT:
            return [text]
        convert = CONVERT.get(vr)
        return [convert(each) if convert else each.strip() or None for each in text.split("\\")]


def _items(items: RawSequence | Sequence[Dataset]) -> Iterator[tuple[_Node, bool]]:
    """Return the items as nodes, and whether they are in implicit VR."""
    if not isinstance(items, RawSequence):
        yield from ((_of_dataset(item), bool(item.original_encoding[0])) for item in items)
        return
    try:
        for walk in walk_items(items, max_value=_NO_LIMIT, max_sequence=_NO_LIMIT):
            yield _of_walk(walk), walk.code.implicit
    except CannotParse:
        return


def _numbers(vr: str, value: bytes) -> list[Any]:
    """Return binary numbers; AT as eight hex digits each (PS3.18 F.2.3). Bytes that make no whole number are left."""
    if vr == "AT":
        words = struct.unpack_from(f"<{len(value) // 4 * 2}H", value)
        return [f"{group:04X}{element:04X}" for group, element in zip(words[::2], words[1::2], strict=True)]
    unit = _NUMBERS[vr]
    numbers = struct.unpack_from(f"<{len(value) // struct.calcsize(unit)}{unit}", value)
    if unit in "df":
        return [number if math.isfinite(number) else _not_finite(number) for number in numbers]
    return list(numbers)


def _not_finite(number: float) -> str:
    """Name what JSON numbers cannot say; fo-dicom, dcm4che and pydicom read these strings back as FL and FD."""
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _decimal(text: str) -> float | None:
    """Read DS; what is not a finite number becomes null: one bad value must not spoil a study's metadata."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _person_name(text: str) -> dict[str, str] | None:
    """Split a name into its component groups (PS3.18 F.2.2)."""
    groups = zip(_PN_GROUPS, text.split("="), strict=False)
    return {name: stripped for name, group in groups if (stripped := group.strip())} or None


CONVERT: Final[dict[str, Callable[[str], Any]]] = {"DS": _decimal, "IS": parse_int, "PN": _person_name}
"""What becomes of each value of a text; of other VRs it stays text."""
