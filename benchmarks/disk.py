"""What the disk does by itself: files written one after the other, each flushed before the next."""

from __future__ import annotations

import os
import time
from pathlib import Path

_PIECE = 1 << 20


def write_rate(folder: Path, size: int, count: int) -> float:
    """Bytes a second of `count` files of `size` bytes, with ``fsync`` of each. The files are removed again."""
    piece = os.urandom(_PIECE)
    files = [folder / f"disk{number}" for number in range(count)]
    started = time.perf_counter()
    for path in files:
        with path.open("wb", buffering=0) as file:
            for offset in range(0, size, _PIECE):
                file.write(piece[: min(_PIECE, size - offset)])
            os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    for path in files:
        path.unlink()
    return size * count / seconds
