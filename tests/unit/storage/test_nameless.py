"""Files that have no name until they are committed: those of objects that may go into the receive journal."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ObjectExists, StorageUnavailable
from storage.filesystem import FilesystemStore
from storage.journal import Entry
from storage.together import commit_all
from tests.contracts.object_store import ObjectStoreContract
from tests.contracts.store_helpers import assert_absent, get
from tests.unit.storage import isolated
from tests.unit.storage.journaled import SEGMENT, STORING, commit, journaled

KEY = "2026/11/22/7f3a9c01d2e4b8f0/03ff"
LARGE = 300_000
"""Bytes of an object that is too large for the journal."""
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> Iterator[FilesystemStore]:
    store = journaled(root)
    store.delete("warm/up")
    yield store
    store.close()


def files(root: Path) -> list[str]:
    """All but the journal's."""
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() and ".journal" not in path.parts
    )


@pytest.mark.parametrize("size", [100, 100_000, LARGE])
def test_given_a_write_under_way_then_no_file_and_once_committed_exactly_one(
    store: FilesystemStore, root: Path, size: int
) -> None:
    with store.create(KEY, indexed=True) as writer:
        writer.write(bytes(size))
        assert writer.read_back(size - 10, 20) == bytes(10)
        assert files(root) == []
        writer.commit()
    assert files(root) == [KEY]
    assert (root / KEY).read_bytes() == bytes(size)
    assert (root / KEY).stat().st_mode & 0o777 == 0o640
    assert (root / KEY).stat().st_nlink == 1


def test_given_one_that_is_to_be_named_then_others_see_it_and_its_folder_in_use(
    store: FilesystemStore, root: Path
) -> None:
    with store.create("a/1", indexed=True, named=True) as writer:
        assert files(root) == ["a/.1.part"]
        with pytest.raises(ObjectExists):
            store.create("a/1", indexed=True, named=True)
        writer.write(b"x")
        writer.commit()
    assert files(root) == ["a/1"]


@pytest.mark.parametrize("size", [100, LARGE])
def test_given_two_writes_of_a_key_then_the_first_to_be_committed_has_it(
    store: FilesystemStore, root: Path, size: int
) -> None:
    first, second = (store.create("a/1", indexed=True) for _ in range(2))
    first.write(b"1" * size)
    second.write(b"2" * size)
    second.commit()
    with pytest.raises(ObjectExists):
        first.commit()
    first.abort()
    assert get(store, "a/1") == b"2" * size
    both = [store.create("a/2", indexed=True) for _ in range(2)]
    for number, writer in enumerate(both):
        writer.write(bytes([number]) * size)
    assert [type(each) for each in commit_all(both)] == [type(None), ObjectExists]
    assert get(store, "a/2") == bytes(size)
    assert files(root) == ["a/1", "a/2"]


def test_given_any_end_then_no_descriptor_stays_open_and_no_file(store: FilesystemStore, root: Path) -> None:
    commit(store, KEY, b"x")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        for size in (100, LARGE):
            commit(store, f"a/{number}/{size}", bytes(size))
            for prefix in ("b", "c", "d"):
                writer = store.create(f"{prefix}/{number}", indexed=True)
                writer.write(bytes(size))
                if prefix == "b":
                    writer.abort()
            del writer  # forgotten
            with pytest.raises(ObjectExists):
                commit(store, KEY, bytes(size))
    assert len(os.listdir("/proc/self/fd")) == before
    assert files(root) == sorted([KEY, *(f"a/{number}/{size}" for number in range(10) for size in (100, LARGE))])


def test_given_a_key_below_an_object_or_above_one_then_refused(store: FilesystemStore) -> None:
    commit(store, "a/1", b"x")
    for key in ("a/1/2", "a/1/2/3"):
        with pytest.raises(ObjectExists):
            store.create(key, indexed=True)
    with pytest.raises(ObjectExists):
        commit(store, "a", b"x")
    assert get(store, "a/1") == b"x"


@pytest.mark.parametrize("size", [100, LARGE])
def test_given_folders_removed_under_a_running_store_then_refused_or_made_again(
    store: FilesystemStore, root: Path, size: int
) -> None:
    commit(store, KEY, b"x")
    shutil.rmtree(root / "2026")
    with store.create(KEY, indexed=True) as writer:
        writer.write(b"y" * size)
        shutil.rmtree(root / "2026")
        with pytest.raises(StorageUnavailable):
            writer.commit()
    assert_absent(store, KEY)
    commit(store, KEY, b"z" * size)
    assert get(store, KEY) == b"z" * size


