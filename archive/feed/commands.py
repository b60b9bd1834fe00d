"""``python -m archive webhooks``: who gets the change feed, for an operator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from archive.core import Archive
from archive.errors import NotFound
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]


def register(add: Add) -> None:
    """Add the command."""
    command = add(
        "webhooks",
        _webhooks,
        "Receivers of the change feed. list: how they stand; pause NAME; resume NAME; retry NAME: try again now; "
        "skip NAME: deliver nothing of what waits.",
    )
    command.add_argument("action", nargs="?", choices=("list", "pause", "resume", "retry", "skip"), default="list")
    command.add_argument("name", nargs="?", metavar="NAME", help="name of a webhook")


def _webhooks(settings: Settings, given: argparse.Namespace) -> int:
    if given.action != "list" and not given.name:
        print(f"{given.action} needs the name of a webhook", file=sys.stderr)
        return 2
    with Archive.open(settings, application="pacs webhooks") as archive:
        if given.action == "list":
            return _list(archive)
        try:
            if given.action in ("pause", "resume"):
                archive.webhooks.pause(given.name, paused=given.action == "pause")
            elif given.action == "retry":
                archive.webhooks.retry(given.name)
            else:
                archive.webhooks.skip(given.name)
        except NotFound as error:
            print(error, file=sys.stderr)
            return 1
    print(f"{given.name}: {given.action} is done")
    return 0


def _list(archive: Archive) -> int:
    """Exit code 1 if a receiver fails or has lost something, for a script that watches."""
    webhooks = archive.webhooks.list()
    if not webhooks:
        print("there are no webhooks")
    for each in webhooks:
        delivered = each.delivered_at.isoformat(timespec="seconds") if each.delivered_at else "never"
        print(f"{each.name:<24} {each.state:<9} waiting {each.waiting}, last delivered {delivered}")
        if each.failures:
            again = each.retry_at.isoformat(timespec="seconds") if each.retry_at else "now"
            print(f"  failed {each.failures} times in a row: {each.error}; tried again {again}")
        if each.lost:
            print(f"  {each.lost} changes were deleted because of their age before it took them")
    return 1 if any(each.failures or each.lost for each in webhooks) else 0
