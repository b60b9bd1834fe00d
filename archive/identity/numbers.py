"""Numbers that name people: personal identification number, health insurance number, passport, hospital numbers.

A personal identification number (số định danh cá nhân, on the card CCCD) has 12 digits: 3 for the province where the
birth was registered, 1 for century and sex, 2 for the year of birth, 6 at random; it has no check digit. A health
insurance card (thẻ BHYT) has 15 characters, of which the last 10 are the social insurance number (BHXH); cards since
2021 show those 10 alone.

A number that contradicts the sex or birth year beside it is kept and shown with a warning; it links nobody by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What a number is."""

    CITIZEN = "citizen"
    """Số định danh cá nhân, 12 digits."""
    INSURANCE = "insurance"
    """Health insurance; its value is the social insurance number of 10 digits."""
    PASSPORT = "passport"
    IDENTITY_CARD = "identity_card"
    """The old card (CMND), 9 digits."""
    FACILITY = "facility"
    """A hospital's own number; its issuer tells whose."""


STRONG: Final = frozenset((Kind.CITIZEN, Kind.INSURANCE, Kind.PASSPORT))
"""Given to one person, and to nobody else."""

_GIVEN: Final = """
001 002 004 006 008 010 011 012 014 015 017 019 020 022 024 025 026 027 030 031 033 034 035 036 037 038 040 042 044 045
046 048 049 051 052 054 056 058 060 062 064 066 067 068 070 072 074 075 077 079 080 082 083 084 086 087 089 091 092 093
094 095 096
"""
PROVINCES: Final = frozenset(_GIVEN.split())
"""Codes of the 63 provinces before the mergers of 2025. Numbers that were given keep them."""
_TYPES: Final[Mapping[str, Kind]] = {
    # HL7 table 0203, as used in PID-3 and Identifier Type Code (0040,0035).
    "NI": Kind.CITIZEN,
    "NN": Kind.CITIZEN,
    "NNVN": Kind.CITIZEN,
    "NNVNM": Kind.CITIZEN,
    "HC": Kind.INSURANCE,
    "SS": Kind.INSURANCE,
    "NIIP": Kind.INSURANCE,
    "PPN": Kind.PASSPORT,
    # What systems here write as issuer or type.
    "CCCD": Kind.CITIZEN,
    "CITIZEN": Kind.CITIZEN,
    "DDCN": Kind.CITIZEN,
    "SDDCN": Kind.CITIZEN,
    "BHYT": Kind.INSURANCE,
    "BHXH": Kind.INSURANCE,
    "INSURANCE": Kind.INSURANCE,
    "HOCHIEU": Kind.PASSPORT,
    "PASSPORT": Kind.PASSPORT,
    "CMND": Kind.IDENTITY_CARD,
    "CMT": Kind.IDENTITY_CARD,
}
_CITIZEN: Final = re.compile(r"[0-9]{12}")
_INSURANCE: Final = re.compile(r"[A-Z]{2}[1-5][0-9]{2}([0-9]{10})|([0-9]{10})")
_CARD: Final = re.compile(r"[A-Z]{2}[1-5][0-9]{12}")
_PASSPORT: Final = re.compile(r"(?=.*[0-9]{5})[A-Z0-9]{6,12}")
_IDENTITY_CARD: Final = re.compile(r"[0-9]{9}")
_LONGEST: Final = 64


class Identifier(NamedTuple):
    """A number of somebody."""

    kind: Kind
    value: str
    issuer: str = ""
    """Of a hospital's number."""
    text: str = ""
    """As it was written, where that is more than the value: the whole insurance card."""

    @property
    def key(self) -> tuple[str, str]:
        """What is equal for the same number."""
        return (self.kind, f"{self.issuer}\x1f{self.value}" if self.kind is Kind.FACILITY else self.value)


