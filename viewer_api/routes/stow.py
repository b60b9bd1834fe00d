"""STOW-RS: store instances (PS3.18 10.5)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email.message import Message
from typing import Any, Final, Protocol

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.core import Archive
from archive.errors import CannotParse, NotPermitted
from archive.people.roles import Right
from archive.records import Source
from archive.standard.uids import check_uid
from config.peers import UNKNOWN_FACILITY
from viewer_api.addresses import DICOMWEB, address_of, dicomweb_root
from viewer_api.audited import stored
from viewer_api.datasets import negotiate_one, one_dataset
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.media_types import DICOM, DICOM_JSON, DICOM_XML, JSON, MULTIPART
from viewer_api.multipart_reader import MultipartReader
from viewer_api.problems import UnsupportedMediaType, archive_problem
from viewer_api.store_metadata import MetadataSession
from viewer_api.store_report import StoreReport
from viewer_api.store_session import StoreSession
from viewer_api.views import FACILITY_HEADER, scope_for

router = APIRouter(prefix=DICOMWEB, tags=["STOW-RS"], dependencies=[needs(Right.STORE)])

_PIECE: Final = 1 << 20
"""Bytes handed to a worker thread at a time; the server gives some 64 to 256 KiB, and each change of threads costs."""

_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_REPORT: Final = {"content": {"application/dicom+json": {"schema": {"type": "object"}}}}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_OPTIONS: Final[dict[str, Any]] = {
    "response_class": Response,
    "responses": {
        200: {"description": "All instances were stored", **_REPORT},
        202: {"description": "Some instances were not stored, or were stored with a warning", **_REPORT},
        400: {"description": "The body holds no part", **_PROBLEM},
        406: {"description": "Only JSON and XML can be given", **_PROBLEM},
        409: {"description": "No instance was stored; the report says why", **_REPORT},
        413: {"description": "The body is larger than the settings allow", **_PROBLEM},
        415: {"description": "The body is neither DICOM files nor metadata with bulk data", **_PROBLEM},
        503: {"description": "Nothing can be stored now", **_PROBLEM},
    },
    "openapi_extra": {"requestBody": {"required": True, "content": {MULTIPART: _BINARY, DICOM: _BINARY}}},
}


class _Body(Protocol):
    """Takes a request body in pieces."""

    def feed(self, chunk: bytes) -> None: ...
    def close(self) -> None: ...


class _Session(Protocol):
    """Stores what the body brings."""

    report: StoreReport

    def abandon(self) -> None: ...


class _Multipart:
    """A body of files, or of metadata and bulk data."""

    def __init__(self, boundary: str, session: StoreSession | MetadataSession) -> None:
        self._reader = MultipartReader(boundary, session)
        self._session = session

    def feed(self, chunk: bytes) -> None:
        self._reader.feed(chunk)

    def close(self) -> None:
        self._reader.close()
        self._session.close()


class _SinglePart:
    """A body that is one Part 10 file."""

    def __init__(self, session: StoreSession, content_type: str) -> None:
        self._session = session
        self._size = 0
        session.begin({"content-type": content_type})

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._session.data(memoryview(chunk))

    def close(self) -> None:
        if not self._size:
            self._session.abandon()
            raise CannotParse("the body is empty")
        self._session.end()
        self._session.close()


class _Feeder:
    """Gives a body its pieces, in a worker thread, while the event loop reads the next: two are in memory at most."""

    def __init__(self, body: _Body) -> None:
        self._body = body
        self._task: asyncio.Task[None] | None = None

    async def take(self, piece: bytes) -> None:
        """Begin with a piece as soon as the one before is done. Raises what that one raised."""
        await self.rest()
        self._task = asyncio.create_task(to_thread.run_sync(self._body.feed, piece))

    async def rest(self) -> None:
        """Wait for the last piece. Raises what it raised."""
        if self._task is not None:
            # Not awaited itself: who is cancelled while he waits must not cancel it, for the thread works on.
            await asyncio.wait({self._task})
            task, self._task = self._task, None
            task.result()

    async def stop(self) -> None:
        """Wait until nothing works on the body any more, whatever came of it."""
        with suppress(Exception):
            await self.rest()


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
    body, session = _body(request, archive, study)
    feeder = _Feeder(body)
    try:
        held: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            held.append(chunk)
            size += len(chunk)
            if size >= _PIECE:
                await feeder.take(b"".join(held))
                held, size = [], 0
        if held:
            await feeder.take(b"".join(held))
        await feeder.rest()
        await to_thread.run_sync(body.close)
    finally:
        # A caller that left, or a server that stops, must not leave half an object behind.
        with CancelScope(shield=True):
            await feeder.stop()
            await to_thread.run_sync(session.abandon)
    report = session.report
    if outage := report.outage():
        return archive_problem(outage)
    await to_thread.run_sync(stored, request, archive, report.receipts, len(report.failures))
    return one_dataset(report.to_json(dicomweb_root(request)), form, report.status())


def _source(request: Request, archive: Archive) -> Source:
    """Where the objects come from: a facility that the caller may store for.

    Raises `NotPermitted` if there are several and the request does not say which. Who may store for all need not say.
    """
    where = scope_for(request, Right.STORE).facilities
    given = request.headers.get(FACILITY_HEADER, "")
    if where is None:
        facility = archive.peers.facility(given) if given in archive.peers.facilities else UNKNOWN_FACILITY
        if given and facility.code != given:
            raise NotPermitted(f"{FACILITY_HEADER} names no facility of this archive")
    else:
        code = given or (next(iter(where)) if len(where) == 1 else "")
        if code not in where:
            raise NotPermitted(f"{FACILITY_HEADER} has to name the facility for which this is stored")
        facility = archive.peers.facility(code)
    return Source(
        facility=facility.code,
        issuer_of_patient_id=facility.issuer,
        transport="stow",
        address=address_of(request),
    )


def _body(request: Request, archive: Archive, study: str | None) -> tuple[_Body, _Session]:
    """The reader for a body of this type (PS3.18 10.5.1.1, 8.7.3.2), and who stores what it reads."""
    content_type = request.headers.get("content-type", "")
    header = Message()
    header["content-type"] = content_type
    media_type = header.get_content_type() if content_type else ""
    state = request.app.state
    session = StoreSession(archive, _source(request, archive), study, state.metrics, state.storing)
    if media_type == DICOM:
        return _SinglePart(session, content_type), session
    if media_type != MULTIPART:
        raise UnsupportedMediaType(f"Content-Type must be {MULTIPART} or {DICOM}.")
    root = str(header.get_param("type") or DICOM).strip().lower()
    boundary = _boundary(header)
    if root == DICOM:
        return _Multipart(boundary, session), session
    if root in (DICOM_JSON, JSON, DICOM_XML):
        described = MetadataSession(archive, _source(request, archive), study, state.metrics, root)
        return _Multipart(boundary, described), described
    raise UnsupportedMediaType(f"The type of {MULTIPART} must be {DICOM}, {DICOM_JSON} or {DICOM_XML}.")


def _boundary(header: Message) -> str:
    boundary = header.get_param("boundary")
    # RFC 2046 5.1.1; some clients send longer ones, which do no harm.
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 256 or not boundary.isascii():
        raise CannotParse("Content-Type has no usable boundary")
    return boundary
