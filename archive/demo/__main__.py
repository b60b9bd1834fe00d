"""``python -m archive.demo``: load the demo province into the configured archive, or write it as files to send.

Examples
--------
``python -m archive.demo --out /tmp/demo && storescu -aec PACS +sd +r 127.0.0.1 11112 /tmp/demo``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from archive.core import Archive
from archive.demo import load as demo
from archive.demo.datasets import MissingTestFile
from archive.errors import ArchiveError
from config import logs, settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m archive.demo", description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="write DICOM files to this folder instead of loading")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.out is not None:
            total = demo.write(chosen.out)
            print(f"{total} tệp / files: {chosen.out}")
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
    archive = Archive.open(chosen)
    try:
        return demo.load(archive)
    finally:
        archive.close()


if __name__ == "__main__":
    sys.exit(main())
