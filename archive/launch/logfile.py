"""A log file that never fills the disk."""

from __future__ import annotations

import io
import threading
from pathlib import Path

LIMIT = 16 << 20
KEPT = 5


class RotatingFile(io.TextIOBase):
    """A text file that starts anew at `limit` bytes; the last `kept` full ones stay as ``name.1`` (newest) and on."""

    def __init__(self, path: Path, limit: int = LIMIT, kept: int = KEPT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._limit, self._kept = path, limit, kept
        self._lock = threading.Lock()
        self._file = path.open("ab")

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        """Append; what is written in one call stays in one file."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if self._file.tell() and self._file.tell() + len(data) > self._limit:
                self._rotate()
            self._file.write(data)
            self._file.flush()
        return len(text)

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._kept, 0, -1):
            older = self._numbered(number)
            newer = self._numbered(number - 1) if number > 1 else self._path
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("ab")

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def close(self) -> None:
        with self._lock:
            self._file.close()
        super().close()
