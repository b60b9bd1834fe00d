"""Start everything, wait for Ctrl-C, stop everything. Exit code: 0 asked to stop, 1 failure, 2 bad settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from archive.demo import SETTINGS as DEMO_SETTINGS
from archive.launch import messages
from archive.launch.supervisor import Supervisor
from config.settings import Settings, SettingsError, load


def main() -> int:
    """Returns the exit code."""
    try:
        settings, demo = chosen_settings()
    except SettingsError as error:
        messages.mistakes(str(error))
        return 2
    try:
        return Supervisor(settings, demo).run()
    except messages.Spoken as error:
        messages.failure(error)
        return 1


def chosen_settings() -> tuple[Settings, Path | None]:
    """The settings, and the demo's settings file if it is in force: only where nobody wrote or named a file.

    Demo data never enters an archive that somebody set up, be it empty. Raises `SettingsError`.
    """
    # Whether a file is named is asked here, not in config, because only this program has another default.
    if os.environ.get("PACS_CONFIG") or Path("pacs.toml").exists():
        return load(), None
    return load(DEMO_SETTINGS), DEMO_SETTINGS


if __name__ == "__main__":
    sys.exit(main())
