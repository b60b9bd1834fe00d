"""Stores that our processes are started on: each gives the settings that name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final


@contextmanager
def _on_s3() -> Iterator[dict[str, Any]]:
    from tests.s3_server import s3_server

    with s3_server() as server:
        yield {
            "PACS_STORAGE__BACKEND": "s3",
            "PACS_STORAGE__S3__ENDPOINT": server.endpoint,
            "PACS_STORAGE__S3__ACCESS_KEY": server.access_key,
            "PACS_STORAGE__S3__SECRET_KEY": server.secret_key,
            "PACS_STORAGE__S3__SECURE": "false",
            "PACS_STORAGE__S3__BUCKET": "benchmark",
        }


@contextmanager
def _on_disk() -> Iterator[dict[str, Any]]:
    yield {"PACS_STORAGE__BACKEND": "filesystem"}


STORES: Final[dict[str, Callable[[], AbstractContextManager[dict[str, Any]]]]] = {
    "filesystem": _on_disk,
    "s3": _on_s3,
}
"""By the name of the backend."""
