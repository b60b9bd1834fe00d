"""Unique identifiers, storage SOP classes and transfer syntaxes (PS3.5 9.1, PS3.4 B.5, PS3.5 10 and Annex A).

The registry of PS3.6 Annex A is pydicom's dictionary, plus what later editions added to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom._uid_dict import UID_dictionary

from archive.errors import InvalidUID

# PS3.7 D.3.3.2: names this software in associations and file meta. Derived from a UUID (PS3.5 B.2); never changes.
IMPLEMENTATION_CLASS_UID: Final = "2.25.145597321435865495403042426400753229157"
IMPLEMENTATION_VERSION_NAME: Final = "VN_PACS_1"

_STANDARD_ROOT: Final = "1.2.840.10008."
_COMPOSITE_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_MAX_LENGTH: Final = 64
_SHOWN: Final = 80

# PS3.5 9.1 forbids leading zeros ("1.02.3"), and devices in use make them (a date or time used as a component).
# Such a UID still names one object, so refusing it would lose images and nothing would be gained.
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Whether the text has the form of a UID: 1 to 64 digits and dots, no empty component (PS3.5 9.1)."""
    return len(text) <= _MAX_LENGTH and _UID.fullmatch(text) is not None


def check_uid(text: str, what: str) -> str:
    """Return the UID, or raise InvalidUID with a sentence that names `what` and the fault (PS3.5 9.1)."""
    if is_uid(text):
        return text
    if not text:
        raise InvalidUID(f"{what} is missing")
    shown = repr(text[:_SHOWN])[:_SHOWN]
    if len(text) > _MAX_LENGTH:
        raise InvalidUID(f"{what} has {len(text)} characters, more than {_MAX_LENGTH}: {shown}")
    if not re.fullmatch(r"[0-9.]*", text):
        raise InvalidUID(f"{what} has characters other than digits and dots: {shown}")
    raise InvalidUID(f"{what} has an empty component: {shown}")


NON_PATIENT_SOP_CLASSES: Final = frozenset(
    {
        "1.2.840.10008.5.1.4.38.1",
        "1.2.840.10008.5.1.4.39.1",
        "1.2.840.10008.5.1.4.43.1",
        "1.2.840.10008.5.1.4.44.1",
        "1.2.840.10008.5.1.4.45.1",
        "1.2.840.10008.5.1.4.1.1.200.1",
        "1.2.840.10008.5.1.4.1.1.200.3",
        "1.2.840.10008.5.1.4.1.1.200.7",
        "1.2.840.10008.5.1.4.1.1.201.1",
    }
)
"""Of the Non-Patient Object Storage service (PS3.4 GG.3), another service than Storage: hanging protocols, palettes,
implants, protocols, inventories. They belong to no patient and study, so this archive has no place for them."""


def _storage_sop_classes() -> dict[str, str]:
    """Collect the storage SOP classes, retired ones too (PS3.4 B.5, PS3.6 Table A-1)."""
    found = {
        uid: entry[0]
        for uid, entry in UID_dictionary.items()
        # The root leaves out what only has the word in its name: Storage Commitment, and the DICOMDIR of a medium.
        if entry[1] == "SOP Class" and "Storage" in entry[0] and uid.startswith("1.2.840.10008.5.")
    }
    found.update(
        {
            # Newer than the dictionary of pydicom 3.0.
            "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
            "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
            # Retired, and PS3.6 no longer prints their names.
            "1.2.840.10008.5.1.4.1.1.12.77": "(retired storage SOP class)",
            "1.2.840.10008.5.1.4.1.1.40": "(retired storage SOP class)",
        }
    )
    return {uid: name for uid, name in sorted(found.items()) if uid not in NON_PATIENT_SOP_CLASSES}


STORAGE_SOP_CLASSES: Final[dict[str, str]] = _storage_sop_classes()
"""Every storage SOP class of the standard for objects of patients: UID to name."""


def is_storage_sop_class(uid: str) -> bool:
    """Whether instances of the class are composite objects to be stored (PS3.4 B.5).

    Private classes are taken to be storage classes: a device proposes nothing else outside the standard's root.
    So are classes under the root of composite storage which the dictionary does not know: a later edition added them.
    """
    if uid in STORAGE_SOP_CLASSES:
        return True
    if not is_uid(uid):
        return False
    if uid.startswith(_STANDARD_ROOT):
        return uid.startswith(_COMPOSITE_STORAGE_ROOT) and uid not in UID_dictionary
    return True


_READ_WHOLE: Final = tuple(
    f"{_COMPOSITE_STORAGE_ROOT}{branch}"
    for branch in (
        "88.",  # structured reports and key object selections
        "11.",  # presentation states
        "66.",  # registrations, fiducials, segmentations (66 itself is raw data)
        "104.",  # encapsulated documents
        "481.3",  # RT Structure Set
        "481.5",  # RT Plan
        "481.8",  # RT Ion Plan
    )
)


