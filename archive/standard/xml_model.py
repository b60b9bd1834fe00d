"""The Native DICOM Model: a dataset as XML (PS3.19 A.1), made from its DICOM JSON model (PS3.18 F.2).

The two models say the same in other words, so there is one reader of datasets and this is a change of clothes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import keyword_for_tag

JSONDataset = Mapping[str, Mapping[str, Any]]

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">\n'
_TAIL: Final = "</NativeDicomModel>\n"
_PN_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_PN_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
# XML 1.0 2.2: what no document may hold, escaped or not. Devices do write such characters into their texts.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACEMENT: Final = "\ufffd"


def native_xml(dataset: JSONDataset) -> bytes:
    """The document of one dataset. Characters that XML cannot hold become U+FFFD."""
    return "".join((_HEAD, *_attributes(dataset), _TAIL)).encode()


def _attributes(dataset: JSONDataset) -> Iterator[str]:
    for key, element in dataset.items():
        yield f'<DicomAttribute tag="{key}" vr="{element["vr"]}"{_names(key, dataset)}>'
        yield from _content(element)
        yield "</DicomAttribute>\n"


def _names(key: str, dataset: JSONDataset) -> str:
    """Keyword of a standard attribute, private creator of a private one (PS3.19 Table A.1.5-2)."""
    tag = int(key, 16)
    if not tag >> 16 & 1:
        keyword = keyword_for_tag(tag)
        return f' keyword="{keyword}"' if keyword else ""
    block = tag >> 8 & 0xFF
    creator = dataset.get(f"{tag >> 16:04X}{block:04X}", {}).get("Value") if block else None
    return f" privateCreator={quoteattr(_text(creator[0]))}" if creator and creator[0] else ""


def _content(element: Mapping[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f"<BulkData uri={quoteattr(element['BulkDataURI'])}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
    elif values := element.get("Value"):
        yield from _VALUES.get(element["vr"], _plain)(values)


def _plain(values: Sequence[Any]) -> Iterator[str]:
    for number, value in enumerate(values, 1):
        # An empty value among others has no element; the numbers of the others tell where it stands (A.1.5).
        if value is not None:
            yield f'<Value number="{number}">{escape(_text(value))}</Value>'


def _items(values: Sequence[JSONDataset]) -> Iterator[str]:
    for number, item in enumerate(values, 1):
        yield f'<Item number="{number}">\n'
        yield from _attributes(item)
        yield "</Item>"


def _person_names(values: Sequence[Mapping[str, str] | None]) -> Iterator[str]:
    for number, value in enumerate(values, 1):
        if value:
            yield f'<PersonName number="{number}">'
            for group in _PN_GROUPS:
                if text := value.get(group):
                    yield f"<{group}>{''.join(_components(text))}</{group}>"
            yield "</PersonName>"


def _components(text: str) -> Iterator[str]:
    # More than five components break PS3.5 6.2.1; what is too much stays with the last.
    for name, component in zip(_PN_COMPONENTS, text.split("^", len(_PN_COMPONENTS) - 1), strict=False):
        if component:
            yield f"<{name}>{escape(_text(component))}</{name}>"


def _text(value: object) -> str:
    return _NOT_XML.sub(_REPLACEMENT, value if isinstance(value, str) else str(value))


_VALUES: Final[dict[str, Callable[[Sequence[Any]], Iterator[str]]]] = {"SQ": _items, "PN": _person_names}
