"""WADO-RS: frames of an instance (PS3.18 10.4.1.1.2).

The fast path is the one that viewers take: ``transfer-syntax=*`` gives the stored bytes by one ranged read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.audit.events import Action
from archive.core import Archive
from archive.errors import NotAcceptable
from archive.imaging.decode import EXPLICIT_VR_LITTLE_ENDIAN, can_decode
from archive.imaging.encode import LOSSLESS
from archive.imaging.transcode import IMPLICIT_VR_LITTLE_ENDIAN, can_transcode, encoded_frames, native_frames
from archive.people.roles import Right
from archive.records import StoredInstance
from archive.retrieve import frame_place, frame_table, frames_syntax, read_frames, syntax_of
from storage.at_hand import AtHand, WouldWait
from viewer_api import multipart
from viewer_api.audited import look_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.kept import ahead, each, name_of
from viewer_api.media_types import MULTIPART, OCTET_STREAM, SYNTAXES_OF, MediaRange, media_type_of_syntax
from viewer_api.ranges import cached_as, entity_tag, in_memory, is_unchanged, not_modified, ranged
from viewer_api.routes.resources import INSTANCE, accepts, frame_numbers, located_instance, located_without_waiting
from viewer_api.streaming import NO_PARTS, stream

router = APIRouter(tags=["WADO-RS"], dependencies=[needs(Right.VIEW)])

# To be counted up when a frame would be made otherwise.
_FRAME: Final = "frame-1"
# Pixels are the same bytes in both.
_NATIVE: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
# Headers up to this many bytes are looked at by the event loop.
_SHORT_HEADER: Final = 64 << 10
ENCODED: Final = {
    name: next(syntax for syntax in syntaxes if syntax in LOSSLESS)
    for name, syntaxes in SYNTAXES_OF.items()
    if any(syntax in LOSSLESS for syntax in syntaxes)
}
"""The transfer syntax in which frames of each media type are made, where they are not stored in one of its own."""


class Form(NamedTuple):
    """In what form frames are given."""

    media_type: str
    transfer_syntax: str
    made: bool
    """Decoded or encoded, not as stored."""
    multipart: bool


@router.get(INSTANCE + "/frames/{frames}", name="retrieve_frames", response_class=Response)
def retrieve_frames(
    request: Request, archive: ArchiveDep, study: str, series: str, instance: str, frames: str
) -> Response:
    """Frames by number, ``1,2,5-8``, as stored, decoded or encoded without loss (PS3.18 10.4.1.1.2)."""
    inst = located_instance(request, archive, study, series, instance)
    return frames_response(request, archive, inst, frame_numbers(frames, inst), accepts(request))


async def frame_at_hand(
    request: Request, archive: Archive, study: str, series: str, instance: str, frames: str
) -> Response | None:
    """The same of a single frame as it is stored, without a thread; None if `retrieve_frames` is to be asked.

    Raises what that raises.
    """
    inst = await located_without_waiting(request, archive, study, series, instance)
    if inst is None or inst.object.header_length > _SHORT_HEADER or syntax_of(inst).deflated:
        return None
    look = look_of(request, inst, Action.VIEW)
    if not archive.looks.knows(look):
        return None
    numbers, wanted = frame_numbers(frames, inst), accepts(request)
    form = _form(wanted[0], frames_syntax(inst)) if wanted and len(numbers) == 1 else None
    if form is None or form.made:
        return None
    try:
        response = _response_at_hand(request, AtHand(archive.store), inst, numbers[0], form)
    except WouldWait:
        return None
    # Nothing was given so far.
    return response if archive.looks.count(look, [inst.sop_instance_uid]) else None


def frames_response(
    request: Request, archive: Archive, inst: StoredInstance, numbers: Sequence[int], ranges: Iterable[MediaRange]
) -> Response:
    """The frames in the form that the client wants most."""
    form = choose_form(archive, ranges, inst, len(numbers))
    return _response(request, inst, numbers, form, lambda: _frames(archive, inst, numbers, form))


def _response_at_hand(request: Request, store: AtHand, inst: StoredInstance, number: int, form: Form) -> Response:
    """The answer of `_response`, sent from where the frame was read to. Raises `WouldWait`."""
    place = frame_place(store, inst, number) if form.multipart else None
    if place is None:
        return _response(request, inst, (number,), form, lambda: read_frames(store, inst, (number,)))
    offset, length = place
    content_type, tag = _named(inst, (number,), form)
    if is_unchanged(request, tag):
        return not_modified(tag)
    boundary = multipart.new_boundary()
    head, tail = multipart.around(multipart.Part(content_type, (), length), boundary)
    # Not a bytearray, which would be filled with zeros first.
    body = np.empty(len(head) + length + len(tail), np.uint8).data
    body[: len(head)], body[len(head) + length :] = head, tail
    store.fill(inst.object.key, offset, body[len(head) : len(head) + length])
    media_type = multipart.content_type(boundary, form.media_type, form.transfer_syntax)
    return Response(body, headers={**NO_PARTS, **cached_as(tag), "Content-Type": media_type})


def _named(inst: StoredInstance, numbers: Sequence[int], form: Form) -> tuple[str, str]:
    """Content type and entity tag of frames in this form."""
    content_type = f"{form.media_type}; transfer-syntax={form.transfer_syntax}"
    named = (inst.object.digest.hex(), "frames", *numbers, content_type)
    # Weak where there are parts, for what separates them is another each time.
    return content_type, f"W/{entity_tag(*named, MULTIPART)}" if form.multipart else entity_tag(*named)


def _response(
    request: Request, inst: StoredInstance, numbers: Sequence[int], form: Form, read: Callable[[], Iterator[bytes]]
) -> Response:
    """The answer; damage of the first frame is raised before this returns, so before it begins."""
    content_type, tag = _named(inst, numbers, form)
    if is_unchanged(request, tag):
        return not_modified(tag)
    frames = ahead(read())
    if not form.multipart:
        return ranged(request, in_memory(next(frames), tag), content_type)
    boundary = multipart.new_boundary()
    parts = (multipart.Part(content_type, (frame,), len(frame)) for frame in frames)
    media_type = multipart.content_type(boundary, form.media_type, form.transfer_syntax)
    return stream(multipart.write(parts, boundary), media_type, headers=cached_as(tag))


def _frames(archive: Archive, inst: StoredInstance, numbers: Sequence[int], form: Form) -> Iterator[bytes]:
    if not form.made:
        return read_frames(archive.store, inst, numbers)
    limit, target = archive.settings.web.maximum_decoded_bytes, form.transfer_syntax

    def make(places: Sequence[int]) -> Iterator[bytes]:
        wanted = [numbers[place] for place in places]
        if target in LOSSLESS:
            return encoded_frames(archive.store, inst, wanted, target, limit)
        return native_frames(archive.store, inst, wanted, limit)[1]

    return each(archive.frames, [name_of(_FRAME, inst, number, target) for number in numbers], make)


def choose_form(archive: Archive, ranges: Iterable[MediaRange], inst: StoredInstance, count: int) -> Form:
    """Choose by PS3.18 8.7.3.4 and Table 8.7.3-5.

    - ``application/octet-stream`` is native little endian; with ``transfer-syntax=*`` it is what is stored.
    - ``image/*`` and the types of the table are what is stored, if it is stored in one of theirs.
    - A type by its name, or a transfer syntax, is what is made of it, if that can be without loss.

    Raises
    ------
    NotAcceptable
        Nothing that the client accepts can be given.
    """
    stored = frames_syntax(inst)
    for wanted in ranges:
        if wanted.multipart is False and count != 1:
            continue
        form = _form(wanted, stored) or _encoded(archive, inst, wanted)
        if form is not None:
            return form
    kind = media_type_of_syntax(stored)
    others = f', or type="{kind}"' if kind != OCTET_STREAM else ""
    raise NotAcceptable(f'frames can be given as multipart/related; type="{OCTET_STREAM}"{others}')


def _form(wanted: MediaRange, stored: str) -> Form | None:
    in_parts = wanted.multipart is not False
    kind = media_type_of_syntax(stored)
    named, syntax = wanted.media_type != "*/*", wanted.transfer_syntax
    octets = wanted.matches(OCTET_STREAM)
    if syntax == "*" or (syntax == stored and stored not in _NATIVE):
        if named and octets:
            return Form(OCTET_STREAM, stored, False, in_parts)
        return Form(kind, stored, False, in_parts) if wanted.matches(kind) else None
    if octets and syntax in (None, *_NATIVE):
        if stored in _NATIVE:
            return Form(OCTET_STREAM, EXPLICIT_VR_LITTLE_ENDIAN, False, in_parts)
        if can_decode(stored):
            return Form(OCTET_STREAM, EXPLICIT_VR_LITTLE_ENDIAN, True, in_parts)
    if syntax is None and kind != OCTET_STREAM and wanted.matches(kind):
        return Form(kind, stored, False, in_parts)
    return None


def _encoded(archive: Archive, inst: StoredInstance, wanted: MediaRange) -> Form | None:
    """What is to be encoded: the media type says in what, or the transfer syntax does."""
    target = wanted.transfer_syntax or ENCODED.get(wanted.media_type)
    if target not in LOSSLESS or not can_transcode(archive.store, inst, target):
        return None
    kind = media_type_of_syntax(target)
    if wanted.media_type == OCTET_STREAM:
        kind = OCTET_STREAM  # as those are labelled which are stored so
    return Form(kind, target, True, wanted.multipart is not False) if wanted.matches(kind) else None


def all_frames(archive: Archive, inst: StoredInstance) -> list[int]:
    """The numbers of all frames. Raises NotFound if there are none that can be told apart."""
    return list(range(1, frame_table(archive.store, inst).count + 1))
