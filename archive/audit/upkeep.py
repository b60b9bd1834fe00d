"""What a serving process does for the audit trail beside writing it.

Anchors, records of what was stored, ends of looks, and the deletion of what is over.
"""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Final, Self

from archive.audit.anchors import anchor
from archive.audit.operation import begun, ended
from archive.audit.retention import expire
from archive.audit.sending import Sender
from archive.audit.storing import begin, record_stored
from archive.background import Background
from archive.core import Archive
from archive.errors import IndexUnavailable, StoreUnavailable
from archive.index_session import IndexSession
from storage.errors import StorageError

log = logging.getLogger(__name__)

_DAY: Final = 86_400.0
_BEHIND: Final = 0.05


class AuditUpkeep(Background):
    """A thread that seals the trail as long as the ``with`` block lives, and once more at its end.

    Raises `IndexUnavailable` at the start: what is not on record is not begun.
    """

    def __init__(self, archive: Archive, application: str) -> None:
        super().__init__("audit trail", self._look)
        self._archive = archive
        self._application = application
        self._settings = archive.settings.audit
        self._session = IndexSession(archive.settings.database, f"{application} audit upkeep")
        syslog, source = self._settings.syslog, archive.settings.node.ae_title
        self._sender = Sender(archive.settings.database, syslog, source) if syslog.host else None
        self._tidy = time.monotonic()

    def __enter__(self) -> Self:
        begin(self._session)
        begun(self._archive.audit, self._archive.settings, self._application)
        if self._sender is not None:
            self._sender.__enter__()
        return super().__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        super().__exit__(exc_type, exc, tb)
        if self._sender is not None:
            self._sender.__exit__(exc_type, exc, tb)
        self._archive.looks.close()
        try:
            ended(self._archive.audit, self._application)
        except IndexUnavailable as error:
            log.warning("the end of the process is not on record: %s", error)
        self._once()
        self._session.close()

    def _look(self) -> float:
        archive = self._archive
        archive.looks.end_those_over()
        if record_stored(self._session, archive.audit).behind:
            return _BEHIND
        try:
            anchor(archive.audit, archive.store, self._settings.key.get_secret_value())
        except StorageError as error:
            raise StoreUnavailable(f"the object store does not take an anchor: {error}") from error
        if time.monotonic() >= self._tidy:
            if expire(archive.audit, self._settings):
                return _BEHIND
            self._tidy += _DAY
        return self._settings.anchor_seconds
