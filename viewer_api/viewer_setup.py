"""``python -m viewer_api.viewer_setup [--to DIR]``: fetch the OHIF viewer and install its build.

The package comes by the npm client, wherever that is set up to find packages. Its bytes are checked against the
digest below before anything is unpacked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from config.settings import SettingsError, load
from viewer_api import charts
from viewer_api.npm_package import SetupError, fetch, verify

PACKAGE: Final = "@ohif/app@3.13.2"
INTEGRITY: Final = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
STAMP: Final = ".installed"
_MAX_FILE: Final = 256 << 20

Say = Callable[[str], None]


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
    tarball = fetch(temporary, PACKAGE)
    say(f"checking {tarball.stat().st_size >> 20} MiB ...")
    verify(tarball, INTEGRITY)
    build = temporary / "build"
    count = unpack(tarball, build, say)
    say(f"unpacked {count} files")
    (build / STAMP).write_text(_stamp() + "\n", encoding="utf-8")
    old = temporary / "old"
    if directory.exists():
        directory.rename(old)
    build.rename(directory)


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
    """Install the viewer and, beside it, the library of charts. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m viewer_api.viewer_setup", description="Install viewer and charts.")
    parser.add_argument("--to", type=Path, help="directory to install into; the one of the settings when left out")
    given = parser.parse_args(arguments)
    try:
        directory = given.to or load().viewer_dir
        install(directory, _say)
    except (SetupError, SettingsError) as error:
        print(f"viewer: {error}", file=sys.stderr)
        return 1
    try:
        charts.install(directory, _say)
    except SetupError as error:
        # The viewer works without, and the dashboard shows its tables.
        print(f"charts: {error}", file=sys.stderr)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
