"""File meta information of DICOM files: written for the store, read from uploads (PS3.10 7.1)."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from archive.errors import CannotParse
from archive.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, transfer_syntax

PREAMBLE_LENGTH: Final = 128
_PREFIX: Final = b"DICM"
_HEAD: Final = bytes(PREAMBLE_LENGTH) + _PREFIX
_START: Final = PREAMBLE_LENGTH + len(_PREFIX)
# Nothing in group 2 is large except private information (0002,0102); this bounds what is held while it arrives.
MAX_META_LENGTH: Final = 1 << 20

_TAG_SHORT = struct.Struct("<HH2sH")
_TAG_LONG = struct.Struct("<HH2sHL")
_GROUP_LENGTH = struct.Struct("<HH2sHL")
_IMPLICIT = struct.Struct("<HHL")
_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_UNDEFINED: Final = 0xFFFFFFFF
_TRANSFER_SYNTAX: Final = 0x0010


class NeedMoreBytes(Exception):
    """The head of the stream ends inside the file meta information; `minimum` bytes of it are needed to go on."""

    def __init__(self, minimum: int) -> None:
        super().__init__(f"{minimum} bytes are needed")
        self.minimum = minimum


class FileMeta(NamedTuple):
    """What the file meta information says of the dataset that follows it (PS3.10 Table 7.1-1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    dataset_offset: int
    private: bytes = b""
    """Private Information, if this archive wrote it."""
    guessed: bool = False
    """The file does not tell its transfer syntax: see `archive.standard.received_file`."""


def _element(element: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    """Encode an element of group 2 whose VR has a 16-bit length (PS3.5 7.1.2)."""
    if len(value) % 2:
        value += padding
    return _TAG_SHORT.pack(0x0002, element, vr, len(value)) + value


def _uid(element: int, uid: str) -> bytes:
    return _element(element, b"UI", uid.encode("ascii", "replace"), b"\0")


def _ae_title(element: int, title: str) -> bytes:
    """Encode an application entity title; an empty one is left out (type 3)."""
    value = title.strip().encode("ascii", "replace")[:16]
    return _element(element, b"AE", value, b" ") if value else b""


def _private(value: bytes) -> bytes:
    """Encode Private Information and who it is from; none if there is none (type 3)."""
    if not value:
        return b""
    value += b"\0" * (len(value) % 2)
    return _uid(0x0100, IMPLEMENTATION_CLASS_UID) + _TAG_LONG.pack(0x0002, 0x0102, b"OB", 0, len(value)) + value


_VERSION: Final = _TAG_LONG.pack(0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01"
_IMPLEMENTATION: Final = _uid(0x0012, IMPLEMENTATION_CLASS_UID) + _element(
    0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode(), b" "
)


def encode_file_meta(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str,
    sending_ae_title: str = "",
    receiving_ae_title: str = "",
    private: bytes = b"",
) -> bytes:
    """Encode the preamble, the prefix and the file meta information (PS3.10 7.1)."""
    before, instance = _before_instance(sop_class_uid), _uid(0x0003, sop_instance_uid)
    titles = source_ae_title, sending_ae_title, receiving_ae_title
    after = _behind_instance(transfer_syntax_uid, *titles, private)
    length = _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(before) + len(instance) + len(after))
    return b"".join((_HEAD, length, before, instance, after))


# The objects of a series have the same.
@lru_cache(maxsize=256)
def _before_instance(sop_class_uid: str) -> bytes:
    return _VERSION + _uid(0x0002, sop_class_uid)


@lru_cache(maxsize=256)
def _behind_instance(transfer_syntax_uid: str, source: str, sending: str, receiving: str, private: bytes) -> bytes:
    return b"".join(
        (
            _uid(0x0010, transfer_syntax_uid),
            _IMPLEMENTATION,
            _ae_title(0x0016, source),
            _ae_title(0x0017, sending),
            _ae_title(0x0018, receiving),
            _private(private),
        )
    )


def read_file_meta(head: bytes, *, at_end: bool = False) -> FileMeta:
    """Read the file meta information from the first bytes of a DICOM file (PS3.10 7.1).

    Generous where senders are careless: the group length may be missing or wrong, the group may be in implicit VR,
    Media Storage SOP Class and Instance UID may be missing (then they are empty).

    Parameters
    ----------
    head : bytes
        The stream from its first byte.
    at_end : bool
        The stream ends with `head`: what is missing will not come.

    Raises
    ------
    NeedMoreBytes
        The file meta information does not end in `head` (never if `at_end`).
    CannotParse
        Not a DICOM file, or the file meta information is truncated, too long, or lacks the transfer syntax.
    """
    try:
        return _read(head, at_end)
    except NeedMoreBytes as need:
        if at_end:
            if not head:
                raise CannotParse("the file is empty") from None
            if len(head) < _START:
                raise CannotParse("not a DICOM file: shorter than the preamble") from None
            raise CannotParse(f"truncated: the file meta information does not end within {len(head)} bytes") from None
        if need.minimum > MAX_META_LENGTH:
            raise CannotParse(f"the file meta information is longer than {MAX_META_LENGTH} bytes") from None
        raise


def _read(head: bytes, at_end: bool) -> FileMeta:
    if len(head) < _START:
        raise NeedMoreBytes(_START)
    if head[PREAMBLE_LENGTH:_START] != _PREFIX:
        raise CannotParse("not a DICOM file: DICM is missing after the preamble")
    values: dict[int, bytes] = {}
    offset = _START
    declared_end = 0
    while not _is_past_meta(head, offset, declared_end, values, at_end):
        element, start, length = _header(head, offset)
        if length == _UNDEFINED:
            raise CannotParse(f"element (0002,{element:04X}) of the file meta information has no length")
        if start + length > len(head):
            raise NeedMoreBytes(start + length)
        values[element] = head[start : start + length]
        offset = start + length
        if element == 0 and length == 4:
            declared_end = offset + int.from_bytes(values[0], "little")
    syntax = _text(values, _TRANSFER_SYNTAX)
    if not syntax:
        raise CannotParse("the file meta information lacks the transfer syntax (0002,0010)")
    private = values.get(0x0102, b"") if _text(values, 0x0100) == IMPLEMENTATION_CLASS_UID else b""
    return FileMeta(_text(values, 0x0002), _text(values, 0x0003), syntax, _text(values, 0x0016), offset, private)


def _is_past_meta(head: bytes, offset: int, declared_end: int, values: dict[int, bytes], at_end: bool) -> bool:
    """Whether the dataset begins at the offset: the next group is not 2, whatever the group length said."""
    left = len(head) - offset
    if left < 8:
        # A dataset is never empty; fewer bytes than a header at the end are for the scan of the dataset to judge.
        if at_end and values and offset >= declared_end and head[offset : offset + 2] != b"\x02\x00":
            return True
        raise NeedMoreBytes(offset + 8)
    if head[offset : offset + 2] != b"\x02\x00":
        return True
    # The bytes of a deflate stream may look like group 2; only then is the group length trusted.
    syntax = transfer_syntax(_text(values, _TRANSFER_SYNTAX)) if offset == declared_end else None
    return syntax is not None and syntax.deflated


def _header(head: bytes, offset: int) -> tuple[int, int, int]:
    """Return the element number, the offset of the value and its length (PS3.5 7.1.2, 7.1.3)."""
    _, element, vr, length = _TAG_SHORT.unpack_from(head, offset)
    if vr in _LONG_VRS:
        if len(head) - offset < _TAG_LONG.size:
            raise NeedMoreBytes(offset + _TAG_LONG.size)
        return element, offset + 12, _TAG_LONG.unpack_from(head, offset)[4]
    if vr.isalpha() and vr.isupper():
        return element, offset + 8, length
    # Some writers use implicit VR for the group although PS3.10 7.1 forbids it.
    return element, offset + 8, _IMPLICIT.unpack_from(head, offset)[2]


def _text(values: dict[int, bytes], element: int) -> str:
    return values.get(element, b"").decode("ascii", "replace").strip("\0 ")
