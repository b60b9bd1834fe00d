"""Brings what lies in the spool of :mod:`storage.write_back` to S3, several objects at once.

The folder is the queue: nothing else says what is to go up, so nothing is forgotten by a crash, and what other
processes of the machine put there is found as well. One process at a time uploads, the one that has the lock; when it
ends, another takes over.

An object that S3 has already (a crash came between its confirmation and the removal) is read from there and compared.
Where S3 has other bytes under its key, the object stays in the spool, and the log says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.logs import fields
from storage.errors import IntegrityError, ObjectExists, StorageError
from storage.files import pread_all, temporary_name
from storage.flushing import flush_folder
from storage.s3 import S3Store
from storage.spool import Spool

log = logging.getLogger(__name__)

LOCK: Final = ".uploader"
"""In the spool: locked by the process that uploads. No key has a dot."""
THREAD: Final = "upload"
PATIENCE: Final = 10.0
"""Seconds for which uploads let arrivals go first, as long as less than `QUIET` seconds pass between two of them: they
share processors and disk, and most of what comes is a series of some hundred images, for which somebody waits."""
QUIET: Final = 1.0
IDLE: Final = 0.5
"""Seconds between two looks into the folder when there was nothing to do."""
AGAIN: Final = 5.0
"""Seconds until S3, or an object that it did not take, is tried again; then twice as many each time."""
LONGEST: Final = 600.0
EMPTY_FOR: Final = 3600.0
"""Seconds that a folder is empty before it is removed: one in use would be made again for each object."""
PRUNED_EVERY: Final = 60.0
_OBJECT: Final = re.compile(r"[a-z0-9]{1,64}(\.[a-z0-9]{1,16})?")
_GONE: Final = (FileNotFoundError, NotADirectoryError)


class Uploader:
    """Uploads from the folder `root` to `remote` once started, in threads, until closed."""

    def __init__(self, root: Path, remote: S3Store, threads: int, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._arrived = 0.0
        self._root = str(root)
        self._remote = remote
        self._threads = threads
        self._room = threading.Semaphore(2 * threads)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._aside: dict[str, tuple[float, float]] = {}
        """Objects that did not go up: until when they are left alone, and for how many seconds in all."""
        self._under_way: set[str] = set()
        self._doubtful = False
        """Whether something did not go up since S3 was last seen to work."""
        self._pruned = time.monotonic()

    def start(self) -> None:
        """Begin, if not begun. Call it when what a power cut did to the spool is repaired, not before."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                self._thread.start()

    def arrives(self) -> None:
        """An object begins to come."""
        self._arrived = time.monotonic()

    def close(self) -> None:
        """End after the uploads that run now."""
        with self._lock:
            self._stop.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        with contextlib.ExitStack() as held:
            while not self._stop.is_set():
                try:
                    held.enter_context(_alone(self._root))
                    break
                except BlockingIOError:
                    self._stop.wait(IDLE)
                except OSError as error:
                    log.error("nothing is uploaded to S3", extra=fields(error=str(error)))
                    self._stop.wait(AGAIN)
            pool = held.enter_context(ThreadPoolExecutor(self._threads, THREAD))
            while not self._stop.is_set():
                try:
                    if self._works():
                        self._give_way()
                        self._round(pool)
                except Exception:  # or nothing would go up any more
                    log.exception("uploads failed")
                    self._stop.wait(AGAIN)

    def _works(self) -> bool:
        """Whether S3 can be used as far as is known; after a failure, it is asked until it can be."""
        if not self._doubtful:
            return True
        pause = AGAIN
        while not self._stop.is_set():
            try:
                self._remote.check()
            except StorageError as error:
                log.warning("objects wait for S3", extra=fields(error=str(error), seconds=pause))
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST / 10)
            else:
                self._doubtful = False
                return True
        return False

    def _give_way(self) -> None:
        until = time.monotonic() + self._patience
        while (now := time.monotonic()) < min(until, self._arrived + QUIET):
            self._stop.wait(min(until, self._arrived + QUIET) - now)
            if self._stop.is_set():
                return

    def _round(self, pool: ThreadPoolExecutor) -> None:
        """Take all that lies there once."""
        found = False
        for name in objects(self._root):
            if name in self._under_way or self._aside.get(name, (0.0, 0.0))[0] > time.monotonic():
                continue
            found = True
            self._room.acquire()
            if self._stop.is_set() or self._doubtful:
                self._room.release()
                break
            self._under_way.add(name)
            pool.submit(self._take, name)
        else:
            for name in [each for each in list(self._aside) if not Path(self._root, each).exists()]:
                self._aside.pop(name, None)
        if time.monotonic() > self._pruned + PRUNED_EVERY:
            _prune(self._root)
            self._pruned = time.monotonic()
        if not found:
            self._stop.wait(IDLE)

    def _take(self, name: str) -> None:
        try:
            if not self._stop.is_set():
                _upload(self._root, name, self._remote)
        except (StorageError, OSError) as error:
            pause = min(2 * self._aside.get(name, (0.0, AGAIN / 2))[1], LONGEST)
            log.warning("an object did not go up", extra=fields(name=name, error=str(error), seconds=pause))
            self._aside[name] = time.monotonic() + pause, pause
            self._doubtful = True
        except BaseException:
            log.exception("an object did not go up", extra=fields(name=name))
            self._aside[name] = time.monotonic() + LONGEST, LONGEST
        else:
            self._aside.pop(name, None)
        finally:
            self._under_way.discard(name)
            self._room.release()


