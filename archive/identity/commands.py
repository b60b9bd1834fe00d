"""``python -m archive identity``: link patients to persons, see who is who, and take it back."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Final

from archive.actions import add_action, operator
from archive.core import Archive
from archive.errors import NotFound
from archive.identity.linker import Linker
from archive.identity.linking import Looked
from archive.identity.records import Number
from archive.identity.score import probability
from config.settings import Settings

_TELL_SECONDS: Final = 5.0
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
    # What there is by now stays to the end: looking through it for garbage again and again takes time.
    gc.freeze()
    linker: Linker = archive.linker()
    begun = time.monotonic()
    done = Looked()
    try:
        linker.begin()
        new = linker.not_entered()
        entering = _Progress("entered", new)
        entered = linker.enter_all(entering.tell)
        comparing = _Progress("compared", linker.waiting())
        while (looked := linker.look()).records:
            done.add(looked)
            comparing.tell(done.records, f"{done.linked} linked, {done.proposed} to be decided")
    finally:
        linker.close()
    print(
        f"new or changed: {entered}; compared: {done.records}; linked: {done.linked}; taken apart: {done.split}; "
        f"to be decided: {done.proposed}; {time.monotonic() - begun:.0f} s"
    )


class _Progress:
    """Says every few seconds how far it is, and how long the rest should take."""

    def __init__(self, what: str, whole: int) -> None:
        self._what = what
        self._whole = whole
        self._begun = self._said = time.monotonic()

    def tell(self, done: int, more: str = "") -> None:
        """So many are done."""
        now = time.monotonic()
        if now < self._said + _TELL_SECONDS:
            return
        self._said = now
        rate = done / (now - self._begun)
        left = f", {max(0, self._whole - done) / rate:.0f} s left" if rate and self._whole else ""
        print(f"  {self._what} {done} of {max(self._whole, done)}{left}{'; ' if more else ''}{more}", flush=True)


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
