"""C-FIND of the Modality Worklist (PS3.4 Annex K).

What matches and what is returned is decided by `archive.worklist.matching`. A modality is given the items of its
facility that wait to be done; see `archive.worklist.listing`.
"""

from __future__ import annotations

from collections.abc import Iterator

from archive.core import Archive
from archive.database import Stop
from archive.records import DicomJSON
from archive.worklist import matching
from dicom_node.commands import Command
from dicom_node.handlers.asked import Answers, FindOperation
from dicom_node.identifier import Identifier
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Operation
from dicom_node.status import PENDING, PENDING_UNSUPPORTED_KEYS


class WorklistService:
    """Makes a `WorklistFind` for each C-FIND-RQ."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        return WorklistFind(self._archive, command, context, caller)


class WorklistFind(FindOperation):
    """One C-FIND-RQ and its responses."""

    right = "worklist"

    def _answers(self, identifier: Identifier) -> Answers:
        known = matching.check(identifier)

        def items(stop: Stop) -> Iterator[DicomJSON]:
            return self._archive.worklist.query(
                identifier,
                self._caller.scope,
                station=self._caller.calling_ae_title,
                own_station_only=self._caller.peer.worklist == "station",
                cap=self._archive.settings.ingest.query_limit,
                stop=stop,
            )

        return Answers(items, PENDING if known else PENDING_UNSUPPORTED_KEYS, {"model": "worklist"})
