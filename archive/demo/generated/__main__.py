"""``python -m archive.demo.generated --studies 1000000``: fill the configured, empty database with a whole province.

Only the index is filled: there are no bytes behind the objects. ``--truth`` says whose each patient row truly is.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path

from archive import core
from archive.demo.generated.generate import Wanted, generate
from archive.demo.generated.places import settings as settings_of_places
from archive.demo.generated.visits import ZONE
from archive.errors import ArchiveError
from config import logs, settings


def main(arguments: list[str] | None = None) -> int:
    """Generate. Returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        if given.settings:
            given.settings.write_text(settings_of_places(), encoding="utf-8")
        wanted = _wanted(given)
        chosen = settings.load()
        logs.configure(chosen.log)
        embedded, chosen = core.with_database(chosen)
        try:
            core.migrate(chosen)
            begun = time.monotonic()
            done = generate(chosen.database, wanted, lambda line: print(line, flush=True))
            print(f"{done:,} studies in {time.monotonic() - begun:.0f} s")
        finally:
            if embedded is not None:
                embedded.stop()
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (ArchiveError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m archive.demo.generated", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--studies", type=int, default=100_000, metavar="N")
    parser.add_argument("--years", type=float, default=3, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, another province")
    parser.add_argument("--until", type=datetime.fromisoformat, metavar="TIME", help="the end; now if left out")
    parser.add_argument(
        "--instances", type=int, metavar="N", help="about how many rows of objects; two a study if left out"
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="CSV of whose each patient row is")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="write the facilities as settings have them")
    return parser


def _wanted(given: argparse.Namespace) -> Wanted:
    until = given.until
    if until is not None and until.tzinfo is None:
        until = until.replace(tzinfo=ZONE)
    return Wanted(given.studies, given.years, given.seed, until, given.instances, given.truth)


if __name__ == "__main__":
    sys.exit(main())
