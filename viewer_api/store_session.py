"""The parts of one STOW-RS request, read one after the other and stored some at a time (PS3.18 10.5.2).

Everything here blocks and runs in a worker thread. A part that fails is noted; the next one is taken all the same.
"""

from __future__ import annotations

import logging
from email.message import Message
from typing import Final

from archive.core import Archive
from archive.errors import CannotParse
from archive.records import Source
from archive.standard.uids import is_uid
from config.logs import fields
from viewer_api.media_types import DICOM, OCTET_STREAM
from viewer_api.metrics import Metrics
from viewer_api.store_part import Part
from viewer_api.store_queue import StoreQueue, StoreThreads
from viewer_api.store_report import StoreReport

log = logging.getLogger(__name__)

# A part without a type of its own has that of the request.
_TYPES: Final = frozenset({"", DICOM, OCTET_STREAM})


class StoreSession:
    """Takes the parts as `MultipartReader` finds them; after `close`, `report` says what became of them."""

    def __init__(
        self, archive: Archive, source: Source, study: str | None, metrics: Metrics, threads: StoreThreads
    ) -> None:
        """`threads` make durable what is complete, while the next part is read."""
        self.report = StoreReport()
        self._archive = archive
        self._source = source
        self._study = study
        self._metrics = metrics
        self._part: Part | None = None
        self._queue = StoreQueue(threads, self._note)

    def begin(self, headers: dict[str, str]) -> None:
        """A part begins."""
        content_type = Message()
        content_type["content-type"] = headers.get("content-type", "")
        announced = str(content_type.get_param("transfer-syntax") or "").strip()
        # A wildcard, such as clients copy from what they accept, tells nothing.
        announced = announced if is_uid(announced) else ""
        self._part = Part(self._archive, self._source, self._study, announced)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in _TYPES:
            self._part.fail(CannotParse(f"the part is not {DICOM}"))

    def data(self, buffer: memoryview) -> None:
        """The next bytes of the part."""
        assert self._part is not None
        self._part.feed(buffer)

    def end(self) -> None:
        """The part is complete."""
        part, self._part = self._part, None
        assert part is not None
        part.check()
        self._queue.add(part)

    def cut(self, error: CannotParse) -> None:
        """The part was cut off."""
        part, self._part = self._part, None
        assert part is not None
        part.fail(error)
        self._queue.add(part)

    def close(self) -> None:
        """The request is whole: wait until all of its parts are stored."""
        self._queue.close()

    def abandon(self) -> None:
        """The request will not be finished: leave nothing half stored. Parts that came whole are stored."""
        if self._part is not None:
            self._part.abort()
            self._part = None
        self._queue.close()

    def _note(self, part: Part) -> None:
        if part.receipt is not None:
            self._metrics.stored(part.receipt.outcome.value, part.receipt.size)
            self.report.stored(
                part.receipt,
                tolerated=bool(part.receipt.warnings or part.receipt.unmet) or part.meta_disagrees or part.meta.guessed,
            )
            return
        assert part.error is not None
        self._metrics.stored("refused")
        # What is announced as UID and is none stays out of the answer and the log: it may be anything.
        sop_class = part.meta.sop_class_uid if is_uid(part.meta.sop_class_uid) else ""
        sop_instance = part.meta.sop_instance_uid if is_uid(part.meta.sop_instance_uid) else ""
        facts = fields(instance=sop_instance, sop_class=sop_class, reason=type(part.error).__name__)
        log.warning("instance not stored", extra=facts)
        self.report.failed(part.error, sop_class, sop_instance)
