"""``python -m archive spool``: what is stored on the local disk and waits for S3, for an operator."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from archive.core import Archive
from config.settings import Settings
from storage.uploader import Waiting, waiting

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]
_LOOK_AGAIN: Final = 0.5
_SAID_EACH: Final = 5.0


def register(add: Add) -> None:
    """Add the command."""
    add(
        "spool",
        _spool,
        "What is stored and waits in the spool for S3. --empty uploads it, unless another process does so, and returns "
        "when all is with S3.",
    ).add_argument("--empty", action="store_true", help="upload, and wait until nothing is left")


def _spool(settings: Settings, given: argparse.Namespace) -> int:
    if not settings.spools:
        print("there is no spool: storage.s3.write_back is off")
        return 0
    if not given.empty:
        _say(waiting(settings.waiting_dir))
        return 0
    with Archive.open(settings, application="pacs spool"):
        said = 0.0
        while (left := waiting(settings.waiting_dir)).objects:
            if time.monotonic() > said + _SAID_EACH:
                said = time.monotonic()
                _say(left)
                sys.stdout.flush()
            time.sleep(_LOOK_AGAIN)
    _say(left)
    return 0


def _say(found: Waiting) -> None:
    since = datetime.fromtimestamp(found.oldest, UTC).astimezone().isoformat(" ", "seconds") if found.oldest else ""
    print(f"waiting for S3: {found.objects} objects, {found.bytes} bytes" + (f", since {since}" if since else ""))
