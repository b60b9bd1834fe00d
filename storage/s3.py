"""Objects in a bucket of an S3 server.

An S3 server makes an object visible in one step when its upload is complete, and answers only when the object is as
durable as the server is set up to make it. So ``commit`` is the upload; until then the bytes wait in a
:class:`~storage.spool.Spool`.

Guarantees beyond that:

- **No overwriting**: uploads carry ``If-None-Match: *``. AWS, MinIO and SeaweedFS refuse if the key is taken; a server
  that ignores the header would overwrite, which the archive's unique keys keep from happening.
- **Integrity**: every body carries ``Content-MD5``, which the server checks; the ETag it answers must be the MD5 of
  what was sent (of the parts' digests for a multipart upload). Where encryption under KMS makes the ETag something
  else, the size is compared instead. Whole reads are checked against the MD5 kept in the object's metadata.
- **Requests that arrive twice**: each upload is marked with a random id, so that "the key is taken" after a lost
  answer is recognised as one's own success.

The key pair needs the rights to read, write, delete and list objects and multipart uploads. In a versioned bucket
``delete`` hides the object rather than freeing its space. A server that takes no byte for ``connect_timeout``, or
gives none for ``read_timeout``, counts as dead; with ``retries`` and the pauses between them, per request.
"""

from __future__ import annotations

import copy
import hashlib
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from config.settings import S3Settings
from storage.base import KEY_PATTERN, Buffer, ObjectStat, validate_key
from storage.errors import (
    IntegrityError,
    ObjectExists,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageError,
    StorageUnavailable,
)
from storage.s3_client import MD5_HEADER, WRITER_HEADER, Response, S3Client, UploadLost
from storage.s3_reader import S3Reader
from storage.spool import Spool
from storage.together import Together

PARALLEL_PARTS: Final = 4
"""Bodies read from disk that are on their way at once, in the whole process: this times the part size is the memory
that uploads take, whatever the number of writers."""
MAXIMUM_PARTS: Final = 10_000
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_PROBE: Final = b"provincial-pacs probe\n"


