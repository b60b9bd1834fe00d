"""Answers in the DICOM JSON model (PS3.18 F.2)."""

from __future__ import annotations

from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from viewer_api.media_types import DICOM_JSON, JSON, Offer, accepted, choose

_OFFERS: Final = (Offer(DICOM_JSON, False), Offer(JSON, False))


def negotiate(request: Request) -> str:
    """The JSON media type that the client takes (PS3.18 8.7.1). Raises `NotAcceptable`."""
    ranges = accepted(request.headers.get("accept"), request.query_params.getlist("accept"))
    return choose(ranges, _OFFERS)[0].media_type


def dicom_json(
    content: Any, media_type: str = DICOM_JSON, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A response with this content in the DICOM JSON model."""
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type=media_type)
