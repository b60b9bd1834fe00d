"""The embedded PostgreSQL as the launcher holds it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import psutil

from archive.embedded import EmbeddedPostgres


def start(folder: Path) -> EmbeddedPostgres:
    """Start the server on `folder`, or take over the one that a killed launcher left. Raises `IndexUnavailable`."""
    _forget_dead_holders(folder)
    return EmbeddedPostgres(folder)


def _forget_dead_holders(folder: Path) -> None:
    """Strike processes that are gone from the package's list: with them on it, the last holder never stops the server.

    A process that is younger than the list is not the one that signed it: its number was given out again.
    """
    path = folder / ".handle_pids.json"
    with suppress(OSError, ValueError):
        signed = path.stat().st_mtime
        path.write_text(json.dumps([pid for pid in json.loads(path.read_text()) if _runs_since(pid, signed)]))


def _runs_since(pid: int, moment: float) -> bool:
    """Whether the process runs, and did at `moment` (seconds since 1970)."""
    try:
        return psutil.Process(pid).create_time() <= moment
    except psutil.Error:
        return False
