"""C-FIND of Query/Retrieve (PS3.4 C.4.1).

Keys are matched by `archive.search`, the same as for QIDO-RS. Nothing of an identifier is logged but its level.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from archive.conditions import can_be_matched, can_be_returned
from archive.core import Archive
from archive.database import Stop
from archive.records import DicomJSON, Level, Query
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
        unsupported = {tag for tag, value in asked.items() if tag not in (matched if value.strip("* ") else returned)}
        # Keys that can be returned but not matched, such as counts, are taken for universal ones.
        query = Query(level, dict.fromkeys(returned, "") | matched, fuzzy=self._context.fuzzy)
        unique = {UNIQUE_KEYS[each] for each in model.levels[: model.levels.index(level) + 1]}
        shown = {f"{tag:08X}" for tag in returned | unique}

        def matches(stop: Stop) -> Iterator[DicomJSON]:
            for match in self._archive.browse(query, self._caller.scope, stop=stop):
                yield self._response(level, match, shown)

        pending = PENDING_UNSUPPORTED_KEYS if unsupported else PENDING
        return Answers(matches, pending, {"level": level.value})

    def _response(self, level: Level, match: DicomJSON, shown: set[str]) -> DicomJSON:
        """The identifier of a response (C.4.1.1.3.2)."""
        found = {key: element for key, element in match.items() if key in shown}
        found[f"{QUERY_RETRIEVE_LEVEL:08X}"] = {"vr": "CS", "Value": [level.value]}
        found[f"{_RETRIEVE_AE_TITLE:08X}"] = {"vr": "AE", "Value": [self._archive.settings.node.ae_title]}
        if level is not Level.PATIENT:
            found[f"{_INSTANCE_AVAILABILITY:08X}"] = {"vr": "CS", "Value": ["ONLINE"]}
        return found
