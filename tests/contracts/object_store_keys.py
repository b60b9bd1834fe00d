"""The part of the contract of an object store that is about keys; ``object_store.py`` has the rest and includes this."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.base import ObjectStore
from storage.errors import InvalidKey, ObjectExists
from tests.contracts.store_helpers import assert_absent, get, put

INVALID_KEYS = [
    "",
    "/",
    ".",
    "..",
    "/a",
    "a/",
    "a//b",
    "A",
    "a/../b",
    "a/./b",
    ".a.part",
    "a.dcm",
    "a b",
    "a\\b",
    "a\n",
    "a\x00b",
    "ảnh",
    "\u0661",  # a digit, but not of ASCII
    "a" * 65,
    "/".join("abcdefghi"),
    "%2e%2e",
    "a?b",
]
VALID_KEYS = ["a", "0", "a" * 64, "/".join(["a" * 64] * 8), "2026/11/22/7f3a9c01d2e4b8f0/03ff"]


class KeyRules:
    """Keys are checked, written once, found and listed."""

    # Keys are written once

    def test_given_a_taken_key_when_written_again_then_refused_and_unchanged(
        self, store: ObjectStore, key: str
    ) -> None:
        put(store, key, b"first")
        for other in (b"other", b"first", b""):  # the same bytes are no excuse
            with pytest.raises(ObjectExists):
                put(store, key, other)
        assert get(store, key) == b"first"

    @pytest.mark.parametrize("size", [20, 100_000])
    def test_given_one_key_from_two_threads_then_exactly_one_wins(
        self, store: ObjectStore, prefix: str, size: int
    ) -> None:
        barrier = threading.Barrier(2)

        def attempt(key: str, value: int) -> bytes | None:
            data = bytes([value]) * size
            barrier.wait()
            try:
                put(store, key, data)
            except ObjectExists:
                return None
            return data

        with ThreadPoolExecutor(2) as pool:
            for number in range(20):
                key = f"{prefix}/{number}"
                results = [task.result() for task in [pool.submit(attempt, key, value) for value in (1, 2)]]
                [winner] = [data for data in results if data is not None]
                assert get(store, key) == winner

    def test_given_one_key_committed_at_once_by_many_writers_then_at_most_one_is_seen(
        self, store: ObjectStore, key: str
    ) -> None:
        barrier = threading.Barrier(8)

        def attempt(value: int) -> bytes | None:
            data = bytes([value]) * 70_000
            try:
                with store.create(key) as writer:
                    writer.write(data)
                    barrier.wait()
                    writer.commit()
            except ObjectExists:
                barrier.abort()
                return None
            except threading.BrokenBarrierError:
                return None
            return data

        with ThreadPoolExecutor(8) as pool:
            winners = [data for data in pool.map(attempt, range(8)) if data is not None]
        assert len(winners) <= 1
        if winners:
            assert get(store, key) == winners[0]
        else:
            assert_absent(store, key)

    # Keys

    @pytest.mark.parametrize("bad", INVALID_KEYS)
    def test_given_an_invalid_key_then_refused_everywhere(self, store: ObjectStore, bad: str) -> None:
        for use in (store.create, store.open, store.stat, store.delete, store.local_path):
            with pytest.raises(InvalidKey):
                use(bad)
        with pytest.raises(InvalidKey):
            store.open_range(bad, 0, 1)
        with pytest.raises(InvalidKey):
            store.open_range(bad, 0, 0)

    @pytest.mark.parametrize("good", VALID_KEYS)
    def test_given_an_extreme_but_valid_key_then_accepted(self, store: ObjectStore, good: str) -> None:
        store.delete(good)
        try:
            put(store, good, good.encode())
            assert get(store, good) == good.encode()
            assert good in set(store.keys(good))
        finally:
            store.delete(good)
        assert_absent(store, good)

    def test_given_an_unknown_key_then_not_found(self, store: ObjectStore, key: str) -> None:
        assert_absent(store, key)
        put(store, key, b"x")
        assert_absent(store, f"{key}0")
        assert_absent(store, key.rpartition("/")[0])
        assert_absent(store, f"{key}/0")

    def test_given_objects_when_listed_then_exactly_those_of_the_prefix(self, store: ObjectStore, prefix: str) -> None:
        names = ["a/1", "a/2", "ab/1", "b", "c/d/e/f"]
        for name in names:
            put(store, f"{prefix}/{name}", b"x")

        def listed(start: str) -> list[str]:
            found = sorted(store.keys(f"{prefix}{start}"))
            assert all(key.startswith(f"{prefix}/") for key in found)
            return [key.removeprefix(f"{prefix}/") for key in found]

        assert listed("") == listed("/") == names
        assert listed("/a") == ["a/1", "a/2", "ab/1"]
        assert listed("/a/") == ["a/1", "a/2"]
        assert listed("/a/1") == ["a/1"]
        assert listed("/c/d") == ["c/d/e/f"]
        assert listed("/x") == listed("/b/") == listed("/a/1/") == []
        assert {f"{prefix}/{name}" for name in names} <= set(store.keys())
        assert list(store.keys("../")) == list(store.keys("/")) == []

    def test_given_more_keys_than_a_page_holds_then_all_are_listed(self, store: ObjectStore, prefix: str) -> None:
        keys = {f"{prefix}/{number // 100}/{number:x}" for number in range(1030)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: put(store, key, b""), sorted(keys)))
        found = list(store.keys(f"{prefix}/"))
        assert len(found) == len(keys)
        assert set(found) == keys