def is_read_whole(uid: str) -> bool:
    """Whether instances of a class can be shown only by reading them whole: documents, and what is drawn on images."""
    return uid.startswith(_READ_WHOLE)


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a dataset and its pixel data are encoded (PS3.5 section 10 and Annex A)."""

    uid: str
    name: str
    implicit_vr: bool = False
    little_endian: bool = True
    deflated: bool = False
    """The whole dataset is a deflate stream (PS3.5 A.5)."""
    encapsulated: bool = False
    """Pixel data is a sequence of fragments (PS3.5 A.4)."""
    lossy: bool = False
    """The encoding may lose information; some of these may also be used losslessly."""
    video: bool = False
    """All frames are one bit stream: they cannot be cut apart (PS3.5 8.2.5 to 8.2.13)."""
    retired: bool = False
    storable: bool = True
    """Datasets are stored and parsed in it; false for the encodings of mail, XML and real-time video."""
    pixels_big_endian: bool = False
    """Native pixel data is big endian although the dataset is little endian."""


JPIP_REFERENCED: Final = frozenset(f"{_STANDARD_ROOT}1.2.4.{n}" for n in (94, 95, 204, 205))
_DEFLATED: Final = frozenset(f"{_STANDARD_ROOT}{n}" for n in ("1.2.1.99", "1.2.4.95", "1.2.4.205"))
_NATIVE: Final = frozenset(f"{_STANDARD_ROOT}{n}" for n in ("1.2", "1.2.1", "1.2.1.99", "1.2.2", "1.20"))
_NOT_STORED: Final = (f"{_STANDARD_ROOT}1.2.6.", f"{_STANDARD_ROOT}1.2.7.")
# Lossless processes of JPEG, JPEG-LS, the J2K and HTJ2K variants, JPEG XL, RLE, deflated frames and uncompressed ones.
_LOSSLESS_4: Final = (57, 58, 65, 66, 70, 80, 90, 92, 110, 201, 202)
_LOSSLESS: Final = frozenset(
    [f"{_STANDARD_ROOT}1.2.4.{n}" for n in _LOSSLESS_4]
    + [f"{_STANDARD_ROOT}{n}" for n in ("1.2.1.98", "1.2.5", "1.2.8.1")]
)
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?")

_NEWER_THAN_THE_DICTIONARY: Final = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}


def _standard_syntax(uid: str, name: str, retired: bool) -> TransferSyntax:
    """Describe a transfer syntax of the standard by its place in the tree of UIDs (PS3.5 Annex A)."""
    native = uid in _NATIVE or uid in JPIP_REFERENCED or uid.startswith(_NOT_STORED)
    return TransferSyntax(
        uid=uid,
        name=name,
        implicit_vr=uid in ("1.2.840.10008.1.2", "1.2.840.10008.1.20"),
        little_endian=uid != "1.2.840.10008.1.2.2",
        deflated=uid in _DEFLATED,
        encapsulated=not native,
        lossy=not native and uid not in _LOSSLESS,
        video=_VIDEO.fullmatch(uid) is not None,
        retired=retired,
        storable=not uid.startswith(_NOT_STORED),
        pixels_big_endian=uid == "1.2.840.10008.1.2.2",
    )


def _transfer_syntaxes() -> dict[str, TransferSyntax]:
    """Collect the transfer syntaxes of the standard (PS3.6 Table A-1) and those private ones that differ."""
    known = {
        uid: _standard_syntax(uid, entry[0], retired=entry[3] == "Retired")
        for uid, entry in UID_dictionary.items()
        if entry[1] == "Transfer Syntax"
    }
    for uid, name in _NEWER_THAN_THE_DICTIONARY.items():
        known.setdefault(uid, _standard_syntax(uid, name, retired=False))
    ge = "1.2.840.113619.5.2"
    known[ge] = TransferSyntax(
        ge, "GE Private Implicit VR Little Endian, Big Endian Pixels", implicit_vr=True, pixels_big_endian=True
    )
    return known


TRANSFER_SYNTAXES: Final[dict[str, TransferSyntax]] = _transfer_syntaxes()
"""Every transfer syntax known here, by UID."""


@lru_cache(maxsize=1024)
def transfer_syntax(uid: str) -> TransferSyntax | None:
    """Describe a transfer syntax, or return None if no stored dataset can be in it (PS3.5 10, A.4).

    An unknown UID of the compression family, or a private one, is taken for explicit VR little endian with
    encapsulated pixel data: PS3.5 A.4 leaves no other encoding to a new compression scheme.
    """
    known = TRANSFER_SYNTAXES.get(uid)
    if known is not None:
        return known if known.storable else None
    if not is_uid(uid):
        return None
    if uid.startswith(_STANDARD_ROOT) and not uid.startswith(f"{_STANDARD_ROOT}1.2.4."):
        return None
    return TransferSyntax(uid, "(unknown)", encapsulated=True, lossy=True)


def is_supported_transfer_syntax(uid: str) -> bool:
    """Whether datasets in the transfer syntax can be parsed and stored."""
    return transfer_syntax(uid) is not None
