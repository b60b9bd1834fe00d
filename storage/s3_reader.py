"""Reading an object as it comes from an S3 server; :mod:`storage.s3` asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from urllib3.exceptions import HTTPError

from storage.base import CHUNK_SIZE
from storage.errors import IntegrityError, StorageUnavailable
from storage.s3_client import Response


class S3Reader:
    """An object, or a range of one, as it comes from the server. Holds a connection until read to the end or closed.

    Raises `StorageUnavailable` if the connection ends early or stalls, `IntegrityError` instead of giving out the
    last bytes of a whole object whose digest is wrong.
    """

    def __init__(
        self, key: str, response: Response | None, size: int, md5: str = "", object_size: int | None = None
    ) -> None:
        self.size = size
        self.object_size = size if object_size is None else object_size
        self._key = key
        self._response = response
        self._left = size
        self._open = True
        self._expected = md5
        self._digest = hashlib.md5(usedforsecurity=False)
        if not size:
            self._release()

    def read(self, length: int = -1, /) -> bytes:
        """Up to `length` bytes, all that is left if negative. Raises `StorageUnavailable`, `IntegrityError`."""
        if not self._open:
            raise ValueError(f"the reader of {self._key} is closed")
        wanted = self._left if length < 0 else min(length, self._left)
        data = b"" if not wanted else self._receive(wanted)
        if self._expected:
            self._digest.update(data)
        self._left -= len(data)
        if data and not self._left:
            self._release()
            if self._expected and self._digest.hexdigest() != self._expected:
                raise IntegrityError(f"{self._key} arrived differently from how it was stored")
        return data

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_SIZE):
            yield chunk

    def close(self) -> None:
        """Let the connection go; it is cut if the object was not read to its end. May be called twice."""
        self._open = False
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_response", None) is not None:  # forgotten: the pool would never get its connection back
            self.close()

    def _receive(self, wanted: int) -> bytes:
        if self._response is None:
            raise StorageUnavailable(f"the connection that {self._key} came by broke before")
        try:
            data = self._response.read(wanted, decode_content=False)
        except (HTTPError, OSError) as error:
            self._release()
            raise StorageUnavailable(f"cannot read {self._key}: {error}") from error
        if len(data) < wanted:
            self._release()
            raise StorageUnavailable(f"{self._key} ended {self._left - len(data)} bytes early")
        return data

    def _release(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            if self._left:
                response.close()  # what is still to come would be taken for the answer to the next request
            response.release_conn()
