"""What the commands have in common: their arguments, and words about how far they are."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final

QUICK: Final = "BENCH_QUICK"
"""Environment variable: anything but nothing and 0 means --quick."""
SCRATCH: Final = "BENCH_SCRATCH"
"""Environment variable: a folder for what servers write, which whoever named it deletes when all is measured."""


class Parser(argparse.ArgumentParser):
    """Arguments of one benchmark, with ``--quick``; options may have another default for a quick pass."""

    def __init__(self, name: str, document: str | None) -> None:
        super().__init__(
            prog=f"python -m benchmarks {name}",
            description=document,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._quick: dict[str, Any] = {}
        is_set = os.environ.get(QUICK, "0") not in ("", "0")
        self.add_argument("--quick", action="store_true", default=is_set, help=f"fewer and shorter runs, as {QUICK}=1")

    def add(self, option: str, default: Any, quick: Any, **more: Any) -> None:
        """An option with its default, and its default of a quick pass."""
        shown = f"{more.pop('help')} ({_shown(default)}; quick: {_shown(quick)})"
        destination = self.add_argument(option, help=shown, **more).dest
        self._quick[destination] = (default, quick)

    def read(self, arguments: list[str]) -> argparse.Namespace:
        """The arguments, with defaults of the kind of pass that was chosen."""
        given = self.parse_args(arguments)
        for name, (default, quick) in self._quick.items():
            if getattr(given, name) is None:
                setattr(given, name, quick if given.quick else default)
        return given


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that is measured (``TMPDIR`` chooses it), which PostgreSQL's user can enter.

    In the end its files are emptied, not deleted: for some minutes after many were deleted, ext4 makes new files ten
    times slower, because it looks for inodes that were free for longer. They are deleted when this process ends, or
    later.
    """
    folder = Path(mkdtemp(prefix="b", dir=os.environ.get(SCRATCH) or deleted_in_the_end().name))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        empty(folder)


@cache
def deleted_in_the_end() -> TemporaryDirectory[str]:
    """The one temporary folder of this process. It is deleted with the last reference: when the process ends."""
    folder = TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True)
    Path(folder.name).chmod(0o755)
    return folder


def empty(folder: Path) -> None:
    """Give back the room of all files in a folder, and keep the files."""
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.stat().st_size:
                os.truncate(path, 0)


_BEGUN: Final = time.monotonic()


def say(text: str) -> None:
    """A line about how far it is, with the seconds since the start, where it does not mix with tables."""
    print(f"[{time.monotonic() - _BEGUN:5.0f} s] {text}", file=sys.stderr, flush=True)
