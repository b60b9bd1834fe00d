"""Writing and reading one file of the filesystem store; :mod:`storage.filesystem` decides which and where."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from storage.base import CHUNK_SIZE, Buffer, ObjectStat
from storage.errors import IntegrityError, ObjectExists, StorageError, StorageUnavailable
from storage.journal import LARGEST, Entry, Journal, JournalTicket
from storage.os_errors import unavailable
from storage.together import Together

T = TypeVar("T")

COALESCE_SIZE: Final = 64 * 1024
"""Writes are gathered up to this many bytes: a call to the system costs more than copying so little."""
WRITE_OUT_SIZE: Final = 8 << 20
"""A large file is sent on its way to the medium in steps of this size while it grows. Measured with 200 MB files next
to 33 kB ones: the large commit takes 5 ms instead of 120, the longest small one 20 ms instead of 140."""
FILE_MODE: Final = 0o640
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""How a folder is opened to be flushed."""
NAMELESS_FILE: Final = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
"""How a file without a name is made, in the folder that is opened."""
_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
# Linux transfers at most this many bytes per call.
_MOST_PER_CALL: Final = 0x7FFFF000


def temporary_name(name: str) -> str:
    """Name of the unfinished file of `name`, in the same folder. Can be no object's: keys have no dots."""
    return f".{name}.part"


