"""Steps that tests of the object stores share."""

from __future__ import annotations

import pytest

from storage.base import ObjectStat, ObjectStore
from storage.errors import ObjectNotFound


def put(store: ObjectStore, key: str, data: bytes) -> ObjectStat:
    """Store `data` in one write."""
    with store.create(key) as writer:
        writer.write(data)
        return writer.commit()


def get(store: ObjectStore, key: str) -> bytes:
    """All bytes of an object."""
    with store.open(key) as reader:
        return reader.read()


def assert_absent(store: ObjectStore, key: str) -> None:
    """No way of reading finds `key`."""
    with pytest.raises(ObjectNotFound):
        store.open(key)
    with pytest.raises(ObjectNotFound):
        store.open_range(key, 0, 1)
    with pytest.raises(ObjectNotFound):
        store.stat(key)
    assert key not in set(store.keys(key))
    assert store.local_path(key) is None
