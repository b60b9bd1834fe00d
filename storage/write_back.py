"""S3 with a durable receive spool in front: an object is acknowledged from the local disk and goes up behind its back.

Until an object is with S3 it is as safe as the disk of the spool, no more; the operator decides (``s3.write_back``).

==========================  ============================================  ==================================
an object (with a row) is   it is read from                               who moves it on
==========================  ============================================  ==================================
in the spool                the spool                                     `storage.uploader`, after every start
in the spool and with S3    the spool                                     the same: compares, then removes it
with S3                     S3                                            -
being deleted               gone from the spool, durably, then from S3    its deleter, who repeats it
==========================  ============================================  ==================================

It only ever moves downwards, so a reader who does not find it in the spool finds it with S3. What is not to have a row
(keys of encryption, anchors of the audit trail) is written to S3 at once: objects up there must not need a key that is
still down here.

An upload holds the lock (``flock``) of its file until S3 has confirmed it and the file is removed; who deletes takes
the lock first, so nothing comes up after its deletion. The spool belongs to the processes of one machine.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Self

from storage.base import ObjectReader, ObjectStat, ObjectWriter, validate_key
from storage.errors import ObjectExists, ObjectNotFound
from storage.filesystem import FilesystemStore
from storage.os_errors import unavailable
from storage.s3 import S3Store
from storage.uploader import Uploader


class WriteBackStore:
    """An S3 store behind a spool. Safe for many threads, and for many processes of one machine."""

    name = "s3"

    def __init__(
        self,
        spool: FilesystemStore,
        remote: S3Store,
        uploader: Uploader,
        *,
        receives: bool = True,
        looks_first: bool = False,
    ) -> None:
        """Take over both stores and the uploader of the one to the other.

        Without `receives`, new objects go to S3 at once and the spool is only emptied. With `looks_first`, S3 is asked
        whether a new key is taken; without, the caller must see to it, which saves a request and lets the spool receive
        while S3 is away.
        """
        self._spool = spool
        self._remote = remote
        self._uploader = uploader
        self._receives = receives
        self._looks_first = looks_first

    def sibling(self, suffix: str) -> Self:
        """A store in the same places, of other objects; see `FilesystemStore.sibling`. Close one of the two."""
        twin = copy.copy(self)
        twin._spool, twin._remote = self._spool.sibling(suffix), self._remote.sibling(suffix)
        return twin

    def create(self, key: str, *, indexed: bool = False) -> ObjectWriter:
        """Start to write `key`. Raises `InvalidKey`, `ObjectExists`, `StorageUnavailable`: so if the disk is full."""
        if not indexed or not self._receives:
            return self._remote.create(key, indexed=indexed)
        self._uploader.arrives()
        # The uploader is to see that it is written: it neither takes the folder away nor what has the key.
        writer = self._spool.create(key, indexed=True, named=True)
        if self._looks_first:
            # In this order: the uploader leaves an object in the spool while another of its key is being written.
            try:
                if self._is_up(key):
                    raise ObjectExists(f"{key} exists")
            except BaseException:
                writer.abort()
                raise
        return writer

    def _is_up(self, key: str) -> bool:
        """Whether S3 has the object. Not in `create`: the error would keep the writer alive as long as itself."""
        try:
            self._remote.stat(key)
        except ObjectNotFound:
            return False
        return True

    def open(self, key: str) -> ObjectReader:
        """Read the whole object. Raises `InvalidKey`, `ObjectNotFound`, `StorageUnavailable`."""
        try:
            return self._spool.open(key)
        except ObjectNotFound:
            return self._remote.open(key)

    def open_range(self, key: str, offset: int, length: int) -> ObjectReader:
        """Read a range. Raises `InvalidKey`, `RangeNotSatisfiable`, `ObjectNotFound`, `StorageUnavailable`."""
        try:
            return self._spool.open_range(key, offset, length)
        except ObjectNotFound:
            return self._remote.open_range(key, offset, length)

    def stat(self, key: str) -> ObjectStat:
        """Size of the object. Raises `InvalidKey`, `ObjectNotFound`, `StorageUnavailable`."""
        try:
            return self._spool.stat(key)
        except ObjectNotFound:
            return self._remote.stat(key)

    def delete(self, key: str) -> None:
        """Remove the object in both places; waits for an upload of it. Raises `InvalidKey`, `StorageUnavailable`."""
        with self._not_going_up(key) as is_here:
            self._spool.delete(key)
            if not is_here:
                # The uploader does not flush what it removes: it must not come back with the power after this.
                self._spool.flush(key)
        self._remote.delete(key)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that start with `prefix`. Those in the spool are kept in memory meanwhile, 100 bytes each."""
        # The spool first: what goes up meanwhile is then not missed.
        here = set()
        for key in self._spool.keys(prefix):
            here.add(key)
            yield key
        for key in self._remote.keys(prefix):
            if key not in here:
                yield key

    def local_path(self, key: str) -> Path | None:
        """None: a file may be gone when it is opened. Raises `InvalidKey`."""
        validate_key(key)
        return None

    def recover(self, known: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Bring back what a power cut took of the spool; only then begin to upload what lies there."""

        def wanted(keys: Sequence[str]) -> Collection[str]:
            rows = set(known(keys))
            return rows - self._remote.held(rows)

        count = self._spool.recover(wanted)
        self._uploader.start()
        return count

    def check(self) -> None:
        """Prove that the spool and S3 can be written and read now. Raises `StorageUnavailable` with the reason."""
        if self._receives:
            self._spool.check()
        self._remote.check()

    def close(self) -> None:
        """Let uploads that run end, and release all. What is left in the spool goes up after the next start."""
        self._uploader.close()
        self._spool.close()
        self._remote.close()

    @contextlib.contextmanager
    def _not_going_up(self, key: str) -> Iterator[bool]:
        """No upload of the object runs, nor begins; gives whether it is in the spool."""
        try:
            fd = os.open(self._spool.path(key), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            yield False
            return
        except OSError as error:
            raise unavailable(f"cannot delete {key}", error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield True
        except OSError as error:
            raise unavailable(f"cannot delete {key}", error) from error
        finally:
            os.close(fd)
