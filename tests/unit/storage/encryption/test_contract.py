"""The encrypted store keeps the contract of an object store on every backend that needs no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.encryption.store import EncryptedStore
from storage.filesystem import FilesystemStore
from storage.memory import MemoryStore
from tests.contracts.encrypted import encrypted, key_file
from tests.contracts.object_store import ObjectStoreContract


class TestEncryptedFiles(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> EncryptedStore:
        return encrypted(FilesystemStore(tmp_path / "objects"), key_file(tmp_path))


class TestEncryptedMemory(ObjectStoreContract):
    keeps_objects_in_memory = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> EncryptedStore:
        return encrypted(MemoryStore(), key_file(tmp_path))


class TestEncryptionTurnedOff(ObjectStoreContract):
    """New objects are plain, encrypted ones stay readable: the rules hold all the same."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> EncryptedStore:
        store = encrypted(FilesystemStore(tmp_path / "objects"), key_file(tmp_path))
        return EncryptedStore(store.plain, store.sealed, store.keyring, encrypts=False)
