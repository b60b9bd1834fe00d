"""The library that draws charts: Apache ECharts, fetched once like the viewer and given out from our own origin.

It draws on a canvas, so that our policy can go on refusing styles and scripts within pages.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from viewer_api.npm_package import SetupError, fetch, verify
from viewer_api.viewer_config import MOUNT

PACKAGE: Final = "echarts@6.1.0"
INTEGRITY: Final = "sha512-q0yaFPggC9FUdsWH4blavRWFmxdrIodbkoKNAjJudAI6CA9gNPxHtV2RcZNEepZVlk4yvBYkOkbk6HIVpIyHZA=="
_WITHIN: Final = "package/dist/echarts.min.js"
_FOLDER: Final = "charts"
_FILE: Final = f"{PACKAGE.replace('@', '-')}.min.js"


def script_of(viewer_dir: Path) -> str:
    """Where browsers get it; empty if it is not installed: pages then show tables."""
    return f"{MOUNT}/{_FOLDER}/{_FILE}" if (viewer_dir / _FOLDER / _FILE).is_file() else ""


def install(viewer_dir: Path, say: Callable[[str], None]) -> bool:
    """Install it beside the viewer. Returns False if it was there already. Raises `SetupError`."""
    target = viewer_dir / _FOLDER / _FILE
    if target.is_file():
        say(f"{PACKAGE} is in {target.parent}")
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".charts-", dir=target.parent) as temporary:
            _install(Path(temporary), target, say)
    except OSError as error:
        raise SetupError(f"cannot write {target.parent}: {error.strerror or error}") from None
    say(f"{PACKAGE} is installed in {target.parent}")
    return True


def _install(temporary: Path, target: Path, say: Callable[[str], None]) -> None:
    say(f"fetching {PACKAGE} by npm ...")
    tarball = fetch(temporary, PACKAGE)
    verify(tarball, INTEGRITY)
    with tarfile.open(tarball, "r:gz") as archive:
        source = archive.extractfile(_WITHIN)
        if source is None:
            raise SetupError(f"{tarball.name} has no {_WITHIN}")
        unpacked = temporary / _FILE
        with unpacked.open("wb") as file:
            shutil.copyfileobj(source, file)
    unpacked.chmod(0o644)
    unpacked.rename(target)
