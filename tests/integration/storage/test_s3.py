"""The S3 store keeps the contract on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.s3 import S3Store
from tests.contracts.object_store import ObjectStoreContract
from tests.integration.storage.conftest import settings_for
from tests.s3_server import S3Server


@pytest.fixture(scope="module")
def store(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    store = S3Store(settings_for(server), tmp_path_factory.mktemp("spool"))
    store.ensure_bucket()
    yield store
    store.close()


class TestS3Store(ObjectStoreContract):
    pass
