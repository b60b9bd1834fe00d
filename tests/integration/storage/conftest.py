"""One S3 server for all tests of this folder (one per worker under xdist)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from config.settings import S3Settings
from tests.s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


def settings_for(server: S3Server, **changes: Any) -> S3Settings:
    """Settings for `server`, with the smallest parts that S3 allows, and `changes`."""
    values: dict[str, Any] = {
        "endpoint": server.endpoint,
        "bucket": "pacs-test",
        "access_key": SecretStr(server.access_key),
        "secret_key": SecretStr(server.secret_key),
        "secure": False,
        "part_size": 5 << 20,
    }
    return S3Settings(**{**values, **changes})
