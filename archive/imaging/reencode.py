"""Datasets from one encoding into little endian, explicit or implicit VR (PS3.5 7.1, 7.3, 7.5, A.1, A.2).

Values are copied as bytes: no text is decoded, no number is formatted again, nothing is judged. Only byte order,
element headers and what the caller changes differ. (pydicom's writer swaps no OW values, decodes text on the way,
and refuses values that break a rule; an archive must give them back as they came.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from archive.standard.coding import Coding, Element, coding, vr_of

# A removed element, among the changes.
REMOVED: Final = None

_Elements = Mapping[int, DataElement | RawDataElement | None]

_DATA_SET_TRAILING_PADDING: Final = 0xFFFCFFFC
_NOT_OF_A_DATASET: Final = (0x0000, 0x0002)
"""Groups of commands and of file meta information. Some devices send the latter within the dataset; behind ours in a
file it would be taken for it, with a transfer syntax that no longer is."""
_PIXEL_REPRESENTATION: Final = 0x00280103


class Reencoder:
    """Writes datasets that were read in one coding in another.

    Parameters
    ----------
    source : Coding
        Of the datasets as they were read.
    implicit_vr : bool
        Of what is written; it is always little endian.
    """

    def __init__(self, source: Coding, *, implicit_vr: bool) -> None:
        self._source = source
        self._target = coding(implicit=implicit_vr, little=True)

    def encode(self, ds: Dataset, changes: Mapping[int, Element | None] | None = None, signed: bool = False) -> bytes:
        """Encode the elements of a dataset as they were read, with the changes, in the order of their tags.

        `ds` must be fresh from the parser: elements that were looked at are no longer the bytes that were read.
        """
        pieces: list[bytes] = []
        changes = changes or {}
        # Looking at a sequence makes pydicom decode elements beside it, so all are taken beforehand.
        read = {int(tag): ds.get_item(tag, keep_deferred=True) for tag in ds.keys()}  # noqa: SIM118  it is no dict
        signed = _is_signed(read, signed, self._source)
        for tag in sorted({*read, *changes}):
            if tag in changes:
                change = changes[tag]
                if change is not None:
                    pieces.append(self.element(tag, change.vr, change.value))
            elif tag >> 16 in _NOT_OF_A_DATASET or tag == _DATA_SET_TRAILING_PADDING:
                continue
            elif tag & 0xFFFF:  # group lengths would no longer be right
                pieces.append(self._copy(ds, read, tag, signed))
        return b"".join(pieces)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """Encode one element of which the value is little endian."""
        return self._target.element(tag, vr, value)

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """Encode tag, VR and length."""
        return self._target.header(tag, vr, length)

    def _copy(self, ds: Dataset, read: _Elements, tag: int, signed: bool) -> bytes:
        raw = read[tag]
        if isinstance(raw, RawDataElement):
            vr = raw.VR or _vr(tag, signed)
            if vr == "SQ":
                return self._sequence(tag, ds[tag].value, signed)
            return self.element(tag, vr, self._source.value(vr, raw.value or b""))
        if isinstance(raw, DataElement) and raw.VR == "SQ":
            return self._sequence(tag, raw.value, signed)
        raise TypeError(f"element {tag:08X} is not as it was read")

    def _sequence(self, tag: int, items: Sequence | Iterable[Dataset] | None, signed: bool) -> bytes:
        body = b"".join(self._items(items or (), signed))
        return self.header(tag, "SQ", len(body)) + body

    def _items(self, items: Iterable[Dataset], signed: bool) -> Iterator[bytes]:
        for item in items:
            encoded = self.encode(item, signed=signed)
            yield self._target.item_header(len(encoded)) + encoded


def _is_signed(read: _Elements, inherited: bool, source: Coding) -> bool:
    """Pixel Representation decides between US and SS (PS3.5 A.1 a); items inherit it (PS3.3 C.7.6.3.1.1)."""
    raw = read.get(_PIXEL_REPRESENTATION)
    if isinstance(raw, RawDataElement) and raw.value:
        return source.value("US", raw.value)[:1] == b"\1"
    return inherited


def _vr(tag: int, signed: bool) -> str:
    """The VR of an element that was read in implicit VR; private ones are UN, for only their makers know (6.2.2)."""
    vr = vr_of(tag)
    if vr == "US" and signed:
        try:
            return "SS" if "SS" in dictionary_VR(tag) else vr
        except KeyError:
            return vr
    return vr
