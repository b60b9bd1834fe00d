"""Values of attributes as people and programs write them, checked and turned into DICOM's (PS3.5 6.2).

What a modality would refuse, cut off or show wrong is refused here, with the name of the attribute: an order can still
be corrected where it is written, at the modality it cannot.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from archive.standard.text import parse_date, parse_time
from archive.standard.uids import is_uid
from archive.worklist.attributes import Attribute

LONGEST: Final = {"AE": 16, "CS": 16, "LO": 64, "LT": 10240, "SH": 16, "ST": 1024, "UT": 10240}
"""Characters of a value (PS3.5 Table 6.2-1); UT has no limit of its own."""
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_LONGEST_GROUP: Final = 64
_ITEMS: Final = 100
"""Items of a sequence, and values of an attribute, that an order may have."""
_PARAGRAPHS: Final = frozenset(("LT", "ST", "UT"))
_ENUMERATED: Final = {
    "PatientSex": ("M", "F", "O"),
    "SmokingStatus": ("YES", "NO", "UNKNOWN"),
    "PregnancyStatus": (1, 2, 3, 4),
}
"""Enumerated values (PS3.3 C.2.3, C.2.4; C.7.1.1). Pregnancy: 1 not pregnant, 2 possibly, 3 definitely, 4 unknown."""


class Bad(Exception):
    """A value is not what it should be; the message says what it should be."""


def dicom_element(attribute: Attribute, given: Any) -> dict[str, Any]:
    """The element in the DICOM JSON model. Raises `Bad`; its first argument is where in the value the mistake is."""
    if given is None or given in ("", [], {}):
        return {"vr": attribute.vr}
    if attribute.vr == "SQ":
        return _sequence(attribute, given)
    several = given if isinstance(given, list) else [given]
    if len(several) > (_ITEMS if attribute.several else 1):
        raise Bad("", "has too many values")
    return {"vr": attribute.vr, "Value": [_checked(attribute, each) for each in several]}


def plain_value(attribute: Attribute, element: Mapping[str, Any]) -> Any:
    """The other way: the value as an order says it, None if there is none."""
    values = element.get("Value") or []
    if attribute.vr == "SQ":
        return [plain_values(attribute.members, item) for item in values]
    if attribute.vr == "PN":
        values = [_written_name(value) for value in values]
    if attribute.several:
        return values or None
    return values[0] if values else None


def plain_values(known: Mapping[int, Attribute], item: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that have a value, by keyword."""
    found = {}
    for attribute in known.values():
        value = plain_value(attribute, item.get(attribute.key, {}))
        if value is not None and value != []:
            found[attribute.keyword] = value
    return found


def _sequence(attribute: Attribute, given: Any) -> dict[str, Any]:
    items = given if isinstance(given, list) else [given]
    if len(items) > _ITEMS:
        raise Bad("", "has too many items")
    made = []
    by_keyword = {member.keyword: member for member in attribute.members.values()}
    for index, item in enumerate(items):
        where = f"[{index}]"
        if not isinstance(item, dict):
            raise Bad(where, "must be an object with the attributes of the item")
        for name in item:
            if name not in by_keyword:
                raise Bad(f"{where}.{str(name)[:64]}", "is not an attribute of this sequence")
        made.append(_item(by_keyword, item, where))
    return {"vr": "SQ", "Value": made}


def _item(by_keyword: Mapping[str, Attribute], item: Mapping[str, Any], where: str) -> dict[str, Any]:
    made = {}
    for keyword, member in by_keyword.items():
        try:
            element = dicom_element(member, item.get(keyword))
        except Bad as error:
            raise Bad(f"{where}.{keyword}{error.args[0]}", error.args[1]) from None
        if "Value" in element:
            made[member.key] = element
        elif member.type == "1":
            raise Bad(f"{where}.{keyword}", "is missing")
    return made


