"""The filesystem store keeps the contract, and what disks and crashes can do to it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from storage.base import ObjectStore
from storage.errors import IntegrityError, ObjectExists, ObjectNotFound, StorageUnavailable
from storage.filesystem import FilesystemStore
from tests.contracts.object_store import ObjectStoreContract
from tests.contracts.store_helpers import assert_absent, get, put
from tests.unit.storage.isolated import ROOT, command, in_own_mounts, run

KEY = "2026/11/22/7f3a9c01d2e4b8f0/03ff"
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> FilesystemStore:
    return FilesystemStore(root)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class TestFilesystemStore(ObjectStoreContract):
    pass


# What is on the disk


def test_given_an_object_then_one_file_of_exactly_its_bytes(store: FilesystemStore, root: Path) -> None:
    put(store, KEY, b"bytes")
    assert files(root) == [KEY]
    assert store.local_path(KEY) == root / KEY
    assert (root / KEY).read_bytes() == b"bytes"
    assert (root / KEY).stat().st_mode & 0o777 == 0o640
    assert (root / KEY).stat().st_nlink == 1


def test_given_a_write_under_way_then_one_temporary_file_beside_the_place(store: FilesystemStore, root: Path) -> None:
    with store.create(KEY) as writer:
        writer.write(bytes(100_000))
        assert files(root) == ["2026/11/22/7f3a9c01d2e4b8f0/.03ff.part"]
        with pytest.raises(ObjectExists):
            store.create(KEY)
    assert files(root) == []


def test_given_any_end_then_no_descriptor_stays_open(store: FilesystemStore) -> None:
    put(store, KEY, b"x")
    before = descriptors()
    for number in range(10):
        with store.create(f"a/{number}") as writer:
            writer.write(bytes(100_000))
            writer.commit()
        store.create(f"b/{number}").abort()
        store.create(f"c/{number}")  # forgotten
        with pytest.raises(ObjectExists):
            put(store, KEY, b"y")
        store.open(KEY).close()
        store.open(KEY)  # forgotten
        with pytest.raises(ObjectNotFound):
            store.open("a")
    with store.create("d") as writer, pytest.raises(ObjectExists):
        store.create("d")
    store.check()
    assert descriptors() == before


def test_given_foreign_files_then_they_are_no_objects(store: FilesystemStore, root: Path) -> None:
    put(store, "a/1", b"x")
    for name in ("a/.2.part", "a/README", "lost+found/1", ".hidden/1", ".probe-1"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    assert list(store.keys()) == ["a/1"]


def test_given_a_key_below_an_object_or_above_one_then_refused(store: FilesystemStore) -> None:
    put(store, "a/1", b"x")
    with pytest.raises(ObjectExists):
        store.create("a/1/2")
    with pytest.raises(ObjectExists):
        store.create("a/1/2/3")
    with pytest.raises(ObjectExists):
        put(store, "a", b"x")
    assert get(store, "a/1") == b"x"


def test_given_folders_removed_under_a_running_store_then_made_again(store: FilesystemStore, root: Path) -> None:
    put(store, KEY, b"x")
    shutil.rmtree(root / "2026")
    assert_absent(store, KEY)
    put(store, KEY, b"y")
    assert get(store, KEY) == b"y"


def test_given_a_file_cut_short_while_read_then_integrity_error(store: FilesystemStore, root: Path) -> None:
    put(store, KEY, bytes(100_000))
    with store.open(KEY) as reader:
        reader.read(10)
        os.truncate(root / KEY, 50_000)
        with pytest.raises(IntegrityError):
            reader.read()


def test_given_a_temporary_file_deleted_and_taken_by_another_then_the_first_cannot_publish_it(
    store: ObjectStore, root: Path
) -> None:
    first = store.create(KEY)
    first.write(b"first")
    store.delete(KEY)
    second = store.create(KEY)
    second.write(b"second" * 20_000)
    with pytest.raises(StorageUnavailable):
        first.commit()
    assert_absent(store, KEY)
    first.abort()
    second.abort()
    assert files(root) == []


def test_given_a_temporary_file_deleted_and_taken_by_another_then_the_end_of_the_first_does_not_take_it(
    store: FilesystemStore,
) -> None:
    first = store.create("a/1")
    store.delete("a/1")
    with store.create("a/1") as second:
        second.write(b"of the second")
        first.abort()
        second.commit()
    assert get(store, "a/1") == b"of the second"


# Crashes


def test_given_a_kill_in_the_middle_then_invisible_and_delete_leaves_nothing(
    store: FilesystemStore, root: Path
) -> None:
    code = """
        store = FilesystemStore(Path(sys.argv[1]))
        writer = store.create(sys.argv[2])
        writer.write(bytes(3_000_000))
        print("written", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(command(code, root, KEY), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"written\n"
        assert len(files(root)) == 1
        victim.kill()
    assert len(files(root)) == 1
    assert_absent(store, KEY)
    assert list(store.keys()) == []
    with pytest.raises(ObjectExists, match="not deleted"):
        store.create(KEY)
    store.delete(KEY)
    assert files(root) == []
    put(store, KEY, b"again")


# Disks that do not take bytes


def test_given_less_free_than_is_to_be_kept_then_new_objects_are_refused(root: Path, store: FilesystemStore) -> None:
    put(store, KEY, b"x")
    full = FilesystemStore(root, minimum_free_bytes=1 << 60)
    for use in (lambda: full.create("a"), full.check):
        with pytest.raises(StorageUnavailable, match="nearly full"):
            use()
    assert get(full, KEY) == b"x"
    full.delete(KEY)
    roomy = FilesystemStore(root, minimum_free_bytes=1)
    put(roomy, KEY, b"y")
    roomy.check()


FULL_DISK = """
    root = sys.argv[1]
    store = FilesystemStore(Path(root))
    with store.create("a/1") as writer:
        writer.write(bytes(500_000))
        writer.commit()
    for size in (70_000, 1_000_000):
        writer = store.create("a/2")
        def fill():
            for _ in range(100):
                writer.write(bytes(size))
        refused(fill, sys.argv[2])
        for use in (writer.commit, lambda: writer.write(b"x"), lambda: writer.read_back(0, 1)):
            refused(use, "failed before", sys.argv[2])
        writer.abort()
        assert files(root) == ["a/1"], files(root)
    with store.create("a/2") as writer:
        writer.write(b"there is room again")
        writer.commit()
    store.check()
"""


def test_given_a_full_disk_then_unavailable_and_the_space_is_given_back(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=2m none {tmp_path}"
    run(FULL_DISK, tmp_path, "the disk is full (ENOSPC)", under=in_own_mounts(mount))


def test_given_a_file_size_limit_then_unavailable(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
    run(limit + FULL_DISK.replace("\n    ", "\n"), tmp_path, "file size limit")


def test_given_a_read_only_disk_then_reads_go_on_and_writes_are_refused(tmp_path: Path) -> None:
    code = """
        import subprocess
        root = Path(sys.argv[1])
        store = FilesystemStore(root)
        with store.create("a/1") as writer:
            writer.write(b"x")
            writer.commit()
        unfinished = store.create("a/2")
        unfinished.abort()
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        again = FilesystemStore(root)
        for store in (store, again):
            for use in (lambda: store.create("a/3"), lambda: store.create("b/1"), store.check, lambda: store.delete("a/1")):
                refused(use, "read-only")
            assert store.open("a/1").read() == b"x"
            assert list(store.keys()) == ["a/1"]
        refused(lambda: FilesystemStore(root / "new"), "read-only")
    """
    run(code, tmp_path, under=in_own_mounts(f"mount -t tmpfs none {tmp_path}"))


def test_given_a_root_that_is_a_file_then_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageUnavailable):
            FilesystemStore(root)


# Durability, as the kernel sees it


@needs_strace
@pytest.mark.parametrize("call", ["fdatasync", "linkat", "fsync", "unlinkat"])
def test_given_a_step_of_the_commit_fails_then_not_stored_and_never_claimed_later(tmp_path: Path, call: str) -> None:
    code = """
        store = FilesystemStore(Path(sys.argv[1]))
        os.close(os.dup(0))  # the mark in the trace
        with store.create("a") as writer:
            writer.write(bytes(100_000))
            refused(writer.commit, "EIO")
            refused(writer.commit, "failed before")
        assert files(sys.argv[1]) == [], files(sys.argv[1])
        with store.create("a") as writer:
            writer.commit()
    """
    # The root is used itself as the folder of the key, so that the first call of each kind is the commit's.
    tmp_path.joinpath("objects").mkdir()
    inject = f"inject={call}:error=EIO:when=1"
    strace: list[str | Path] = ["strace", "-f", "-qq", "-o", tmp_path / "trace", "-e", f"trace={call}", "-e", inject]
    run(code, tmp_path / "objects", under=strace)
    assert "(INJECTED)" in (tmp_path / "trace").read_text()


@needs_strace
def test_given_a_commit_then_bytes_are_durable_before_the_name_and_the_name_before_the_return(tmp_path: Path) -> None:
    code = """
        store = FilesystemStore(Path(sys.argv[1]))
        for key in ("2026/11/22/b/1", "2026/11/22/b/2"):
            with store.create(key) as writer:
                writer.write(bytes(100_000))
                writer.commit()
            os.write(1, b"returned\\n")
        store.delete(key)
    """
    root = tmp_path / "objects"
    calls = "trace=write,fdatasync,linkat,fsync,mkdir,unlinkat"
    run(code, root, under=["strace", "-f", "-y", "-qq", "-s", "10", "-o", tmp_path / "trace", "-e", calls])
    steps = []
    for line in (tmp_path / "trace").read_text().splitlines():
        if found := re.search(r" (\w+)\((.*)\) += \d+", line):
            name, arguments = found[1], found[2].replace(str(root), "ROOT")
            if "ROOT" in arguments or "returned" in arguments:
                paths = re.findall(r"<(ROOT[^>]*)>|\"(ROOT[^\"]*)\"", arguments)
                steps.append(f"{name} {''.join(paths[-1])}" if paths else "returned")
    folder = "ROOT/2026/11/22/b"
    made = ["ROOT", "ROOT/2026", "ROOT/2026/11", "ROOT/2026/11/22", folder]
    folders = [
        step for path, parent in zip(made[1:], made, strict=False) for step in (f"mkdir {path}", f"fsync {parent}")
    ]

    def stored(name: str) -> list[str]:
        temporary = f"{folder}/.{name}.part"
        return [
            f"write {temporary}",
            f"fdatasync {temporary}",
            f"linkat {folder}",
            f"unlinkat {folder}",
            f"fsync {folder}",
            "returned",
        ]

    first = steps.index("mkdir ROOT/2026")
    deleted = [f"unlinkat {folder}", f"fsync {folder}"]
    assert steps[first:] == [*folders, *stored("1"), *stored("2"), *deleted]
