"""Private elements that say nothing of a person (PS3.15 Table E.3.10-1): those whose values are numbers or codes."""

from __future__ import annotations

from typing import Final

_NUMERIC: Final = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "UL", "US"))

_SAFE: Final[dict[tuple[int, str], frozenset[int]]] = {
    (0x7053, "Philips PET Private Group"): frozenset((0x00, 0x09)),
    (0x00E1, "ELSCINT1"): frozenset((0x21,)),
    (0x01E1, "ELSCINT1"): frozenset((0x50,)),
    (0x01F1, "ELSCINT1"): frozenset((0x07, 0x26, 0x27)),
    (0x0019, "GEMS_ACQU_01"): frozenset((0x23, 0x24, 0x27, 0x9E)),
    (0x0025, "GEMS_SERS_01"): frozenset((0x07,)),
    (0x0043, "GEMS_PARM_01"): frozenset((0x27, 0x6F)),
    (0x0045, "GEMS_HELIOS_01"): frozenset((0x01, 0x02)),
    (0x0019, "SIEMENS MR HEADER"): frozenset((0x0C, 0x0E, 0x27)),
    (0x2001, "Philips Imaging DD 001"): frozenset((0x03,)),
    (0x2005, "Philips MR Imaging DD 001"): frozenset((0x0D, 0x0E)),
}


def is_safe(group: int, creator: str, element: int, vr: str) -> bool:
    """Whether a private element may stay; `element` is the last byte of its number."""
    return vr in _NUMERIC and element in _SAFE.get((group, creator.strip(" \0")), ())