class S3Writer:
    """An object that is spooled, and uploaded when committed."""

    def __init__(
        self, client: S3Client, uploads: ThreadPoolExecutor, key: str, name: str, spool: Spool, part_size: int
    ) -> None:
        self.key = key
        self._name = name
        self._client = client
        self._uploads = uploads
        self._spool = spool
        self._part_size = part_size
        self._mark = uuid.uuid4().hex
        self._open = True
        self._reason: StorageError | None = None

    def write(self, data: Buffer) -> None:
        """Append `data`. Raises `StorageUnavailable`; from then on the writer is dead."""
        self._assert_open()
        try:
            self._spool.write(data)
        except StorageError as error:
            self._reason = error
            self.abort()
            raise

    def read_back(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` of what was written so far. Raises `StorageUnavailable`."""
        self._assert_open()
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")
        return self._spool.read(offset, length)

    @property
    def shares(self) -> bool:
        """Each is uploaded by itself."""
        return False

    def enter(self, together: Together) -> None:
        """There is nothing to share."""

    def commit(self) -> ObjectStat:
        """Upload the object. Raises `ObjectExists`, `IntegrityError`, `StorageUnavailable`.

        After `StorageUnavailable` the server may yet finish a request that it has received; ``delete`` the key
        before forgetting it.
        """
        self._assert_open()
        size = self._spool.size
        try:
            # S3 counts parts to 10000 only.
            self._part_size = max(self._part_size, -(-size // MAXIMUM_PARTS))
            expected, answered = self._upload_whole() if size <= self._part_size else self._upload_in_parts()
            if answered != expected:
                self._confirm(expected)
        except StorageError as error:
            self._reason = error
            raise
        finally:
            self.abort()
        return ObjectStat(self.key, size)

    def abort(self) -> None:
        """Drop the spool. Does nothing after ``commit`` or ``abort``."""
        self._open = False
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.abort()

    def _assert_open(self) -> None:
        if self._reason is not None:
            raise StorageUnavailable(f"the write of {self.key} failed before: {self._reason}") from self._reason
        if not self._open:
            raise ValueError(f"the writer of {self.key} is closed")

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/octet-stream",
            WRITER_HEADER: self._mark,
            MD5_HEADER: self._spool.md5.hexdigest(),
        }

    def _upload_whole(self) -> tuple[str, str]:
        """Upload in one request; the ETag that is due, and the one answered (empty if there is no telling)."""
        expected = self._spool.md5.hexdigest()
        try:
            if self._spool.in_memory:
                return expected, self._put()
            return expected, self._uploads.submit(self._put).result()
        except ObjectExists:
            return expected, ""  # perhaps our own, by a request whose answer was lost

    def _put(self) -> str:
        body = self._spool.read(0, self._spool.size)
        return self._client.put(self._name, body, self._spool.md5.digest(), self._headers())

    def _upload_in_parts(self) -> tuple[str, str]:
        """As `_upload_whole`, in parts."""
        upload_id = self._client.start_upload(self._name, self._headers())
        try:
            parts = self._put_parts(upload_id)
            digests = b"".join(digest for digest, _ in parts)
            expected = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
            try:
                answered = self._client.complete_upload(self._name, upload_id, [etag for _, etag in parts])
            except UploadLost:
                return expected, ""  # perhaps complete, by a request whose answer was lost
            except ObjectExists:
                answered = ""
            if answered != expected:
                self._abort_upload(upload_id)
            return expected, answered
        except BaseException:
            self._abort_upload(upload_id)
            raise

    def _abort_upload(self, upload_id: str) -> None:
        with suppress(StorageError):  # what stays is removed by `delete`
            self._client.abort_upload(self._name, upload_id)

    def _put_parts(self, upload_id: str) -> list[tuple[bytes, str]]:
        """Upload all parts; digest and ETag of each. Returns or raises only when none is on its way any more."""
        offsets = range(0, self._spool.size, self._part_size)
        futures: list[Future[tuple[bytes, str]]] = []
        try:
            futures += [
                self._uploads.submit(self._put_part, upload_id, number, offset)
                for number, offset in enumerate(offsets, start=1)
            ]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            wait([future for future in futures if not future.cancel()])
        done = [future for future in futures if not future.cancelled()]
        return [future.result() for future in done]  # raises if any failed; none was cancelled otherwise

    def _put_part(self, upload_id: str, number: int, offset: int) -> tuple[bytes, str]:
        body = self._spool.read(offset, self._part_size)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        return digest, self._client.put_part(self._name, upload_id, number, body, digest)

    def _confirm(self, expected: str) -> None:
        """The server did not answer with the ETag that is due: ask what it holds.

        Raises `ObjectExists` if that is not ours, `IntegrityError` if it differs from what was sent.
        """
        try:
            head = self._client.head(self._name)
        except ObjectNotFound:
            raise StorageUnavailable(f"the server did not store {self.key}") from None
        if head.writer != self._mark:
            raise ObjectExists(f"{self.key} exists")
        if head.size != self._spool.size or (head.etag_is_md5 and head.etag != expected):
            with suppress(StorageError):
                self._client.remove(self._name)
            raise IntegrityError(f"the server holds {self.key} as {head.size} bytes with ETag {head.etag}")


class S3Store:
    """A store in one bucket of an S3 server. Objects on their way there wait in `spool` if they are large."""

    name = "s3"

    def __init__(self, settings: S3Settings, spool: Path) -> None:
        """Connect to nothing yet; call `ensure_bucket` once. Raises `StorageUnavailable` for a senseless endpoint."""
        self._client = S3Client(settings)
        self._part_size = settings.part_size
        self._spool = spool
        self._suffix = ""
        self._uploads = ThreadPoolExecutor(min(PARALLEL_PARTS, settings.max_connections), "s3-upload")

    def sibling(self, suffix: str) -> Self:
        """A store of the objects whose names end with `suffix`; see `FilesystemStore.sibling`. Close one of the two."""
        twin = copy.copy(self)
        twin._suffix = suffix
        return twin

    def ensure_bucket(self) -> None:
        """Make the bucket if it is missing. Raises `StorageUnavailable`."""
        self._client.ensure_bucket()

    def create(self, key: str, *, indexed: bool = False) -> S3Writer:  # noqa: ARG002  part of the contract
        """Start to write `key`. Raises `InvalidKey`; that the key is taken is found at ``commit``."""
        return self._writer(key, self._name(key))

    def open(self, key: str) -> S3Reader:
        """Read the whole object. Raises `InvalidKey`, `ObjectNotFound`, `StorageUnavailable`."""
        response = self._client.get(self._name(key))
        md5 = response.headers.get(MD5_HEADER, "")
        return self._reader(key, response, md5 if _MD5.fullmatch(md5) else "")

    def open_range(self, key: str, offset: int, length: int) -> S3Reader:
        """Read a range. Raises `InvalidKey`, `RangeNotSatisfiable`, `ObjectNotFound`, `StorageUnavailable`."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")
        name = self._name(key)
        if not length:  # HTTP has no such range
            size = self.stat(key).size
            if offset >= size:
                raise RangeNotSatisfiable(f"{key} has no byte {offset}")
            return S3Reader(key, None, 0, object_size=size)
        response = self._client.get(name, f"bytes={offset}-{offset + length - 1}")
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if response.status != 206 or found is None or int(found[1]) != offset or int(found[2]) >= offset + length:
            S3Reader(key, response, 1).close()
            raise StorageUnavailable(f"the server answered another range of {key} than was asked for")
        return self._reader(key, response, object_size=int(found[3]))

    def stat(self, key: str) -> ObjectStat:
        """Size of the object. Raises `InvalidKey`, `ObjectNotFound`, `StorageUnavailable`."""
        return ObjectStat(key, self._client.head(self._name(key)).size)

    def delete(self, key: str) -> None:
        """Remove the object and its unfinished multipart uploads. Raises `InvalidKey`, `StorageUnavailable`."""
        name = self._name(key)
        # Uploads first: one completed by another process after the object's removal would bring it back.
        for upload_id in self._client.uploads(name):
            self._client.abort_upload(name, upload_id)
        self._client.remove(name)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that start with `prefix`. Raises `StorageUnavailable`."""
        for name in self._client.names(prefix):
            key = name.removesuffix(self._suffix)
            if name.endswith(self._suffix) and KEY_PATTERN.fullmatch(key):
                yield key

    def local_path(self, key: str) -> Path | None:
        """None: there are no files. Raises `InvalidKey`."""
        validate_key(key)
        return None

    def upload(self, key: str, spool: Spool) -> None:
        """Store what is in the spool, which is closed then; nobody else may do so with this key meanwhile.

        Raises as `S3Writer.commit`. What an upload of it left that was broken off is removed.
        """
        name = self._name(key)
        with S3Writer(self._client, self._uploads, key, name, spool, self._part_size) as writer:
            if spool.size > self._part_size:
                for upload_id in self._client.uploads(name):
                    self._client.abort_upload(name, upload_id)
            writer.commit()

    def held(self, keys: Collection[str]) -> set[str]:
        """Those of the keys that the server has, plain or otherwise, found by listing. Raises `StorageUnavailable`."""
        folders = {key.rpartition("/")[0] for key in keys}
        names = (name for folder in folders for name in self._client.names(folder and f"{folder}/"))
        return {name.partition(".")[0] for name in names}.intersection(keys)

    def recover(self, known: Callable[[Sequence[str]], Collection[str]]) -> int:  # noqa: ARG002  part of the contract
        """What was committed is with the server."""
        return 0

    def check(self) -> None:
        """Write, read and delete an object. Raises `StorageUnavailable` with the reason."""
        # Not in the key grammar, so that nobody who lists the keys takes a probe for an object.
        name = f".probe-{uuid.uuid4().hex}"
        try:
            with self._writer(name, name) as writer:
                writer.write(_PROBE)
                writer.commit()
            try:
                with self._reader(name, self._client.get(name)) as reader:
                    if reader.read() != _PROBE:
                        raise StorageUnavailable("the probe was read back differently")
            finally:
                self._client.remove(name)
        except StorageUnavailable:
            raise
        except StorageError as error:
            raise StorageUnavailable(f"cannot use bucket {self._client.bucket}: {error}") from error

    def close(self) -> None:
        """Wait for uploads that run, then close all connections."""
        self._uploads.shutdown()
        self._client.close()

    def _name(self, key: str) -> str:
        return validate_key(key) + self._suffix

    def _writer(self, key: str, name: str) -> S3Writer:
        return S3Writer(self._client, self._uploads, key, name, Spool(self._spool), self._part_size)

    def _reader(self, key: str, response: Response, md5: str = "", object_size: int | None = None) -> S3Reader:
        length = response.headers.get("content-length", "")
        if not length.isdecimal():
            S3Reader(key, response, 1).close()
            raise StorageUnavailable(f"the server does not say how long {key} is")
        return S3Reader(key, response, int(length), md5, object_size)
