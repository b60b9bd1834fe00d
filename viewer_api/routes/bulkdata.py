"""Bulk data that metadata refers to (PS3.18 10.4.1.1.5)."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from archive.core import Archive
from archive.imaging.transcode import native_frames
from archive.metadata import parse_bulk_path, read_bulkdata
from archive.records import StoredInstance
from archive.retrieve import PixelElement, pixel_element, read_fragments, read_header, read_native
from viewer_api import multipart
from viewer_api.addresses import DICOMWEB
from viewer_api.deps import ArchiveDep
from viewer_api.media_types import OCTET_STREAM, MediaRange, Offer, choose, media_type_of_syntax
from viewer_api.routes.frames import all_frames, frames_response
from viewer_api.routes.resources import INSTANCE, accepts, located_instance
from viewer_api.streaming import stream

router = APIRouter(prefix=DICOMWEB, tags=["WADO-RS bulk data"])

_SINGLE: Final = Offer(OCTET_STREAM, False)
_PARTS: Final = Offer(OCTET_STREAM, True)
_ENCAPSULATED_DOCUMENT: Final = "00420011"
_RANGE = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+")


@router.get(INSTANCE + "/bulkdata/{path:path}", name="retrieve_bulkdata", response_class=Response)
def retrieve_bulkdata(
    request: Request, archive: ArchiveDep, study: str, series: str, instance: str, path: str
) -> Response:
    """One value, as the BulkDataURI of the metadata names it: the tag, below items of sequences their path."""
    inst = located_instance(request, archive, study, series, instance)
    bulk_path = parse_bulk_path(path)
    pixels = pixel_element(archive.store, inst)
    if pixels is not None and bulk_path == [f"{pixels.tag:08X}"]:
        return _pixels(request, archive, inst, pixels)
    value = read_bulkdata(archive.store, inst, bulk_path).value
    offers: tuple[Offer, ...] = (_SINGLE, _PARTS)
    if bulk_path == [_ENCAPSULATED_DOCUMENT]:
        offers = (*offers, *_document(archive, inst))
    offer, _ = choose(accepts(request), offers)
    return _value(request, offer, [value], len(value))


def _document(archive: Archive, inst: StoredInstance) -> tuple[Offer, ...]:
    """The media type of an encapsulated document (PS3.3 C.24.2), which viewers show as it is."""
    name = str(read_header(archive.store, inst).get("MIMETypeOfEncapsulatedDocument") or "").strip().lower()
    # What a browser would run is given as octets only.
    if not _MEDIA_TYPE.fullmatch(name) or name in ("text/html", "image/svg+xml", "application/xhtml+xml"):
        return ()
    return Offer(name, False), Offer(name, True)


def _pixels(request: Request, archive: Archive, inst: StoredInstance, pixels: PixelElement) -> Response:
    """The pixels: native ones in one piece; compressed ones frame by frame, or decoded; videos as a stream."""
    ranges = accepts(request)
    kind = media_type_of_syntax(inst.object.transfer_syntax_uid)
    if pixels.length is not None:
        offer, _ = choose(ranges, (_SINGLE, _PARTS))
        return _value(request, offer, read_native(archive.store, inst, pixels), pixels.length)
    if kind.startswith("video/") or inst.object.frame_table is None:
        offer, _ = choose(ranges, (Offer(kind, False), Offer(kind, True), _SINGLE, _PARTS))
        return _value(request, offer, read_fragments(archive.store, inst, pixels), None)
    numbers = all_frames(archive, inst)
    if _wants_decoded(ranges):
        size, frames = native_frames(archive.store, inst, numbers, archive.settings.web.maximum_decoded_bytes)
        return _value(request, _SINGLE, frames, size * len(numbers))
    return frames_response(archive, inst, numbers, ranges)


def _wants_decoded(ranges: Iterable[MediaRange]) -> bool:
    wanted = next(iter(ranges), None)
    return wanted is not None and wanted.multipart is not True and wanted.matches(OCTET_STREAM)


def _value(request: Request, offer: Offer, chunks: Iterable[bytes], length: int | None) -> Response:
    if offer.multipart:
        boundary = multipart.new_boundary()
        parts = [multipart.Part(offer.media_type, chunks, length)]
        content_type = multipart.content_type(boundary, offer.media_type)
        return stream(multipart.write(parts, boundary), content_type, length=multipart.length(parts, boundary))
    if length is None:
        return stream(_generator(chunks), offer.media_type)
    start, end = _range(request.headers.get("range"), length)
    headers = {"Accept-Ranges": "bytes"}
    if (start, end) == (0, length):
        return stream(_generator(chunks), offer.media_type, length=length, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
    body = _cut(chunks, start, end)
    return stream(body, offer.media_type, length=end - start, status=206, headers=headers)


def _range(header: str | None, length: int) -> tuple[int, int]:
    """The bytes asked for (RFC 9110 14.1.2); everything if there is no range, or one of several parts."""
    found = _RANGE.fullmatch((header or "").replace(" ", ""))
    if found is None or not any(found.groups()):
        return 0, length
    first, last = found.groups()
    start = int(first) if first else max(0, length - int(last))
    end = min(length, int(last) + 1) if first and last else length
    if start >= end:
        raise HTTPException(416, f"the value has {length} bytes", {"Content-Range": f"bytes */{length}"})
    return start, end


def _cut(chunks: Iterable[bytes], start: int, end: int) -> Generator[bytes, None, None]:
    at = 0
    for chunk in chunks:
        if at + len(chunk) > start:
            yield chunk[max(0, start - at) : end - at]
        at += len(chunk)
        if at >= end:
            return


def _generator(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    yield from chunks
