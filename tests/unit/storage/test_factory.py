"""The settings choose the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import load
from storage.errors import StorageUnavailable
from storage.factory import open_store
from storage.filesystem import FilesystemStore
from storage.memory import MemoryStore


def test_given_nothing_set_then_files_under_the_data_folder(tmp_path: Path) -> None:
    store = open_store(load(environ={}, data_dir=tmp_path, storage={"minimum_free_bytes": 0}))
    assert isinstance(store, FilesystemStore)
    assert (tmp_path / "objects").is_dir()


def test_given_a_minimum_of_free_space_then_it_is_kept(tmp_path: Path) -> None:
    store = open_store(load(environ={}, storage={"root": tmp_path / "o", "minimum_free_bytes": 1 << 60}))
    with pytest.raises(StorageUnavailable):
        store.create("a")


def test_given_memory_then_memory() -> None:
    assert isinstance(open_store(load(environ={}, storage={"backend": "memory"})), MemoryStore)


def test_given_an_s3_server_that_is_not_there_then_unavailable_at_start(tmp_path: Path) -> None:
    server = {"endpoint": "127.0.0.1:1", "access_key": "a", "secret_key": "b", "secure": False, "retries": 0}
    with pytest.raises(StorageUnavailable):
        open_store(load(environ={}, data_dir=tmp_path, storage={"backend": "s3", "s3": server}))


def test_given_a_senseless_endpoint_then_unavailable_at_start(tmp_path: Path) -> None:
    server = {"endpoint": "http://a/b", "access_key": "a", "secret_key": "b"}
    with pytest.raises(StorageUnavailable):
        open_store(load(environ={}, data_dir=tmp_path, storage={"backend": "s3", "s3": server}))
