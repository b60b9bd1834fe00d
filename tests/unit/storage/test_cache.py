"""The bounded cache on disk: what it may lose, and what it must never give."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from storage.cache import DiskCache
from storage.encryption.entries import EntrySeal
from storage.encryption.keyring import Keyring
from storage.errors import KeyUnavailable
from storage.filesystem import FilesystemStore
from tests.contracts.encrypted import key_file

NAME = "ab" * 16
OTHER = "cd" * 16


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_entry_is_given_as_it_was_put_also_by_another_process_of_the_same_folder(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "made" / "later", 1 << 20)
    assert cache.get(NAME) is None
    assert NAME not in cache
    cache.put(NAME, b"bytes")
    assert DiskCache(tmp_path / "made" / "later", 1 << 20).get(NAME) == b"bytes"
    assert NAME in cache
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("content", [b"", b"short", bytes(32), bytes(100)])
def test_what_was_damaged_is_no_entry_and_is_removed(tmp_path: Path, content: bytes) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    cache.put(NAME, b"bytes")
    (path,) = files(tmp_path)
    path.write_bytes(content)
    assert cache.get(NAME) is None
    assert files(tmp_path) == []
    cache.put(NAME, b"bytes")
    assert cache.get(NAME) == b"bytes"


def test_one_bit_that_turned_is_noticed(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    cache.put(NAME, b"bytes")
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"S")
    assert cache.get(NAME) is None


def test_beyond_the_limit_those_go_that_were_not_used_for_longest(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 20_000)
    names = [f"{n:02x}" * 16 for n in range(60)]
    for n, name in enumerate(names):
        cache.put(name, bytes(968))
        for path in files(tmp_path):
            if path.name == name:
                os.utime(path, (n, n))  # long ago, one after another
        assert cache.get(names[0]) is not None  # which notes the use
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 21_000
    assert names[0] in cache
    assert names[-1] in cache
    assert names[1] not in cache


def test_what_a_crash_left_unfinished_is_removed_and_what_others_write_now_is_not(tmp_path: Path) -> None:
    folder = tmp_path / NAME[:2]
    folder.mkdir()
    left, current = folder / f".{NAME}.1.1", folder / f".{NAME}.2.2"
    left.write_bytes(b"half")
    current.write_bytes(b"half")
    os.utime(left, (0, 0))
    DiskCache(tmp_path, 1 << 20).put(NAME, b"bytes")
    assert sorted(files(tmp_path)) == sorted([current, folder / NAME])


def test_a_disk_that_cannot_be_written_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DiskCache(tmp_path / "file", 1 << 20)
    cache.put(NAME, b"bytes")
    assert cache.get(NAME) is None
    assert [record.message for record in caplog.records] == ["cache cannot be written"]


def test_nothing_is_kept_where_others_need_the_room_or_the_settings_say_so(tmp_path: Path) -> None:
    for cache in (DiskCache(tmp_path, 1 << 20, minimum_free_bytes=1 << 62), DiskCache(tmp_path, 0)):
        cache.put(NAME, b"bytes")
        assert cache.get(NAME) is None
    DiskCache(tmp_path, 4).put(NAME, b"bytes")
    assert files(tmp_path) == []


def test_it_says_whether_anything_would_be_kept(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "made"
    assert DiskCache(folder, 1 << 20).has_room()
    assert not DiskCache(folder, 0).has_room()
    assert not DiskCache(folder, 1 << 20, minimum_free_bytes=1 << 62).has_room()
    assert not folder.exists()


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "", "AB" * 16, "a/" * 10):
        with pytest.raises(ValueError, match="hexadecimal"):
            DiskCache(tmp_path, 1 << 20).get(name)


def test_many_at_once_write_and_read_the_same_entries(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 50_000)
    wrong: list[bytes] = []

    def work() -> None:
        for n in range(100):
            name = f"{n % 25:02x}" * 16
            cache.put(name, bytes([n % 25]) * 4000)
            found = cache.get(name)
            if found not in (None, bytes([n % 25]) * 4000):
                wrong.append(found or b"")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(not path.name.startswith(".") for path in files(tmp_path))


def test_with_encryption_the_disk_sees_nothing_and_another_process_reads_it(tmp_path: Path) -> None:
    def sealed() -> DiskCache:
        ring = Keyring(FilesystemStore(tmp_path / "keys").sibling(".key1"), {"k1": key_file(tmp_path)}, "k1")
        return DiskCache(tmp_path / "cache", 1 << 20, seal=EntrySeal(lambda: ring))

    data = "NGUYỄN^VĂN AN".encode() * 100
    one = sealed()
    one.put(NAME, data)
    (path,) = files(tmp_path / "cache")
    assert "NGUYỄN".encode() not in path.read_bytes()
    assert one.get(NAME) == sealed().get(NAME) == data
    other = tmp_path / "cache" / OTHER[:2] / OTHER
    other.parent.mkdir()
    path.rename(other)
    assert sealed().get(OTHER) is None, "an entry under another's name"
    assert files(tmp_path / "cache") == []
    one.put(NAME, data)
    shutil.rmtree(tmp_path / "keys")
    assert sealed().get(NAME) is None, "its key is gone"
    sealed().put(NAME, data)
    assert sealed().get(NAME) == data


def test_with_encryption_what_is_not_encrypted_is_no_entry_and_damage_is_noticed(tmp_path: Path) -> None:
    ring = Keyring(FilesystemStore(tmp_path / "keys").sibling(".key1"), {"k1": key_file(tmp_path)}, "k1")
    cache = DiskCache(tmp_path / "cache", 1 << 20, seal=EntrySeal(lambda: ring))
    DiskCache(tmp_path / "cache", 1 << 20).put(NAME, b"plain")
    assert cache.get(NAME) is None
    for harm in (lambda content: content[:-1], lambda content: content[:20], lambda content: b""):
        cache.put(NAME, b"bytes")
        (path,) = files(tmp_path / "cache")
        path.write_bytes(harm(path.read_bytes()))
        assert cache.get(NAME) is None


def test_a_key_that_cannot_be_had_is_no_error_of_the_cache(tmp_path: Path) -> None:
    def refuse() -> Keyring:
        raise KeyUnavailable("the key management system does not answer")

    cache = DiskCache(tmp_path, 1 << 20, seal=EntrySeal(refuse))
    cache.put(NAME, b"bytes")
    assert cache.get(NAME) is None
    assert files(tmp_path) == []