def _checked(attribute: Attribute, given: Any) -> Any:
    vr = attribute.vr
    if vr == "PN":
        return _name(given)
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise Bad("", "must be a text" if vr not in ("DS", "US") else "must be a number")
    text = unicodedata.normalize("NFC", str(given)).strip()
    allowed = _ENUMERATED.get(attribute.keyword)
    if allowed and text not in map(str, allowed):
        raise Bad("", f"must be one of {', '.join(map(str, allowed))}")
    return _text(text, vr) if vr in LONGEST else _OTHERS[vr](text)


def _text(text: str, vr: str) -> str:
    if len(text) > LONGEST[vr]:
        raise Bad("", f"has {len(text)} characters, more than {LONGEST[vr]} (VR {vr})")
    _no_controls(text, "\t\n\f\r" if vr in _PARAGRAPHS else "")
    if "\\" in text and vr not in _PARAGRAPHS:
        raise Bad("", "must not have a backslash")
    if vr == "CS" and not re.fullmatch(r"[A-Z0-9 _]+", text):
        raise Bad("", "may have capital letters without accents, digits, spaces and underscores only")
    if vr == "AE" and not (text.isascii() and text.isprintable()):
        raise Bad("", "is not an AE title: 1 to 16 printable ASCII characters")
    return text


def _no_controls(text: str, allowed: str = "") -> None:
    if any(unicodedata.category(char) in ("Cc", "Cs") and char not in allowed for char in text):
        raise Bad("", "has control characters")


def _name(given: Any) -> dict[str, str]:
    """A person name: a text with the component groups of PS3.5 6.2.1, or an object as the DICOM JSON model has it."""
    groups = given
    if isinstance(given, str):
        groups = dict(zip(_GROUPS, given.split("="), strict=False))
    if not isinstance(groups, dict) or not all(
        name in _GROUPS and isinstance(group, str) for name, group in groups.items()
    ):
        raise Bad("", "must be a name such as NGUYEN^VAN AN")
    if isinstance(given, str) and given.count("=") > 2:
        raise Bad("", "has more than three component groups")
    made = {}
    for name, group in groups.items():
        text = " ".join(unicodedata.normalize("NFC", group).split())
        _no_controls(text)
        if len(text) > _LONGEST_GROUP:
            raise Bad("", f"has {len(text)} characters, more than {_LONGEST_GROUP} (VR PN)")
        if "\\" in text or "=" in text or text.count("^") > 4:
            raise Bad("", "is not a name: a backslash, an equals sign or too many carets")
        if text.strip("^ "):
            made[name] = text
    if not made:
        raise Bad("", "is empty")
    return made


def _written_name(value: Any) -> Any:
    """A name as text, unless it has only later groups."""
    if not isinstance(value, dict):
        return value
    return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")


def _date(text: str) -> str:
    found = parse_date(text)
    if found is None:
        raise Bad("", "is not a date: write YYYYMMDD or YYYY-MM-DD")
    return found.isoformat().replace("-", "")


def _time(text: str) -> str:
    found = parse_time(f"0{text}" if text[1:2] == ":" else text)
    if found is None:
        raise Bad("", "is not a time: write HHMM, HHMMSS or HH:MM")
    return found.strftime("%H%M%S")


def _uid(text: str) -> str:
    if not is_uid(text):
        raise Bad("", "is not a UID")
    return text


def _age(text: str) -> str:
    if not re.fullmatch(r"[0-9]{3}[DWMY]", text):
        raise Bad("", "is not an age such as 045Y")
    return text


def _decimal(text: str) -> float:
    try:
        number = Decimal(text.replace(",", "."))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number < 10_000:
        raise Bad("", "must be a number such as 62.5")
    return round(float(number), 4)


def _small_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 0xFFFF:
        raise Bad("", "must be a whole number")
    return int(text)


_OTHERS: Final[dict[str, Callable[[str], Any]]] = {
    "AS": _age,
    "DA": _date,
    "DS": _decimal,
    "TM": _time,
    "UI": _uid,
    "US": _small_number,
}
