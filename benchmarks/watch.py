"""What a process takes, from ``/proc``: memory at most, and bytes that it read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1 << 20


@dataclass
class Use:
    """What a process took during one operation, in bytes."""

    growth: int = 0
    """Of its resident memory: the most at any moment, less what it was before."""
    read: int = 0
    """By system calls, from files and also from sockets where the process uses ``read`` for these."""


@contextmanager
def watched(process: int) -> Iterator[Use]:
    """Fill in what the process took while the context lasted; the kernel keeps the peak, nothing is sampled."""
    folder = Path(f"/proc/{process}")
    (folder / "clear_refs").write_text("5")  # proc(5): the peak is what it is now
    use = Use()
    before, read = _value(folder / "status", "VmRSS"), _value(folder / "io", "rchar")
    yield use
    use.growth = (_value(folder / "status", "VmHWM") - before) * 1024
    use.read = _value(folder / "io", "rchar") - read


def _value(path: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(f"{name}:"))
