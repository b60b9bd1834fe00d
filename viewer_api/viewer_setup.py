"""``python -m viewer_api.viewer_setup [--to DIR]``: fetch the OHIF viewer and install its build.

The package comes by the npm client, wherever that is set up to find packages. Its bytes are checked against the
digest below before anything is unpacked.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from config.settings import SettingsError, load

PACKAGE: Final = "@ohif/app@3.13.2"
INTEGRITY: Final = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
STAMP: Final = ".installed"
_NPM_SECONDS: Final = 600
_MAX_FILE: Final = 256 << 20

Say = Callable[[str], None]


class SetupError(Exception):
    """The viewer cannot be installed; the message says why and what to do."""


def is_installed(directory: Path) -> bool:
    """Whether this very build is in the directory."""
    try:
        return (directory / STAMP).read_text(encoding="utf-8").strip() == _stamp()
    except OSError:
        return False


def install(directory: Path, say: Say) -> bool:
    """Install the build into the directory. Returns False if it was there already.

    Raises
    ------
    SetupError
        npm is missing or cannot get the package, or the package is not the expected one.
    """
    if is_installed(directory):
        say(f"{PACKAGE} is in {directory}")
        return False
    directory = directory.absolute()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        # On the same file system as the target: the rename at the end is atomic.
        with tempfile.TemporaryDirectory(prefix=".viewer-", dir=directory.parent) as temporary:
            _install(directory, Path(temporary), say)
    except OSError as error:
        raise SetupError(f"cannot write {directory}: {error.strerror or error}") from None
    say(f"{PACKAGE} is installed in {directory}")
    return True


def _install(directory: Path, temporary: Path, say: Say) -> None:
    say(f"fetching {PACKAGE} by npm ...")
    tarball = fetch(temporary)
    say(f"checking {tarball.stat().st_size >> 20} MiB ...")
    verify(tarball)
    build = temporary / "build"
    count = unpack(tarball, build, say)
    say(f"unpacked {count} files")
    (build / STAMP).write_text(_stamp() + "\n", encoding="utf-8")
    old = temporary / "old"
    if directory.exists():
        directory.rename(old)
    build.rename(directory)


def fetch(into: Path) -> Path:
    """Let npm put the tarball of the package into a directory. Raises `SetupError`."""
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError("npm is not installed; it is needed once, to fetch the viewer (Debian: apt-get install npm)")
    command = [npm, "pack", PACKAGE, "--pack-destination", str(into), "--silent", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=_NPM_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise SetupError(f"npm did not get {PACKAGE} within {_NPM_SECONDS} seconds") from None
    tarballs = list(into.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(f"npm cannot get {PACKAGE}; is this machine offline? npm says: {reason}")
    return tarballs[0]


def verify(tarball: Path, integrity: str = INTEGRITY) -> None:
    """Check the tarball against its digest (subresource integrity). Raises `SetupError`."""
    algorithm, _, expected = integrity.partition("-")
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).digest()
    if not hmac.compare_digest(base64.b64encode(digest).decode(), expected):
        raise SetupError(f"{tarball.name} is not the package that was reviewed: its {algorithm} digest is another")


def unpack(tarball: Path, into: Path, say: Say) -> int:
    """Write the files below ``package/dist`` into a new directory, without source maps. Returns their number.

    Only plain files with plain paths are taken; neither links nor modes of the archive are.
    """
    into.mkdir()
    count = 0
    with tarfile.open(tarball, "r:gz") as archive:
        for member, path in _members(archive):
            source = archive.extractfile(member)
            if source is None or member.size > _MAX_FILE:
                raise SetupError(f"{tarball.name} holds something unexpected: {member.name}")
            target = into.joinpath(*path.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            count += 1
            if count % 100 == 0:
                say(f"unpacked {count} files ...")
    if not (into / "index.html").is_file():
        raise SetupError(f"{tarball.name} holds no build of the viewer")
    return count


def _members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    root = PurePosixPath("package/dist")
    for member in archive:
        name = PurePosixPath(member.name)
        if not member.isfile() or not name.is_relative_to(root) or name.suffix == ".map":
            continue
        path = name.relative_to(root)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise SetupError(f"the package holds a path that leads out of it: {member.name!r}")
        yield member, path


def _stamp() -> str:
    return f"{PACKAGE} {INTEGRITY}"


def main(arguments: list[str] | None = None) -> int:
    """Install the viewer. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m viewer_api.viewer_setup", description="Install the OHIF viewer.")
    parser.add_argument("--to", type=Path, help="directory to install into; the one of the settings when left out")
    given = parser.parse_args(arguments)
    try:
        install(given.to or load().viewer_dir, lambda text: print(text, flush=True))
    except (SetupError, SettingsError) as error:
        print(f"viewer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
