"""Remembers what encoded elements become, for headers that are much alike: single elements, and runs of them.

Between the elements in which the slices of a series differ lie long runs of others. Where such a run begins, one
comparison of bytes tells whether it is the same again. Which elements differ is found by watching.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from archive.standard.coding import Coding

# Runs leave room where something may have to be put in: Specific Character Set, and the pixel data.
_BEHIND: Final = 0x00080005
_BEFORE: Final = 0x7FE00000


class Run(NamedTuple):
    """Elements that lie side by side, and what they became."""

    encoded: bytes
    written: bytes
    tags: tuple[int, ...]
    """As they are read in the byte order of the data."""
    ends: tuple[int, ...]
    """Offsets behind each element in `encoded`."""


class Step(NamedTuple):
    """One element that was looked at by itself."""

    tag: int
    start: int
    end: int
    written: bytes
    known: bool
    """It was remembered."""


class Alike:
    """What elements become that are read in one way: in one coding, with one character set, one sign of pixels."""

    def __init__(self) -> None:
        self.elements: dict[bytes, bytes] = {}
        """By their bytes."""
        self.runs: dict[int, Run] = {}
        """By their first tag."""
        self._varying: set[int] = set()
        self._seen = False

    def broken(self, run: Run, data: bytes, offset: int) -> None:
        """Note that something else than this run is at the offset."""
        del self.runs[run.tags[0]]
        start = 0
        for tag, end in zip(run.tags, run.ends, strict=True):
            if data[offset + start : offset + end] != run.encoded[start:end]:
                self._varying.add(tag)
                return
            start = end

    def learn(self, steps: Sequence[Step], data: bytes, code: Coding) -> None:
        """Make runs of what was the same as before."""
        if not self._seen:
            self._seen = True
            return
        if self._varying.issuperset([step.tag for step in steps]):
            return
        self._varying.update(step.tag for step in steps if not step.known)
        side_by_side: list[Step] = []
        for step in steps:
            if side_by_side and side_by_side[-1].end != step.start:
                self._keep(side_by_side, data)
                side_by_side = []
            if step.tag in self._varying or not _BEHIND < code.raw(step.tag) < _BEFORE:
                self._keep(side_by_side, data)
                side_by_side = []
            else:
                side_by_side.append(step)
        self._keep(side_by_side, data)

    def _keep(self, steps: Sequence[Step], data: bytes) -> None:
        if len(steps) < 2:
            return
        start = steps[0].start
        self.runs[steps[0].tag] = Run(
            data[start : steps[-1].end],
            b",".join(step.written for step in steps if step.written),
            tuple(step.tag for step in steps),
            tuple(step.end - start for step in steps),
        )
