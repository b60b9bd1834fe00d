"""A dataset as a program sent it in the DICOM JSON model (PS3.18 F.2), checked and made as it is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from archive.errors import CannotParse
from archive.records import DicomJSON
from archive.standard.assemble import EXPLICIT_VR_LITTLE_ENDIAN, Bulk, assemble
from archive.standard.coding import show, vr_of
from archive.standard.json_model import header_json
from archive.standard.uids import is_uid
from archive.ups import moments
from archive.ups.errors import BadWorkitem

_DEEPEST: Final = 16
"""Sequences within each other; the deepest that UPS defines are 5."""
_CHOICES: Final = {frozenset(("OB", "OW")), frozenset(("US", "SS"))}
_NUMBERS: Final = ("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV")


def key_of(keyword: str) -> str:
    """The tag of a keyword as the DICOM JSON model writes it."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"{tag:08X}"


def named(key: str) -> str:
    """The attribute as a message names it."""
    tag = int(key, 16)
    return f"{keyword_for_tag(tag) or 'attribute'} {show(tag)}"


def normalized(given: object) -> DicomJSON:
    """The dataset, each value as its VR writes it, without command elements. Raises `BadWorkitem`."""
    if not isinstance(given, dict):
        raise BadWorkitem("the payload is no dataset in the DICOM JSON model")
    _check(given, "", _DEEPEST)
    kept = {key: element for key, element in given.items() if key[:4] not in ("0000", "0002")}
    try:
        found = _encoded(kept)
    except CannotParse:
        found = _element_by_element(kept)
    if b"\\u0000" in orjson.dumps(found):
        raise BadWorkitem("a value holds NUL characters")
    return found


def values(item: Mapping[str, Any], key: str) -> list[Any]:
    """The values of an attribute that are not empty."""
    return [value for value in item.get(key, {}).get("Value") or () if value not in (None, "")]


def first(item: Mapping[str, Any], key: str) -> str:
    """The first value as text, empty if there is none."""
    return str(next(iter(values(item, key)), "")).strip()


def items(item: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The items of a sequence."""
    return [value for value in values(item, key) if isinstance(value, dict)]


def _encoded(dataset: DicomJSON) -> DicomJSON:
    """There and back: what DICOM cannot say does not come through."""
    return header_json(b"".join(assemble(dataset, _no_bulk)), EXPLICIT_VR_LITTLE_ENDIAN, None, 1 << 30)


def _element_by_element(dataset: DicomJSON) -> DicomJSON:
    """The same where something is wrong, to tell what."""
    for key, element in dataset.items():
        try:
            _encoded({key: element})
        except CannotParse:
            raise BadWorkitem.of({named(key): f"cannot be encoded as {element['vr']}"}) from None
    raise BadWorkitem("the dataset cannot be encoded")


def _no_bulk(_: str) -> Bulk:
    raise CannotParse("a workitem has no bulk data")


def _check(dataset: dict[str, Any], where: str, depth: int) -> None:
    for key, element in dataset.items():
        if not (len(key) == 8 and key.isascii() and all(char in "0123456789ABCDEFabcdef" for char in key)):
            raise BadWorkitem(f"{where}{key[:64]!a} is no tag of eight hexadecimal digits")
        name = where + named(key)
        if not isinstance(element, dict) or not isinstance(element.get("vr"), str):
            raise BadWorkitem.of({name: "has no vr"})
        _check_vr(name, int(key, 16), element["vr"])
        found = element.get("Value", [])
        if not isinstance(found, list):
            raise BadWorkitem.of({name: "has a Value that is no array"})
        if "BulkDataURI" in element:
            raise BadWorkitem.of({name: "is bulk data, which a workitem has not"})
        for value in found:
            _check_value(name, element["vr"], value, depth)


def _check_vr(name: str, tag: int, vr: str) -> None:
    expected = vr_of(tag)
    if expected in (vr, "UN") or tag & 0x10000 or any({expected, vr} <= choice for choice in _CHOICES):
        return
    raise BadWorkitem.of({name: f"has VR {vr[:8]!a}, not {expected}"})


def _check_value(name: str, vr: str, value: Any, depth: int) -> None:
    if value is None:
        return
    if vr == "SQ":
        if not isinstance(value, dict):
            raise BadWorkitem.of({name: "has an item that is no object"})
        if not depth:
            raise BadWorkitem.of({name: "is nested too deeply"})
        _check(value, f"{name} > ", depth - 1)
    elif vr == "PN":
        if not (isinstance(value, dict) and all(isinstance(group, str) for group in value.values())):
            raise BadWorkitem.of({name: 'must be a name such as {"Alphabetic": "NGUYEN^VAN AN"}'})
    elif vr in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadWorkitem.of({name: "must be a number"})
        if _is_beyond(value):
            raise BadWorkitem.of({name: "is too large"})
    else:
        _check_text(name, vr, value)


def _is_beyond(value: int | float | str) -> bool:
    """Whether it is a whole number that JSON has no room for when it is read from the index."""
    try:
        return math.isfinite(number := float(value)) and abs(number) >= 1 << 63
    except (ValueError, OverflowError):
        return isinstance(value, int)


def _check_text(name: str, vr: str, value: Any) -> None:
    if not isinstance(value, str):
        raise BadWorkitem.of({name: "must be a text"})
    if "\0" in value.rstrip("\0"):
        raise BadWorkitem.of({name: "holds NUL characters"})
    if vr == "UI" and value and not is_uid(value.strip(" \0")):
        raise BadWorkitem.of({name: "is not a UID"})
    if vr == "DT" and value and moments.parse(value) is None:
        raise BadWorkitem.of({name: "is not a date and time: write YYYYMMDDHHMMSS"})
