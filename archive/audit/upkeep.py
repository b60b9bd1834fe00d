"""What a serving process does for the audit trail beside writing it: anchors, and the deletion of what is over."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

from archive.audit.anchors import anchor
from archive.audit.retention import expire
from archive.audit.trail import Trail
from archive.background import Background
from archive.errors import StoreUnavailable
from config.audit import AuditSettings
from storage.base import ObjectStore
from storage.errors import StorageError

_DAY: Final = 86_400.0


class AuditUpkeep(Background):
    """A thread that seals the trail as long as the ``with`` block lives, and once more at its end."""

    def __init__(self, trail: Trail, store: ObjectStore, settings: AuditSettings) -> None:
        super().__init__("audit trail", self._look)
        self._trail = trail
        self._store = store
        self._settings = settings
        self._tidy = time.monotonic()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        super().__exit__(exc_type, exc, tb)
        self._once()

    def _look(self) -> float:
        try:
            anchor(self._trail, self._store, self._settings.key.get_secret_value())
            if time.monotonic() >= self._tidy:
                if expire(self._trail, self._settings):
                    return 0.0
                self._tidy += _DAY
        except StorageError as error:
            raise StoreUnavailable(f"the object store does not take an anchor: {error}") from error
        return self._settings.anchor_seconds
