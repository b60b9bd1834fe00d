"""``python -m archive queues``: what is sent on, for an operator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from archive.core import Archive
from archive.errors import InvalidQuery, NotFound
from archive.routing.routing import QueueState
from archive.routing.rules import PRIORITIES
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]

_WIDTHS = (16, 9, 9, 9, 8, 8, 10, 9)
_ACTIONS = ("list", "show", "pause", "resume", "retry", "discard", "send")


def register(add: Add) -> None:
    """Add the command."""
    command = add(
        "queues",
        _queues,
        "What is sent on to other AEs. list: the queue of each destination; show AE: what it did not take; pause AE; "
        "resume AE; retry AE: try again now; discard AE: give up what failed; send AE --study UID: send it by hand.",
    )
    command.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="what to do (default: list)")
    command.add_argument("destination", nargs="?", metavar="AE", help="AE title of a destination")
    command.add_argument("--study", metavar="UID", help="with send: its Study Instance UID")
    command.add_argument("--series", metavar="UID", help="with send: only this series of it")
    command.add_argument("--priority", choices=tuple(PRIORITIES), default="high", help="with send (default: high)")
    command.add_argument("--task", type=int, metavar="N", help="with retry or discard: only the one of this number")
    command.add_argument("--all", action="store_true", help="with discard: the whole queue, not only what failed")


def _queues(settings: Settings, given: argparse.Namespace) -> int:
    if given.action != "list" and not given.destination:
        print(f"{given.action} needs the AE title of a destination", file=sys.stderr)
        return 2
    if given.action == "send" and not given.study:
        print("send needs --study", file=sys.stderr)
        return 2
    with Archive.open(settings, application="pacs queues") as archive:
        try:
            return _DO[given.action](archive, given)
        except (NotFound, InvalidQuery) as error:
            print(error, file=sys.stderr)
            return 1


def _list(archive: Archive, given: argparse.Namespace) -> int:
    """Exit code 1 if something failed or a destination is away, for a script that watches."""
    del given
    queues = archive.routing.queues()
    if not queues:
        print("nothing is sent on: there are no routes")
        return 0
    print(_line("destination", "state", "waiting", "sending", "failed", "later", "in 10 min", "oldest"))
    for queue in queues:
        counts = (queue.waiting, queue.sending, queue.failed, queue.later, queue.sent_in_10_minutes)
        print(_line(queue.ae_title, queue.state, *map(str, counts), _age(queue.oldest)))
        if queue.gathering:
            print(f"  {queue.gathering} series or studies are not complete yet")
        if queue.error and (queue.failures or queue.failed):
            print(f"  {_trouble(queue)}")
    return 1 if any(queue.failed or queue.failures for queue in queues) else 0


def _trouble(queue: QueueState) -> str:
    again = ""
    if queue.retry_at is not None and (seconds := (queue.retry_at - datetime.now(UTC)).total_seconds()) > 0:
        again = f"; tried again in {_duration(seconds)}"
    return f"failed {queue.failures} times in a row: {queue.error}{again}" if queue.failures else queue.error


def _show(archive: Archive, given: argparse.Namespace) -> int:
    problems = archive.routing.problems(given.destination)
    for problem in problems:
        about = problem.instance or f"study {problem.study}"
        print(f"{problem.id:>8}  {problem.state:<8} {problem.refusals} tries  {about}")
        print(f"          {problem.error}  (route: {problem.route or 'by hand'}; study {problem.study})")
    if not problems:
        print("nothing was refused")
    return 0


def _pause(archive: Archive, given: argparse.Namespace) -> int:
    archive.routing.pause(given.destination, paused=given.action == "pause")
    print(f"{given.destination}: {given.action}d")
    return 0


def _retry(archive: Archive, given: argparse.Namespace) -> int:
    print(f"tried again: {archive.routing.retry(given.destination, given.task)}")
    return 0


def _discard(archive: Archive, given: argparse.Namespace) -> int:
    print(f"given up: {archive.routing.discard(given.destination, given.task, only_failed=not given.all)}")
    return 0


def _send(archive: Archive, given: argparse.Namespace) -> int:
    count = archive.routing.send(given.study, given.destination, given.series, given.priority)
    print(f"objects in the queue: {count}")
    return 0


_DO: dict[str, Callable[[Archive, argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "pause": _pause,
    "resume": _pause,
    "retry": _retry,
    "discard": _discard,
    "send": _send,
}


def _line(first: str, *columns: str) -> str:
    rest = (f"{column:>{width}}" for column, width in zip(columns, _WIDTHS[1:], strict=True))
    return f"{first:<{_WIDTHS[0]}} " + " ".join(rest)


def _age(since: datetime | None) -> str:
    return "" if since is None else _duration((datetime.now(UTC) - since).total_seconds())


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
