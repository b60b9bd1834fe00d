"""Makes the facts of some studies anew, and moves the sums by what changed: all in the transaction of the caller.

What is a repetition depends on the other studies of the same person, so those nearby are decided anew, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from datetime import datetime, timedelta
from typing import Any, Final

from archive.figures import persons, sql
from archive.figures.fact import Fact, Raw, fact_of, local
from archive.figures.sums import Delta, Look
from archive.index_session import Connection
from config.clock import VIETNAM
from config.figures import FiguresSettings

AT_ONCE: Final = 2000
"""Studies that one statement reads."""

Facts = dict[int, Fact]
Looks = dict[int, list[Look]]


def refresh(
    connection: Connection,
    studies: Sequence[int],
    settings: FiguresSettings,
    now: datetime,
    *,
    summing: bool = True,
    swept: Set[int] = frozenset(),
) -> int:
    """Bring the figures of these studies up to date; give how many others were found to be out of date.

    Without `summing` only facts are made, of which all sums must be made anew once all are there. Those `swept` are
    looked at together with all others, so nothing is to be found out by them.
    """
    others = 0
    for start in range(0, len(studies), AT_ONCE):
        others += _refresh(connection, list(studies[start : start + AT_ONCE]), settings, now, summing, swept)
    return others


def _refresh(
    connection: Connection,
    studies: list[int],
    settings: FiguresSettings,
    now: datetime,
    summing: bool,
    swept: Set[int],
) -> int:
    before = _facts(connection.execute(sql.FACTS, {"studies": studies}))
    after = {}
    for row in connection.execute(sql.RAW, {"studies": studies}):
        found = Raw(*row)
        known = before.get(found.study_id)
        after[found.study_id] = fact_of(found, known.ordered_at if known else None, settings)
    around, concerned = _neighbours(connection, studies, before, after, settings)
    before, after = {**around, **before}, {**around, **after}
    looks = _looks(connection, concerned)
    after.update(decided(after, concerned, settings))
    decided_now = decided_looks(after, looks, settings, local(now))
    delta, changed = _delta(before, after, looks, decided_now, summing)
    if changed or looks != decided_now:
        connection.execute(sql.REVISED)
    gone = [number for number in changed if number not in after]
    people = persons.moved((before.get(number), after.get(number)) for number in changed) if summing else []
    counted = persons.seen(connection, people)
    _keep(connection, [after[number] for number in changed if number in after], gone)
    _keep_looks(connection, looks, decided_now)
    _note_due(connection, before, after, looks, settings, now)
    if summing:
        delta.apply(connection)
        persons.move(connection, counted, persons.seen(connection, people))
    connection.execute(sql.SOURCES, {"studies": studies})
    patients = sorted({after[number].patient_id for number in studies if number in after and number not in swept})
    if not patients:
        return 0
    return connection.execute(sql.OTHERWISE, {"patients": patients, "studies": studies}).rowcount


def decided(facts: Facts, concerned: Iterable[int], settings: FiguresSettings) -> Facts:
    """Those concerned, with whether they repeat an earlier one. All that they could repeat are among the facts."""
    window = timedelta(days=settings.duplicate_days)
    wanted = set(concerned)
    found: Facts = {}
    for group in _by_kind(facts).values():
        last: dict[int, datetime] = {}
        for fact in group:
            if fact.study_id in wanted:
                repeated = any(
                    fact.studied_at - at <= window and (settings.duplicates == "any" or facility != fact.facility_id)
                    for facility, at in last.items()
                )
                found[fact.study_id] = fact._replace(duplicate=repeated)
            last[fact.facility_id] = fact.studied_at
    return found


def decided_looks(facts: Facts, looks: Looks, settings: FiguresSettings, now: datetime) -> Looks:
    """All looks, each with whether it avoided an examination.

    That did of each facility the first within the window of the study, once that is over, if the facility made no
    examination of the same kind in it.
    """
    window = timedelta(days=settings.duplicate_days)
    groups = _by_kind(facts) if looks else {}
    found: Looks = {}
    for number, seen in looks.items():
        fact, first = facts.get(number), set[int]()
        found[number] = []
        for look in seen:
            within = fact is not None and fact.studied_at <= look.looked_at <= fact.studied_at + window
            avoided = False
            if fact is not None and fact.kind is not None and within and look.facility_id not in first:
                first.add(look.facility_id)
                over = fact.studied_at + window <= now and look.facility_id != fact.facility_id
                avoided = over and not _made(groups[fact.kind], look.facility_id, fact.studied_at, window)
            found[number].append(look._replace(avoided=avoided, counted=True))
    return found


def _made(group: Sequence[Fact], facility: int, after: datetime, window: timedelta) -> bool:
    return any(each.facility_id == facility and after < each.studied_at <= after + window for each in group)


def _note_due(
    connection: Connection, before: Facts, after: Facts, looks: Looks, settings: FiguresSettings, now: datetime
) -> None:
    """Have studies refreshed once it can be said whether looks at them avoided an examination."""
    window = timedelta(days=settings.duplicate_days)
    due = {}
    for number, seen in looks.items():
        fact, known = after.get(number), before.get(number)
        if fact is None or not seen:
            continue
        moved = known is None or known.studied_at != fact.studied_at
        over = (fact.studied_at + window).replace(tzinfo=VIETNAM)
        if over > now and (moved or not all(look.counted for look in seen)):
            due[number] = over
    if due:
        connection.execute(sql.NOTE_DUE, {"studies": list(due), "due": list(due.values())})


def _by_kind(facts: Facts) -> dict[tuple[int, str, str], list[Fact]]:
    """Examinations of the same person, modality and body part, in their order."""
    kinds: dict[tuple[int, str, str], list[Fact]] = defaultdict(list)
    for fact in sorted(facts.values(), key=lambda each: (each.studied_at, each.study_id)):
        if fact.kind is not None:
            kinds[fact.kind].append(fact)
    return kinds


def _neighbours(
    connection: Connection, studies: list[int], before: Facts, after: Facts, settings: FiguresSettings
) -> tuple[Facts, set[int]]:
    """Other facts of the same persons near in time to what changed, and of all those that it concerns.

    What is within a window of a change is concerned; what is within two can matter to that.
    """
    window = timedelta(days=settings.duplicate_days)
    moved = [fact for number in studies for fact in {before.get(number), after.get(number)} if fact is not None]
    concerned = set(studies)
    if not moved:
        return {}, concerned
    given = {
        "person": [fact.person_id for fact in moved],
        "first": [fact.studied_at - 2 * window for fact in moved],
        "last": [fact.studied_at + 2 * window for fact in moved],
    }
    found = _facts(connection.execute(sql.NEIGHBOURS, given))
    around = {number: fact for number, fact in found.items() if number not in concerned}
    times: dict[int, list[datetime]] = defaultdict(list)
    for fact in moved:
        times[fact.person_id].append(fact.studied_at)
    for of_person in times.values():
        of_person.sort()
    for number, fact in around.items():
        near = times[fact.person_id]
        at = bisect_left(near, fact.studied_at - window)
        if at < len(near) and near[at] <= fact.studied_at + window:
            concerned.add(number)
    return around, concerned


def _delta(before: Facts, after: Facts, looks: Looks, decided_now: Looks, summing: bool) -> tuple[Delta, list[int]]:
    delta, changed = Delta(), []
    for number in sorted({*before, *after}):
        old, new = before.get(number), after.get(number)
        was = [look for look in looks.get(number, ()) if look.counted]
        now = decided_now.get(number, [])
        if old != new:
            changed.append(number)
        if summing and (old != new or was != now):
            delta.add(old, was, -1)
            delta.add(new, now, 1)
    return delta, changed


def _keep(connection: Connection, facts: Sequence[Fact], gone: list[int]) -> None:
    if facts:
        columns = zip(*facts, strict=True)
        given = {name: list(values) for name, values in zip(Fact._fields, columns, strict=True)}
        connection.execute(sql.KEEP, given)
    if gone:
        connection.execute(sql.DROP, {"studies": gone})


def _keep_looks(connection: Connection, looks: Looks, decided_now: Looks) -> None:
    changed = [
        new for number, seen in looks.items() for old, new in zip(seen, decided_now[number], strict=True) if old != new
    ]
    if changed:
        given = {
            "segment": [look.segment_id for look in changed],
            "sequence": [look.sequence for look in changed],
            "study": [look.study_id for look in changed],
            "avoided": [look.avoided for look in changed],
        }
        connection.execute(sql.AVOIDED, given)


def _facts(rows: Iterable[Sequence[Any]]) -> Facts:
    return {row[0]: Fact(*row) for row in rows}


def _looks(connection: Connection, studies: Iterable[int]) -> Looks:
    found: Looks = defaultdict(list)
    for row in connection.execute(sql.LOOKS, {"studies": sorted(studies)}):
        found[row[2]].append(Look(*row))
    return dict(found)
