"""What is known of somebody under one number: from objects, and from what others have said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, NamedTuple

from archive.identity import names
from archive.identity.numbers import Identifier, Kind, contradicts, personal, phone, read, warnings_of

SOURCES: Final = ("manual", "hl7", "fhir", "dicom", "worklist")
"""Who is believed, from the most trusted: of each fact the first that is not empty counts; numbers of all count."""
_BORN: Final = re.compile(r"(\d{4})[-/.]?(\d{2})?[-/.]?(\d{2})?")
_BORN_HERE: Final = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})")
_LONGEST: Final = 256
_MOST_NUMBERS: Final = 20


class Number(NamedTuple):
    """A number as one issuer gives it: a PatientID and its issuer (PID-3 with its assigning authority)."""

    issuer: str
    id: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What somebody says of a patient. All of it may be empty."""

    name: str = ""
    """A person name (PN) or a name as it is spoken."""
    birth: str = ""
    """``YYYYMMDD``, or less where less is known: ``YYYY``."""
    sex: str = ""
    """``M``, ``F`` or ``O``."""
    phone: str = ""
    identifiers: tuple[Identifier, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the database."""
        numbers = [[each.kind.value, each.value, each.issuer, each.text] for each in self.identifiers]
        return {
            "name": self.name,
            "birth": self.birth,
            "sex": self.sex,
            "phone": self.phone,
            "identifiers": numbers,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Facts:
        """What `to_json` wrote."""
        numbers = tuple(Identifier(Kind(kind), *rest) for kind, *rest in found["identifiers"])
        return cls(found["name"], found["birth"], found["sex"], found["phone"], numbers)


@dataclass
class Record:
    """Somebody under one number, as it is compared."""

    issuer: str
    identity: str
    number: str
    name: str = ""
    """As it is spoken."""
    birth_date: date | None = None
    birth_year: int | None = None
    sex: str = ""
    phone: str = ""
    identifiers: tuple[Identifier, ...] = ()
    id: int = 0
    patient: int | None = None
    person: int = 0
    how: str = "own"
    seen: int = 0
    name_fold: str = ""
    name_key: str = ""
    given: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    # Kept by hand: `functools.cached_property` takes a lock, and these are asked for in every comparison.
    _by_kind: dict[Kind, frozenset[str]] | None = field(default=None, init=False, repr=False, compare=False)
    _citizens: frozenset[str] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name and not self.name_fold:
            self.name_fold = names.folded(self.name)
            self.name_key = names.key_of(self.name_fold)
            self.given = names.given_of(self.name_fold)

    @property
    def decided(self) -> bool:
        """Somebody has said to whom it belongs, so nothing moves it by itself."""
        return self.how in ("review", "hl7", "manual")

    @property
    def by_kind(self) -> dict[Kind, frozenset[str]]:
        """Its numbers by what they are; hospitals' numbers with their issuer."""
        if self._by_kind is None:
            numbers = self.identifiers
            if self.number and self.issuer:
                numbers = (*numbers, Identifier(Kind.FACILITY, self.number, self.issuer))
            found: dict[Kind, set[str]] = {}
            for each in numbers:
                found.setdefault(each.kind, set()).add(each.key[1])
            self._by_kind = {kind: frozenset(values) for kind, values in found.items()}
        return self._by_kind

    @property
    def warnings(self) -> dict[str, list[str]]:
        """Of each personal number that contradicts the rest: in what."""
        found = {
            number: warnings_of(number, self.birth_date, self.birth_year, self.sex)
            for number in self.by_kind.get(Kind.CITIZEN, ())
        }
        return {number: warnings for number, warnings in found.items() if warnings}

    @property
    def citizens(self) -> frozenset[str]:
        """Personal numbers that contradict nothing."""
        if self._citizens is None:
            odd = {number for number, warnings in self.warnings.items() if contradicts(warnings)}
            self._citizens = self.by_kind.get(Kind.CITIZEN, frozenset()) - odd
        return self._citizens

    @property
    def wholly(self) -> tuple[Any, ...]:
        """What it is compared by; if this is as before, nothing is to be done."""
        facts = (self.name, self.birth_date, self.birth_year, self.sex, self.phone)
        return (*facts, frozenset((each.kind, each.issuer, each.value) for each in self.identifiers))


def read_birth(text: str) -> tuple[date | None, int | None]:
    """A birth date and year; the date is None where only the year is known, both are if nothing makes sense."""
    given = text.strip()
    if found := _BORN_HERE.fullmatch(given):
        given = f"{found[3]}{int(found[2]):02}{int(found[1]):02}"
    found = _BORN.match(given)
    if not found or not 1850 <= int(found[1]) <= 2200:
        return None, None
    year = int(found[1])
    try:
        return date(year, int(found[2] or 0), int(found[3] or 0)), year
    except ValueError:
        return None, year


def describe(issuer: str, identity: str, number: str, said: Mapping[str, Facts]) -> Record:
    """The record of what was said under a number, by `SOURCES`."""
    ordered = [said[source] for source in SOURCES if source in said]

    def first(values: Iterable[str]) -> str:
        return next((value for value in values if value), "")

    sex = first(each.sex.strip().upper()[:1] for each in ordered)
    birth, year = next((found for each in ordered if (found := read_birth(each.birth)) != (None, None)), (None, None))
    numbers = list(dict.fromkeys(number for each in ordered for number in each.identifiers))
    own = read(number, issuer) if number else None
    if own is not None and own.kind is Kind.FACILITY:
        own = personal(number, birth, year, sex)
    if own is not None:
        numbers.append(own)
    return Record(
        issuer,
        identity,
        number,
        name=first(names.spoken(each.name) for each in ordered)[:_LONGEST],
        birth_date=birth,
        birth_year=year,
        sex=sex if sex in ("M", "F", "O") else "",
        phone=first(phone(each.phone) for each in ordered),
        identifiers=tuple({(each.key, each.issuer): each for each in numbers}.values())[:_MOST_NUMBERS],
    )


def of_dicom(
    name: str,
    birth_date: date | None,
    sex: str,
    born: Any = None,
    others: Any = None,
    other_ids: Any = None,
    phones: Any = None,
) -> Facts:
    """What an object says (PS3.3 C.2.2, C.2.3); the last are elements of the DICOM JSON model.

    `born` is PatientBirthDate as it was written, `others` OtherPatientIDsSequence, `other_ids` OtherPatientIDs,
    `phones` PatientTelephoneNumbers.
    """
    birth = f"{birth_date:%Y%m%d}" if birth_date else _first(born)
    numbers = [_of_item(item) for item in _values(others) if isinstance(item, dict)]
    numbers += [read(str(value)) for value in _values(other_ids) if value is not None]
    found = tuple(each for each in numbers if each is not None)[:_MOST_NUMBERS]
    return Facts(name, birth, sex, _first(phones), found)


def _of_item(item: Mapping[str, Any]) -> Identifier | None:
    label = _first(item.get("00100022"))
    for qualifiers in _values(item.get("00100024")):
        if isinstance(qualifiers, dict):
            label = _first(qualifiers.get("00400035")) or label
    return read(_first(item.get("00100020")), _first(item.get("00100021")), label)


def _values(element: Any) -> Sequence[Any]:
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else ()


def _first(element: Any) -> str:
    return next((str(value) for value in _values(element) if value is not None), "")