def kind_of(label: str) -> Kind | None:
    """The kind that an issuer or a type of identifier names; None if it names a hospital."""
    return _TYPES.get(re.sub(r"[^A-Z]", "", label.upper()))


def read(value: str, issuer: str = "", label: str = "") -> Identifier | None:
    """The number that somebody wrote under this issuer and type; None if it is empty or no such number.

    Without a type, a number of the form of an insurance card is one. Whether 12 digits are a personal number can only
    be told by whose they are: `personal`.
    """
    given = value.strip()[:_LONGEST]
    compact = re.sub(r"[\s.\-]", "", given).upper()
    kind = kind_of(label) or kind_of(issuer)
    if kind is None:
        if found := _CARD.fullmatch(compact):
            return Identifier(Kind.INSURANCE, compact[5:], text=found[0])
        return Identifier(Kind.FACILITY, given, issuer) if given and issuer else None
    return _read_as(kind, compact)


def _read_as(kind: Kind, compact: str) -> Identifier | None:
    if _is_filler(compact):
        return None
    if kind is Kind.CITIZEN:
        # Nine digits under this name are the card that was there before.
        if _IDENTITY_CARD.fullmatch(compact):
            return Identifier(Kind.IDENTITY_CARD, compact)
        return Identifier(kind, compact) if _CITIZEN.fullmatch(compact) else None
    if kind is Kind.INSURANCE:
        found = _INSURANCE.fullmatch(compact)
        number = (found[1] or found[2]) if found else ""
        return Identifier(kind, number, text=compact) if number and not _is_filler(number) else None
    pattern = _PASSPORT if kind is Kind.PASSPORT else _IDENTITY_CARD
    return Identifier(kind, compact) if pattern.fullmatch(compact) else None


def _is_filler(compact: str) -> bool:
    """What is typed where a number is asked for and none is known: one digit again and again, or 1234..."""
    digits = re.sub(r"[^0-9]", "", compact)
    return len(set(digits)) <= 1 or digits in "0123456789012345" or digits in "9876543210987654"


def personal(value: str, born: date | None, year: int | None, sex: str) -> Identifier | None:
    """The personal number that a hospital's number is, if all that it says fits the person."""
    compact = value.strip()
    if not _CITIZEN.fullmatch(compact) or compact[:3] not in PROVINCES or _is_filler(compact):
        return None
    known = born is not None or year is not None
    fits = known and sex in ("M", "F") and not warnings_of(compact, born, year, sex)
    return Identifier(Kind.CITIZEN, compact) if fits else None


def year_of(citizen: str) -> int:
    """The birth year that a personal number tells."""
    return 1900 + 100 * (int(citizen[3]) // 2) + int(citizen[4:6])


def sex_of(citizen: str) -> str:
    """The sex that it tells: ``M`` or ``F``."""
    return "MF"[int(citizen[3]) % 2]


def warnings_of(citizen: str, born: date | None, year: int | None, sex: str) -> list[str]:
    """In what a personal number contradicts what stands beside it: ``sex``, ``birth_year``, ``province``."""
    found = []
    if sex in ("M", "F") and sex_of(citizen) != sex:
        found.append("sex")
    stated = born.year if born is not None else year
    if stated is not None and year_of(citizen) != stated:
        found.append("birth_year")
    if citizen[:3] not in PROVINCES:
        found.append("province")
    return found


def contradicts(warnings: Iterable[str]) -> bool:
    """Whether these warnings take the automatic link away. A province nobody knows does not."""
    return bool({"sex", "birth_year"} & set(warnings))


def phone(text: str) -> str:
    """A telephone number as ten or eleven digits from 0 on; empty if it is none."""
    digits = re.sub(r"[^0-9]", "", text.split("\\")[0])
    if digits.startswith("84") and len(digits) in (11, 12):
        digits = "0" + digits[2:]
    usable = digits.startswith("0") and len(digits) in (10, 11) and not _is_filler(digits[1:])
    return digits if usable else ""
