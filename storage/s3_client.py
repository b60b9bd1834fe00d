"""The S3 requests that the store makes, through the MinIO SDK, with every failure as an error of the store.

The SDK's own ``put_object`` can neither refuse to overwrite nor have the server check a digest over plain HTTP, and
it keeps listing and aborting of multipart uploads to itself. So requests go through ``Minio._execute``, the one
private name used here; the SDK still signs, retries and parses errors.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

import urllib3
from minio import Minio
from minio.datatypes import ListMultipartUploadsResult
from minio.error import InvalidResponseError, MinioException, S3Error
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from config.settings import S3Settings
from storage.errors import (
    IntegrityError,
    ObjectExists,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageError,
    StorageUnavailable,
)

Response = urllib3.BaseHTTPResponse

_ERRORS: Final[Mapping[str, type[StorageError]]] = {
    "NoSuchKey": ObjectNotFound,
    "InvalidRange": RangeNotSatisfiable,
    "PreconditionFailed": ObjectExists,
    "ConditionalRequestConflict": ObjectExists,
    "BadDigest": IntegrityError,
    "InvalidDigest": IntegrityError,
    "XAmzContentSHA256Mismatch": IntegrityError,
}
_RETRIED_STATUS: Final = (429, 500, 502, 503, 504)
_SEND_SIZE: Final = 64 * 1024
_MAXIMUM_BACKOFF: Final = 5.0
WRITER_HEADER: Final = "x-amz-meta-writer"
MD5_HEADER: Final = "x-amz-meta-md5"


class UploadLost(StorageUnavailable):
    """The server does not know the multipart upload: it was aborted, or is complete already."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the server says about an object."""

    size: int
    etag: str
    etag_is_md5: bool
    writer: str
    """The mark that its writer left, to tell one's own object from another's."""


class _Pool(urllib3.PoolManager):
    """A pool that waits a bounded time for a free connection; the SDK gives no way to say so."""

    def __init__(self, settings: S3Settings) -> None:
        retries = settings.retries
        super().__init__(
            maxsize=settings.max_connections,
            block=True,
            timeout=Timeout(connect=settings.connect_timeout, read=settings.read_timeout),
            cert_reqs="CERT_REQUIRED",
            retries=Retry(
                total=retries,
                redirect=0,  # a signature is good for one host only
                raise_on_redirect=False,
                raise_on_status=False,
                allowed_methods=None,  # all: a request that arrives twice is recognised, see S3Writer
                status_forcelist=_RETRIED_STATUS,
                backoff_factor=0.2,
                backoff_max=_MAXIMUM_BACKOFF,
                respect_retry_after_header=False,  # a modality does not wait for as long as a server may ask
            ),
        )
        self._wait = settings.read_timeout

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Response:  # type: ignore[override]
        kw.setdefault("pool_timeout", self._wait)
        body = kw.get("body")
        if isinstance(body, bytes) and len(body) > _SEND_SIZE:
            # While sending, the connect timeout is in force, and a socket applies it to all of the bytes given to it
            # at once: 16 MiB would have to leave within 5 s. In pieces, it bounds how long the line may stand still.
            view = memoryview(body)
            kw["body"] = [view[start : start + _SEND_SIZE] for start in range(0, len(body), _SEND_SIZE)]
        return super().urlopen(method, url, redirect=redirect, **kw)


