"""``python -m archive commitments``: storage commitment requests of both directions, for an operator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from archive.commitment.listing import STATES
from archive.commitment.records import reason_text
from archive.core import Archive
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]

_WIDTHS = (14, 16, 9, 9, 8, 8, 16)


def register(add: Add) -> None:
    """Add the command."""
    command = add(
        "commitments",
        _commitments,
        "List storage commitment requests: 'in' of peers to us, 'out' of us to other archives. in/7 names one of them.",
    )
    command.add_argument("number", nargs="?", type=_number, help="show its instances that are not committed")
    command.add_argument("--retry", action="store_true", help="have it looked at and delivered, or asked, once more")
    command.add_argument("--state", choices=STATES, help="only these")
    command.add_argument("--peer", metavar="AE", help="only of or to this AE title")
    command.add_argument("--direction", choices=("in", "out"), help="only these")
    command.add_argument("--limit", type=int, default=50, help="how many to show (default 50)")


def _number(value: str) -> tuple[str, int]:
    direction, _, number = value.partition("/")
    if direction not in ("in", "out") or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{value!r} is not like in/7 or out/7")
    return direction, int(number)


def _commitments(settings: Settings, given: argparse.Namespace) -> int:
    if given.retry and given.number is None:
        print("--retry needs a number such as in/7", file=sys.stderr)
        return 2
    with Archive.open(settings, application="pacs commitments") as archive:
        if given.number is None:
            return _list(archive, given)
        return _retry(archive, *given.number) if given.retry else _show(archive, *given.number)


def _list(archive: Archive, given: argparse.Namespace) -> int:
    listing = archive.commitments.listing
    for row in listing.counts():
        print(f"{row.direction:<4}{row.state:<10}{row.requests:>8}")
    rows = listing.requests(
        state=given.state, ae_title=given.peer, direction=given.direction, limit=max(given.limit, 1)
    )
    if rows:
        print()
        print(_line("number", "peer", "state", "instances", "failed", "attempts", "since", "problem"))
    for row in rows:
        print(_row(row))
    return 0


def _row(row: Any) -> str:
    failed = "?" if row.failed_count is None else str(row.failed_count)
    since = f"{row.since:%Y-%m-%d %H:%M}"
    number = f"{row.direction}/{row.id}"
    return _line(number, row.ae_title, row.state, str(row.item_count), failed, str(row.attempts), since, row.problem)


def _line(*cells: str) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)]
    return " ".join([*padded, cells[-1]]).rstrip()


def _show(archive: Archive, direction: str, number: int) -> int:
    rows = archive.commitments.listing.not_committed(direction, number)
    for row in rows:
        print(f"{row.sop_instance_uid}  {reason_text(row.reason)}")
    if not rows:
        print("no such request, or all of its instances are committed")
    return 1 if rows else 0


def _retry(archive: Archive, direction: str, number: int) -> int:
    if archive.commitments.listing.retry(direction, number):
        print(f"{direction}/{number} is due now")
        return 0
    print(f"there is no {direction}/{number}, or somebody works on it now", file=sys.stderr)
    return 1
