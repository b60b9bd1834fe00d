"""The text of a structured report, for people to read (PS3.3 C.17.3, content items and their relationships)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from pydicom.dataset import Dataset

_DEEPEST: Final = 32
_MOST: Final = 5000
"""Lines; a computer-made report with more is not for reading."""
# What tells how the document came about, not what it says.
_NOT_CONTENT: Final = frozenset(("HAS OBS CONTEXT", "HAS ACQ CONTEXT", "HAS CONCEPT MOD"))


class Line(NamedTuple):
    """A piece of a report. A heading has no value."""

    depth: int
    name: str
    value: str


def report_lines(document: Dataset) -> list[Line]:
    """The content of a report in its order; headings without anything under them are left out."""
    lines: list[Line] = []
    for line in _lines(document, 0):
        lines.append(line)
        if len(lines) >= _MOST:
            break
    return [line for at, line in enumerate(lines) if line.value or _has_more(lines, at)]


def _has_more(lines: list[Line], at: int) -> bool:
    """Whether anything with a value stands below a heading."""
    for line in lines[at + 1 :]:
        if line.depth <= lines[at].depth:
            return False
        if line.value:
            return True
    return False


def _lines(node: Dataset, depth: int) -> Iterator[Line]:
    yield Line(depth, _meaning(node.get("ConceptNameCodeSequence")), _value(node))
    if depth >= _DEEPEST:
        return
    for item in node.get("ContentSequence") or ():
        if str(item.get("RelationshipType") or "") not in _NOT_CONTENT:
            yield from _lines(item, depth + 1)


def _value(item: Dataset) -> str:
    kind = str(item.get("ValueType") or "")
    if kind == "TEXT":
        return str(item.get("TextValue") or "").strip()
    if kind == "CODE":
        return _meaning(item.get("ConceptCodeSequence"))
    if kind == "NUM":
        return _number(item)
    for name, keyword in (("DATE", "Date"), ("TIME", "Time"), ("DATETIME", "DateTime"), ("PNAME", "PersonName")):
        if kind == name:
            return str(item.get(keyword) or "").replace("^", " ").strip()
    return ""


def _number(item: Dataset) -> str:
    measured = item.get("MeasuredValueSequence") or ()
    if not measured:
        return ""
    unit = (measured[0].get("MeasurementUnitsCodeSequence") or [Dataset()])[0]
    # UCUM's "1" and annotations in braces mean that there is no unit.
    code = str(unit.get("CodeValue") or "")
    shown = "" if code == "1" or code.startswith("{") else code
    return f"{measured[0].get('NumericValue', '')} {shown}".strip()


def _meaning(codes: object) -> str:
    if not isinstance(codes, list | tuple) and not hasattr(codes, "__getitem__"):
        return ""
    return str(codes[0].get("CodeMeaning") or "").strip() if codes else ""  # type: ignore[index]
