"""``python -m tests.interop.npm``: fetch the npm packages that are clients of ours, or servers that we are clients of.

`js/package-lock.json` pins each by version and digest; npm checks the digest of what it gets.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.interop.matrix import ROOT

LOCKED: Final = Path(__file__).parent / "js"
INSTALLED: Final = ROOT / "build" / "interop-js"
PROVIDER_LOCKED: Final = ROOT / "tests" / "oidc" / "js"
PROVIDER_INSTALLED: Final = ROOT / "build" / "oidc-js"
_FILES: Final = ("package.json", "package-lock.json")
_SECONDS: Final = 600


def install(locked: Path = LOCKED, installed: Path = INSTALLED) -> Path:
    """Fetch them once for this machine. Gives the folder with the packages; fails where they cannot be had."""
    installed.mkdir(parents=True, exist_ok=True)
    stamp = installed / "installed"
    wanted = (locked / "package-lock.json").read_text(encoding="utf-8")
    with (installed / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            stamp.unlink(missing_ok=True)
            for name in _FILES:
                shutil.copy(locked / name, installed / name)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            done = subprocess.run(command, cwd=installed, capture_output=True, text=True, timeout=_SECONDS, check=False)
            assert done.returncode == 0, f"npm cannot get the packages: {done.stdout}{done.stderr}"
            stamp.write_text(wanted, encoding="utf-8")
    return installed / "node_modules"


def install_provider() -> Path:
    """The provider of OpenID Connect that sign-in is tested with."""
    return install(PROVIDER_LOCKED, PROVIDER_INSTALLED)


def versions() -> dict[str, str]:
    """The packages that are clients, as they are pinned."""
    found: dict[str, Any] = json.loads((LOCKED / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return {f"{name} (npm)": str(version) for name, version in found.items()}


if __name__ == "__main__":
    print(f"npm packages of clients: {install()}, {install_provider()}")
    sys.exit(0)
