"""Query parameters of QIDO-RS: text of a URL to a `Query` (PS3.18 8.3.4, 10.6.1.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from archive.attributes import KNOWN
from archive.errors import InvalidQuery
from archive.records import Level, Query
from archive.standard.uids import check_uid
from viewer_api.views import VIEW

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_SHOWN: Final = 64
_MAX_PARAMETERS: Final = 200
_MAX_VALUE: Final = 64 * 1024
"""A list of about 1000 UIDs; longer ones do not pass most proxies anyway."""

# `accept` and `charset` are parameters of every transaction (PS3.18 8.3.3); `_` is put in by client libraries against
# caches and changes nothing about what matches.
_NOT_KEYS: Final = frozenset({"accept", "charset", "_", VIEW})
_TRUE_FALSE: Final = {"true": True, "false": False, "1": True, "0": False}

Include = frozenset[int] | Literal["all"]


def parse_query(level: Level, items: Iterable[tuple[str, str]], path: dict[str, str]) -> Query:
    """Read the parameters of a search.

    Parameters
    ----------
    level : Level
        The level of the resource.
    items : Iterable[tuple[str, str]]
        Names and decoded values, in the order of the URL; names may repeat.
    path : dict[str, str]
        UIDs that the path of the resource fixes, by keyword.

    Raises
    ------
    InvalidQuery
        A parameter is unknown, unsupported, or has a value that cannot be understood; the message names it.
    """
    keys, include, controls = _sorted_out(items)
    matching = {tag: _value(tag, values) for tag, values in keys.items()}
    for keyword, uid in path.items():
        _fix(matching, keyword, uid)
    limit = controls.get("limit")
    return Query(
        level=level,
        keys=matching,
        include=include_fields(include),
        fuzzy=_flag(controls.get("fuzzymatching", "false")),
        limit=None if limit is None else _number("limit", limit),
        offset=_number("offset", controls.get("offset", "0")),
    )


def _sorted_out(items: Iterable[tuple[str, str]]) -> tuple[dict[int, list[str]], list[str], dict[str, str]]:
    """Matching keys by tag, the fields to include, and the parameters that steer the search."""
    keys: dict[int, list[str]] = {}
    include: list[str] = []
    controls: dict[str, str] = {}
    for count, (name, value) in enumerate(items):
        if count >= _MAX_PARAMETERS or len(value) > _MAX_VALUE:
            raise InvalidQuery("the query is too long")
        folded = name.lower()
        if folded == "includefield":
            include.extend(value.split(","))
        elif folded in ("fuzzymatching", "limit", "offset"):
            _once(controls, folded, value)
        elif folded not in _NOT_KEYS:
            keys.setdefault(_matching_key(name), []).append(value)
    return keys, include, controls


def attribute_tag(name: str) -> int:
    """The tag behind a keyword or 8 hexadecimal digits (PS3.18 8.3.4.1). Raises `InvalidQuery`."""
    if _TAG.fullmatch(name):
        return int(name, 16)
    tag = tag_for_keyword(name)
    if tag is None:
        raise InvalidQuery(f"{_shown(name)} is neither the keyword nor the tag of a DICOM attribute")
    return tag


def include_fields(names: Iterable[str]) -> Include:
    """Attributes asked for by ``includefield`` (PS3.18 8.3.4.3). Raises `InvalidQuery`.

    Of an attribute inside a sequence, the whole sequence is asked for: items cannot be returned in parts without
    changing what they say.
    """
    wanted = [name.strip() for name in names if name.strip()]
    if any(name.lower() == "all" for name in wanted):
        return "all"
    return frozenset(attribute_tag(name.split(".")[0]) for name in wanted if all(map(attribute_tag, name.split("."))))


def _matching_key(name: str) -> int:
    if "." in name:
        for part in name.split("."):
            attribute_tag(part)
        raise InvalidQuery(f"{_shown(name)}: matching inside sequences is not supported")
    tag = attribute_tag(name)
    if tag not in KNOWN:
        keyword = keyword_for_tag(tag) or _shown(name)
        raise InvalidQuery(f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X}) is not an attribute that can be matched")
    return tag


def _value(tag: int, values: list[str]) -> str:
    r"""Join what was given for one key.

    UIDs come as a list: comma-separated, as ``\``-separated, or by repeating the key (PS3.18 8.3.4.4, PS3.4
    C.2.2.2.2). The same is taken for code strings (Modality=CT,MR), which cannot contain a comma (PS3.5 6.2).
    """
    if dictionary_VR(tag) in ("UI", "CS"):
        parts = [part.strip() for value in values for part in re.split(r"[,\\]", value)]
        return "\\".join(dict.fromkeys(part for part in parts if part))
    if len(set(values)) > 1:
        raise InvalidQuery(f"{keyword_for_tag(tag)} is given more than once with different values")
    return values[0]


def _fix(keys: dict[int, str], keyword: str, uid: str) -> None:
    """Put a UID of the path into the keys; a list of UIDs given beside it must contain it to match anything."""
    tag = attribute_tag(keyword)
    check_uid(uid, keyword)
    given = keys.get(tag)
    if given and uid not in given.split("\\"):
        raise InvalidQuery(f"{keyword} of the query is not the one in the path")
    keys[tag] = uid


def _once(controls: dict[str, str], name: str, value: str) -> None:
    if controls.setdefault(name, value) != value:
        raise InvalidQuery(f"{name} is given more than once with different values")


def _flag(text: str) -> bool:
    value = _TRUE_FALSE.get(text.strip().lower())
    if value is None:
        raise InvalidQuery("fuzzymatching is neither true nor false")
    return value


def _number(name: str, text: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise InvalidQuery(f"{name} is not a whole number from 0")
    return int(digits)


def _shown(name: str) -> str:
    """The name as an error message may repeat it: short, and without anything that could confuse a terminal."""
    return ascii(name[:_SHOWN])
