"""WADO-URI: one object by query parameters, as an image or as DICOM (PS3.18 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.core import Archive
from archive.errors import InvalidQuery, NotAcceptable
from archive.imaging.grey import Window
from archive.imaging.render import DEFAULT_QUALITY, Rendering, Viewport
from archive.people.roles import Right
from archive.records import StoredInstance
from archive.standard.uids import check_uid
from viewer_api.addresses import DICOMWEB
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.media_types import DICOM, MediaRange, Offer, accepted, choose
from viewer_api.pictures import FORMATS, State, pictures_of
from viewer_api.presented import state_for
from viewer_api.render_params import burned_in, number, picture_quality
from viewer_api.routes.resources import accepts, located_instance, require_copy
from viewer_api.routes.wado import single_instance

router = APIRouter(prefix=DICOMWEB, tags=["WADO-URI"], dependencies=[needs(Right.VIEW)])

_DICOM: Final = Offer(DICOM, False)
_PICTURES: Final = tuple(Offer(name, False) for name in FORMATS)
_LARGEST: Final = 65_535
_PRESENTATION: Final = ("presentationUID", "presentationSeriesUID")
_SHAPE: Final = (
    "frameNumber",
    "rows",
    "columns",
    "region",
    "windowCenter",
    "windowWidth",
    "imageQuality",
    "annotation",
)
_REQUIRED: Final = {
    "requestType": "`WADO`.",
    "studyUID": "Study Instance UID.",
    "seriesUID": "Series Instance UID.",
    "objectUID": "SOP Instance UID.",
}
_OPTIONAL: Final = {
    "contentType": "Media types wanted, such as `application/dicom` or `image/jpeg`; else the Accept header counts.",
    "transferSyntax": "Of DICOM objects: a transfer syntax UID.",
    "frameNumber": "Of pictures: the frame, from 1.",
    "rows": "Of pictures: the most rows.",
    "columns": "Of pictures: the most columns.",
    "region": "Of pictures: what to show, `left,top,right,bottom` from 0.0 to 1.0.",
    "windowCenter": "Of pictures: centre of the VOI window.",
    "windowWidth": "Of pictures: width of the VOI window.",
    "imageQuality": "Of pictures: JPEG quality, 1 to 100.",
    "presentationUID": "Of pictures: SOP Instance UID of a presentation state of the same study.",
    "presentationSeriesUID": "Of pictures: Series Instance UID of the presentation state.",
    "annotation": "Of pictures: text to burn in, `patient`, `technique` or both, with a comma.",
}
_PARAMETERS: Final[dict[str, Any]] = {
    "parameters": [
        {"name": name, "in": "query", "required": required, "description": text, "schema": {"type": "string"}}
        for names, required in ((_REQUIRED, True), (_OPTIONAL, False))
        for name, text in names.items()
    ]
}


@router.get("/wado", name="wado_uri", response_class=Response, openapi_extra=_PARAMETERS)
def wado_uri(request: Request, archive: ArchiveDep) -> Response:
    """One object as an image or as DICOM, by the older URI service (PS3.18 9)."""
    given = dict(request.query_params)
    if given.get("requestType", "").upper() != "WADO":
        raise InvalidQuery("requestType is to be WADO")
    if given.get("anonymize"):
        raise NotAcceptable("anonymize: objects are not de-identified on the way out")
    uids = [check_uid(given.get(name, "").strip(" \0"), name) for name in ("studyUID", "seriesUID", "objectUID")]
    inst = located_instance(request, archive, *uids)
    offer = _choose(request, given, inst)
    if offer.media_type == DICOM:
        require_copy(request, archive, inst)
        return _as_dicom(request, archive, given, inst)
    how = _rendering(given, inst, offer)
    state = _presentation(request, archive, given, inst)
    picture = next(pictures_of(archive, inst, [_frame(given, inst)], how, state))
    return Response(picture, media_type=offer.media_type)


def _presentation(request: Request, archive: Archive, given: Mapping[str, str], inst: StoredInstance) -> State | None:
    """The presentation state of the same study that is to be applied (PS3.18 9.1.2.2.8)."""
    if not any(given.get(name) for name in _PRESENTATION):
        return None
    instance, series = (check_uid(given.get(name, ""), name) for name in _PRESENTATION)
    found = located_instance(request, archive, inst.study_instance_uid, series, instance)
    return state_for(archive, found, inst)


def _choose(request: Request, given: Mapping[str, str], inst: StoredInstance) -> Offer:
    """What to give: JPEG by default for images, DICOM for all else (PS3.18 9.1.2.2.1)."""
    wanted = accepted(given["contentType"]) if given.get("contentType") else accepts(request)
    is_image = inst.object.frame_table is not None
    return choose(wanted, (*_PICTURES, _DICOM) if is_image else (_DICOM,))[0]


def _as_dicom(request: Request, archive: Archive, given: Mapping[str, str], inst: StoredInstance) -> Response:
    wrong = [name for name in (*_SHAPE, *_PRESENTATION) if given.get(name)]
    if wrong:
        raise InvalidQuery(f"{wrong[0]} is for pictures, not for {DICOM}")
    # PS3.18 9.1.2.3.2: without a transfer syntax, Explicit VR Little Endian.
    syntax = given.get("transferSyntax") or None
    if syntax not in (None, "*"):
        check_uid(str(syntax), "transferSyntax")
    return single_instance(request, archive, inst, [MediaRange(DICOM, False, syntax)])


def _frame(given: Mapping[str, str], inst: StoredInstance) -> int:
    text = given.get("frameNumber") or "1"
    if not (text.isdecimal() and text.isascii() and 1 <= int(text[:10]) <= inst.number_of_frames):
        raise InvalidQuery(f"frameNumber: 1 to {inst.number_of_frames} is expected")
    return int(text)


def _rendering(given: Mapping[str, str], inst: StoredInstance, offer: Offer) -> Rendering:
    quality = given.get("imageQuality")
    return Rendering(
        window=_window(given),
        viewport=_viewport(given, inst),
        quality=picture_quality(quality, "imageQuality") if quality else DEFAULT_QUALITY,
        format=FORMATS[offer.media_type],
        annotations=burned_in(given.get("annotation", "")),
    )


def _window(given: Mapping[str, str]) -> Window | None:
    """PS3.18 9.1.2.2.7: centre and width come together."""
    center, width = given.get("windowCenter"), given.get("windowWidth")
    if not center and not width:
        return None
    if not (center and width):
        raise InvalidQuery("windowCenter and windowWidth are given together")
    window = Window(number(center, "windowCenter"), number(width, "windowWidth"), "LINEAR")
    if not window.valid:
        raise InvalidQuery("windowWidth is at least 1")
    return window


def _viewport(given: Mapping[str, str], inst: StoredInstance) -> Viewport | None:
    """PS3.18 9.1.2.2.4 to 9.1.2.2.6: the size is a limit, the shape of the image stays."""
    rows, columns = (_size(given.get(name), name) for name in ("rows", "columns"))
    region = _region(given["region"]) if given.get("region") else (0.0, 0.0, 1.0, 1.0)
    if rows is None and columns is None and "region" not in given:
        return None
    width, height = inst.columns or 1, inst.rows or 1
    left, top = region[0] * width, region[1] * height
    part = (region[2] * width - left, region[3] * height - top)
    if rows is None and columns is None:
        columns, rows = (max(1, round(each)) for each in part)
    return Viewport(columns or _LARGEST, rows or _LARGEST, left, top, *part)


def _size(text: str | None, name: str) -> int | None:
    if not text:
        return None
    if not (text.isdecimal() and text.isascii() and 1 <= int(text[:6]) <= _LARGEST):
        raise InvalidQuery(f"{name}: 1 to {_LARGEST} is expected")
    return int(text)


def _region(text: str) -> tuple[float, float, float, float]:
    values = [number(part, "region") for part in text.split(",")]
    if len(values) != 4:
        raise InvalidQuery("region: four numbers are expected")
    left, top, right, bottom = values
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InvalidQuery("region: left,top,right,bottom from 0.0 to 1.0 are expected")
    return left, top, right, bottom
