"""``python -m archive figures``: build, check and look at the figures, for an operator."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict

import orjson

from archive.core import Archive
from archive.errors import ArchiveError
from archive.feed.record import begin as begin_feed
from archive.figures.keep import begin, catch_up, rebuild, sum_anew
from archive.index_session import IndexSession
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]


def register(add: Add) -> None:
    """Add the command."""
    command = add(
        "figures",
        _figures,
        "Figures of the province. state: how things stand now; rebuild: count all studies again, and make all sums "
        "anew (may be stopped and goes on where it was, here or in a web process); check: compare sums with facts; "
        "pushes: the log of what was sent to other systems; retry NAME: send again what they did not take.",
    )
    actions = ("state", "rebuild", "check", "pushes", "retry")
    command.add_argument("action", nargs="?", choices=actions, default="state")
    command.add_argument("name", nargs="?", metavar="NAME", help="name of a push")
    command.add_argument("--resume", action="store_true", help="rebuild: go on where a rebuild was stopped")


def _figures(settings: Settings, given: argparse.Namespace) -> int:
    with Archive.open(settings, application="pacs figures") as archive:
        if given.action == "state":
            state = {
                "now": asdict(archive.figures.now()),
                "alerts": [asdict(each) for each in archive.figures.alerts()],
            }
            print(orjson.dumps(state, option=orjson.OPT_INDENT_2).decode())
            return 0
        if given.action == "pushes":
            return _pushes(archive)
        if given.action == "retry":
            print(f"to be sent again: {archive.figures.pushes.retry(given.name or '')}")
            return 0
        session = IndexSession(archive.settings.database, "pacs figures")
        try:
            return _rebuild(archive, session, resume=given.resume) if given.action == "rebuild" else _check(session)
        finally:
            session.close()


def _rebuild(archive: Archive, session: IndexSession, *, resume: bool) -> int:
    begin_feed(session)
    begin(session)
    if not resume:
        rebuild(session)
    started, looked = time.monotonic(), 0
    for kept in catch_up(session, archive.settings.figures):
        looked += kept.studies
        if kept.studies:
            rate = looked / max(0.001, time.monotonic() - started)
            print(f"  {looked} studies counted, {rate:.0f} a second", flush=True)
    wrong = sum_anew(session)
    print(f"figures are whole; sums that were wrong: {wrong}")
    return 0


def _pushes(archive: Archive) -> int:
    """Exit code 1 if something was given up, for a script that watches."""
    found = archive.figures.pushes.listed(most=50)
    for each in found:
        print(f"{each.name:<20} until {each.until:%Y-%m-%d %H:%M}  {each.state:<8} tries {each.tries} {each.error}")
    return 1 if any(each.state == "given_up" for each in found) else 0


def _check(session: IndexSession) -> int:
    found = sum_anew(session)
    print("sums and facts agree" if not found else f"{found} sums were wrong and are made anew")
    if found:
        raise ArchiveError("figures were wrong: please report this")
    return 0