class FileWriter:
    """A file that gets its name when committed.

    How ``commit`` keeps the promises of the contract, in this order:

    1. ``fdatasync`` of the file: bytes and size are on the medium before anybody can see them;
    2. ``link`` under the final name: fails if the name is taken, unlike ``rename``;
    3. ``unlink`` of the temporary name: before the next step, so that one flush covers both;
    4. ``fsync`` of the folder: the name is on the medium.

    With a `journal`, the bytes of a small object are made durable there instead of by 1 and 4, see `storage.journal`.
    Its file has no name until then (``O_TMPFILE``), where the file system can do that: one change of the folder
    instead of three, and nothing is left of it when the process dies.

    Between 2 and 4 the object can be seen though a power cut could still take its name (never its bytes).
    Callers learn of the object from whoever committed it, so none looks in that moment.

    The folder is open before step 2: a write error that the kernel reports between then and step 4 is
    reported to this descriptor. An ``fsync`` that failed is never tried again, for the kernel may have dropped
    the pages and would then report success; the writer is dead and what it published is withdrawn.
    """

    __slots__ = (
        "_fd",
        "_flushed",
        "_folder_fd",
        "_journal",
        "_journal_path",
        "_limit",
        "_linked",
        "_name",
        "_path",
        "_pending",
        "_reason",
        "_sent",
        "_temporary",
        "_ticket",
        "key",
    )

    def __init__(
        self,
        key: str,
        path: str,
        *,
        folder_fd: int = -1,
        fd: int = -1,
        journal: Journal | None = None,
        journal_path: str = "",
    ) -> None:
        """Start the file that is to be `path`, which the journal calls `journal_path`.

        In the folder open as `folder_fd`, under a temporary name; or it is `fd`, a file without a name in the folder.
        Takes over what is open, also when it raises.
        """
        self.key = key
        self._journal = journal
        self._journal_path = journal_path
        self._path = path
        # What goes into the journal is kept until then; a larger object is written as it comes.
        self._limit = LARGEST if journal is not None and journal.active else COALESCE_SIZE
        self._name = path.rpartition("/")[2]
        self._temporary = temporary_name(self._name) if fd < 0 else ""
        self._folder_fd = folder_fd
        self._fd = fd
        self._pending = bytearray()
        self._flushed = 0
        self._sent = 0
        self._linked = False
        self._reason: StorageError | None = None
        self._ticket: JournalTicket | None = None
        if fd < 0:
            self._make()

    def _make(self) -> None:
        try:
            self._fd = os.open(self._temporary, _NEW_FILE, FILE_MODE, dir_fd=self._folder_fd)
        except FileExistsError:
            self._close()
            raise ObjectExists(f"{self.key} is being written, or an unfinished write of it was not deleted") from None
        except OSError as error:
            self._close()
            raise unavailable(f"cannot create {self.key}", error) from error

    def write(self, data: Buffer) -> None:
        """Append `data`. Raises `StorageUnavailable`; from then on the writer is dead and its file removed."""
        self._assert_open()
        view = memoryview(data).cast("B")
        if len(self._pending) + len(view) <= self._limit:
            self._pending += view
            return
        self._guard("write", lambda: self._flush(view))

    def read_back(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` of what was written so far. Raises `StorageUnavailable`."""
        self._assert_open()
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")
        if offset >= self._flushed:
            with memoryview(self._pending) as pending:
                return bytes(pending[offset - self._flushed : offset - self._flushed + length])
        return self._guard("read back", lambda: self._read_back(offset, length))

    @property
    def shares(self) -> bool:
        """Whether its bytes go into the journal, as things stand."""
        return self._journal is not None and self._journal.active and not self._flushed

    def enter(self, together: Together) -> None:
        """Have the journal take the bytes with those of others. Raises `StorageUnavailable`."""
        self._assert_open()
        if self._journal is not None:
            self._ticket = self._guard("write", self._note)
            if self._ticket is not None:
                together.add(self._journal, self._ticket)

    def commit(self) -> ObjectStat:
        """Make the file durable, then give it its name. Raises `ObjectExists`, `StorageUnavailable`."""
        self._assert_open()
        self._guard("store", self._publish)
        stat = ObjectStat(self.key, self._flushed)
        self._close()
        return stat

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after ``commit`` or ``abort``."""
        if self._fd >= 0:
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.abort()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:  # forgotten: neither the file nor the descriptors may stay
            self._discard()

    def _assert_open(self) -> None:
        if self._reason is not None:
            raise StorageUnavailable(f"the write of {self.key} failed before: {self._reason}") from self._reason
        if self._fd < 0:
            raise ValueError(f"the writer of {self.key} is closed")

    def _guard(self, verb: str, step: Callable[[], T]) -> T:
        """Do `step`; if it fails in any way, also by an interrupt, give up the file for good."""
        try:
            return step()
        except OSError as error:
            self._reason = unavailable(f"cannot {verb} {self.key}", error)
            self._discard()
            raise self._reason from error
        except BaseException:
            self._discard()
            raise

    def _flush(self, *more: memoryview) -> None:
        """Hand over the gathered bytes and `more` in one call."""
        buffers = [memoryview(self._pending), *more] if self._pending else list(more)
        if buffers:
            self._flushed += write_all(self._fd, buffers)
            self._pending = bytearray()
            self._limit = COALESCE_SIZE
        if self._flushed - self._sent >= WRITE_OUT_SIZE:
            # On Linux this starts to write the range out, without waiting; only pages that are clean already are
            # dropped, and these are not. Errors are reported by the `fdatasync` of the commit.
            os.posix_fadvise(self._fd, self._sent, self._flushed - self._sent, os.POSIX_FADV_DONTNEED)
            self._sent = self._flushed

    def _read_back(self, offset: int, length: int) -> bytes:
        self._flush()
        return pread_all(self._fd, offset, min(length, self._flushed - offset))

    def _publish(self) -> None:
        entry = self._enter()
        if entry is None:
            self._open_folder()
            os.fdatasync(self._fd)
            self._give_name()
            os.fsync(self._folder_fd)
            return
        assert self._journal is not None
        try:
            self._give_name()
        except ObjectExists:
            self._journal.withdraw(entry)
            raise
        finally:
            self._journal.leave(entry)

    def _enter(self) -> Entry | None:
        """The entry of the journal that makes the bytes durable, all of which are written then; None without one."""
        ticket = self._ticket or self._note()
        if ticket is None:
            return None
        assert self._journal is not None
        if not ticket.done:
            self._journal.enter((ticket,))
        self._ticket = None
        if ticket.error is not None:
            raise ticket.error
        return ticket.result if isinstance(ticket.result, Entry) else None

    def _note(self) -> JournalTicket | None:
        """Write what is pending; what the journal is to take, if it takes this file."""
        whole = self._pending if not self._flushed else None
        self._flush()
        if self._journal is None or whole is None:
            return None
        return self._journal.ticket(self._journal_path, whole, os.fstat(self._fd).st_dev)

    def _open_folder(self) -> None:
        if self._folder_fd < 0:
            self._folder_fd = os.open(self._path.rpartition("/")[0], FOLDER)

    def _give_name(self) -> None:
        name, folder = (self._path, None) if self._folder_fd < 0 else (self._name, self._folder_fd)
        try:
            # By descriptor, not by the temporary name: should that name have been deleted and taken by another
            # writer meanwhile, this must not publish the other's unfinished bytes. The first path is absolute; that
            # it is given a folder makes Python follow the link that it is (linkat instead of link).
            os.link(f"/proc/self/fd/{self._fd}", name, src_dir_fd=self._fd, dst_dir_fd=folder)
        except FileExistsError:
            raise ObjectExists(f"{self.key} exists") from None
        self._linked = True
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._folder_fd)

    def _discard(self) -> None:
        """Remove every name of the file. What cannot be removed now is removed by ``delete`` of the key."""
        for name in filter(None, (self._name if self._linked else "", self._temporary)):
            with contextlib.suppress(OSError):
                self._open_folder()
                # The temporary name may have been deleted, and taken by another writer, before a forgotten one ends.
                if os.stat(name, dir_fd=self._folder_fd).st_ino == os.fstat(self._fd).st_ino:
                    os.unlink(name, dir_fd=self._folder_fd)
        if self._ticket is not None and isinstance(self._ticket.result, Entry) and self._journal is not None:
            self._journal.leave(self._ticket.result)
        self._ticket = None
        self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._folder_fd):
            if fd >= 0:
                with contextlib.suppress(OSError):  # the bytes are safe, or given up, before any close
                    os.close(fd)
        self._fd = self._folder_fd = -1


class FileReader:
    """A range of a file. Raises `IntegrityError` if the file turns out shorter than it was when opened."""

    __slots__ = ("_fd", "_key", "_left", "_position", "object_size", "size")

    def __init__(self, key: str, fd: int, offset: int, size: int, object_size: int | None = None) -> None:
        """Read `size` bytes from `offset` of `fd`, which the reader takes over."""
        self.size = size
        self.object_size = size if object_size is None else object_size
        self._key = key
        self._fd = fd
        self._position = offset
        self._left = size

    def read(self, length: int = -1, /) -> bytes:
        """Up to `length` bytes, all that is left if negative. Raises `StorageUnavailable`, `IntegrityError`."""
        if self._fd < 0:
            raise ValueError(f"the reader of {self._key} is closed")
        wanted = self._left if length < 0 else min(length, self._left)
        try:
            data = pread_all(self._fd, self._position, wanted)
        except OSError as error:
            raise unavailable(f"cannot read {self._key}", error) from error
        if len(data) < wanted:
            raise IntegrityError(f"{self._key} was cut short to {self._position + len(data)} bytes")
        self._position += wanted
        self._left -= wanted
        return data

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_SIZE):
            yield chunk

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()


def write_all(fd: int, buffers: Sequence[memoryview]) -> int:
    """Write all of `buffers`; return how many bytes that were. A write may take less than it was given."""
    views = list(buffers)
    total = 0
    while views:
        done = os.writev(fd, views) if len(views) > 1 else os.write(fd, views[0])
        total += done
        while views and done >= len(views[0]):
            done -= len(views[0])
            del views[0]
        if views and done:
            views[0] = views[0][done:]
    return total


def pread_all(fd: int, offset: int, length: int) -> bytes:
    """`length` bytes from `offset`, fewer only where the file ends."""
    data = os.pread(fd, min(length, _MOST_PER_CALL), offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    got = len(data)
    while got < length and (data := os.pread(fd, min(length - got, _MOST_PER_CALL), offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)
