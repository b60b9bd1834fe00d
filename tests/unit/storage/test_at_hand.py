"""What is at hand of a store is read without waiting; whatever is not is left to the ordinary way."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from storage.at_hand import LARGEST, AtHand, HasAtHand, WouldWait
from storage.errors import InvalidKey
from storage.filesystem import FilesystemStore
from storage.memory import MemoryStore
from tests.contracts.encrypted import encrypted, key_file
from tests.contracts.store_helpers import get, put

KEY = "2026/11/22/7f3a9c01d2e4b8f0/03ff"
DATA = secrets.token_bytes(700_001)


@pytest.fixture
def store(tmp_path: Path) -> FilesystemStore:
    store = FilesystemStore(tmp_path)
    put(store, KEY, DATA)
    return store


def test_what_the_kernel_has_in_memory_is_at_hand(store: FilesystemStore) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for offset, length in ((0, len(DATA)), (0, 0), (1, 8), (len(DATA) - 5, 5), (3000, 524_288)):
        assert store.read_at_hand(KEY, offset, length) == DATA[offset : offset + length]
    with AtHand(store).open_range(KEY, 10, 100) as reader:
        assert (reader.size, reader.read(30), b"".join(reader), reader.read()) == (100, DATA[10:40], DATA[40:110], b"")
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_at_hand_is_read_to_where_it_is_to_be(store: FilesystemStore, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    body = bytearray(b"<" * 700_010)
    for offset, length in ((0, len(DATA)), (1, 8), (len(DATA) - 5, 5), (3000, 524_288)):
        AtHand(store).fill(KEY, offset, memoryview(body)[7 : 7 + length])
        assert (body[:7], body[7 : 7 + length]) == (b"<" * 7, DATA[offset : offset + length])
    assert body[7 + len(DATA) :] == b"<<"
    room = memoryview(body)[:6]
    for key, offset in ((KEY, len(DATA) - 5), (KEY, len(DATA)), (KEY + "0", 0), ("2026/11/22", 0)):
        with pytest.raises(WouldWait):
            AtHand(store).fill(key, offset, room)
    assert not store.fill_at_hand(KEY, 0, memoryview(bytes(LARGEST + 1)))
    with pytest.raises(InvalidKey):
        store.fill_at_hand("../etc/passwd", 0, room)
    put(memory := MemoryStore(), KEY, DATA)
    for other in (memory, encrypted(memory, key_file(tmp_path))):
        with pytest.raises(WouldWait):
            AtHand(other).fill(KEY, 0, room)
    assert len(os.listdir("/proc/self/fd")) == before


def test_pieces_that_were_read_stay_as_they_are(store: FilesystemStore) -> None:
    first = store.read_at_hand(KEY, 0, 1000)
    store.read_at_hand(KEY, 1000, 1000)
    assert first == DATA[:1000]


def test_what_is_on_the_disk_alone_is_not_at_hand(store: FilesystemStore) -> None:
    path = store.local_path(KEY)
    assert path is not None

    def forget() -> None:
        """Have the kernel forget the file; it may begin to read it as soon as it is asked."""
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    forget()
    assert store.read_at_hand(KEY, 0, len(DATA)) is None
    forget()
    assert not store.fill_at_hand(KEY, 0, memoryview(bytearray(len(DATA))))
    forget()
    with pytest.raises(WouldWait):
        AtHand(store).open_range(KEY, 0, len(DATA))
    assert get(store, KEY) == DATA
    assert store.read_at_hand(KEY, 0, len(DATA)) == DATA


def test_what_is_not_there_is_not_at_hand(store: FilesystemStore) -> None:
    assert store.read_at_hand(KEY, len(DATA) - 5, 6) is None
    assert store.read_at_hand(KEY, len(DATA), 1) is None
    assert store.read_at_hand("2026/11/22/7f3a9c01d2e4b8f0/0400", 0, 1) is None
    assert store.read_at_hand("2026/11/22", 0, 1) is None, "a folder"
    with pytest.raises(InvalidKey):
        store.read_at_hand("../etc/passwd", 0, 1)


def test_what_is_large_is_for_a_thread(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store, KEY, bytes(LARGEST + 1))
    assert store.read_at_hand(KEY, 0, LARGEST) == bytes(LARGEST)
    assert store.read_at_hand(KEY, 0, LARGEST + 1) is None


def test_nothing_of_a_store_that_cannot_say_is_at_hand() -> None:
    store = MemoryStore()
    put(store, KEY, DATA)
    assert not isinstance(store, HasAtHand)
    with pytest.raises(WouldWait):
        AtHand(store).open_range(KEY, 0, 1)


def test_of_an_encrypted_store_only_plain_objects_are_at_hand(tmp_path: Path) -> None:
    store = encrypted(FilesystemStore(tmp_path / "objects"), key_file(tmp_path))
    put(store.plain, KEY, DATA)
    sealed = KEY + "0"
    put(store, sealed, DATA)
    assert store.read_at_hand(KEY, 5, 1000) == DATA[5:1005]
    assert store.read_at_hand(sealed, 5, 1000) is None
    room = memoryview(bytearray(1000))
    assert store.fill_at_hand(KEY, 5, room)
    assert room == DATA[5:1005]
    assert not store.fill_at_hand(sealed, 5, room)
    assert get(store, sealed) == DATA
    put(memory := encrypted(MemoryStore(), key_file(tmp_path)), KEY, DATA)
    assert memory.read_at_hand(KEY, 5, 1000) is None
