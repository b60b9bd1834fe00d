"""An archive that the tests of a file share, for tests that look at nothing but what they stored themselves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from archive.core import Archive
from config.settings import load
from tests.conftest import TEMPLATE


@pytest.fixture(scope="module")
def shared(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    name = f"shared_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log")
    head, _, query = postgres.partition("?")
    settings = load(
        environ={},
        data_dir=tmp_path_factory.mktemp("shared"),
        database={"url": f"{head.rsplit('/', 1)[0]}/{name}?{query}", "pool_size": 2},
        storage={"minimum_free_bytes": 0},
        facilities=[{"code": "86001", "name": "A"}],
    )
    with Archive.open(settings) as opened:
        yield opened