class S3Client:
    """One bucket of an S3 server. Every method raises errors of the storage tree only."""

    def __init__(self, settings: S3Settings) -> None:
        """Connect to nothing yet. Raises `StorageUnavailable` if the endpoint makes no sense."""
        self.bucket = settings.bucket
        self._pool = _Pool(settings)
        with translated(f"cannot use {settings.endpoint}"):
            self._minio = Minio(
                settings.endpoint,
                access_key=settings.access_key.get_secret_value(),
                secret_key=settings.secret_key.get_secret_value(),
                secure=settings.secure,
                region=settings.region,
                http_client=self._pool,
            )

    def ensure_bucket(self) -> None:
        """Make the bucket if it is missing."""
        with translated(f"cannot use bucket {self.bucket}"):
            if self._minio.bucket_exists(self.bucket):
                return
            try:
                self._minio.make_bucket(self.bucket)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":  # made by another process in between
                    raise

    def put(self, key: str, body: bytes, md5: bytes, headers: Mapping[str, str]) -> str:
        """Upload a whole object, with the digest `md5`, unless the key is taken; the ETag that the server gives it."""
        with translated(f"cannot store {key}"):
            response = self._request("PUT", key, body=body, headers={**headers, **_digest(md5), "If-None-Match": "*"})
            return _etag(response)

    def start_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """Start a multipart upload; its id."""
        with translated(f"cannot store {key}"):
            response = self._request("POST", key, headers=dict(headers), query={"uploads": ""})
            return _text(response, "UploadId")

    def put_part(self, key: str, upload_id: str, number: int, body: bytes, md5: bytes) -> str:
        """Upload one part, counted from 1, with the digest `md5`; its ETag."""
        with translated(f"cannot store part {number} of {key}"):
            query = {"partNumber": str(number), "uploadId": upload_id}
            return _etag(self._request("PUT", key, body=body, headers=_digest(md5), query=query))

    def complete_upload(self, key: str, upload_id: str, etags: list[str]) -> str:
        """Make the object of its parts unless the key is taken; its ETag, empty if the server does not tell."""
        root = ElementTree.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for number, etag in enumerate(etags, start=1):
            part = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(part, "PartNumber").text = str(number)
            ElementTree.SubElement(part, "ETag").text = f'"{etag}"'
        body = ElementTree.tostring(root)
        headers = {"Content-Type": "application/xml", "If-None-Match": "*"}
        headers |= _digest(hashlib.md5(body, usedforsecurity=False).digest())
        with translated(f"cannot complete {key}"):
            response = self._request("POST", key, body=body, headers=headers, query={"uploadId": upload_id})
            # The server may answer 200 and report an error in the body: then there is no ETag.
            return _text(response, "ETag", required=False).strip('"')

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Give up a multipart upload; no error if the server does not know it."""
        try:
            with translated(f"cannot abort the upload of {key}"):
                self._request("DELETE", key, query={"uploadId": upload_id})
        except UploadLost:
            pass

    def uploads(self, key: str) -> list[str]:
        """Ids of unfinished multipart uploads of `key`. One page: the key itself sorts before longer ones."""
        with translated(f"cannot list the uploads of {key}"):
            query = {"uploads": "", "prefix": key, "max-uploads": "1000"}
            found = ListMultipartUploadsResult(self._request("GET", None, query=query))
            return [str(upload.upload_id) for upload in found.uploads if upload.object_name == key]

    def get(self, key: str, byte_range: str = "") -> Response:
        """Start to read an object; the body is still to come, and the caller must release the connection."""
        headers = {"Range": byte_range} if byte_range else {}
        with translated(f"cannot read {key}"):
            return self._request("GET", key, headers=headers, preload_content=False)

    def head(self, key: str) -> Head:
        """What the server knows about an object. Raises `ObjectNotFound`."""
        try:
            with translated(f"cannot look up {key}"):
                headers = self._request("HEAD", key).headers
        except ObjectNotFound:
            # A HEAD has no body to say whether the object or the whole bucket is missing, and "not found" for
            # every object would be taken for lost images.
            with translated(f"cannot look up {key}"):
                if not self._minio.bucket_exists(self.bucket):
                    raise StorageUnavailable(f"there is no bucket {self.bucket}") from None
            raise
        with translated(f"cannot look up {key}"):
            return Head(
                size=int(headers["content-length"]),
                etag=headers.get("etag", "").strip('"'),
                etag_is_md5=not headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"),
                writer=headers.get(WRITER_HEADER, ""),
            )

    def remove(self, key: str) -> None:
        """Remove an object; no error if there is none."""
        with translated(f"cannot delete {key}"):
            self._minio.remove_object(self.bucket, key)

    def names(self, prefix: str) -> Iterator[str]:
        """Names of objects in the bucket that start with `prefix`, page by page."""
        with translated(f"cannot list bucket {self.bucket}"):
            for found in self._minio.list_objects(self.bucket, prefix=prefix, recursive=True):
                if found.object_name:
                    yield found.object_name

    def close(self) -> None:
        """Close all idle connections."""
        self._pool.clear()

    def _request(
        self,
        method: str,
        key: str | None,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        preload_content: bool = True,
    ) -> Response:
        return self._minio._execute(
            method,
            self.bucket,
            key,
            body=body,
            headers=dict(headers or {}),
            query_params=dict(query or {}),
            preload_content=preload_content,
            no_body_trace=True,
        )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise what goes wrong inside as an error of the storage tree."""
    try:
        yield
    except StorageError:
        raise
    except S3Error as error:
        if error.code == "NoSuchUpload":
            raise UploadLost(f"{doing}: {error.message}") from error
        raise _ERRORS.get(error.code or "", StorageUnavailable)(f"{doing}: {error.code}: {error.message}") from error
    except InvalidResponseError as error:  # its text holds all of the response
        raise StorageUnavailable(f"{doing}: the server gave no S3 answer: {str(error)[:200]}") from error
    except (MinioException, HTTPError, OSError) as error:
        raise StorageUnavailable(f"{doing}: {error}") from error
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise StorageUnavailable(f"{doing}: the server's answer makes no sense: {error!r}") from error


def _digest(md5: bytes) -> dict[str, str]:
    """So that the server refuses a body damaged on the way; not all servers check the signature's SHA-256."""
    return {"Content-MD5": base64.b64encode(md5).decode()}


def _etag(response: Response) -> str:
    return response.headers.get("etag", "").strip('"')


def _text(response: Response, name: str, *, required: bool = True) -> str:
    """Text of the child `name` of the response's XML, in whatever namespace."""
    for element in ElementTree.fromstring(response.data):  # noqa: S314  the server is the one we trust with the images
        if element.tag.rpartition("}")[2] == name and element.text:
            return element.text
    if required:
        raise ValueError(f"no {name}")
    return ""
