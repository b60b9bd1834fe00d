"""What the disk does by itself: files written one after the other, each flushed before the next.

And whether it has got over files that were deleted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from benchmarks.command import say

_PIECE: Final = 1 << 20
_FOLDERS: Final = 16
_FILES: Final = 100
_SLOW: Final = 100e-6
"""Seconds of processor time for a new file that tell of many deleted ones; it is a fifth of this otherwise."""
_PATIENCE: Final = 400.0
"""ext4 spares inodes that were freed within a minute, and five more while that is not written."""


def write_rate(folder: Path, size: int, count: int) -> float:
    """Bytes a second of `count` files of `size` bytes, with ``fsync`` of each.

    The files stay, as those of the servers do: whoever deletes his own gets their pages again, which some virtual
    machines make ten times cheaper than others.
    """
    piece = os.urandom(_PIECE)
    place = Path(mkdtemp(dir=folder))
    started = time.perf_counter()
    for number in range(count):
        with (place / str(number)).open("wb", buffering=0) as file:
            for offset in range(0, size, _PIECE):
                file.write(piece[: min(_PIECE, size - offset)])
            os.fsync(file.fileno())
    return size * count / (time.perf_counter() - started)


def settle(folder: Path) -> None:
    """Wait until new files are made as fast as ever: for some minutes after many were deleted they are not, on ext4."""
    os.sync()  # what is written is spared for less long
    end = time.monotonic() + _PATIENCE
    # The slowest but one: folders lie in different places of the disk, and one may have had bad luck.
    while (slowest := sorted(_making(folder) for _ in range(_FOLDERS))[-2]) > _SLOW and time.monotonic() < end:
        say(f"a new file takes {slowest * 1e6:.0f} us of processor: waiting until deleted ones are forgotten")
        time.sleep(15)


def _making(folder: Path) -> float:
    """Seconds of processor time for each new file of a new folder."""
    place = Path(mkdtemp(dir=folder))
    begun = time.process_time()
    for number in range(_FILES):
        os.close(os.open(place / str(number), os.O_CREAT | os.O_WRONLY))
    return (time.process_time() - begun) / _FILES
