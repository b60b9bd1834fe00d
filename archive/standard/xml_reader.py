"""Reads the Native DICOM Model (PS3.19 A.1) into the DICOM JSON model (PS3.18 F.2): `xml_model` the other way.

What comes from outside is parsed without document types and entities, to a certain depth and number of elements, and
a top-level attribute at a time. Clients leave things out, so what is clear without them may be missing: the namespace,
the VR of what the dictionary knows, and the numbers of values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from archive.errors import CannotParse
from archive.standard.coding import SHORT_VRS, show, vr_of
from archive.standard.json_model import JSONDataset
from archive.standard.walk import MAX_DEPTH
from archive.standard.xml_model import NAMESPACE

DEEPEST: Final = 2 * MAX_DEPTH + 6
"""Elements within each other: two for each sequence; below the innermost attribute a name, its group and component."""
MOST: Final = 4_000_000
"""Elements of one document."""
_WIDEST: Final = 4096
"""Values that may be left out between two."""
_FIRST_BLOCK: Final = 0x10
"""Of private elements (PS3.5 7.8.1)."""
_ROOT: Final = "NativeDicomModel"
_INTEGERS: Final = frozenset(("IS", "SL", "SS", "SV", "UL", "US", "UV"))
_FLOATS: Final = frozenset(("FD", "FL"))
_KEEPS_SPACES: Final = frozenset(("LT", "ST", "UT"))
_LONG_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_SPACE: Final = " \t\r\n"


class _Node:
    """An element of the document."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[_Node] = []
        self.text: list[str] = []


