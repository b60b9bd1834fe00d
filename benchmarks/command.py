"""What the commands have in common: their arguments, and words about how far they are."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

QUICK: Final = "BENCH_QUICK"
"""Environment variable: anything but nothing and 0 means --quick."""


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
    """A folder on the disk that is measured (``TMPDIR`` chooses it), which PostgreSQL's user can enter."""
    with TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


_BEGUN: Final = time.monotonic()


def say(text: str) -> None:
    """A line about how far it is, with the seconds since the start, where it does not mix with tables."""
    print(f"[{time.monotonic() - _BEGUN:5.0f} s] {text}", file=sys.stderr, flush=True)
