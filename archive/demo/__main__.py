"""``python -m archive.demo``: load the demo province into the configured archive, or write it as files to send.

Examples
--------
``python -m archive.demo --out /tmp/demo && storescu -aec PACS +sd +r 127.0.0.1 11112 /tmp/demo``
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from archive.core import Archive
from archive.demo import load as demo
from archive.demo import past_load
from archive.demo.datasets import MissingTestFile
from archive.errors import ArchiveError
from config import logs, settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m archive.demo", description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument(
        "--past", action="store_true", help="go on loading the examinations of the last twelve months (make run does)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write DICOM files to this folder instead of loading")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.out is not None:
            total = demo.write(chosen.out)
            print(f"{total} tệp / files: {chosen.out}")
        elif chosen.past:
            print(f"  {_load_past()} ca mẫu đã nạp xong / sample studies loaded", flush=True)
        else:
            total = _load()
            print(f"{total} đối tượng / objects")
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (ArchiveError, MissingTestFile, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _load() -> int:
    chosen = settings.load()
    logs.configure(chosen.log)
    with Archive.open(chosen) as archive:
        return demo.load(archive)


def _load_past() -> int:
    """Whoever tries the archive out goes first: this is in no hurry."""
    os.nice(5)
    chosen = settings.load()
    with Archive.open(chosen, application="pacs demo") as archive:
        return past_load.load(archive, _told)


def _told(done: int, total: int) -> None:
    if done < total and done * 4 // total > (done - 1) * 4 // total:
        print(f"  {done}/{total} ca mẫu / sample studies", flush=True)


if __name__ == "__main__":
    sys.exit(main())
