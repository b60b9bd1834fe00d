"""A store with the image objects of the corpus, as ingest would have left it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.records import StoredInstance
from storage.filesystem import FilesystemStore
from tests.corpus import storage_objects
from tests.unit.imaging.stored import store_file


class Corpus:
    """The files of the corpus in a store."""

    def __init__(self, folder: Path) -> None:
        self.store = FilesystemStore(folder)
        self._stored: dict[Path, StoredInstance] = {}

    def of(self, path: Path) -> StoredInstance:
        if path not in self._stored:
            self._stored[path] = store_file(self.store, path)
        return self._stored[path]

    def named(self, name: str) -> StoredInstance:
        return self.of(next(path for path in storage_objects() if path.name == name))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    made = Corpus(tmp_path_factory.mktemp("objects"))
    yield made
    made.store.close()
