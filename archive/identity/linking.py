"""Looks at records that changed: puts them to persons, and pairs that somebody has to decide on the review list."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from archive.identity import sql
from archive.identity.book import Book, lock
from archive.identity.find import Finder, Pair
from archive.identity.neighbourhood import Neighbourhood
from archive.identity.partition import Group, divide
from archive.identity.place import Moved, Place
from archive.identity.records import Record
from archive.identity.score import Comparison
from archive.identity.trace import Act, write_all
from archive.index_session import Connection
from archive.people.caller import Caller, Kind
from config.identity import IdentitySettings

MOST: Final = 500
"""Records that are looked at in one transaction; others who change persons wait for it."""
LINKER: Final = Caller(Kind.SYSTEM, "link")


@dataclass(slots=True)
class Looked:
    """What was done."""

    records: int = 0
    linked: int = 0
    split: int = 0
    proposed: int = 0

    def add(self, other: Looked) -> None:
        """Count it in."""
        self.records += other.records
        self.linked += other.linked
        self.split += other.split
        self.proposed += other.proposed


def look(connection: Connection, settings: IdentitySettings, people: int | None = None, most: int = MOST) -> Looked:
    """Look at the next records that are due, in a transaction of the caller; `people` is how many there are, about."""
    lock(connection)
    due = [int(row[0]) for row in connection.execute(sql.DUE, {"most": most}).fetchall()]
    if not due:
        return Looked()
    work = _Look(connection, settings, people, due)
    looked = work.run()
    connection.execute(sql.DONE, {"records": due})
    return looked


class _Look:
    """One batch."""

    def __init__(
        self, connection: Connection, settings: IdentitySettings, people: int | None, due: Sequence[int]
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._book = Book(connection)
        self._finder = Finder(connection, settings, people)
        self._due = frozenset(due)
        self._near = Neighbourhood(self._book, self._finder, due)

    def run(self) -> Looked:
        """Link, then propose."""
        near = self._near
        near.add(self._finder.by_facts([near.records[number] for number in self._due]))
        apart = self._apart()
        moved = self._link(near.whole, apart)
        return Looked(
            len(self._due),
            sum(len(each) for each in moved["link"]),
            sum(len(each) for each in moved["split"]),
            self._propose(apart),
        )

    # -- linking -----------------------------------------------------------------------------------------------------

    def _link(self, whole: Mapping[int, Record], apart: Collection[Pair]) -> dict[str, list[list[Moved]]]:
        if self._settings.link == "off":
            return {"link": [], "split": []}
        automatic = sorted(self._near.links, key=lambda pair: (-self._weight(pair), pair))
        groups = divide(whole, automatic, apart, self._near.contradicts)
        best = self._best(automatic)
        places = self._places(groups, whole, best)
        moved = self._book.assign(places, whole)
        return self._trace(moved)

    def _places(
        self, groups: Sequence[Group], whole: Mapping[int, Record], best: Mapping[int, float]
    ) -> dict[int, Place]:
        """Where each record belongs that nobody has decided about."""
        new = iter(self._new_persons([group for group in groups if group.person is None], whole))
        places = {}
        for group in groups:
            person = next(new) if group.person is None else group.person
            how = "own" if len(group.members) == 1 else "identifier"
            for number in group.members:
                record = whole[number]
                if not record.decided and (record.person, record.how) != (person, how):
                    score = round(best[number], 1) if how == "identifier" and number in best else None
                    places[number] = Place(person, how, score, LINKER.name)
        return places

    def _new_persons(self, groups: Sequence[Group], whole: Mapping[int, Record]) -> list[int]:
        return self._book.add_persons([[whole[number] for number in group.members] for group in groups])

    def _best(self, pairs: Iterable[Pair]) -> dict[int, float]:
        best: dict[int, float] = {}
        for pair in pairs:
            for number in pair:
                best[number] = max(best.get(number, -1e9), self._weight(pair))
        return best

    def _trace(self, moved: Sequence[Moved]) -> dict[str, list[list[Moved]]]:
        """Write an event for each person that got records or lost one."""
        by_person: dict[int, list[Moved]] = {}
        for each in moved:
            by_person.setdefault(each.after.person, []).append(each)
        written: dict[str, list[list[Moved]]] = {"link": [], "split": []}
        acts: list[tuple[Act, int, Sequence[Moved], int | None]] = []
        for person, theirs in by_person.items():
            came = [each for each in theirs if each.before.person != person]
            if not came:
                continue
            action = "split" if theirs[0].after.how == "own" else "link"
            act = Act(action, LINKER, "", uuid.uuid4().hex)
            acts.append((act, person, theirs, came[0].before.person))
            written[action].append(came)
        write_all(self._connection, acts)
        return written

    def _apart(self) -> set[Pair]:
        rows = self._connection.execute(sql.APART, {"records": sorted(self._near.records)}).fetchall()
        return {(int(one), int(other)) for one, other in rows}

    # -- proposing ---------------------------------------------------------------------------------------------------

    def _propose(self, apart: Collection[Pair]) -> int:
        """Put on the list what is likely enough or contradictory; take off what is not any more."""
        best: dict[tuple[int, int], Pair] = {}
        # In this order, so that of two that are as likely the same is taken each time.
        for pair in sorted(self._near.compared):
            found = self._near.compared[pair]
            if pair in apart or not self._worth(pair, found):
                continue
            for number, other in (pair, pair[::-1]):
                key = (number, self._near.records[other].person)
                if number in self._due and (key not in best or self._weight(pair) > self._weight(best[key])):
                    best[key] = pair
        chosen: set[Pair] = set()
        by_record: dict[int, list[Pair]] = {}
        for (number, _), pair in best.items():
            by_record.setdefault(number, []).append(pair)
        for pairs in by_record.values():
            pairs.sort(key=lambda pair: (-self._weight(pair), pair))
            chosen.update(pairs[: self._settings.most_candidates])
        rows = [
            {
                "record_id": pair[0],
                "other_id": pair[1],
                "likelihood": round(self._near.compared[pair].likelihood, 2),
                "conflict": self._near.compared[pair].conflict,
                "evidence": self._near.compared[pair].to_json(),
            }
            for pair in sorted(chosen)
        ]
        self._connection.execute(sql.CLEAR_CANDIDATES, {"records": sorted(self._due)})
        if rows:
            self._connection.execute(sql.ADD_CANDIDATES, {"rows": json.dumps(rows)})
        return len(rows)

    def _worth(self, pair: Pair, found: Comparison) -> bool:
        one, other = (self._near.records[number] for number in pair)
        likely = found.likelihood >= self._settings.review_bits
        return one.person != other.person and (likely or found.conflict or found.automatic)

    def _weight(self, pair: Pair) -> float:
        return self._near.compared[pair].likelihood
