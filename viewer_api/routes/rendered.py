"""Rendered instances and frames, and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.core import Archive
from archive.errors import NotAcceptable
from archive.imaging.placeholder import placeholder
from archive.imaging.presentation import GRAYSCALE_SOFTCOPY
from archive.imaging.render import Viewport
from archive.people.roles import Right
from archive.records import StoredInstance
from archive.retrieve import pixel_element
from viewer_api import multipart
from viewer_api.addresses import DICOMWEB
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.kept import tag_of
from viewer_api.media_types import GIF, JPEG, MP4, PNG, WEBP, Offer, choose, media_type_of_syntax
from viewer_api.pictures import FORMATS, MOVING, moving_name, moving_picture, no_image, picture_name, pictures_of
from viewer_api.presented import presented_images
from viewer_api.ranges import cached_as, is_unchanged, not_modified, ranged
from viewer_api.render_params import rendering
from viewer_api.routes.bulkdata import joined_fragments
from viewer_api.routes.resources import INSTANCE, SERIES, STUDY, accepts, frame_numbers, located, located_instance
from viewer_api.streaming import stream
from viewer_api.videos import video_of

router = APIRouter(prefix=DICOMWEB, tags=["WADO-RS rendered"], dependencies=[needs(Right.VIEW)])

_FRAMES: Final = INSTANCE + "/frames/{frames}"

_ONE: Final = tuple(Offer(name, False) for name in FORMATS)
_MANY: Final = tuple(Offer(name, True) for name in FORMATS)
_MOVING: Final = tuple(Offer(name, False) for name in MOVING)
_PLACEHOLDER: Final = tuple(Offer(name, False) for name in (PNG, JPEG, GIF, WEBP))
_THUMBNAIL: Final = Viewport(256, 256)
# The path names an object whose newest version may change: browsers keep a picture, but ask.
_CACHE: Final = "private, max-age=60, must-revalidate"

_PARAMETERS: Final[dict[str, Any]] = {
    "parameters": [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in (
            ("window", "VOI window: `center,width,function`; the function is linear, linear-exact or sigmoid."),
            ("viewport", "Size to fit, and region to show: `width,height[,x,y,width,height]`."),
            ("quality", "JPEG or WebP quality, 1 to 100."),
            ("annotation", "Text to burn in: `patient`, `technique` or both, with a comma."),
            ("iccprofile", "Profile of colour pictures: `no`, `yes` (that of the object) or `srgb` (converted)."),
        )
    ]
}


class _Picture(NamedTuple):
    content_type: str
    content: bytes


@router.get(STUDY + "/rendered", name="render_study", response_class=Response, openapi_extra=_PARAMETERS)
def render_study(request: Request, archive: ArchiveDep, study: str) -> Response:
    """The images of a study, one part each (PS3.18 10.4.1.1.3)."""
    return _render_all(request, archive, located(request, archive, study))


@router.get(SERIES + "/rendered", name="render_series", response_class=Response, openapi_extra=_PARAMETERS)
def render_series(request: Request, archive: ArchiveDep, study: str, series: str) -> Response:
    """The images of a series, one part each (PS3.18 10.4.1.1.3)."""
    return _render_all(request, archive, located(request, archive, study, series))


@router.get(INSTANCE + "/rendered", name="render_instance", response_class=Response, openapi_extra=_PARAMETERS)
def render_instance(request: Request, archive: ArchiveDep, study: str, series: str, instance: str) -> Response:
    """An instance as an image: its first frame, all as GIF, WebP or MP4, or what a presentation state shows.

    A video is given as it is (PS3.18 10.4.1.1.3, Table 8.7.4-1).
    """
    inst = located_instance(request, archive, study, series, instance)
    if inst.sop_class_uid == GRAYSCALE_SOFTCOPY:
        return _render_presented(request, archive, inst)
    kind = media_type_of_syntax(inst.object.transfer_syntax_uid)
    if kind.startswith("video/"):
        return _video(request, archive, inst, kind)
    return _render(request, archive, inst, _frames_shown(request, inst))


@router.get(_FRAMES + "/rendered", name="render_frames", response_class=Response, openapi_extra=_PARAMETERS)
def render_frames(
    request: Request, archive: ArchiveDep, study: str, series: str, instance: str, frames: str
) -> Response:
    """Frames as images; several come in parts, or move as image/gif, image/webp or video/mp4 (PS3.18 10.4.1.1.3)."""
    inst = located_instance(request, archive, study, series, instance)
    if inst.object.frame_table is None:
        raise NotAcceptable(no_image(archive, inst))
    return _render(request, archive, inst, frame_numbers(frames, inst))


@router.get(STUDY + "/thumbnail", name="study_thumbnail", response_class=Response)
def study_thumbnail(request: Request, archive: ArchiveDep, study: str) -> Response:
    """A small picture of a study (PS3.18 10.4.1.1.5)."""
    return _thumbnail(request, archive, _representative(located(request, archive, study)))


@router.get(SERIES + "/thumbnail", name="series_thumbnail", response_class=Response)
def series_thumbnail(request: Request, archive: ArchiveDep, study: str, series: str) -> Response:
    """A small picture of a series (PS3.18 10.4.1.1.5)."""
    return _thumbnail(request, archive, _representative(located(request, archive, study, series)))


@router.get(INSTANCE + "/thumbnail", name="instance_thumbnail", response_class=Response)
def instance_thumbnail(request: Request, archive: ArchiveDep, study: str, series: str, instance: str) -> Response:
    """A small picture of an instance (PS3.18 10.4.1.1.5)."""
    return _thumbnail(request, archive, located_instance(request, archive, study, series, instance))


@router.get(_FRAMES + "/thumbnail", name="frame_thumbnail", response_class=Response)
def frame_thumbnail(
    request: Request, archive: ArchiveDep, study: str, series: str, instance: str, frames: str
) -> Response:
    """A small picture of a frame (PS3.18 10.4.1.1.5)."""
    inst = located_instance(request, archive, study, series, instance)
    return _thumbnail(request, archive, inst, frame_numbers(frames, inst)[0])


def _render(request: Request, archive: Archive, inst: StoredInstance, numbers: Sequence[int]) -> Response:
    offers = (*_ONE, *_MANY) if len(numbers) == 1 else (*_MANY, *_MOVING)
    offer, _ = choose(accepts(request), offers)
    if len(numbers) > 1 and not offer.multipart:
        how = rendering(request.query_params, MOVING[offer.media_type])
        if offer.media_type == MP4:
            return ranged(request, video_of(archive, inst, numbers, how), MP4)
        tag = tag_of(moving_name(inst, numbers, how))
        if is_unchanged(request, tag):
            return not_modified(tag)
        return stream(moving_picture(archive, inst, numbers, how), offer.media_type, headers=cached_as(tag))
    how = rendering(request.query_params, FORMATS[offer.media_type])
    tag = tag_of(picture_name(inst, numbers[0], how))
    if not offer.multipart and is_unchanged(request, tag):
        return not_modified(tag)
    pictures = pictures_of(archive, inst, numbers, how)
    if not offer.multipart:
        return Response(next(pictures), headers=cached_as(tag), media_type=offer.media_type)
    return _in_parts((_Picture(offer.media_type, picture) for picture in pictures), offer.media_type)


def _frames_shown(request: Request, inst: StoredInstance) -> list[int]:
    """All frames for a client that asks for a moving picture or a video by name, else the first."""
    if inst.number_of_frames < 2:
        return [1]
    _, wanted = choose(accepts(request), (*_ONE, *_MANY, *_MOVING))
    moving = wanted.media_type in (*MOVING, "video/*") and not wanted.multipart
    return list(range(1, inst.number_of_frames + 1)) if moving else [1]


def _video(request: Request, archive: Archive, inst: StoredInstance, kind: str) -> Response:
    """The stream in the pixel data: players go to any place in it by Range."""
    choose(accepts(request), (Offer(kind, False),))
    pixels = pixel_element(archive.store, inst)
    if pixels is None:
        raise NotAcceptable(no_image(archive, inst))
    return ranged(request, joined_fragments(archive, inst, pixels), kind)


def _render_presented(request: Request, archive: Archive, inst: StoredInstance) -> Response:
    """The first image of a presentation state, or all of them in parts."""
    offer, _ = choose(accepts(request), (*_ONE, *_MANY))
    how = rendering(request.query_params, FORMATS[offer.media_type])

    def pictures() -> Iterator[_Picture]:
        for image, number, state in presented_images(request, archive, inst):
            yield _Picture(offer.media_type, next(pictures_of(archive, image, [number], how, state)))

    if not offer.multipart:
        return Response(next(pictures()).content, media_type=offer.media_type)
    return _in_parts(pictures(), offer.media_type)


def _render_all(request: Request, archive: Archive, found: Sequence[StoredInstance]) -> Response:
    offer, _ = choose(accepts(request), _MANY)
    how = rendering(request.query_params, FORMATS[offer.media_type])
    images = [inst for inst in found if inst.object.frame_table is not None]
    if not images:
        raise NotAcceptable(no_image(archive, found[0]))

    def pictures() -> Iterator[_Picture]:
        for inst in images:
            for picture in pictures_of(archive, inst, [1], how):
                yield _Picture(offer.media_type, picture)

    return _in_parts(pictures(), offer.media_type)


def _in_parts(pictures: Iterator[_Picture], media_type: str) -> Response:
    boundary = multipart.new_boundary()
    parts = (multipart.Part(each.content_type, (each.content,), len(each.content)) for each in pictures)
    return stream(multipart.write(parts, boundary), multipart.content_type(boundary, media_type))


def _representative(found: Sequence[StoredInstance]) -> StoredInstance:
    """The middle image of the first series that has images; else the first instance."""
    images = [inst for inst in found if inst.object.frame_table is not None]
    if not images:
        return found[0]
    series = [inst for inst in images if inst.series_instance_uid == images[0].series_instance_uid]
    return series[len(series) // 2]


def _thumbnail(request: Request, archive: Archive, inst: StoredInstance, number: int | None = None) -> Response:
    offer, _ = choose(accepts(request), _ONE)
    how = rendering(request.query_params, FORMATS[offer.media_type], _THUMBNAIL)
    how = replace(how, annotations=())  # PS3.18 Table 10.4.1-3: not of thumbnails; nobody is named in a list of them
    number = number or (inst.number_of_frames + 1) // 2 or 1
    tag = tag_of(picture_name(inst, number, how))
    headers = {**cached_as(tag), "Cache-Control": _CACHE}
    if is_unchanged(request, tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    try:
        content = next(pictures_of(archive, inst, [number], how))
    except NotAcceptable:  # no image, or one that no decoder here understands
        offer, _ = choose(accepts(request), _PLACEHOLDER)
        content = placeholder(inst.modality, FORMATS[offer.media_type])
    return Response(content, headers=headers, media_type=offer.media_type)