class _Dataset:
    """The dataset of the document or of an item, while its attributes are read."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._elements: JSONDataset = {}
        self._private: list[tuple[int, str, Any]] = []
        """Tag, private creator and element of what is in a block of that creator, whichever it is."""

    def add(self, node: _Node) -> None:
        """Take one attribute."""
        if node.name != "DicomAttribute":
            raise CannotParse(f"the XML has {node.name[:64]!a} where DicomAttribute is expected")
        tag = _tag(node)
        vr = node.attributes.get("vr") or vr_of(tag)
        if vr not in SHORT_VRS and vr not in _LONG_VRS:
            raise CannotParse(f"{_named(tag)}: {vr[:8]!a} is no VR")
        creator = node.attributes.get("privateCreator", "").strip(_SPACE)
        try:
            element = {"vr": vr, **_content(vr, node, self._depth)}
        except _Wrong as error:
            raise CannotParse(f"{_named(tag)}: {error}") from None
        if creator and tag & 0x10000:
            self._private.append((tag, creator, element))
        else:
            self._put(tag, element)

    def finished(self) -> JSONDataset:
        """All of it, with blocks for the private attributes that only name their creator (PS3.19 A.1.5)."""
        for tag, creator, element in self._private:
            block = tag >> 8 & 0xFF or self._block(tag >> 16, creator)
            if block < _FIRST_BLOCK:
                raise CannotParse(f"{_named(tag)} is in no block of a private creator")
            self._elements.setdefault(_key(tag >> 16, block), {"vr": "LO", "Value": [creator]})
            self._put(tag & 0xFFFF00FF | block << 8, element)
        return dict(sorted(self._elements.items()))

    def _put(self, tag: int, element: Any) -> None:
        if f"{tag:08X}" in self._elements:
            raise CannotParse(f"{_named(tag)} is in the XML twice")
        self._elements[f"{tag:08X}"] = element

    def _block(self, group: int, creator: str) -> int:
        """The block that the creator has in the group, or one that nobody has (PS3.5 7.8.1)."""
        taken = {tag >> 8 & 0xFF for tag, _, _ in self._private if tag >> 16 == group}
        for block in range(_FIRST_BLOCK, 0x100):
            known = self._elements.get(_key(group, block))
            if known is not None and known.get("Value") == [creator]:
                return block
        for block in range(_FIRST_BLOCK, 0x100):
            if _key(group, block) not in self._elements and block not in taken:
                return block
        raise CannotParse(f"group {group:04X} has no block left for a private creator")


def _key(group: int, element: int) -> str:
    return f"{group:04X}{element:04X}"


class _Target:
    """What the parser tells of the document. Keeps no more than one attribute of the top level."""

    def __init__(self) -> None:
        self._dataset = _Dataset(0)
        self._open: list[_Node] = []
        self._count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._count += 1
        if len(self._open) >= DEEPEST:
            raise CannotParse(f"the XML is nested more than {DEEPEST} elements deep")
        if self._count > MOST:
            raise CannotParse(f"the XML has more than {MOST} elements")
        namespace, _, name = tag.rpartition("}")
        if namespace not in ("", "{" + NAMESPACE):
            raise CannotParse(f"the XML has an element that is not of {NAMESPACE}")
        if not self._open and name != _ROOT:
            raise CannotParse(f"the root of the XML must be {_ROOT}")
        self._open.append(_Node(name, attributes))

    def data(self, text: str) -> None:
        """Text of the innermost element."""
        self._open[-1].text.append(text)

    def end(self, _tag: str) -> None:
        """The innermost element is complete."""
        node = self._open.pop()
        if len(self._open) > 1:
            self._open[-1].children.append(node)
        elif self._open:
            self._dataset.add(node)

    def close(self) -> JSONDataset:
        """The document is over."""
        return self._dataset.finished()


def read_native_xml(document: bytes) -> JSONDataset:
    """Return the dataset of a document, with keys in ascending order. Values are not checked beyond their kind.

    Raises
    ------
    CannotParse
        It is no well-formed XML, declares a document type or entities, is nested too deeply or is no Native DICOM
        Model; the message names the attribute.
    """
    parser = DefusedXMLParser(target=_Target(), forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(document)
        dataset: JSONDataset = parser.close()
    except ParseError as error:
        line, column = error.position
        raise CannotParse(f"the XML is not well-formed at line {line}, column {column}") from None
    except DefusedXmlException:
        raise CannotParse("the XML declares a document type or entities") from None
    except (LookupError, ValueError):  # of the codec that it declares
        raise CannotParse("the XML is in an encoding that cannot be read") from None
    return dataset


class _Wrong(Exception):
    """What is wrong with the attribute that is being read."""


def _tag(node: _Node) -> int:
    text = node.attributes.get("tag", "")
    if _TAG.fullmatch(text):
        return int(text, 16)
    keyword = node.attributes.get("keyword", "")
    tag = tag_for_keyword(keyword) if keyword and not text else None
    if tag is None:
        raise CannotParse(f"the XML has an attribute with the tag {text[:64]!a}")
    return tag


def _named(tag: int) -> str:
    return keyword_for_tag(tag) or show(tag)


def _content(vr: str, node: _Node, depth: int) -> dict[str, Any]:
    """The value of an attribute, with the name that it has in the JSON model; nothing if it is empty."""
    kinds = {child.name for child in node.children}
    if not kinds:
        if "".join(node.text).strip(_SPACE):
            raise _Wrong("text stands outside of Value")
        return {}
    if len(kinds) > 1:
        raise _Wrong("it has values of several kinds")
    (kind,) = kinds
    if kind in ("BulkData", "InlineBinary"):
        if len(node.children) > 1:
            raise _Wrong(f"it has more than one {kind}")
        return _BINARY[kind](node.children[0])
    expected = {"SQ": "Item", "PN": "PersonName"}.get(vr, "Value")
    if kind != expected:
        raise _Wrong(f"it has {kind[:64]!a}, and VR {vr} has {expected}")
    if vr == "SQ":
        return {"Value": [_item(child, depth) for child in _numbered(node) if child is not None]}
    convert = _person_name if vr == "PN" else _converter(vr)
    return {"Value": [None if child is None else convert(child) for child in _numbered(node)]}


def _numbered(node: _Node) -> list[_Node | None]:
    """The values in order of their numbers, None for those that are left out (PS3.19 A.1.5)."""
    found: dict[int, _Node] = {}
    for position, child in enumerate(node.children, 1):
        text = child.attributes.get("number", str(position)).strip()
        if not (text.isascii() and text.isdecimal() and 0 < len(text) < 9 and int(text) > 0):
            raise _Wrong(f"{text[:16]!a} is no number of a value")
        if int(text) in found:
            raise _Wrong(f"two values have the number {int(text)}")
        found[int(text)] = child
    if max(found) > len(found) + _WIDEST:
        raise _Wrong("too many values are left out")
    return [found.get(number) for number in range(1, max(found) + 1)]


def _item(node: _Node, depth: int) -> JSONDataset:
    if depth >= MAX_DEPTH:
        raise CannotParse(f"sequences are nested more than {MAX_DEPTH} deep")
    dataset = _Dataset(depth + 1)
    for child in node.children:
        dataset.add(child)
    return dataset.finished()


def _bulk_data(node: _Node) -> dict[str, Any]:
    uri = node.attributes.get("uri", "").strip()
    if not uri:
        raise _Wrong("its BulkData has no uri")
    return {"BulkDataURI": uri}


def _inline_binary(node: _Node) -> dict[str, Any]:
    text = "".join("".join(node.text).split())
    return {"InlineBinary": text} if text else {}


_BINARY: Final[dict[str, Callable[[_Node], dict[str, Any]]]] = {
    "BulkData": _bulk_data,
    "InlineBinary": _inline_binary,
}


def _converter(vr: str) -> Callable[[_Node], Any]:
    if vr in _INTEGERS:
        return _integer
    if vr in _FLOATS:
        return _float
    return _text if vr in _KEEPS_SPACES else _trimmed


def _text(node: _Node) -> str | None:
    if node.children:
        raise _Wrong("a value holds elements")
    return "".join(node.text) or None


def _trimmed(node: _Node) -> str | None:
    return (_text(node) or "").strip(_SPACE) or None


def _integer(node: _Node) -> int | None:
    text = _trimmed(node)
    # Longer ones are no value of any VR, and slow to read.
    if text is not None and not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        raise _Wrong("a value is no whole number")
    return None if text is None else int(text)


def _float(node: _Node) -> float | None:
    text = _trimmed(node)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    # XML Schema writes INF and NaN, our writer as the JSON model does.
    if "_" in text or (math.isnan(number) and text.lower() != "nan"):
        raise _Wrong("a value is no number")
    return number


def _person_name(node: _Node) -> dict[str, str] | None:
    """The component groups, each with ``^`` between its components (PS3.18 F.2.2)."""
    groups: dict[str, str] = {}
    for group in node.children:
        if group.name not in _GROUPS or group.name in groups:
            raise _Wrong(f"{group.name[:64]!a} is no group of a name, or there twice")
        groups[group.name] = "^".join(_components(group)).rstrip("^")
    if "".join(node.text).strip(_SPACE):
        raise _Wrong(f"a name has text outside of {', '.join(_GROUPS)}")
    return {name: groups[name] for name in _GROUPS if groups.get(name)} or None


def _components(group: _Node) -> Iterator[str]:
    found: dict[str, str] = {}
    for component in group.children:
        if component.name not in _COMPONENTS or component.name in found:
            raise _Wrong(f"{component.name[:64]!a} is no component of a name, or there twice")
        found[component.name] = _trimmed(component) or ""
    for name in _COMPONENTS:
        yield found.get(name, "")
