"""All records on which it depends who the ones are that are looked at.

What is decided must not depend on which records happen to be looked at together. So what is given to
`archive.identity.partition` is always whole: all that the persons have, and all that links by itself with any of those,
and so on until nothing more is found. A record that is looked at alone, or with 500 others, then ends where it should.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from archive.identity.book import Book
from archive.identity.find import Finder, Pair
from archive.identity.records import Record
from archive.identity.score import Comparison


class Neighbourhood:
    """Found for the records with these numbers, within a transaction of the caller."""

    def __init__(self, book: Book, finder: Finder, due: Collection[int]) -> None:
        self._book = book
        self._finder = finder
        self.records: dict[int, Record] = book.load_with_persons(due)
        """All that was read: the whole, and what it was compared with."""
        self.whole: dict[int, Record] = {}
        """All records of the persons that may change."""
        self.links: set[Pair] = set()
        """Pairs of the whole that may be linked by themselves."""
        self.compared: dict[Pair, Comparison] = {}
        self._follow()

    def add(self, pairs: Iterable[Pair]) -> None:
        """Compare these too, which do not link."""
        wanted = {ordered(pair) for pair in pairs} - self.compared.keys()
        self.records = self._finder.load_neighbours(self._book, wanted, self.records)
        self.compared.update(self._finder.compare(wanted, self.records))

    def contradicts(self, one: int, other: int) -> bool:
        """Whether something says that these are two people."""
        pair = ordered((one, other))
        if pair not in self.compared:
            self.compared.update(self._finder.compare([pair], self.records))
        return self.compared[pair].contradicts

    def _follow(self) -> None:
        fresh = dict(self.records)
        while fresh:
            self.whole.update(fresh)
            pairs = {ordered(pair) for pair in self._finder.by_numbers(fresh.values())}
            self.add(pairs)
            self.links.update(pair for pair in pairs if pair in self.compared and self.compared[pair].automatic)
            reached = {number for pair in self.links for number in pair} - self.whole.keys()
            fresh = self._book.load_with_persons(reached)
            self.records.update(fresh)


def ordered(pair: Pair) -> Pair:
    """The lower first."""
    return (min(pair), max(pair))
