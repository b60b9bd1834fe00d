"""Objects as plain files under one folder, durable when ``commit`` returns.

The key is the path under the root. Folders are made as needed and never removed: an empty one costs little, and
removing it would race with a writer about to use it. A key that names a folder of other keys cannot be an object
as well (`ObjectExists`); keys of one depth, as the archive makes them, never meet this.

The order of the steps of a commit is in :class:`~storage.files.FileWriter`. Measured on ext4 with 4 threads and
33 kB objects that are flushed, in commits per second: ``link`` and ``unlink`` 2500, ``O_TMPFILE`` and ``linkat`` 2450,
``renameat2`` 2150. Sharing one flush of the folder among concurrent commits gives 2100: the journal of the file system
does that already, and better. With the receive journal nobody waits for the folder, and what it costs to change it
counts: 80 microseconds of the system for a file with ``link`` and ``unlink``, 46 with ``O_TMPFILE``.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import stat
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

from storage.at_hand import fill_at_hand, read_at_hand
from storage.base import KEY_PATTERN, ObjectStat, validate_key
from storage.errors import (
    IntegrityError,
    ObjectExists,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageUnavailable,
)
from storage.files import FILE_MODE, FOLDER, NAMELESS_FILE, FileReader, FileWriter, temporary_name
from storage.flushing import flush_folder
from storage.journal import Journal
from storage.os_errors import unavailable
from storage.recovery import recover

FREE_SPACE_AGE: Final = 1.0
"""Seconds for which a measurement of the free space is used."""
FOLDER_MODE: Final = 0o750
_CANNOT: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
"""What file systems and kernels answer that cannot make a file without a name."""
_REMEMBERED_FOLDERS: Final = 16384
_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError)
_PROBE: Final = b"provincial-pacs probe\n"


class FilesystemStore:
    """A store in the folder `root`. Safe for many threads and many processes at once.

    New objects are refused (`StorageUnavailable`) while less than `minimum_free_bytes` are free.
    ``delete`` returns after the removal is durable: a deleted image must not come back with the power.
    """

    name = "filesystem"

    def __init__(self, root: Path, minimum_free_bytes: int = 0, journal: Journal | None = None) -> None:
        """Use `root`, made if missing, with a receive journal for it. Raises `StorageUnavailable`."""
        self._suffix = ""
        self._journal = journal
        self._root = os.path.abspath(root)  # noqa: PTH100  strings on the hot path: pathlib is ten times slower
        self._minimum_free_bytes = minimum_free_bytes
        self._free_until = 0.0
        self._free_bytes = 0
        # Folders whose names are known to be on the medium, so that only the first write into one pays for it.
        self._durable: set[str] = set()
        self._has_nameless = True
        """Files without names can be made; found out by the first."""
        try:
            self._make_root()
        except OSError as error:
            raise unavailable(f"cannot use {self._root}", error) from error

    def sibling(self, suffix: str) -> Self:
        """A store in the same folders, of the files whose names end with `suffix`, such as ``.enc1``.

        Neither sees the objects of the other, for keys have no dots.
        """
        twin = copy.copy(self)
        twin._suffix = suffix
        return twin

    def create(self, key: str, *, indexed: bool = False, named: bool = False) -> FileWriter:
        """Start to write `key`. Raises `InvalidKey`, `ObjectExists`, `StorageUnavailable`.

        That the key is taken is found at ``commit``, which has to look anyway: the first of two writes that is
        committed has it. Another unfinished write of it is `ObjectExists` here if that one, alive or left by a crash
        (``delete`` clears the latter), and this one have a temporary name: what goes into the receive journal has
        none, unless it is to be `named`, so that others see the folder and the key in use.
        """
        folder, name = self._split(key)
        self._check_free_space()
        journal = self._journal if indexed else None
        try:
            fd = self._open_nameless(folder) if journal is not None and journal.active and not named else -1
            folder_fd = self._open_in(folder, FOLDER) if fd < 0 else -1
        except (FileExistsError, NotADirectoryError):
            raise ObjectExists(f"a part of the path {key} is an object") from None
        except OSError as error:
            raise unavailable(f"cannot create the folder of {key}", error) from error
        path = f"{folder}/{name}"
        below = path[len(self._root) + 1 :]
        return FileWriter(key, path, folder_fd=folder_fd, fd=fd, journal=journal, journal_path=below)

    def open(self, key: str) -> FileReader:
        """Read the whole object. Raises `InvalidKey`, `ObjectNotFound`, `StorageUnavailable`."""
        fd, size = self._open_file(key)
        return FileReader(key, fd, 0, size)

    def open_range(self, key: str, offset: int, length: int) -> FileReader:
        """Read a range. Raises `InvalidKey`, `RangeNotSatisfiable`, `ObjectNotFound`, `StorageUnavailable`."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")
        fd, size = self._open_file(key)
        if offset >= size:
            os.close(fd)
            raise RangeNotSatisfiable(f"{key} has {size} bytes, none from {offset}")
        return FileReader(key, fd, offset, min(length, size - offset), size)

    def read_at_hand(self, key: str, offset: int, length: int) -> bytes | None:
        """A range that the kernel has in memory; see `storage.at_hand`. Raises `InvalidKey`."""
        return read_at_hand(self.path(key), offset, length)

    def fill_at_hand(self, key: str, offset: int, room: memoryview) -> bool:
        """The same, read to where it is to be. Raises `InvalidKey`."""
        return fill_at_hand(self.path(key), offset, room)

    def stat(self, key: str) -> ObjectStat:
        """Size of the object. Raises `InvalidKey`, `ObjectNotFound`, `StorageUnavailable`."""
        path = self.path(key)
        try:
            status = os.stat(path)  # noqa: PTH116
        except _NOT_THERE:
            raise ObjectNotFound(f"no object {key}") from None
        except OSError as error:
            raise unavailable(f"cannot look up {key}", error) from error
        if not stat.S_ISREG(status.st_mode):
            raise ObjectNotFound(f"no object {key}")
        return ObjectStat(key, status.st_size)

    def delete(self, key: str) -> None:
        """Remove the object and its unfinished file, durably. Raises `InvalidKey`, `StorageUnavailable`.

        A file without a name vanishes with its writer, who may still commit it.
        """
        folder, name = self._split(key)
        try:
            folder_fd = os.open(folder, FOLDER)
        except _NOT_THERE:
            return
        except OSError as error:
            raise unavailable(f"cannot delete {key}", error) from error
        try:
            removed = [_unlink(entry, folder_fd) for entry in (temporary_name(name), name)]
            if any(removed):
                os.fsync(folder_fd)
        except OSError as error:
            raise unavailable(f"cannot delete {key}", error) from error
        finally:
            os.close(folder_fd)

    def flush(self, key: str) -> None:
        """Make what was removed beside `key` so durable as if `delete` had done it. Raises `StorageUnavailable`."""
        try:
            flush_folder(self._split(key)[0])
        except _NOT_THERE:
            pass
        except OSError as error:
            raise unavailable(f"cannot flush the folder of {key}", error) from error

    def path(self, key: str) -> str:
        """Where the file of the object is, if there is one. Raises `InvalidKey`."""
        return f"{self._root}/{validate_key(key)}{self._suffix}"

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that start with `prefix`, found by walking the folders. Raises `StorageUnavailable`."""
        parent = prefix.rpartition("/")[0]
        if parent and not KEY_PATTERN.fullmatch(parent):
            return  # no key starts so, and the walk must not leave the root
        folders = [parent]
        while folders:
            folder = folders.pop()
            for name, is_folder in self._list(folder):
                key = f"{folder}/{name}" if folder else name
                if is_folder and (key.startswith(prefix) or prefix.startswith(f"{key}/")):
                    folders.append(key)
                elif not is_folder and key.endswith(self._suffix):
                    key = key.removesuffix(self._suffix)
                    if key.startswith(prefix) and KEY_PATTERN.fullmatch(key):
                        yield key

    def local_path(self, key: str) -> Path | None:
        """The file of the object; None if there is no such object."""
        path = Path(self.path(key))
        return path if path.is_file() else None

    def check(self) -> None:
        """Write, read and delete a file. Raises `StorageUnavailable` with the reason."""
        self._check_free_space()
        # Not in the key grammar, so that nobody who lists the keys takes a probe for an object.
        name = f".probe-{uuid.uuid4().hex}"
        path = f"{self._root}/{name}"
        try:
            with FileWriter("the probe", path, folder_fd=os.open(self._root, FOLDER)) as writer:
                writer.write(_PROBE)
                writer.commit()
            try:
                with FileReader("the probe", os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0, len(_PROBE)) as reader:
                    if reader.read() != _PROBE:
                        raise StorageUnavailable("the probe was read back differently")
            finally:
                os.unlink(path)  # noqa: PTH108
        except OSError as error:
            raise unavailable(f"cannot use {self._root}", error) from error
        except IntegrityError as error:
            raise StorageUnavailable(str(error)) from error

    def recover(self, known: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Write files anew that a power cut took, see `storage.recovery`. Raises `StorageUnavailable`."""
        try:
            return recover(self._root, known)
        except OSError as error:
            raise unavailable(f"cannot read the receive journal of {self._root}", error) from error

    def close(self) -> None:
        """Wait until the receive journal is not needed; nothing else is held open between calls."""
        if self._journal is not None:
            self._journal.close()

    def _split(self, key: str) -> tuple[str, str]:
        folder, _, name = self.path(key).rpartition("/")
        return folder, name

    def _open_file(self, key: str) -> tuple[int, int]:
        path = self.path(key)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            status = os.fstat(fd)
        except _NOT_THERE:
            raise ObjectNotFound(f"no object {key}") from None
        except OSError as error:
            raise unavailable(f"cannot open {key}", error) from error
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise ObjectNotFound(f"no object {key}")
        return fd, status.st_size

    def _list(self, folder: str) -> list[tuple[str, bool]]:
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except _NOT_THERE:
            return []
        except OSError as error:
            raise unavailable(f"cannot list {folder or self._root}", error) from error

    def _check_free_space(self) -> None:
        if not self._minimum_free_bytes:
            return
        now = time.monotonic()
        if now >= self._free_until:
            try:
                status = os.statvfs(self._root)
            except OSError as error:
                raise unavailable(f"cannot use {self._root}", error) from error
            self._free_bytes = status.f_bavail * status.f_frsize
            self._free_until = now + FREE_SPACE_AGE
        if self._free_bytes < self._minimum_free_bytes:
            raise StorageUnavailable(
                f"the disk is nearly full: {self._free_bytes} bytes free, {self._minimum_free_bytes} are kept free"
            )

    def _make_root(self) -> None:
        missing = []
        folder = self._root
        while not os.path.isdir(folder):  # noqa: PTH112
            missing.append(folder)
            folder = os.path.dirname(folder)  # noqa: PTH120
        for folder in reversed(missing):
            _make_folder(folder)
        os.close(os.open(self._root, FOLDER))

    def _open_nameless(self, folder: str) -> int:
        """A descriptor of a new file without a name in `folder`; -1 where the file system cannot make one."""
        if not self._has_nameless:
            return -1
        try:
            return self._open_in(folder, NAMELESS_FILE)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            self._has_nameless = False
            return -1

    def _open_in(self, folder: str, flags: int) -> int:
        """Open `folder`, whose name is durable then, with `flags`."""
        if folder in self._durable:
            with contextlib.suppress(FileNotFoundError):
                return os.open(folder, flags, FILE_MODE)
            self._durable.clear()  # somebody removed folders under us: know nothing
        self._make_durable(folder)
        return os.open(folder, flags, FILE_MODE)

    def _make_durable(self, folder: str) -> None:
        """Make `folder` and those above it up to the root. One that exists may be new too: made by another process
        that has not flushed its name yet, or did not live to do it."""
        if folder == self._root or folder in self._durable:
            return
        self._make_durable(folder.rpartition("/")[0])
        _make_folder(folder)
        if len(self._durable) >= _REMEMBERED_FOLDERS:
            self._durable.clear()
        self._durable.add(folder)


def _make_folder(folder: str) -> None:
    """Make `folder` unless it exists, and make its name durable. Raises `FileExistsError` if it is a file."""
    try:
        os.mkdir(folder, FOLDER_MODE)  # noqa: PTH102
    except FileExistsError:
        if not os.path.isdir(folder):  # noqa: PTH112
            raise
    flush_folder(folder.rpartition("/")[0] or "/")


def _unlink(name: str, folder_fd: int) -> bool:
    """Remove a file; False if there is none (a folder is none)."""
    try:
        os.unlink(name, dir_fd=folder_fd)
    except (FileNotFoundError, IsADirectoryError):
        return False
    return True
