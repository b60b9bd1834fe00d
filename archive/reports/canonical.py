"""What exactly is signed: one text for a version, whoever writes it out and whenever.

It is JSON with sorted names, in UTF-8 and Unicode's composed form, of all that the version says, of whom, and by whom.
The moment of signing is not in it, so that an electronic signature can be made of the text before that moment.
"""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Any, Final

import orjson

from archive.errors import InvalidItem
from archive.reports.records import Version, Written

LONGEST_TEXT: Final = 65_536
LONGEST_SHORT: Final = 1024
MOST_FIELDS: Final = 300


def canonical(number: str, version: Version, subject: dict[str, Any]) -> bytes:
    """The bytes of which `digest` is made and which an electronic signature signs."""
    said = {
        "report": number,
        "version": version.number,
        "subject": subject,
        "template": version.template,
        "content": version.content,
        "description": version.description,
        "conclusion": version.conclusion,
        "recommendation": version.recommendation,
        "addenda": version.addenda,
        "reason": version.reason,
        "author": version.author,
        "author_name": version.author_name,
        "author_licence": version.author_licence,
    }
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def digest(content: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(content).digest()


def cleaned(written: Written) -> Written:
    """The same in composed form without control characters. Raises `InvalidItem` for what is too long."""
    faults: dict[str, str] = {}
    long = {name: clean_text(getattr(written, name)) for name in ("conclusion", "text", "recommendation")}
    faults.update({name: "is too long" for name, value in long.items() if len(value) > LONGEST_TEXT})
    if len(written.fields) > MOST_FIELDS or len(written.codes) > MOST_FIELDS:
        faults["fields"] = f"are more than {MOST_FIELDS}"
    fields = {clean_text(name): clean_text(value) for name, value in written.fields.items() if value.strip()}
    codes = {clean_text(name): clean_text(value) for name, value in written.codes.items() if value.strip()}
    if any(len(name) > 64 or len(value) > LONGEST_TEXT for name, value in fields.items()):
        faults["fields"] = "hold something too long"
    if any(len(value) > LONGEST_SHORT for value in codes.values()):
        faults["codes"] = "hold something too long"
    if len(written.template) > 64:
        faults["template"] = "is no template"
    if faults:
        raise InvalidItem.of(faults)
    return Written(**long, template=clean_text(written.template), fields=fields, codes=codes)


def clean_text(text: str) -> str:
    """In composed form, with plain line ends, without control characters and space at the ends."""
    plain = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(c for c in plain if c == "\n" or c == "\t" or unicodedata.category(c) != "Cc").strip()