def test_given_folders_then_each_is_made_durable_before_the_first_file_in_it(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    steps: list[str] = []
    flush, opened = os.fsync, os.open

    def note_flush(fd: int) -> None:
        steps.append(f"flush {os.readlink(f'/proc/self/fd/{fd}')}")
        flush(fd)

    def note_open(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            steps.append(f"file in {path}")
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(os, "open", note_open)
    commit(store, "x/y/1", b"x")
    commit(store, "x/y/2", b"x")
    assert steps == [f"flush {root}", f"flush {root}/x", *[f"file in {root}/x/y"] * 2]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_given_a_file_system_without_nameless_files_then_a_temporary_name_and_it_is_asked_once(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened, asked = os.open, []

    def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            asked.append(path)
            raise OSError(number, os.strerror(number))
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    for key in ("a/1", "a/2"):
        with store.create(key, indexed=True) as writer:
            writer.write(b"x")
            assert f"a/.{key[-1]}.part" in files(root)
            writer.commit()
    assert files(root) == ["a/1", "a/2"]
    assert len(asked) == 1


def test_given_a_file_that_cannot_be_made_then_refused_and_asked_again(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, flags, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(StorageUnavailable, match="ENOSPC"):
            store.create("a/1", indexed=True)
    with store.create("a/1", indexed=True):
        assert files(root) == []


def test_given_a_kill_in_the_middle_then_nothing_is_left(root: Path) -> None:
    code = STORING + (
        "writer = store.create('b/1', indexed=True)\nwriter.write(bytes(3_000_000))\n"
        "print('written', flush=True)\nsys.stdin.read()\n"
    )
    command = isolated.command(code, root, 0, 0, SEGMENT)
    with subprocess.Popen(command, cwd=isolated.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"written\n"
        victim.kill()
    assert files(root) == ["warm/up"]
    commit(FilesystemStore(root), "b/1", b"again")


def test_given_a_folder_on_another_disk_then_its_files_are_flushed_by_themselves(root: Path) -> None:
    code = (
        STORING
        + """
end = store._journal._current.end
flushed, fdatasync = [], os.fdatasync
os.fdatasync = lambda fd: (flushed.append(os.fstat(fd).st_dev), fdatasync(fd))
with store.create("b/1", indexed=True) as writer:
    writer.write(b"x")
    writer.commit()
assert store._journal._current.end == end
assert flushed == [os.stat(root / "b").st_dev] != [os.stat(root).st_dev]
assert store.open("b/1").read() == b"x"
assert files(root / "b") == ["1"]
"""
    )
    (root / "b").mkdir(parents=True)
    under = isolated.in_own_mounts(f"mount -t tmpfs none {root}/b")
    isolated.run(code, root, "0", "0", str(SEGMENT), under=under)


def test_given_an_interrupt_after_the_name_then_it_is_taken_back(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = store._journal
    assert journal is not None
    leave = journal.leave

    def interrupt(entry: Entry) -> None:
        leave(entry)
        assert files(root) == ["a/1"]
        raise KeyboardInterrupt

    with store.create("a/1", indexed=True) as writer:
        writer.write(b"x")
        with monkeypatch.context() as patched:
            patched.setattr(journal, "leave", interrupt)
            with pytest.raises(KeyboardInterrupt):
                writer.commit()
    assert files(root) == []
    commit(store, "a/1", b"y")


@pytest.mark.parametrize(("call", "size"), [("link", 100), ("fdatasync", LARGE), ("link", LARGE), ("fsync", LARGE)])
def test_given_a_step_of_the_commit_fails_then_not_stored_and_nothing_is_left(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch, call: str, size: int
) -> None:
    commit(store, "a/0", b"x")
    failed = []

    def fail(*_: Any, **__: Any) -> None:
        failed.append(call)
        raise OSError(errno.EIO, "Input/output error")

    with store.create("a/1", indexed=True) as writer:
        writer.write(bytes(size))
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            with pytest.raises(StorageUnavailable, match="EIO"):
                writer.commit()
        with pytest.raises(StorageUnavailable, match="failed before"):
            writer.commit()
    assert failed == [call]
    assert files(root) == ["a/0"]
    commit(store, "a/1", bytes(size))


# As the kernel sees it


@needs_strace
def test_given_one_too_large_then_its_folder_is_open_before_the_name_and_flushed_after_it(root: Path) -> None:
    code = STORING + (
        "with store.create('a/x', indexed=True) as writer:\n    writer.write(bytes(300_000))\n"
        "    os.write(2, b'commit')\n    writer.commit()\n    os.write(2, b'done')\nos._exit(0)\n"
    )
    trace = root.parent / "trace"
    calls = "trace=openat,fdatasync,linkat,unlinkat,fsync,write"
    isolated.run(code, root, "1", "6", str(SEGMENT), under=["strace", "-f", "-y", "-o", trace, "-e", calls])
    steps = isolated.steps_of_commit(trace)
    assert [step.partition("(")[0] for step in steps] == ["openat", "fdatasync", "linkat", "fsync"]
    assert f"<{root}/a>" in steps[0] and "(deleted)" in steps[1]
    assert re.search(rf"<{root}/a>, \"x\"", steps[2]) and f"<{root}/a>" in steps[3]


class TestWithoutNamelessFiles(ObjectStoreContract):
    """The contract also holds on file systems that have none, with the journal."""

    @pytest.fixture
    def store(self, root: Path) -> Iterator[FilesystemStore]:
        plain = journaled(root)

        class Indexed(FilesystemStore):
            def create(self, key: str, *, indexed: bool = True, named: bool = True) -> Any:
                return super().create(key, indexed=indexed, named=named)

        yield Indexed(root, journal=plain._journal)
        plain.close()
