"""``python -m archive identity``: link patients to persons, see who is who, and take it back."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from archive.actions import add_action, operator
from archive.core import Archive
from archive.errors import NotFound
from archive.identity.linker import Linker
from archive.identity.linking import Looked
from archive.identity.records import Number
from archive.identity.score import probability
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]


def register(add: Add) -> None:
    """Add the command."""
    identity = add("identity", _run, "Persons: link all patients, list what is to be decided, show, merge, undo.")
    actions = identity.add_subparsers(required=True, metavar="ACTION")
    add_action(actions, "link", _link, "look at all patients that are new or have changed, now")
    command = add_action(actions, "review", _review, "pairs that may be the same person, the likeliest first")
    command.add_argument("--limit", type=int, default=50)
    command = add_action(actions, "show", _show, "the numbers of a person, and what was done to them")
    command.add_argument("issuer", metavar="ISSUER")
    command.add_argument("number", metavar="PATIENT_ID")
    command = add_action(actions, "merge", _merge, "two persons are one")
    command.add_argument("source", type=int, metavar="PERSON")
    command.add_argument("target", type=int, metavar="PERSON")
    command.add_argument("--reason", required=True)
    command = add_action(actions, "undo", _undo, "take back what was done under a number of the trace")
    command.add_argument("event", type=int)
    command.add_argument("--reason", required=True)


def _run(settings: Settings, given: argparse.Namespace) -> int:
    with Archive.open(settings, application="pacs identity") as archive:
        given.act(archive, given)
    return 0


def _link(archive: Archive, given: argparse.Namespace) -> None:
    del given
    linker: Linker = archive.linker()
    begun = time.monotonic()
    done = Looked()
    try:
        linker.begin()
        entered = linker.enter_all(lambda count: print(f"  {count} patients entered", flush=True))
        while (looked := linker.look()).records:
            done.add(looked)
            print(f"  {done.records} compared, {done.linked} linked, {done.proposed} to be decided", flush=True)
    finally:
        linker.close()
    print(
        f"new or changed: {entered}; compared: {done.records}; linked: {done.linked}; taken apart: {done.split}; "
        f"to be decided: {done.proposed}; {time.monotonic() - begun:.0f} s"
    )


def _review(archive: Archive, given: argparse.Namespace) -> None:
    for each in archive.reviews.open(operator(), limit=given.limit):
        why = ", ".join(f"{name} {level}" for name, (level, _) in each.evidence.items())
        mark = "conflict" if each.conflict else f"{probability(each.likelihood):.0%}"
        print(f"{each.one.person} {each.other.person}  {mark}  {why}")


def _show(archive: Archive, given: argparse.Namespace) -> None:
    person = archive.identities.person_of_number(Number(given.issuer, given.number))
    if person is None:
        raise NotFound("nobody has told of this number")
    print(f"person {person}")
    for number in archive.identities.numbers_of(person):
        print(f"  {number.issuer}  {number.id}")
    for event in archive.identities.events_of(person):
        undone = f"  (undone by {event.undone_by})" if event.undone_by else ""
        print(f"{event.id}  {event.at:%Y-%m-%d %H:%M}  {event.action}  {event.caller}  {event.reason}{undone}")


def _merge(archive: Archive, given: argparse.Namespace) -> None:
    done = archive.identities.merge(operator(), given.source, given.target, given.reason)
    print(f"done under number {done.event}: person {done.person}")


def _undo(archive: Archive, given: argparse.Namespace) -> None:
    done = archive.identities.unmerge(operator(), given.event, given.reason)
    print(f"done under number {done.event}")
