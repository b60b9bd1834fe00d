"""DICOM files as they really come: without preamble, or without file meta information (PS3.10 7.1).

Programs that write what they got by C-STORE into a file often leave the head out, and others cut the 128 empty bytes
off. What follows is a dataset all the same; only its transfer syntax may be known to nobody any more.
"""

from __future__ import annotations

from typing import Final

from archive.errors import CannotParse
from archive.standard.coding import is_vr
from archive.standard.file_format import PREAMBLE_LENGTH, FileMeta, NeedMoreBytes, read_file_meta

_PREFIX: Final = b"DICM"
_START: Final = PREAMBLE_LENGTH + len(_PREFIX)
_META: Final = b"\x02\x00"
_LEAST: Final = 8

_IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
_EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"


def read_received(head: bytes, *, at_end: bool = False, announced: str = "") -> FileMeta:
    """Read the file meta information, as far as there is any.

    Parameters
    ----------
    head : bytes
        The stream from its first byte.
    at_end : bool
        The stream ends with `head`: what is missing will not come.
    announced : str
        The transfer syntax as the sender told it beside the file; for a dataset without file meta information only.

    Returns
    -------
    FileMeta
        `guessed` if neither the file nor the sender told the transfer syntax: then it is a native one.

    Raises
    ------
    NeedMoreBytes
        More of the stream is needed (never if `at_end`).
    CannotParse
        Neither a DICOM file nor a dataset of an object.
    """
    if len(head) < _START and not at_end:
        raise NeedMoreBytes(_START)
    if head[PREAMBLE_LENGTH:_START] == _PREFIX:
        return read_file_meta(head, at_end=at_end)
    prefix = len(_PREFIX) if head.startswith(_PREFIX + _META) else 0
    if head[prefix : prefix + 2] == _META:
        return _without_preamble(head[prefix:], prefix, at_end)
    syntax = _native_syntax(head)
    if syntax is None:
        # Nothing is there to be generous with; this says what a file is to be like.
        return read_file_meta(head, at_end=at_end)
    return FileMeta("", "", announced or syntax, "", 0, guessed=not announced)


def _without_preamble(head: bytes, prefix: int, at_end: bool) -> FileMeta:
    """The file meta information of a file that begins with it, or with the prefix only."""
    missing = _START - prefix
    try:
        meta = read_file_meta(bytes(PREAMBLE_LENGTH) + _PREFIX + head, at_end=at_end)
    except NeedMoreBytes as need:
        raise NeedMoreBytes(need.minimum - missing) from None
    return meta._replace(dataset_offset=meta.dataset_offset - missing)


def _native_syntax(head: bytes) -> str | None:
    """The native transfer syntax of a dataset that begins so; None if no object of a storage SOP class does.

    Their first element is of group 0008, for SOP Class UID is in it and lower groups are of other things.
    """
    if len(head) < _LEAST:
        return None
    if head[:2] == b"\x08\x00":
        return _EXPLICIT_LITTLE if is_vr(head[4:6]) else _IMPLICIT_LITTLE
    return _EXPLICIT_BIG if head[:2] == b"\x00\x08" and is_vr(head[4:6]) else None


def refuse_encapsulated(meta: FileMeta, encapsulated: bool) -> None:
    """Raise `CannotParse` if a guess cannot be right: nothing tells how pixel data are compressed."""
    if meta.guessed and encapsulated:
        raise CannotParse("no transfer syntax is given, and the pixel data are compressed")
