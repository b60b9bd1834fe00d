"""What a process takes, from ``/proc``: memory at most, bytes that it read, and processor time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def processors(process: int) -> float:
    """Seconds of processor time, of user and system, that a process and all of its children have taken until now.

    A child that ended counts with the process that waited for it.
    """
    family = [process]
    for each in family:
        for thread in Path(f"/proc/{each}/task").iterdir():
            family += [int(child) for child in (thread / "children").read_text().split()]
    ticks = 0
    for each in family:
        with suppress(OSError):  # it has ended meanwhile
            stat = Path(f"/proc/{each}/stat").read_text()
            ticks += sum(int(value) for value in stat.rpartition(")")[2].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def parent(process: int) -> int:
    """The process that started this one."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
