"""What the processes of a service tell each other: a number of each, in memory that they were forked with."""

from __future__ import annotations

import mmap
from typing import Final

_ABSENT: Final = 1 << 40
"""Connections of a process that does not run: nobody leaves a connection to it."""


class Cells:
    """A number for each process, written by that one (and by their master when it has ended), read by all."""

    def __init__(self, processes: int) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * processes)).cast("q")

    def __getitem__(self, number: int) -> int:
        return self._numbers[number]

    def __setitem__(self, number: int, value: int) -> None:
        self._numbers[number] = value

    @property
    def all(self) -> list[int]:
        """Those of all processes."""
        return self._numbers.tolist()


class Board:
    """How many connections each process serves; written by each about itself, read by all."""

    def __init__(self, processes: int) -> None:
        self._counts = Cells(processes)
        for number in range(processes):
            self.leave(number)

    @property
    def counts(self) -> list[int]:
        """Of each process; 0 of one that does not run."""
        return [0 if each == _ABSENT else each for each in self._counts.all]

    def tell(self, number: int, connections: int) -> None:
        """Process `number` serves so many."""
        self._counts[number] = connections

    def leave(self, number: int) -> None:
        """Process `number` takes none."""
        self._counts[number] = _ABSENT

    def is_busiest(self, number: int) -> bool:
        """Another process serves fewer than this one, so a new connection should be that one's."""
        return self._counts[number] > min(self._counts.all)
