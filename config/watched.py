"""Something made from files that may be exchanged while the node runs: certificates, keys."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from config.logs import fields

log = logging.getLogger(__name__)

Made = TypeVar("Made")


class Watched(Generic[Made]):
    """A value made from files, made anew when they change. Files that cannot be used leave it as it was.

    A look costs one ``stat`` for each file, so each connection may take it.
    """

    def __init__(self, paths: Sequence[Path], make: Callable[[], Made]) -> None:
        """Make it for the first time. Raises what `make` raises: `OSError` or `ValueError`."""
        self._paths = paths
        self._make = make
        self._lock = threading.Lock()
        self._state = self._look()
        self._value = make()

    def get(self) -> Made:
        """The value of the files as they are, or as they last could be used."""
        state = self._look()
        if state != self._state:
            with self._lock:
                if state != self._state:
                    # Whatever comes of it, these files are dealt with: one line in the log for each change.
                    self._state = state
                    self._renew()
        return self._value

    def _renew(self) -> None:
        names = ", ".join(map(str, self._paths))
        try:
            self._value = self._make()
        except (OSError, ValueError) as error:
            log.error(
                "changed files cannot be used, the old ones stay in force", extra=fields(files=names, error=str(error))
            )
        else:
            log.info("changed files are in force", extra=fields(files=names))

    def _look(self) -> tuple[object, ...]:
        return tuple(_state(path) for path in self._paths)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
