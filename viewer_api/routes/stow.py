"""STOW-RS: store instances (PS3.18 10.5)."""

from __future__ import annotations

from email.message import Message
from typing import Any, Final, Protocol

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.errors import CannotParse
from archive.records import Source
from archive.standard.uids import check_uid
from config.peers import UNKNOWN_FACILITY
from viewer_api.addresses import DICOMWEB, dicomweb_root
from viewer_api.datasets import negotiate_one, one_dataset
from viewer_api.deps import ArchiveDep
from viewer_api.media_types import DICOM, MULTIPART
from viewer_api.multipart_reader import MultipartReader
from viewer_api.problems import UnsupportedMediaType, archive_problem
from viewer_api.store_session import StoreSession

router = APIRouter(prefix=DICOMWEB, tags=["STOW-RS"])

_PIECE: Final = 1 << 20
"""Bytes handed to a worker thread at a time; the server gives about 64 KiB, and each change of threads costs."""

_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_REPORT: Final = {"content": {"application/dicom+json": {"schema": {"type": "object"}}}}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_OPTIONS: Final[dict[str, Any]] = {
    "response_class": Response,
    "responses": {
        200: {"description": "All instances were stored", **_REPORT},
        202: {"description": "Some instances were not stored, or were stored with a warning", **_REPORT},
        400: {"description": "The body holds no part", **_PROBLEM},
        406: {"description": "Only JSON can be given", **_PROBLEM},
        409: {"description": "No instance was stored; the report says why", **_REPORT},
        413: {"description": "The body is larger than the settings allow", **_PROBLEM},
        415: {"description": "The body is neither multipart/related of application/dicom nor that", **_PROBLEM},
        503: {"description": "Nothing can be stored now", **_PROBLEM},
    },
    "openapi_extra": {"requestBody": {"required": True, "content": {MULTIPART: _BINARY, DICOM: _BINARY}}},
}


class _Body(Protocol):
    """Takes a request body in pieces."""

    def feed(self, chunk: bytes) -> None: ...
    def close(self) -> None: ...


class _SinglePart:
    """A body that is one Part 10 file."""

    def __init__(self, session: StoreSession) -> None:
        self._session = session
        self._size = 0
        session.begin({})

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._session.data(memoryview(chunk))

    def close(self) -> None:
        if not self._size:
            self._session.abandon()
            raise CannotParse("the body is empty")
        self._session.end()


@router.post("/studies", summary="Store instances", **_OPTIONS)
async def store_instances(request: Request, archive: ArchiveDep) -> Response:
    """Store instances of any study."""
    return await _store(request, archive, None)


@router.post("/studies/{study}", summary="Store instances of a study", **_OPTIONS)
async def store_study_instances(request: Request, archive: ArchiveDep, study: str) -> Response:
    """Store instances of one study; those of another are refused."""
    return await _store(request, archive, check_uid(study, "StudyInstanceUID"))


async def _store(request: Request, archive: ArchiveDep, study: str | None) -> Response:
    form = negotiate_one(request)
    session = StoreSession(archive, _source(request), study, request.app.state.metrics)
    body = _body(request.headers.get("content-type", ""), session)
    try:
        held = bytearray()
        async for chunk in request.stream():
            held += chunk
            if len(held) >= _PIECE:
                await to_thread.run_sync(body.feed, bytes(held))
                held.clear()
        await to_thread.run_sync(_finish, body, bytes(held))
    finally:
        # A caller that left, or a server that stops, must not leave half an object behind.
        with CancelScope(shield=True):
            await to_thread.run_sync(session.abandon)
    report = session.report
    if outage := report.outage():
        return archive_problem(outage)
    return one_dataset(report.to_json(dicomweb_root(request)), form, report.status())


def _finish(body: _Body, rest: bytes) -> None:
    if rest:
        body.feed(rest)
    body.close()


def _source(request: Request) -> Source:
    """Where the objects come from. Until users sign in, nobody can say for which facility they send."""
    return Source(
        facility=UNKNOWN_FACILITY.code,
        issuer_of_patient_id=UNKNOWN_FACILITY.issuer,
        transport="stow",
        address=request.client.host if request.client else "",
    )


def _body(content_type: str, session: StoreSession) -> _Body:
    """The reader for a body of this type (PS3.18 10.5.1.1, 8.7.3.2)."""
    header = Message()
    header["content-type"] = content_type
    media_type = header.get_content_type() if content_type else ""
    if media_type == DICOM:
        return _SinglePart(session)
    if media_type != MULTIPART:
        raise UnsupportedMediaType(f'Content-Type must be {MULTIPART}; type="{DICOM}" or {DICOM}.')
    root = str(header.get_param("type") or DICOM).strip().lower()
    if root != DICOM:
        raise UnsupportedMediaType(f"Parts of type {DICOM} can be stored, and of no other type.")
    boundary = header.get_param("boundary")
    # RFC 2046 5.1.1; some clients send longer ones, which do no harm.
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 256 or not boundary.isascii():
        raise CannotParse("Content-Type has no usable boundary")
    return MultipartReader(boundary, session)
