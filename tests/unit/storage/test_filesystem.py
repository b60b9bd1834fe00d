"""The filesystem store keeps the contract, and what is special about files."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.filesystem import FilesystemStore
from tests.contracts.object_store import ObjectStoreContract


class TestFilesystemStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FilesystemStore:
        return FilesystemStore(tmp_path / "objects")
