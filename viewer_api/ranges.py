"""Parts of an answer by Range, for what can be read from anywhere (RFC 9110 13.1.5, 14; PS3.18 8.3.3, 10.4.1.1.5).

What is made while it is sent has no bytes that could be asked for: there, Range is ignored, and the answer says
``Accept-Ranges: none``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from fastapi import HTTPException, Request
from starlette.responses import Response

from viewer_api import multipart
from viewer_api.streaming import stream

_RANGES = re.compile(r"bytes=(.*)", re.IGNORECASE)
_RANGE = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")
MOST_RANGES: Final = 64
"""More in one request, or more bytes than there are, is a mistake or an attack (RFC 9110 17.15): all is given then."""

Range = tuple[int, int]
"""Offset, and end, which is not in it."""


class Content(NamedTuple):
    """Bytes that can be read from anywhere, and never change under the same tag."""

    size: int
    read: Callable[[int, int], Iterable[bytes]]
    """By offset and length; neither goes beyond the end."""
    etag: str
    """A strong entity tag (RFC 9110 8.8.3)."""


def in_memory(value: bytes, etag: str) -> Content:
    """Bytes that are here."""
    return Content(len(value), lambda offset, length: (value[offset : offset + length],), etag)


def entity_tag(*named: object) -> str:
    """The strong entity tag of what is so named."""
    return f'"{hashlib.sha256(" ".join(map(str, named)).encode()).hexdigest()[:32]}"'


def cached_as(etag: str) -> dict[str, str]:
    """Headers of what the client may keep, but asks for each time: it may have changed, or be withdrawn from it."""
    return {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept"}


def is_unchanged(request: Request, etag: str) -> bool:
    """Whether If-None-Match names the tag; it compares weakly (RFC 9110 13.1.2)."""
    header = request.headers.get("if-none-match", "")
    named = [value.strip().removeprefix("W/") for value in header.split(",")]
    return header.strip() == "*" or etag.removeprefix("W/") in named


def not_modified(etag: str) -> Response:
    """What the client has is what it would get."""
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=cached_as(etag))


def ranged(request: Request, content: Content, content_type: str) -> Response:
    """Answer with all of it, with what Range asks for, or that it has not changed.

    Raises `HTTPException` 416 if there are no such bytes.
    """
    headers = {"Accept-Ranges": "bytes", **cached_as(content.etag)}
    if is_unchanged(request, content.etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    found = _asked(request, content)
    if found is None:
        whole = _generator(content.read(0, content.size))
        return stream(whole, content_type, length=content.size, headers=headers)
    if len(found) > 1:
        return _several(content, found, content_type, headers)
    (start, end) = found[0]
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
    part = _generator(content.read(start, end - start))
    return stream(part, content_type, length=end - start, status=HTTPStatus.PARTIAL_CONTENT, headers=headers)


def _asked(request: Request, content: Content) -> Sequence[Range] | None:
    """The ranges that are to be given; None for everything."""
    condition = request.headers.get("if-range", "").strip()
    # RFC 9110 13.1.5: a weak tag or a date names nothing of ours, so what the client has may be something else.
    if condition and condition != content.etag:
        return None
    return parse(request.headers.get("range"), content.size)


def parse(header: str | None, size: int) -> Sequence[Range] | None:
    """The ranges that the value of a Range header asks for, in its order; None for everything.

    Everything is also for what is no valid header (RFC 9110 14.2), or would be more than everything.
    Raises `HTTPException` 416 if none of them is there.
    """
    given = _RANGES.fullmatch((header or "").strip())
    if given is None:
        return None
    # RFC 9110 5.6.1.2: empty members of a list mean nothing.
    texts = [text.strip() for text in given[1].split(",") if text.strip()]
    if not 1 <= len(texts) <= MOST_RANGES:
        return None
    found: list[Range] = []
    for text in texts:
        match = _RANGE.fullmatch(text)
        if match is None or not (match[1] or match[2]):
            return None
        if match[1] and match[2] and int(match[2]) < int(match[1]):
            return None
        start = int(match[1]) if match[1] else max(0, size - int(match[2]))
        end = min(size, int(match[2]) + 1) if match[1] and match[2] else size
        if start < end:
            found.append((start, end))
    if not found:
        raise HTTPException(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"there are {size} bytes, and none of those asked for",
            {"Content-Range": f"bytes */{size}"},
        )
    return None if len(found) > 1 and sum(end - start for start, end in found) > size else found


def _several(content: Content, found: Sequence[Range], content_type: str, headers: dict[str, str]) -> Response:
    """Several ranges, each in a part of its own (RFC 9110 14.6)."""
    boundary = multipart.new_boundary()

    def part(start: int, end: int, chunks: Iterable[bytes]) -> multipart.Part:
        about = {"Content-Range": f"bytes {start}-{end - 1}/{content.size}"}
        return multipart.Part(content_type, chunks, end - start, about)

    def parts() -> Iterator[multipart.Part]:
        for start, end in found:
            yield part(start, end, content.read(start, end - start))

    length = multipart.length((part(start, end, ()) for start, end in found), boundary)
    media_type = f"multipart/byteranges; boundary={boundary}"
    status = HTTPStatus.PARTIAL_CONTENT
    return stream(multipart.write(parts(), boundary), media_type, length=length, status=status, headers=headers)


def _generator(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    yield from chunks
