"""Query parameters of QIDO-RS: text of a URL to a `Query` (PS3.18 8.3.4, 10.6.1.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final, Literal, NamedTuple

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag

from archive.attributes import KNOWN
from archive.comparisons import EMPTY
from archive.errors import InvalidQuery
from archive.json_conditions import can_be_nested
from archive.records import Level, Nested, Order, Query
from archive.standard.coding import vr_of
from archive.standard.matching import WHOLE_TEXT_VRS
from archive.standard.uids import check_uid
from archive.ups.search import WorkitemQuery
from viewer_api.views import VIEW

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_SHOWN: Final = 64
_MAX_PARAMETERS: Final = 200
_MAX_VALUE: Final = 64 * 1024
"""A list of about 1000 UIDs; longer ones do not pass most proxies anyway."""

# `accept` and `charset` are parameters of every transaction (PS3.18 8.3.3); `_` is put in by client libraries against
# caches and changes nothing about what matches.
_NOT_KEYS: Final = frozenset({"accept", "charset", "_", VIEW})
_MAX_DEPTH: Final = 8
"""Names in a path into sequences; no sequence of the standard that is searched goes deeper."""
_FLAGS: Final[tuple[str, ...]] = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")
_TRUE_FALSE: Final = {"true": True, "false": False, "1": True, "0": False}

Include = frozenset[int] | Literal["all"]
Path = tuple[int, ...]
"""The tag of a matching key, behind those of the sequences that it is in."""


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
    values, include, flags, controls, order = _read(items, _matching_key)
    # A sequence that is searched is returned, as every matching key is (PS3.18 10.6.3.3).
    matching = {keypath[0]: values.get(keypath[:1], "") for keypath in values}
    for keyword, uid in path.items():
        _fix(matching, keyword, uid)
    limit = controls.get("limit")
    return Query(
        level=level,
        keys=matching,
        include=include_fields(include),
        fuzzy=flags.get("fuzzymatching", False),
        sequences=_nested(values).sequences,
        limit=None if limit is None else _number("limit", limit),
        offset=_number("offset", controls.get("offset", "0")),
        order=order,
    )


def parse_workitem_query(items: Iterable[tuple[str, str]]) -> WorkitemQuery:
    """Read the parameters of a search for workitems, of any attribute (PS3.18 11.9). Raises `InvalidQuery`."""
    values, include, flags, controls, order = _read(items, _key_path)
    limit = controls.get("limit")
    keys = _nested(values)
    # Sequences as such match everything, and are returned.
    keys.keys.update({path[0]: value for path, value in values.items() if len(path) == 1 and vr_of(path[0]) == "SQ"})
    return WorkitemQuery(
        keys=keys,
        include=include_fields(include),
        fuzzy=flags.get("fuzzymatching", False),
        limit=None if limit is None else _number("limit", limit),
        offset=_number("offset", controls.get("offset", "0")),
        order=order,
    )


class _Read(NamedTuple):
    """What the parameters of a search are, whatever is searched."""

    values: dict[Path, str]
    include: list[str]
    flags: dict[str, bool]
    controls: dict[str, str]
    order: tuple[Order, ...]


def _read(items: Iterable[tuple[str, str]], key_of: Callable[[str], Path]) -> _Read:
    """Values by matching key, the fields to include, switches, what else steers the search, and its order."""
    keys, include, controls, order = _sorted_out(items, key_of)
    flags = {name: _flag(name, controls[name]) for name in _FLAGS if name in controls}
    values = {keypath: _value(keypath[-1], given, flags) for keypath, given in keys.items()}
    return _Read(values, include, flags, controls, _order(order))


def _sorted_out(
    items: Iterable[tuple[str, str]], key_of: Callable[[str], Path]
) -> tuple[dict[Path, list[str]], list[str], dict[str, str], list[str]]:
    """Values of matching keys, the fields to include, the parameters that steer the search, and those to order by."""
    keys: dict[Path, list[str]] = {}
    include: list[str] = []
    order: list[str] = []
    controls: dict[str, str] = {}
    for count, (name, value) in enumerate(items):
        if count >= _MAX_PARAMETERS or len(value) > _MAX_VALUE:
            raise InvalidQuery("the query is too long")
        folded = name.lower()
        if folded == "includefield":
            include.extend(value.split(","))
        elif folded == "orderby":
            order.extend(value.split(","))
        elif folded in (*_FLAGS, "limit", "offset"):
            _once(controls, folded, value)
        elif folded not in _NOT_KEYS:
            keys.setdefault(key_of(name), []).append(value)
    return keys, include, controls, order


def _order(names: Iterable[str]) -> tuple[Order, ...]:
    """Attributes to order by, those behind a ``-`` from their largest value. Raises `InvalidQuery`."""
    order: dict[int, Order] = {}
    for name in filter(None, map(str.strip, names)):
        tag = attribute_tag(name.lstrip("+-").strip())
        if tag in order:
            raise InvalidQuery(f"orderby names {keyword_for_tag(tag) or _shown(name)} twice")
        order[tag] = Order(tag, name.startswith("-"))
    return tuple(order.values())


@cache
def _keywords() -> dict[str, int]:
    """Tags by keyword in small letters: no two keywords differ in nothing else."""
    return {keyword.lower(): tag for tag, (_, _, _, _, keyword) in DicomDictionary.items()}


def attribute_tag(name: str) -> int:
    """The tag behind a keyword, in any case, or 8 hexadecimal digits (PS3.18 8.3.4.1). Raises `InvalidQuery`."""
    if _TAG.fullmatch(name):
        return int(name, 16)
    tag = _keywords().get(name.lower()) if name else None  # some retired attributes have an empty keyword
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


def _matching_key(name: str) -> Path:
    """The attribute of a study to match, perhaps inside of sequences."""
    tags = _key_path(name)
    if tags[0] not in KNOWN:
        keyword = keyword_for_tag(tags[0]) or _shown(name)
        raise InvalidQuery(
            f"{keyword} ({tags[0] >> 16:04X},{tags[0] & 0xFFFF:04X}) is not an attribute that can be matched"
        )
    return tags


def _key_path(name: str) -> Path:
    """An attribute, perhaps inside of sequences: names with dots between them (PS3.18 8.3.4.1)."""
    parts = name.split(".")
    if len(parts) > _MAX_DEPTH:
        raise InvalidQuery(f"{_shown(name)} leads through more than {_MAX_DEPTH - 1} sequences")
    tags = tuple(map(attribute_tag, parts))
    for part, tag in zip(parts, tags[:-1], strict=False):
        if vr_of(tag) != "SQ":
            raise InvalidQuery(f"{_shown(name)}: {_shown(part)} is no sequence")
    if len(tags) > 1 and not can_be_nested(tags[-1]):
        raise InvalidQuery(f"{_shown(name)} cannot be matched")
    return tags


def _nested(values: dict[Path, str]) -> Nested:
    """Keys as a tree. All paths into a sequence are about one and the same item of it (PS3.4 C.2.2.2.6)."""
    root = Nested()
    for path, value in values.items():
        item = root
        for tag in path[:-1]:
            item = item.sequences.setdefault(tag, Nested())
        if vr_of(path[-1]) != "SQ":
            item.keys[path[-1]] = value
        elif len(path) > 1 and value:
            raise InvalidQuery(f"{keyword_for_tag(path[-1])} is a sequence: name an attribute of its items")
    return root


def _value(tag: int, values: list[str], flags: dict[str, bool]) -> str:
    r"""Join what was given for one key.

    UIDs come as a list: comma-separated, as ``\``-separated, or by repeating the key (PS3.18 8.3.4.4, PS3.4
    C.2.2.2.2). The same is taken for code strings (Modality=CT,MR), which cannot contain a comma (PS3.5 6.2). Several
    values of others are ``\``-separated (PS3.4 C.2.2.2.8), or repeated where multiplevaluematching is asked for.

    A kind of matching that the request rules out is refused where a value would need it, rather than done otherwise.
    """
    if vr_of(tag) in ("UI", "CS"):
        parts = [part.strip(" \0") for value in values for part in re.split(r"[,\\]", value)]
        joined = "\\".join(dict.fromkeys(part for part in parts if part))
    elif flags.get("multiplevaluematching") and vr_of(tag) not in WHOLE_TEXT_VRS:
        joined = "\\".join(dict.fromkeys(values))
    elif len(set(values)) > 1:
        raise InvalidQuery(f"{keyword_for_tag(tag)} is given more than once with different values")
    else:
        joined = values[0]
    if joined == EMPTY and not flags.get("emptyvaluematching", True):
        raise InvalidQuery(f"{keyword_for_tag(tag)}: the value asks for what emptyvaluematching=false rules out")
    several = "\\" in joined and vr_of(tag) not in (*WHOLE_TEXT_VRS, "UI")
    if several and not flags.get("multiplevaluematching", True):
        raise InvalidQuery(f"{keyword_for_tag(tag)}: the values ask for what multiplevaluematching=false rules out")
    return joined


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


def _flag(name: str, text: str) -> bool:
    value = _TRUE_FALSE.get(text.strip().lower())
    if value is None:
        raise InvalidQuery(f"{name} is neither true nor false")
    return value


def _number(name: str, text: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise InvalidQuery(f"{name} is not a whole number from 0")
    return int(digits)


def _shown(name: str) -> str:
    """The name as an error message may repeat it: short, and without anything that could confuse a terminal."""
    return ascii(name[:_SHOWN])
