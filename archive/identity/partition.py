"""Divides records into persons: by what was decided, then by what links by itself, never against a contradiction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from archive.identity.records import Record

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Group:
    """Records that are one person."""

    members: tuple[int, ...]
    person: int | None
    """Who they are by a decision, or who most of them were; None for somebody new."""


def divide(
    records: Mapping[int, Record],
    links: Iterable[Pair],
    apart: Collection[Pair],
    contradicts: Callable[[int, int], bool],
) -> list[Group]:
    """Groups of these records, which must be all that their persons have.

    `links` are pairs that may be linked by themselves, the surest first; `apart` pairs, lower first, of which somebody
    said that they are not the same. What one link joins must not contradict each other anywhere, unless that was
    decided about: whoever was merged by hand with another number may be found under either.
    """
    group = {number: [number] for number in records}
    fixed: dict[int, int] = {}
    for number in sorted(records):
        if records[number].decided:
            first = fixed.setdefault(records[number].person, number)
            if first != number:
                _join(group, first, number)

    def decided(members: Iterable[int]) -> set[int]:
        return {records[each].person for each in members if records[each].decided}

    def odd(mine: int, theirs: int, by_mine: int, by_theirs: int) -> bool:
        if (min(mine, theirs), max(mine, theirs)) in apart:
            return True
        if not contradicts(mine, theirs):
            return False
        accepted = _accepted(records, contradicts, by_theirs, theirs) or _accepted(records, contradicts, by_mine, mine)
        return not accepted

    for one, other in links:
        ours, theirs = group[one], group[other]
        if ours is theirs or len(decided([*ours, *theirs])) > 1:
            continue
        if not any(odd(mine, their, one, other) for mine in ours for their in theirs):
            _join(group, one, other)
    return _named({id(members): members for members in group.values()}.values(), records)


def _accepted(records: Mapping[int, Record], contradicts: Callable[[int, int], bool], linked: int, odd: int) -> bool:
    """Whether somebody has put these two together although they contradict each other."""
    together = records[linked].decided and records[odd].decided and records[linked].person == records[odd].person
    return linked != odd and together and contradicts(linked, odd)


def _join(group: dict[int, list[int]], one: int, other: int) -> None:
    ours, theirs = group[one], group[other]
    ours += theirs
    for each in theirs:
        group[each] = ours


def _named(groups: Iterable[list[int]], records: Mapping[int, Record]) -> list[Group]:
    """Each group keeps the person that most of it were; each person goes to one group."""

    def rank(members: list[int]) -> tuple[bool, int, int]:
        return (not any(records[each].decided for each in members), -len(members), min(members))

    taken: set[int] = set()
    named = []
    for members in sorted(groups, key=rank):
        persons = Counter(records[each].person for each in members if records[each].decided) or Counter(
            records[each].person for each in sorted(members)
        )
        best = sorted(persons, key=lambda person: (-persons[person], person))
        person = next((each for each in best if each not in taken), None)
        if person is not None:
            taken.add(person)
        named.append(Group(tuple(sorted(members)), person))
    return named
