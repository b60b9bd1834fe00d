"""Bulk data that metadata refers to (PS3.18 10.4.1.1.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.core import Archive
from archive.imaging.transcode import native_frames
from archive.metadata import parse_bulk_path, read_bulkdata
from archive.people.roles import Right
from archive.pixel_values import fragments, read_fragments, read_native
from archive.records import StoredInstance
from archive.retrieve import PixelElement, pixel_element, read_header
from viewer_api import multipart
from viewer_api.addresses import DICOMWEB
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.media_types import OCTET_STREAM, MediaRange, Offer, choose, media_type_of_syntax
from viewer_api.ranges import Content, entity_tag, in_memory, ranged
from viewer_api.routes.frames import all_frames, frames_response
from viewer_api.routes.resources import INSTANCE, accepts, located_instance
from viewer_api.streaming import stream

router = APIRouter(prefix=DICOMWEB, tags=["WADO-RS bulk data"], dependencies=[needs(Right.VIEW)])

_SINGLE: Final = Offer(OCTET_STREAM, False)
_PARTS: Final = Offer(OCTET_STREAM, True)
_ENCAPSULATED_DOCUMENT: Final = "00420011"
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
    return _value(request, offer, in_memory(value, entity_tag(inst.object.digest.hex(), path)))


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
        return _value(request, offer, _native(archive, inst, pixels))
    if kind.startswith("video/") or inst.object.frame_table is None:
        offer, _ = choose(ranges, (Offer(kind, False), Offer(kind, True), _SINGLE, _PARTS))
        return _value(request, offer, joined_fragments(archive, inst, pixels))
    numbers = all_frames(archive, inst)
    if _wants_decoded(ranges):
        return _value(request, _SINGLE, _decoded(archive, inst, len(numbers)))
    return frames_response(request, archive, inst, numbers, ranges)


def _wants_decoded(ranges: Iterable[MediaRange]) -> bool:
    wanted = next(iter(ranges), None)
    return wanted is not None and wanted.multipart is not True and wanted.matches(OCTET_STREAM)


def _native(archive: Archive, inst: StoredInstance, pixels: PixelElement) -> Content:
    def read(offset: int, length: int) -> Iterable[bytes]:
        return read_native(archive.store, inst, pixels, offset, length)

    return Content(pixels.length or 0, read, entity_tag(inst.object.digest.hex(), "native"))


def joined_fragments(archive: Archive, inst: StoredInstance, pixels: PixelElement) -> Content:
    """The stream in the fragments of the pixel data, such as a video (PS3.5 8.2.5 ff., A.4)."""
    parts = fragments(archive.store, inst, pixels)

    def read(offset: int, length: int) -> Iterable[bytes]:
        return read_fragments(archive.store, inst, parts, offset, length)

    return Content(sum(part.length for part in parts), read, entity_tag(inst.object.digest.hex(), "fragments"))


def _decoded(archive: Archive, inst: StoredInstance, count: int) -> Content:
    """All frames, decoded when they are asked for."""
    limit = archive.settings.web.maximum_decoded_bytes
    size, _ = native_frames(archive.store, inst, [1], limit)

    def read(offset: int, length: int) -> Iterable[bytes]:
        first, end = offset // size, -(-(offset + length) // size)
        _, frames = native_frames(archive.store, inst, range(first + 1, end + 1), limit)
        for number, frame in enumerate(frames, first):
            start = number * size
            yield frame[max(0, offset - start) : offset + length - start]

    return Content(size * count, read, entity_tag(inst.object.digest.hex(), "decoded"))


def _value(request: Request, offer: Offer, content: Content) -> Response:
    if not offer.multipart:
        return ranged(request, content, offer.media_type)
    boundary = multipart.new_boundary()
    parts = [multipart.Part(offer.media_type, content.read(0, content.size), content.size)]
    content_type = multipart.content_type(boundary, offer.media_type)
    return stream(multipart.write(parts, boundary), content_type, length=multipart.length(parts, boundary))
