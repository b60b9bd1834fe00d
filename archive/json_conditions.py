"""Conditions on attributes whose values are in the DICOM JSON model of their level (PS3.18 F.2; PS3.4 C.2.2.2)."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pydicom.datadict import keyword_for_tag
from sqlalchemy import ColumnElement, Numeric, and_, case, cast, func, not_, select, text, true, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from archive.comparisons import EMPTY, Condition, any_of, between, equals, text_is
from archive.errors import InvalidQuery
from archive.name_conditions import exact_name, folded_name
from archive.records import NameMatching, Nested
from archive.standard import matching
from archive.standard.coding import show, vr_of

NUMBERS: Final = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_UNMATCHED: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def json_condition(attributes: Any, tag: int, vr: str, value: str, how: NameMatching) -> Condition:
    """Any of the values of an attribute matches, or it has none and that is asked for. Raises `InvalidQuery`."""
    element = attributes[f"{tag:08X}"]
    if value == EMPTY:
        return no_value(attributes, tag)
    values = func.jsonb_array_elements(element["Value"]).table_valued("value").alias()
    return select(1).select_from(values).where(_value_condition(values.c.value, tag, vr, value, how)).exists()


def sequence_condition(attributes: Any, tag: int, nested: Nested, how: NameMatching) -> Condition:
    """One item of a sequence has all of it (C.2.2.2.6). Raises `InvalidQuery`."""
    items = func.jsonb_array_elements(attributes[f"{tag:08X}"]["Value"]).table_valued("value").alias()
    item = type_coerce(items.c.value, JSONB)
    parts: list[Condition] = []
    for each, given in nested.keys.items():
        value = matching.matching_text(given, _named(each))
        universal = each in nested.sequences or matching.has_universal(value, vr_of(each))
        if not universal and can_be_nested(each):
            parts.append(json_condition(item, each, vr_of(each), value, how))
    parts += [
        sequence_condition(item, each, inner, how)
        for each, inner in nested.sequences.items()
        if not is_universal(inner)
    ]
    return select(1).select_from(items).where(and_(*parts)).exists() if parts else true()


def is_universal(nested: Nested) -> bool:
    """Whether keys within an item match everything (C.2.2.2.3)."""
    return all(matching.has_universal(value, vr_of(tag)) for tag, value in nested.keys.items()) and all(
        is_universal(inner) for inner in nested.sequences.values()
    )


def can_be_nested(tag: int) -> bool:
    """Whether an attribute within an item of a sequence can be matched: no private ones, and no bulk data."""
    return vr_of(tag) not in _UNMATCHED and not tag & 0x10000


def _named(tag: int) -> str:
    return keyword_for_tag(tag) or show(tag)


def _value_condition(found: Any, tag: int, vr: str, value: str, how: NameMatching) -> Condition:
    what = _named(tag)
    element = found.op("#>>")(text("'{}'"))
    if vr == "UI":
        among: Condition = element.in_(matching.uid_list(value, what))
        return among
    if vr == "PN":
        return any_of(value, lambda part: _name_condition(found, part, how))
    if vr == "DA":
        return any_of(value, lambda part: between(day(element), written(matching.date_range(part, what))))
    if vr == "TM":
        return any_of(value, lambda part: between(moment(element), written(matching.time_range(part, what))))
    if vr in NUMBERS:
        # A CASE, because a text that is no number must not be cast.
        number = case((func.jsonb_typeof(found) == "number", cast(found, Numeric)))
        return any_of(value, lambda part: equals(number, _number(part, what)))
    if vr in matching.WHOLE_TEXT_VRS:
        return text_is(element, value, vr)
    return any_of(value, lambda part: text_is(element, part, vr))


def _name_condition(name: Any, value: str, how: NameMatching) -> Condition:
    groups = [name.op("->>")(group) for group in ("Alphabetic", "Ideographic", "Phonetic")]
    if how == "exact":
        return exact_name(func.concat_ws("=", *(func.coalesce(group, "") for group in groups)), value)
    return folded_name(_folded(groups), value, how)


def _folded(groups: list[Any]) -> ColumnElement[str]:
    """`fold_name` in SQL, as far as Latin script goes."""
    letters = func.normalize(func.concat_ws("=", *groups), text("NFKD"))
    letters = func.regexp_replace(letters, "[\u0300-\u036f]", "", "g")
    letters = func.upper(func.translate(letters, "đĐðÐ^", "DDDD "))
    return func.btrim(func.regexp_replace(letters, " +", " ", "g"))


def first_value(attributes: Any, tag: int) -> ColumnElement[str]:
    """The first value of an attribute as text."""
    found: ColumnElement[str] = attributes[(f"{tag:08X}", "Value", "0")].astext
    return found


def day(element: Any) -> ColumnElement[str]:
    """A date as ``yyyymmdd``, also of ACR-NEMA."""
    return func.regexp_replace(element, "[./-]", "", "g")


def moment(element: Any) -> ColumnElement[str]:
    """``hhmmss.ffffff`` of a time of any precision."""
    whole = func.rpad(func.replace(func.split_part(element, ".", 1), ":", ""), 6, "0")
    return whole.op("||")(".").op("||")(func.rpad(func.split_part(element, ".", 2), 6, "0"))


def written(wanted: matching.Range[Any]) -> matching.Range[Any]:
    """A range of dates or times as `day` and `moment` write them."""

    def one(value: date | time | None) -> str | None:
        if isinstance(value, time):
            return value.strftime("%H%M%S.%f")
        return value.isoformat().replace("-", "") if value is not None else None

    return matching.Range(one(wanted.low), one(wanted.high))


def no_value(attributes: Any, tag: int) -> Condition:
    """The attribute is absent or empty."""
    return not_(func.coalesce(func.jsonb_array_length(attributes[f"{tag:08X}"]["Value"]) > 0, False))


def _number(value: str, what: str) -> Decimal:
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise InvalidQuery(f"{what}: {value[:40]!r} is not a number")
    return number
