"""The dataset in the body of a request: DICOM JSON model or Native DICOM Model (PS3.18 8.7, F.2; PS3.19 A.1)."""

from __future__ import annotations

from typing import Annotated, Final

import orjson
from anyio import to_thread
from fastapi import Depends, Request

from archive.errors import CannotParse
from archive.standard.xml_reader import read_native_xml
from viewer_api.media_types import DICOM_JSON, DICOM_XML, JSON, canonical
from viewer_api.problems import RequestTooLarge, UnsupportedMediaType

LONGEST: Final = 4 << 20
"""Bytes of a workitem; one with thousands of input instances has about one million."""


async def read_payload(request: Request) -> object:
    """The dataset, not checked. Raises `UnsupportedMediaType` (415), `RequestTooLarge` (413), `CannotParse` (400)."""
    given = canonical(request.headers.get("content-type", "").partition(";")[0])
    if given == DICOM_XML:
        # It may take a second, in which the event loop serves others.
        return await to_thread.run_sync(read_native_xml, await _body(request))
    if given not in (DICOM_JSON, JSON):
        raise UnsupportedMediaType(f"Content-Type must be {DICOM_JSON}, {JSON} or {DICOM_XML}.")
    return _parsed(await _body(request))


async def read_optional_payload(request: Request) -> object:
    """The same; an empty dataset where there is no body at all."""
    if "content-type" not in request.headers and not await _body(request):
        return {}
    return await read_payload(request)


async def _body(request: Request) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > LONGEST:
        raise RequestTooLarge(LONGEST)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST:
            raise RequestTooLarge(LONGEST)
    return bytes(body)


def _parsed(body: bytes) -> object:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CannotParse(f"the body is no JSON: {error.msg} at character {error.pos}") from None
    if isinstance(found, list):
        if len(found) != 1:
            raise CannotParse("the body must hold one dataset")
        return found[0]
    return found


Payload = Annotated[object, Depends(read_payload)]
OptionalPayload = Annotated[object, Depends(read_optional_payload)]
