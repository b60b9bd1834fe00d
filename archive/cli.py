"""``python -m archive COMMAND``: what an operator does to the archive by hand.

Exit codes: 0 done and nothing wrong, 1 something is wrong (said on standard error), 2 the call or the settings cannot
be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from types import ModuleType

from archive import spool_commands as spool
from archive.audit import commands as audit
from archive.audit.operation import commanded
from archive.commitment import commands as commitment
from archive.core import Archive, migrate, with_database
from archive.correction import commands as correction
from archive.database import open_engine
from archive.deidentify import commands as deidentify
from archive.errors import ArchiveError
from archive.feed import commands as feed
from archive.figures import commands as figures
from archive.hl7 import commands as hl7
from archive.identity import commands as identity
from archive.migrate import drift
from archive.people import commands as people
from archive.protection import commands as protection
from archive.registry import commands as registry
from archive.rejection import commands as rejection
from archive.reports import commands as reports
from archive.routing import commands as routing
from archive.sharing import commands as sharing
from archive.worklist import commands as worklist
from config.logs import configure
from config.settings import Settings, SettingsError, load
from storage.errors import StorageError

_AREAS: tuple[ModuleType, ...] = (
    audit,
    commitment,
    correction,
    deidentify,
    feed,
    figures,
    hl7,
    identity,
    people,
    protection,
    registry,
    rejection,
    reports,
    routing,
    sharing,
    spool,
    worklist,
)
"""Modules with commands of their own. Each has `register`, which gets the function that adds one."""


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        settings = load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure(settings.log)
    run: Callable[[Settings, argparse.Namespace], int] = given.run
    try:
        with commanded(run.__name__.strip("_"), given):
            return run(settings, given)
    except (ArchiveError, StorageError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m archive", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Settings, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("migrate", _migrate, "Bring the database to this release's revision.")
    add("db-check", _db_check, "Migrate, then compare the tables with what this release expects.")
    add("check", _check, "Say whether the index and the object store can be used now.")
    command = add("reconcile", _reconcile, "Repair what a crash left behind; with --verify also look for lost objects.")
    command.add_argument("--verify", action="store_true", help="check that every object is in the store, by size")
    command.add_argument("--content", action="store_true", help="with --verify: read every object, compare its SHA-256")
    add("reindex", _reindex, "Make index rows for objects that have none, after the database was restored.")
    for area in _AREAS:
        area.register(add)
    return parser


def _migrate(settings: Settings, given: argparse.Namespace) -> int:
    del given
    applied = migrate(settings)
    print(f"applied: {', '.join(applied)}" if applied else "the database is up to date")
    return 0


def _db_check(settings: Settings, given: argparse.Namespace) -> int:
    del given
    embedded, settings = with_database(settings)
    engine = open_engine(settings.database, "pacs db-check", transactions=True)
    try:
        migrate(settings)
        differences = drift(engine)
    finally:
        engine.dispose()
        if embedded is not None:
            embedded.stop()
    for difference in differences:
        print(difference, file=sys.stderr)
    print("tables and models differ" if differences else "tables and models agree")
    return 1 if differences else 0


def _check(settings: Settings, given: argparse.Namespace) -> int:
    del given
    with Archive.open(settings, application="pacs check") as archive:
        found = archive.check()
    for part, problem in found.items():
        print(f"{part}: {problem or 'ok'}")
    return 1 if any(found.values()) else 0


def _reconcile(settings: Settings, given: argparse.Namespace) -> int:
    with Archive.open(settings, application="pacs reconcile") as archive:
        repairs = archive.reconcile()
        print(
            f"key blocks settled: {repairs.blocks} ({repairs.orphans} keys without a row); "
            f"objects adopted: {repairs.adopted}; "
            f"empty parents removed: {repairs.empty}"
        )
        if given.verify or given.content:
            archive.verify(repairs, content=given.content, progress=lambda count: print(f"  {count} objects checked"))
            print(f"missing: {repairs.missing}; corrupt: {repairs.corrupt}; whole again: {repairs.recovered}")
    if repairs.failed:
        print(f"could not be dealt with now: {repairs.failed}", file=sys.stderr)
    return 1 if repairs.failed or repairs.missing or repairs.corrupt else 0


def _reindex(settings: Settings, given: argparse.Namespace) -> int:
    del given
    with Archive.open(settings, application="pacs reindex") as archive:
        done = archive.reindex(lambda now: print(f"  {now.seen} objects seen, {now.indexed} indexed anew", flush=True))
    print(f"indexed anew: {done.indexed}; second copies: {done.copies}; unreadable: {done.unreadable}")
    return 1 if done.unreadable else 0
