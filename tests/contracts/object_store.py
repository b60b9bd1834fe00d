"""What every object store does: the rules of ``storage/base.py``, to be run on each backend.

A backend's test module makes a subclass named ``Test...`` with a fixture ``store``. Tests use keys under a random
`prefix`, so that they can share one server.
"""

from __future__ import annotations

import hashlib
import secrets
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.base import CHUNK_SIZE, ObjectStat, ObjectStore
from storage.errors import ObjectExists, RangeNotSatisfiable, StorageError, StorageUnavailable
from storage.together import Together, commit_all
from tests.contracts.object_store_keys import KeyRules
from tests.contracts.store_helpers import assert_absent, get, put

MEBIBYTE = 1 << 20


class ObjectStoreContract(KeyRules):
    """The suite. `keeps_objects_in_memory` exempts a backend from the one test that it cannot pass by nature."""

    keeps_objects_in_memory = False

    @pytest.fixture
    def prefix(self) -> str:
        return f"test/{secrets.token_hex(8)}"

    @pytest.fixture
    def key(self, prefix: str) -> str:
        return f"{prefix}/2026/11/22/7f3a9c01d2e4b8f0/03ff"

    # Writing and reading

    @pytest.mark.parametrize("size", [0, 1, 33_000, 65_535, 65_536, 65_537, CHUNK_SIZE, 2 * CHUNK_SIZE + 1])
    def test_given_bytes_when_committed_then_the_same_are_read(self, store: ObjectStore, key: str, size: int) -> None:
        data = secrets.token_bytes(size)
        assert put(store, key, data) == ObjectStat(key, size)
        assert store.stat(key) == ObjectStat(key, size)
        assert get(store, key) == data
        with store.open(key) as reader:
            assert reader.size == size
            assert b"".join(reader) == data
        with store.open(key) as reader:
            assert b"".join(iter(lambda: reader.read(65_537), b"")) == data
            assert reader.read() == reader.read(10) == b""

    def test_given_some_committed_together_then_each_is_there_and_what_fails_harms_no_other(
        self, store: ObjectStore, prefix: str
    ) -> None:
        """Of any size, in their order; one is taken, one was given up."""
        sizes = [0, 1, 33_000, 200_000, 300_000, 33_000, 33_000]
        data = [secrets.token_bytes(size) for size in sizes]
        writers = [store.create(f"{prefix}/{n}") for n in range(len(sizes))]
        for writer, each in zip(writers, data, strict=True):
            writer.write(each)
        writers[5].abort()
        taken = secrets.token_bytes(1000)
        again = store.create(f"{prefix}/taken")
        again.write(taken)
        again.commit()
        try:
            writers.append(store.create(f"{prefix}/taken"))  # refused here or at the commit
            writers[-1].write(b"other")
        except ObjectExists:
            pass
        outcomes = commit_all(writers)
        expected = [type(None)] * 5 + [ValueError, type(None)] + [ObjectExists] * (len(writers) - 7)
        assert [type(each) for each in outcomes] == expected
        for n in (0, 1, 2, 3, 4, 6):
            assert get(store, f"{prefix}/{n}") == data[n]
        assert_absent(store, f"{prefix}/5")
        assert get(store, f"{prefix}/taken") == taken
        for writer in writers:
            writer.abort()
            with pytest.raises((ValueError, StorageUnavailable), match=r"closed|failed before"):
                writer.write(b"more")
        assert get(store, f"{prefix}/3") == data[3]

    def test_given_one_that_was_to_be_committed_with_others_when_aborted_then_absent(
        self, store: ObjectStore, key: str
    ) -> None:
        together = Together()
        writer = store.create(key)
        writer.write(bytes(33_000))
        writer.enter(together)
        together.flush()
        writer.abort()
        assert_absent(store, key)
        store.delete(key)
        assert put(store, key, b"again").size == 5

    def test_given_no_write_at_all_when_committed_then_empty(self, store: ObjectStore, key: str) -> None:
        with store.create(key) as writer:
            assert writer.commit().size == 0
        assert get(store, key) == b""
        with store.open(key) as reader:
            assert list(reader) == []

    def test_given_mixed_writes_when_committed_then_in_order(self, store: ObjectStore, key: str) -> None:
        parts = [secrets.token_bytes(size) for size in (0, 1, 400, 33_000, 70_000, 64_000, 0, 2_000_000, 3, 65_536)]
        with store.create(key) as writer:
            for part in parts:
                writer.write(part)
            writer.commit()
        assert get(store, key) == b"".join(parts)

    @pytest.mark.parametrize("size", [10, 40_000, 300_000])
    def test_given_buffers_that_the_caller_reuses_when_read_then_as_they_were(
        self, store: ObjectStore, key: str, size: int
    ) -> None:
        buffer = bytearray(size)
        expected = b""
        with store.create(key) as writer:
            for value in range(5):
                buffer[:] = bytes([value]) * size
                expected += buffer
                writer.write(memoryview(buffer)[: size // 2])
                writer.write(memoryview(buffer)[size // 2 :])
                buffer[:] = b"\xff" * size
            buffer.append(0)  # no view of it may be held: that would raise BufferError
            del buffer[-1]
            writer.commit()
        assert get(store, key) == expected

    def test_given_a_reader_closed_early_or_twice_then_no_harm(self, store: ObjectStore, key: str) -> None:
        data = secrets.token_bytes(3 * CHUNK_SIZE)
        put(store, key, data)
        for _ in range(40):  # more than there are connections
            reader = store.open(key)
            assert reader.read(10) == data[:10]
            reader.close()
            reader.close()
        with pytest.raises(ValueError):
            reader.read()
        for _ in range(40):
            store.open(key).read(10)  # and forgotten
        assert get(store, key) == data

    # Ranges

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, 1, slice(0, 1)),
            (0, 100_000, slice(0, 100_000)),
            (0, 100_001, slice(0, 100_000)),
            (99_999, 1, slice(99_999, 100_000)),
            (99_999, 1 << 40, slice(99_999, 100_000)),
            (500, 33_000, slice(500, 33_500)),
            (0, 0, slice(0, 0)),
            (99_999, 0, slice(0, 0)),
        ],
    )
    def test_given_a_range_when_read_then_that_part(
        self, store: ObjectStore, key: str, offset: int, length: int, expected: slice
    ) -> None:
        data = secrets.token_bytes(100_000)
        put(store, key, data)
        with store.open_range(key, offset, length) as reader:
            assert reader.size == len(data[expected])
            assert reader.read(7) + b"".join(reader) == data[expected]

    @pytest.mark.parametrize(("size", "offset"), [(10, 10), (10, 11), (0, 0), (0, 5)])
    @pytest.mark.parametrize("length", [0, 1, 100])
    def test_given_a_range_past_the_end_then_refused(
        self, store: ObjectStore, key: str, size: int, offset: int, length: int
    ) -> None:
        put(store, key, bytes(size))
        with pytest.raises(RangeNotSatisfiable):
            store.open_range(key, offset, length)

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
    def test_given_a_negative_range_then_value_error(
        self, store: ObjectStore, key: str, offset: int, length: int
    ) -> None:
        put(store, key, b"12")
        with pytest.raises(ValueError):
            store.open_range(key, offset, length)
        with store.create(f"{key}0") as writer, pytest.raises(ValueError):
            writer.read_back(offset, length)

    # Visibility and failure

    def test_given_a_write_under_way_then_invisible(self, store: ObjectStore, key: str, prefix: str) -> None:
        with store.create(key) as writer:
            assert_absent(store, key)
            writer.write(secrets.token_bytes(6 * MEBIBYTE))
            writer.read_back(0, 1)
            assert_absent(store, key)
            assert list(store.keys(prefix)) == []
            writer.commit()
            assert store.stat(key).size == 6 * MEBIBYTE
            assert list(store.keys(prefix)) == [key]

    def test_given_abort_at_any_time_then_no_error_and_no_object(self, store: ObjectStore, key: str) -> None:
        for size in (0, 100, 6 * MEBIBYTE):
            writer = store.create(key)
            writer.write(bytes(size))
            writer.abort()
            writer.abort()
            assert_absent(store, key)
            with pytest.raises(ValueError):
                writer.write(b"x")
            with pytest.raises(ValueError):
                writer.read_back(0, 1)
            with pytest.raises(ValueError):
                writer.commit()
        assert_absent(store, key)

    def test_given_abort_after_commit_then_the_object_stays(self, store: ObjectStore, key: str) -> None:
        with store.create(key) as writer:
            writer.write(b"stays")
            writer.commit()
            writer.abort()
        writer.abort()
        with pytest.raises(ValueError):
            writer.write(b"more")
        with pytest.raises(ValueError):
            writer.commit()
        assert get(store, key) == b"stays"

    def test_given_an_exception_in_the_block_then_aborted(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(ZeroDivisionError), store.create(key) as writer:
            writer.write(secrets.token_bytes(100_000))
            raise ZeroDivisionError
        assert_absent(store, key)
        put(store, key, b"another try")
        assert get(store, key) == b"another try"

    def test_given_a_forgotten_writer_then_no_object_and_the_key_can_be_freed(
        self, store: ObjectStore, key: str
    ) -> None:
        writer = store.create(key)
        writer.write(secrets.token_bytes(100_000))
        del writer
        store.delete(key)
        assert_absent(store, key)
        put(store, key, b"again")

    # Reading back

    def test_given_a_write_under_way_when_read_back_then_what_was_written(self, store: ObjectStore, key: str) -> None:
        # The sizes cross what backends gather in memory: 64 KiB (files), 4 MiB (spool).
        steps = [100, 65_000, 65_536, 1, 4 * MEBIBYTE - 131_000, 300, 70_000, 12, 3 * MEBIBYTE, 5]
        written = b""
        with store.create(key) as writer:
            assert writer.read_back(0, 10) == b""
            for step in steps:
                piece = secrets.token_bytes(step)
                writer.write(piece)
                written += piece
                end = len(written)
                for offset, length in (
                    (0, 132),
                    (0, end),
                    (end - step, step),
                    (end - 5, 100),
                    (max(0, end - 70_000), 70_000),
                    (end, 5),
                    (end + 5, 5),
                    (3, 0),
                ):
                    assert writer.read_back(offset, length) == written[offset : offset + length]
            writer.commit()
        assert get(store, key) == written

    # Deletion

    def test_given_an_object_when_deleted_then_gone_and_again_no_error(self, store: ObjectStore, key: str) -> None:
        store.delete(key)
        put(store, key, b"x")
        store.delete(key)
        assert_absent(store, key)
        store.delete(key)

    def test_given_a_folder_of_keys_when_deleted_as_a_key_then_they_stay(
        self, store: ObjectStore, key: str, prefix: str
    ) -> None:
        put(store, key, b"x")
        store.delete(prefix)
        store.delete(key.rpartition("/")[0])
        store.delete(f"{key}/below")
        assert get(store, key) == b"x"

    def test_given_a_partial_write_when_deleted_then_it_cannot_become_visible_as_another(
        self, store: ObjectStore, key: str
    ) -> None:
        first = store.create(key)
        first.write(b"first" * 20_000)
        store.delete(key)
        second = store.create(key)
        second.write(b"second, unfinished")
        try:
            first.commit()
        except StorageError:
            assert_absent(store, key)
        else:
            assert get(store, key) == b"first" * 20_000
        second.abort()
        first.abort()

    # Load

    def test_given_32_threads_then_every_object_is_right(self, store: ObjectStore, prefix: str) -> None:
        def work(number: int) -> None:
            for turn in range(4):
                key = f"{prefix}/{turn}/{number:x}"
                data = hashlib.sha256(key.encode()).digest() * (10 + number * 700)
                put(store, key, data)
                assert get(store, key) == data
                with store.open_range(key, 100, 50) as reader:
                    assert reader.read() == data[100:150]
                if turn % 2:
                    store.delete(key)

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(work, range(32)))
        assert len(list(store.keys(f"{prefix}/"))) == 64

    def test_given_200_mb_then_stored_and_read_in_bounded_memory(self, store: ObjectStore, key: str) -> None:
        block = secrets.token_bytes(MEBIBYTE)

        def blocks() -> Iterator[bytes]:
            for number in range(200):
                yield number.to_bytes(8, "big") + block[8:]

        written, read = hashlib.sha256(), hashlib.sha256()
        tracemalloc.start()
        try:
            with store.create(key) as writer:
                for piece in blocks():
                    written.update(piece)
                    writer.write(piece)
                assert writer.commit().size == 200 * MEBIBYTE
            with store.open(key) as reader:
                for chunk in reader:
                    read.update(chunk)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            store.delete(key)
        assert read.digest() == written.digest()
        assert self.keeps_objects_in_memory or peak < 64 * MEBIBYTE

    def test_given_a_working_store_when_checked_then_nothing_is_left(self, store: ObjectStore) -> None:
        before = set(store.keys())
        store.check()
        assert {key for key in set(store.keys()) - before if not key.startswith("test/")} == set()

    def test_given_any_backend_then_it_is_an_object_store(self, store: ObjectStore) -> None:
        assert isinstance(store, ObjectStore)
        assert store.name in {"filesystem", "s3", "memory"}
