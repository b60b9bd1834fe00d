"""Packages that browsers load: fetched by the npm client, wherever that is set up to find them, and checked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
from pathlib import Path
from typing import Final

_NPM_SECONDS: Final = 600


class SetupError(Exception):
    """A package cannot be installed; the message says why and what to do."""


def fetch(into: Path, package: str) -> Path:
    """Let npm put the tarball of a package into a directory. Raises `SetupError`."""
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError(
            "npm is not installed; it is needed once, for what browsers load (Debian: apt-get install npm)"
        )
    command = [npm, "pack", package, "--pack-destination", str(into.resolve()), "--loglevel=error", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=_NPM_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise SetupError(f"npm did not get {package} within {_NPM_SECONDS} seconds") from None
    tarballs = list(into.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(f"npm cannot get {package}; is this machine offline? npm says: {reason}")
    return tarballs[0]


def verify(tarball: Path, integrity: str) -> None:
    """Check the tarball against its digest (subresource integrity). Raises `SetupError`."""
    algorithm, _, expected = integrity.partition("-")
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).digest()
    if not hmac.compare_digest(base64.b64encode(digest).decode(), expected):
        raise SetupError(f"{tarball.name} is not the package that was reviewed: its {algorithm} digest is another")
