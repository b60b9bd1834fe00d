"""Holds back what is small in figures that are given to anybody, and what would give it away.

A row about fewer studies than the threshold is held back. If that is the only one in its line (all breakdowns but one
the same), it is the difference between the line and its sum, which may be asked for as well: then the smallest other
row of the line is held back, too. What is left is rounded, so that neither sums nor differences of several answers tell
more than it does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from archive.figures.question import Measure

Key = tuple[Any, ...]
Cells = dict[Key, Any]
_NOT_COUNTED: Final = frozenset((Measure.BYTES, Measure.INSTANCES))
"""Counts of no people; they are held back with their row, and told by three digits."""


def suppressed(
    columns: Mapping[Measure, Cells], keys: Sequence[Key], small: int, round_to: int
) -> tuple[dict[Measure, Cells], int]:
    """What may be given to anybody, and how many cells may not."""
    studies = {key: columns[Measure.STUDIES].get(key) or 0 for key in keys}
    held = _held(studies, small)
    shown: dict[Measure, Cells] = {}
    count = 0
    for measure, cells in columns.items():
        shown[measure] = {}
        for key, value in cells.items():
            told = None if key in held else _told(measure, value, studies[key], small, round_to)
            count += told is None and value is not None
            shown[measure][key] = told
    return shown, count


def _told(measure: Measure, value: Any, studies: int, small: int, round_to: int) -> Any:
    if not isinstance(value, int):
        return value
    if measure in _NOT_COUNTED:
        return _three_digits(value)
    # Of nearly all is as telling as of nearly none.
    if 0 < value < small or (measure is not Measure.STUDIES and 0 < studies - value < small):
        return None
    return round_to * ((value + round_to // 2) // round_to)


def _three_digits(value: int) -> int:
    return round(value, 3 - len(str(value))) if value > 999 else value


def _held(studies: Mapping[Key, int], small: int) -> set[Key]:
    held = {key for key, count in studies.items() if 0 < count < small}
    lines = [line for line in _lines(studies) if len(line) > 1]
    again = True
    while again:
        again = False
        for line in lines:
            inside = [key for key in line if key in held]
            others = sorted((key for key in line if key not in held), key=lambda key: (studies[key], key))
            # Two that are held back, and not so few together that their sum says it.
            if inside and others and (len(inside) == 1 or sum(studies[key] for key in inside) < small):
                held.add(others[0])
                again = True
    return held


def _lines(studies: Mapping[Key, int]) -> Iterator[list[Key]]:
    width = len(next(iter(studies), ()))
    for position in range(width):
        lines: dict[Key, list[Key]] = defaultdict(list)
        for key in sorted(studies):
            lines[key[:position] + key[position + 1 :]].append(key)
        yield from lines.values()
