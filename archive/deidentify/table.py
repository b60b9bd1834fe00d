"""What is done to which attribute: Table E.1-1 (PS3.15 E.1.1), edition 2025a with what 2026c added."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).with_name("table_e_1_1.tsv")


class Option(Enum):
    """Options of the Basic Application Level Confidentiality Profile; codes of CID 7050 and their meanings."""

    DEVICE = ("113109", "Retain Device Identity Option")
    CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")
    DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
    DESCRIPTORS = ("113105", "Clean Descriptors Option")
    PRIVATE = ("113111", "Retain Safe Private Option")

    @property
    def code(self) -> str:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]


BASIC_PROFILE: Final = ("113100", "Basic Application Confidentiality Profile")


class Action(Enum):
    """What becomes of an attribute (PS3.15 Table E.1-1a)."""

    KEEP = "K"
    CLEAN = "C"
    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    DESCEND = "X/Z/U*"
    """A sequence that stays, with the rules applied to its items."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    tag: int
    keyword: str
    basic: str
    by_option: dict[Option, str]


@cache
def rows() -> dict[int, Row]:
    """The table by tag."""
    found = {}
    for line in _FILE.read_text(encoding="ascii").splitlines():
        if line.startswith("#"):
            continue
        tag, keyword, basic, *options = line.split("\t")
        columns = (Option.DEVICE, Option.CHARACTERISTICS, Option.DATES, Option.DESCRIPTORS)
        by_option = {option: action for option, action in zip(columns, options, strict=True) if action != "-"}
        found[int(tag, 16)] = Row(int(tag, 16), keyword, basic, by_option)
    return found


def action_of(tag: int, options: frozenset[Option]) -> Action | None:
    """What the profile with these options does to an attribute of the standard; None if the table does not have it.

    Where the table leaves the choice to the Type of the attribute in the IOD, that is taken which fits all Types.
    """
    group, element = tag >> 16, tag & 0xFFFF
    if 0x5000 <= group <= 0x50FF or (0x6000 <= group <= 0x60FF and element in (0x3000, 0x4000)):
        return Action.REMOVE
    row = rows().get(tag)
    if row is None:
        return None
    for option, action in row.by_option.items():
        if option in options:
            return Action(action)
    if row.basic in ("X/D", "Z/D", "X/Z/D"):
        return Action.DUMMY
    return Action.EMPTY if row.basic == "X/Z" else Action(row.basic)