def objects(root: str) -> Iterator[str]:
    """Names of all objects that lie there, below the root, by day. What cannot be listed is left out."""
    for entry in sorted(_entries(root), key=lambda each: each.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{name}" for name in objects(entry.path))
        elif _OBJECT.fullmatch(entry.name):
            yield entry.name


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in a spool."""

    objects: int = 0
    bytes: int = 0
    oldest: float = 0.0
    """When the oldest came, in seconds since 1970; 0 if there is none."""


class Backlog:
    """Looks at what waits in a spool, and remembers it for a time that is long beside that of looking."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._until = 0.0
        self._seen = Waiting()
        self._lock = threading.Lock()

    def look(self) -> Waiting:
        """What waits."""
        with self._lock:
            begun = time.monotonic()
            if begun >= self._until:
                self._seen = waiting(self._root)
                now = time.monotonic()
                self._until = now + 20 * (now - begun)
            return self._seen


def waiting(root: Path) -> Waiting:
    """What waits there now, whichever process put it there. Takes some seconds for a million objects."""
    count, size, oldest = 0, 0, 0.0
    for name in objects(str(root)):
        with contextlib.suppress(OSError):
            status = os.stat(root / name)  # noqa: PTH116
            count, size = count + 1, size + status.st_size
            oldest = min(oldest or status.st_mtime, status.st_mtime)
    return Waiting(count, size, oldest)


def _upload(root: str, name: str, remote: S3Store) -> None:
    """Bring an object to S3 and remove it here, unless another does so. Raises `StorageError`, `OSError`."""
    path = f"{root}/{name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except _GONE:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(fd).st_nlink:
            return  # deleted, or gone up, before we had the lock
        key, dot, suffix = name.partition(".")
        there = remote.sibling(dot + suffix)
        try:
            there.upload(key, Spool.of(fd))
        except ObjectExists:
            if not _is_same(there, key, fd):
                raise IntegrityError(f"S3 has other bytes under {name} than the spool, which keeps its own") from None
        _remove(path, fd)
    except BlockingIOError:
        pass  # on its way already, or being deleted
    finally:
        os.close(fd)


def _is_same(remote: S3Store, key: str, fd: int) -> bool:
    """Whether S3 gives the bytes of the file."""
    offset = 0
    with remote.open(key) as reader:
        for chunk in reader:
            if pread_all(fd, offset, len(chunk)) != chunk:
                return False
            offset += len(chunk)
    return offset == os.fstat(fd).st_size


def _remove(path: str, fd: int) -> None:
    """Take the names of the file away. They may come back with the power: then it is compared, and removed again."""
    folder, _, name = path.rpartition("/")
    unfinished = f"{folder}/{temporary_name(name)}"
    with contextlib.suppress(FileNotFoundError):
        if os.stat(unfinished).st_ino != os.fstat(fd).st_ino:  # noqa: PTH116
            return  # another of this key is being written: it must find this one, and be refused
        os.unlink(unfinished)  # noqa: PTH108  left by a crash in the middle of a commit
    os.unlink(path)  # noqa: PTH108


def _prune(root: str) -> None:
    """Remove folders that have long been empty. Raises nothing."""
    for entry in _entries(root):
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        _prune(entry.path)
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > EMPTY_FOR and not _entries(entry.path):
                # Nobody can flush it later, so what was removed in it must not come back from here on.
                flush_folder(entry.path)
                os.rmdir(entry.path)  # noqa: PTH106


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


@contextlib.contextmanager
def _alone(root: str) -> Iterator[None]:
    """No other process uploads from there. Raises `BlockingIOError` if one does, `OSError`."""
    fd = os.open(f"{root}/{LOCK}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
