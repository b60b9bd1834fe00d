"""The memory store keeps the contract."""

from __future__ import annotations

import pytest

from storage.memory import MemoryStore
from tests.contracts.object_store import ObjectStoreContract


class TestMemoryStore(ObjectStoreContract):
    keeps_objects_in_memory = True

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
