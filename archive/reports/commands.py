"""``python -m archive reports``: exports, the queue of objects, licences, and proof that nothing signed was changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

from archive.actions import add_action, operator
from archive.core import Archive
from config import clock
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]


def register(add: Add) -> None:
    """Add the command."""
    reports = add("reports", _run, "Reports: export, objects that wait, licences, verification.")
    actions = reports.add_subparsers(required=True, metavar="ACTION")
    command = add_action(actions, "export", _export, "write what a facility signed on a day to a file")
    command.add_argument("facility", metavar="FACILITY")
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--day", type=date.fromisoformat, help="YYYY-MM-DD; today unless given")
    command.add_argument("--kind", choices=("xml4", "hosobenhan"), default="xml4")
    command.add_argument("--format", choices=("xml", "json"), default="xml")
    add_action(actions, "objects", _objects, "signed reports whose DICOM objects are not made yet")
    command = add_action(actions, "licence", _licence, "set the number of somebody's practising licence (MA_BS_DOC_KQ)")
    command.add_argument("account", metavar="NAME")
    command.add_argument("number", metavar="LICENCE")
    add_action(actions, "verify", _verify, "check that no version that was given out has been changed")


def _run(settings: Settings, given: argparse.Namespace) -> int:
    act: Callable[[Archive, argparse.Namespace], int] = given.act
    with Archive.open(settings, "pacs reports") as archive:
        return act(archive, given)


def _export(archive: Archive, given: argparse.Namespace) -> int:
    """Exit code 1 if something is missing in some of them; those are left out of XML4."""
    day = given.day or clock.today()
    found = archive.report_exports.day(operator(), given.facility, day, given.kind, given.format)
    given.file.write_bytes(found.content)
    print(f"{found.reports} reports of {day.isoformat()} written to {given.file}")
    for fault in found.faults:
        print(f"{fault.report} {fault.field}: {fault.detail}", file=sys.stderr)
    return 1 if found.faults and given.kind == "xml4" else 0


def _objects(archive: Archive, given: argparse.Namespace) -> int:
    del given
    waiting = archive.report_objects.waiting()
    for each in waiting:
        print(f"{each.number} version {each.version}: {each.attempts} tries: {each.error or 'not tried yet'}")
    print(f"{len(waiting)} waiting")
    return 0


def _licence(archive: Archive, given: argparse.Namespace) -> int:
    by = operator()
    archive.reports.set_licence(by, archive.people.accounts.named(by, given.account).id, given.number)
    return 0


def _verify(archive: Archive, given: argparse.Namespace) -> int:
    del given
    checked, changed = archive.report_exports.verify()
    for number, version in changed:
        print(f"{number} version {version} is not what was given out", file=sys.stderr)
    print(f"{checked} versions checked, {len(changed)} changed")
    return 1 if changed else 0
