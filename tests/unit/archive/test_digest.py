"""The digest of an object on its way in, hashed beside the thread that receives it."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator

import pytest

from archive import digest
from archive.digest import BESIDE_FROM, THREAD, Digest


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.BoundedSemaphore]:
    """Two places, however many processors this machine has; all must be free again in the end."""
    places = threading.BoundedSemaphore(2)
    monkeypatch.setattr(digest, "_places", places)
    yield places
    assert [places.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def hashing() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


def fed(made: Digest, data: bytes, pieces: random.Random) -> Digest:
    """Give `data` in pieces of all sizes out of one buffer, which is overwritten after each."""
    buffer = bytearray(2 << 20)
    at = 0
    while at < len(data):
        size = min(pieces.choice((1, 2047, 65_536, 500_001, 2 << 20)), len(data) - at)
        buffer[:size] = data[at : at + size]
        with memoryview(buffer) as view:
            made.update(view[:size])
        buffer[:size] = bytes(size)
        at += size
    return made


@pytest.mark.parametrize("size", [0, 1, BESIDE_FROM, BESIDE_FROM + 1, 3 * BESIDE_FROM + 12_345])
def test_it_is_the_digest_of_all_bytes_whatever_their_pieces(size: int, places: threading.BoundedSemaphore) -> None:
    data = random.Random(size).randbytes(size)

    assert fed(Digest(), data, random.Random(1)).value() == hashlib.sha256(data).digest()


def test_a_large_object_is_hashed_by_a_thread_that_ends_with_it(places: threading.BoundedSemaphore) -> None:
    made = Digest()
    made.update(bytes(BESIDE_FROM))
    assert hashing() == 0
    made.update(b"more")
    assert hashing() == 1
    made.update(b"still more")

    assert made.value() == hashlib.sha256(bytes(BESIDE_FROM) + b"morestill more").digest()
    assert hashing() == 0


def test_an_object_that_is_given_up_leaves_no_thread(places: threading.BoundedSemaphore) -> None:
    made = fed(Digest(), bytes(2 * BESIDE_FROM), random.Random(2))
    assert hashing() == 1

    made.close()
    made.close()

    assert hashing() == 0


def test_without_a_place_it_is_hashed_as_it_comes(places: threading.BoundedSemaphore) -> None:
    data = [random.Random(number).randbytes(2 * BESIDE_FROM + number) for number in range(4)]

    made = [fed(Digest(), each, random.Random(3)) for each in data]

    assert hashing() == 2
    assert [each.value() for each in made] == [hashlib.sha256(each).digest() for each in data]


def test_a_place_that_becomes_free_is_taken_later(places: threading.BoundedSemaphore) -> None:
    first, second, third = (fed(Digest(), bytes(BESIDE_FROM + 1), random.Random(4)) for _ in range(3))
    first.close()
    assert hashing() == 1

    fed(third, bytes(BESIDE_FROM), random.Random(4))
    fed(third, b"x", random.Random(4))

    assert hashing() == 2
    second.close()
    assert third.value() == hashlib.sha256(bytes(2 * BESIDE_FROM + 1) + b"x").digest()


def test_without_a_thread_to_be_had_it_is_hashed_as_it_comes(places: threading.BoundedSemaphore) -> None:
    before = threading.stack_size(1 << 46)  # more than a process has addresses for
    try:
        with pytest.raises(RuntimeError):
            threading.Thread(target=int).start()
        made = fed(Digest(), b"y" * (3 * BESIDE_FROM), random.Random(5))
    finally:
        threading.stack_size(before)

    assert hashing() == 0
    assert made.value() == hashlib.sha256(b"y" * (3 * BESIDE_FROM)).digest()
