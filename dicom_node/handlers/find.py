"""C-FIND of Query/Retrieve (PS3.4 C.4.1).

Keys are matched by `archive.search`, the same as for QIDO-RS. Nothing of an identifier is logged but its level.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from archive.conditions import can_be_matched, can_be_returned
from archive.core import Archive
from archive.database import Stop
from archive.errors import InvalidQuery
from archive.json_conditions import can_be_nested
from archive.json_conditions import is_universal as nested_is_universal
from archive.records import DicomJSON, Level, Nested, Query
from archive.standard.coding import show, vr_of
from archive.standard.matching import is_universal
from dicom_node.commands import Command
from dicom_node.handlers.asked import Answers, FindOperation
from dicom_node.identifier import Identifier
from dicom_node.models import FIND, QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Operation
from dicom_node.status import PENDING, PENDING_UNSUPPORTED_KEYS

_RETRIEVE_AE_TITLE: Final = 0x00080054
_INSTANCE_AVAILABILITY: Final = 0x00080056
_NOT_KEYS: Final = frozenset((QUERY_RETRIEVE_LEVEL, 0x00080053, _RETRIEVE_AE_TITLE, 0x00080201))
"""Level, view, where from, and the time zone of the request: they tell of the query, nothing matches them."""


_WITHOUT_VALUE: Final = {0x00880130: "SH", 0x00880140: "UI"}
"""Storage Media File-Set ID and UID: nothing that is online has one."""


class FindService:
    """Makes a `Find` for each C-FIND-RQ."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        return Find(self._archive, command, context, caller)


class Find(FindOperation):
    """One C-FIND-RQ and its responses."""

    right = "find"

    def _answers(self, identifier: Identifier) -> Answers:
        model = FIND[self._context.abstract_syntax]
        keys = identifier.keys
        level = model.level(keys.get(QUERY_RETRIEVE_LEVEL, ""))
        if not self._context.relational:
            model.check_keys_above(level, keys)
        asked = {tag: value for tag, value in keys.items() if tag not in _NOT_KEYS}
        matched = {tag: value for tag, value in asked.items() if can_be_matched(level, tag)}
        returned = {tag for tag in asked if can_be_returned(level, tag)}
        sequences = {tag: _nested(items, tag) for tag, items in identifier.sequences.items()}
        query = Query(
            level,
            # Keys that can be returned but not matched, such as counts, are taken for universal ones.
            dict.fromkeys(returned, "") | matched,
            fuzzy=self._context.fuzzy,
            names=self._caller.peer.person_names,
            sequences={tag: nested for tag, nested in sequences.items() if tag in matched},
            combined=self._context.combined,
        )
        unsupported = any(
            tag not in (returned if is_universal(value) and _asks_nothing(sequences.get(tag)) else matched)
            for tag, value in asked.items()
            if tag not in _WITHOUT_VALUE or not is_universal(value)
        ) or any(_asks_too_much(nested) for nested in sequences.values())
        empty = {f"{tag:08X}": {"vr": vr} for tag, vr in _WITHOUT_VALUE.items() if tag in asked}
        unique = {UNIQUE_KEYS[each] for each in model.levels[: model.levels.index(level) + 1]}
        shown = {f"{tag:08X}" for tag in returned | unique}

        always = {**empty, **self._of_each(level)}

        def matches(stop: Stop) -> Iterator[DicomJSON]:
            for match in self._archive.browse(query, self._caller.scope, stop=stop):
                found = {key: element for key, element in match.items() if key in shown}
                for tag, nested in query.sequences.items():
                    found[f"{tag:08X}"] = _as_asked(found[f"{tag:08X}"], nested)
                found.update(always)
                yield found

        return Answers(matches, PENDING_UNSUPPORTED_KEYS if unsupported else PENDING, {"query_level": level.value})

    def _of_each(self, level: Level) -> DicomJSON:
        """What the identifiers of all responses have (C.4.1.1.3.2)."""
        found: DicomJSON = {
            f"{QUERY_RETRIEVE_LEVEL:08X}": {"vr": "CS", "Value": [level.value]},
            f"{_RETRIEVE_AE_TITLE:08X}": {"vr": "AE", "Value": [self._archive.settings.node.ae_title]},
        }
        if level is not Level.PATIENT:
            found[f"{_INSTANCE_AVAILABILITY:08X}"] = {"vr": "CS", "Value": ["ONLINE"]}
        return found


def _nested(items: list[Identifier], tag: int) -> Nested:
    """The keys within the one item of a sequence (C.2.2.2.6). Raises `InvalidQuery`."""
    if len(items) > 1:
        raise InvalidQuery(f"{show(tag)}: a sequence key has one item")
    if not items:
        return Nested()
    (item,) = items
    return Nested(dict(item.keys), {inner: _nested(below, inner) for inner, below in item.sequences.items()})


def _asks_nothing(nested: Nested | None) -> bool:
    return nested is None or nested_is_universal(nested)


def _asks_too_much(nested: Nested) -> bool:
    """Whether a key within items has a value that cannot be matched."""
    return any(not is_universal(value) and not can_be_nested(tag) for tag, value in nested.keys.items()) or any(
        map(_asks_too_much, nested.sequences.values())
    )


def _as_asked(sequence: dict[str, Any], nested: Nested) -> dict[str, Any]:
    """The items with the attributes that the key names; whole, if it names none (C.4.1.1.3.2)."""
    if not nested.keys or "Value" not in sequence:
        return sequence
    items = []
    for item in sequence["Value"]:
        kept = {}
        for tag in nested.keys:
            key = f"{tag:08X}"
            kept[key] = item.get(key) or {"vr": "SQ" if tag in nested.sequences else vr_of(tag)}
            if tag in nested.sequences:
                kept[key] = _as_asked(kept[key], nested.sequences[tag])
        items.append(kept)
    return {"vr": "SQ", "Value": items}
