"""Data types of FHIR made of values of DICOM: names, times, codes, references. Pure.

Nothing here raises: what a sender wrote must not make a resource disappear. FHIR allows no empty values, and of some
text only certain characters; what does not fit is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Final

from archive.fhir.terms import DCM, NAME_REPRESENTATION, SNOMED, Json, concept
from archive.records import DicomJSON
from config.clock import VIETNAM

_CODE = re.compile(r"[^\s]+( [^\s]+)*")
_NOT_TEXT = dict.fromkeys([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20)])
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)")
_REPRESENTATIONS: Final = ("ABC", "IDE", "SYL")
_SCHEMES: Final = {"SCT": SNOMED, "SRT": "urn:oid:2.16.840.1.113883.6.96", "DCM": DCM, "LN": "http://loinc.org"}


def text(value: object) -> str:
    """What FHIR takes for a string; empty if nothing is left."""
    return str(value).translate(_NOT_TEXT).strip() if value is not None else ""


def without_empty(resource: Json) -> Json:
    """The same without what has no value: FHIR has no empty strings, lists or objects."""
    return {name: value for name, value in resource.items() if value not in (None, "", [], {})}


def values(attributes: DicomJSON, tag: str) -> list[Any]:
    """All values of an attribute that have any."""
    found = attributes.get(tag, {}).get("Value") or []
    return [value for value in found if value not in (None, "")]


def first(attributes: DicomJSON, tag: str) -> str:
    """The first value of an attribute as text."""
    found = values(attributes, tag)
    return text(found[0]) if found and not isinstance(found[0], dict) else ""


def person(value: object) -> str:
    """A person name of the DICOM JSON model as it was received."""
    if not isinstance(value, dict):
        return text(value)
    groups = [text(value.get(group)) for group in ("Alphabetic", "Ideographic", "Phonetic")]
    return "=".join(groups).rstrip("=")


def human_names(name: str, use: str = "official") -> list[Json]:
    """A DICOM person name as HumanNames: one of each component group that there is (PS3.5 6.2.1.1)."""
    groups = [group.strip() for group in text(name).split("=")[:3]]
    several = sum(map(bool, groups)) > 1
    made = []
    for representation, group in zip(_REPRESENTATIONS, groups, strict=False):
        parts = [" ".join(part.split()) for part in group.split("^")]
        if not any(parts):
            continue
        family, given, middle, prefix, suffix = (*parts, "", "", "", "", "")[:5]
        one: Json = {"use": use, "text": " ".join(filter(None, (prefix, family, middle, given, suffix)))}
        if middle == "":
            one["text"] = " ".join(filter(None, (prefix, family, given, suffix)))
        if "^" in group:
            # Without the delimiter, nobody can tell which part is which: Vietnamese senders write names as they are.
            one |= {"family": family, "given": [*given.split(), *middle.split()], "prefix": prefix.split()}
            one |= {"suffix": suffix.split()}
        if several:
            one["extension"] = [{"url": NAME_REPRESENTATION, "valueCode": representation}]
        made.append(without_empty(one))
    return made


def shown_name(name: str) -> str:
    """A name for people to read."""
    found = human_names(name)
    return str(found[0]["text"]) if found else ""


def zone(attributes: DicomJSON) -> timezone:
    """Of a study's times: what it says of itself, or that of the hospitals."""
    found = _OFFSET.fullmatch(first(attributes, "00080201"))
    if found is None or int(found[2]) > 14 or int(found[3]) > 59:
        return VIETNAM
    length = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-length if found[1] == "-" else length)


def date_time(day: date | None, hour: time | None, where: timezone = VIETNAM) -> str:
    """A dateTime, of a day alone if there is no time; empty without a day."""
    if day is None:
        return ""
    if hour is None:
        return day.isoformat()
    return datetime.combine(day, hour, where).isoformat()


def instant(moment: datetime) -> str:
    """A moment with its zone, that of the hospitals, to the microsecond: a client asks for what came after."""
    return moment.astimezone(VIETNAM).isoformat(timespec="microseconds")


def code(value: str) -> str:
    """What FHIR takes for a code: no space at its ends, none double; empty if nothing is left."""
    cleaned = " ".join(text(value).split())
    return cleaned if _CODE.fullmatch(cleaned) else ""


def identifier(system: str, value: str, **more: object) -> Json:
    """An Identifier. What is made of nothing is empty."""
    cleaned = text(value)
    return without_empty({**more, "system": system, "value": cleaned}) if cleaned else {}


def reference(kind: str, key: object, display: str = "") -> Json:
    """A Reference to a resource of ours."""
    return without_empty({"reference": f"{kind}/{key}", "display": text(display)})


def coded(items: Iterable[Mapping[str, Any]], fallback: str = "") -> Iterator[Json]:
    """A CodeableConcept for each item of a code sequence (PS3.3 8.8); or of the text alone if there is none."""
    found = False
    for item in items:
        value = next(
            (first(dict(item), tag) for tag in ("00080100", "00080119", "00080120") if first(dict(item), tag)), ""
        )
        meaning = first(dict(item), "00080104")
        scheme = first(dict(item), "00080102")
        if not (value or meaning):
            continue
        found = True
        one = without_empty({"system": system_of(scheme), "code": code(value), "display": meaning})
        yield concept(one, text=meaning)
    if not found and fallback:
        yield {"text": fallback}


def system_of(scheme: str) -> str:
    """The system of a Coding Scheme Designator (0008,0102); empty for one that only its maker knows."""
    return _SCHEMES.get(scheme.upper(), "")


def practitioner(local: str, name: str, identifiers: Iterable[Json] = ()) -> Json:
    """A contained Practitioner; empty without a name."""
    names = human_names(name)[:1]
    if not names:
        return {}
    return without_empty(
        {"resourceType": "Practitioner", "id": local, "identifier": [*filter(None, identifiers)], "name": names}
    )
