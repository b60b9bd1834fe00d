"""What lies on the medium says nothing, and nothing of it can be changed, cut, moved or exchanged unnoticed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from storage.base import ObjectReader
from storage.encryption.sealed import HEADER, SEALED, SEGMENT, TAG, Cipher, Header, plain_size
from storage.encryption.store import EncryptedStore
from storage.errors import IntegrityError, ObjectExists, ObjectNotFound, RangeNotSatisfiable, StorageError
from storage.filesystem import FilesystemStore
from tests.contracts.encrypted import encrypted, key_file
from tests.contracts.store_helpers import get, put

KEY = "2026/11/22/7f3a9c01d2e4b8f0/03ff"
OTHER = "2026/11/22/7f3a9c01d2e4b8f0/0400"
# No segment, one that is not full, one that is, the bounds of several.
SIZES = [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 5 * SEGMENT, 5 * SEGMENT + 77]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(tmp_path: Path, root: Path) -> EncryptedStore:
    return encrypted(FilesystemStore(root), key_file(tmp_path))


@pytest.fixture
def fresh(tmp_path: Path, root: Path) -> Callable[[], EncryptedStore]:
    """The store as another process sees it, which remembers nothing."""
    return lambda: encrypted(FilesystemStore(root), key_file(tmp_path))


def on_disk(root: Path, key: str = KEY) -> Path:
    return root / f"{key}.enc1"


def read_all_ways(store: EncryptedStore, key: str, size: int) -> list[type[BaseException] | None]:
    """Read the object whole, to its end and in every segment; which error each way gave."""
    found: list[type[BaseException] | None] = []
    ways: list[Callable[[], ObjectReader]] = [lambda: store.open(key), lambda: store.open_range(key, 0, 1 << 40)]
    ways += [lambda at=at: store.open_range(key, at, 10) for at in range(0, size, SEGMENT)]  # type: ignore[misc]
    for way in ways:
        try:
            with way() as reader:
                b"".join(reader)
        except StorageError as error:
            found.append(type(error))
        else:
            found.append(None)
    return found


def test_given_patient_data_when_stored_then_no_byte_of_it_is_on_the_disk(store: EncryptedStore, root: Path) -> None:
    data = "NGUYỄN^VĂN AN 079162007788 ".encode() * 20_000
    with store.create(KEY) as writer:
        for start in range(0, len(data), 7000):
            writer.write(data[start : start + 7000])
        unfinished = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
        writer.commit()
    for content in [*unfinished, *(path.read_bytes() for path in root.rglob("*") if path.is_file())]:
        assert "NGUYỄN".encode() not in content
        assert b"079162007788" not in content
    assert get(store, KEY) == data


def test_given_the_same_bytes_twice_then_nothing_on_the_disk_is_the_same(store: EncryptedStore, root: Path) -> None:
    for key in (KEY, OTHER):
        put(store, key, bytes(3 * SEGMENT))
    first, second = (on_disk(root, key).read_bytes() for key in (KEY, OTHER))
    pieces = [content[HEADER + index * SEALED :][:SEALED] for content in (first, second) for index in range(3)]
    assert len(set(pieces)) == 6


def test_given_an_object_when_decrypted_by_the_written_rules_then_the_same(store: EncryptedStore, root: Path) -> None:
    """The format is what the documentation says: what another program would need to read it."""
    data = secrets.token_bytes(2 * SEGMENT + 100)
    put(store, KEY, data)
    stored = on_disk(root).read_bytes()
    header = stored[:80]
    assert header[:8] == b"PACSENC1"
    assert int.from_bytes(header[8:12], "big") == 65536
    volume = store.keyring.volume(header[12:28])
    key = HKDF(SHA256(), 32, header[28:60], header + KEY.encode()).derive(volume.secret)
    plain = b""
    for index, start in enumerate(range(80, len(stored), 65552)):
        last = start + 65552 >= len(stored)
        nonce = header[60:67] + index.to_bytes(4, "big") + bytes([last])
        plain += AESGCM(key).decrypt(nonce, stored[start : start + 65552], None)
    assert plain == data


@pytest.mark.parametrize("size", SIZES)
def test_given_any_size_then_known_from_the_stored_size_alone(store: EncryptedStore, root: Path, size: int) -> None:
    put(store, KEY, bytes(size))
    stored = on_disk(root).stat().st_size
    assert plain_size(stored, KEY) == size
    assert stored == HEADER + size + TAG * max(1, -(-size // SEGMENT))


@pytest.mark.parametrize("size", SIZES)
def test_given_any_changed_bit_then_never_other_bytes(
    store: EncryptedStore, fresh: Callable[[], EncryptedStore], root: Path, size: int
) -> None:
    data = secrets.token_bytes(size)
    put(store, KEY, data)
    path = on_disk(root)
    stored = bytearray(path.read_bytes())
    ends = {*range(HEADER), HEADER, len(stored) - 1, *range(HEADER - 1, len(stored), SEALED)}
    for place in sorted(ends):
        stored[place] ^= 1
        path.write_bytes(stored)
        for each in (store, fresh()):
            found = read_all_ways(each, KEY, size)
            if each is not store or place >= HEADER:  # what was read before knows the header still
                assert found[0] is IntegrityError, place
            assert set(found) <= {None, IntegrityError}
        stored[place] ^= 1
    path.write_bytes(stored)
    assert get(fresh(), KEY) == data


@pytest.mark.parametrize("size", SIZES)
def test_given_a_cut_or_longer_object_then_its_end_is_never_believed(
    store: EncryptedStore, fresh: Callable[[], EncryptedStore], root: Path, size: int
) -> None:
    put(store, KEY, secrets.token_bytes(size))
    path = on_disk(root)
    stored = path.read_bytes()
    bounds = [HEADER + SEALED * count for count in range(6)]
    lengths = {0, 1, HEADER - 1, HEADER, HEADER + TAG, *bounds, len(stored) - 1, len(stored) - TAG}
    lengths |= {bound + TAG for bound in bounds}
    for length in sorted(length for length in lengths if length < len(stored)):
        path.write_bytes(stored[:length])
        for each in (store, fresh()):
            found = read_all_ways(each, KEY, size)
            assert found[:2] == [IntegrityError, IntegrityError], length
            assert set(found[2:]) <= {None, IntegrityError}
            with pytest.raises(IntegrityError):  # not RangeNotSatisfiable: that would be a word about the length
                each.open_range(KEY, size + 100, 1)
    for more in (b"\0", bytes(TAG), bytes(SEALED), stored[HEADER:]):
        path.write_bytes(stored + more)
        for each in (store, fresh()):
            assert read_all_ways(each, KEY, size)[0] is IntegrityError
            with pytest.raises(IntegrityError):
                each.open_range(KEY, len(stored) + len(more), 1)


def test_given_segments_exchanged_or_repeated_then_noticed(
    store: EncryptedStore, fresh: Callable[[], EncryptedStore], root: Path
) -> None:
    put(store, KEY, secrets.token_bytes(4 * SEGMENT))
    path = on_disk(root)
    stored = path.read_bytes()
    parts = [stored[HEADER + index * SEALED :][:SEALED] for index in range(4)]
    for order in ([1, 0, 2, 3], [0, 1, 3, 2], [0, 0, 2, 3], [0, 1, 2, 2], [3], [0, 3], [0, 1, 2, 3, 3]):
        path.write_bytes(stored[:HEADER] + b"".join(parts[index] for index in order))
        for each in (store, fresh()):
            assert read_all_ways(each, KEY, 4 * SEGMENT)[0] is IntegrityError, order


def test_given_objects_exchanged_under_their_keys_then_noticed(
    store: EncryptedStore, fresh: Callable[[], EncryptedStore], root: Path
) -> None:
    """Somebody who can write to the disk must not be able to show one patient's image as another's."""
    for key in (KEY, OTHER):
        put(store, key, secrets.token_bytes(2 * SEGMENT))
    first, second = on_disk(root).read_bytes(), on_disk(root, OTHER).read_bytes()
    for content in (second, second[:HEADER] + first[HEADER:], first[:HEADER] + second[HEADER:]):
        on_disk(root).write_bytes(content)
        for each in (store, fresh()):
            assert read_all_ways(each, KEY, 2 * SEGMENT)[0] is IntegrityError
            assert get(each, OTHER)


def test_given_a_range_then_only_its_segments_are_read(
    store: EncryptedStore, fresh: Callable[[], EncryptedStore], root: Path
) -> None:
    """Everything else on the disk is destroyed, and the range is read all the same."""
    data = secrets.token_bytes(12 * SEGMENT)
    put(store, KEY, data)
    stored = bytearray(on_disk(root).read_bytes())
    for index in (*range(7), *range(9, 12)):
        stored[HEADER + index * SEALED : HEADER + (index + 1) * SEALED] = bytes(SEALED)
    on_disk(root).write_bytes(stored)
    for each in (store, fresh()):
        with each.open_range(KEY, 7 * SEGMENT + 5, 2 * SEGMENT - 5) as reader:
            assert reader.read() == data[7 * SEGMENT + 5 : 9 * SEGMENT]
            assert reader.object_size == len(data)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(st.integers(0, 3 * SEGMENT), max_size=6),
    ranges=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3 * SEGMENT)), max_size=6),
)
def test_given_any_writes_then_any_range_is_right(
    tmp_path: Path, writes: list[int], ranges: list[tuple[float, int]]
) -> None:
    store = encrypted(FilesystemStore(tmp_path / "objects"), key_file(tmp_path))
    key, data = f"any/{secrets.token_hex(8)}", b""
    with store.create(key) as writer:
        for size in writes:
            piece = os.urandom(size)
            writer.write(piece)
            data += piece
            assert writer.read_back(max(0, len(data) - 100_000), 100_000) == data[-100_000:]
        writer.commit()
    again = encrypted(FilesystemStore(tmp_path / "objects"), key_file(tmp_path))
    for share, length in ranges:
        offset = int(share * len(data))
        for each in (store, again):
            if offset >= len(data):
                with pytest.raises(RangeNotSatisfiable):
                    each.open_range(key, offset, length)
                continue
            with each.open_range(key, offset, length) as reader:
                assert reader.read(7) + b"".join(reader) == data[offset : offset + length]


def test_given_a_key_that_was_freed_and_written_by_another_process_then_the_new_bytes(
    store: EncryptedStore, fresh: Callable[[], EncryptedStore]
) -> None:
    put(store, KEY, b"first" * 20_000)
    with store.open_range(KEY, 0, 5) as reader:
        assert reader.read() == b"first"
    other = fresh()
    other.delete(KEY)
    put(other, KEY, b"again" * 20_000)
    with store.open_range(KEY, 90_000, 5) as reader:
        assert reader.read() == b"again"
    other.delete(KEY)
    with pytest.raises(ObjectNotFound):
        store.open_range(KEY, 0, 5)


def test_given_a_plain_object_then_read_as_it_is_and_its_key_is_taken(store: EncryptedStore, root: Path) -> None:
    data = secrets.token_bytes(100_000)
    put(store.plain, KEY, data)
    assert get(store, KEY) == data
    assert store.stat(KEY).size == len(data)
    with store.open_range(KEY, 70_000, 10) as reader:
        assert reader.read() == data[70_000:70_010]
    assert store.local_path(KEY) == root / KEY
    assert list(store.keys()) == [KEY]
    with pytest.raises(ObjectExists):
        put(store, KEY, b"other")
    put(store, OTHER, b"new")
    assert sorted(store.keys()) == [KEY, OTHER]
    store.delete(KEY)
    assert list(store.keys()) == [OTHER]


def test_given_a_header_then_read_as_written() -> None:
    header = Header(b"v" * 16, b"s" * 32, b"p" * 7)
    assert Header.from_bytes(header.to_bytes(), KEY) == header
    assert len(header.to_bytes()) == HEADER


def test_given_more_segments_than_the_counter_counts_then_refused(store: EncryptedStore) -> None:
    volume = store.keyring.current()
    cipher = Cipher(volume, Header.new(volume), KEY)
    with pytest.raises(ValueError, match="more segments"):
        cipher.seal_into(1 << 32, b"", memoryview(bytearray(TAG)))
