"""Answers that are datasets: in the DICOM JSON model (PS3.18 F.2) or the Native DICOM Model in XML (PS3.19 A.1)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Final

import orjson
from fastapi import Request
from starlette.responses import Response

from archive.records import DicomJSON, SearchResult
from archive.standard.xml_model import native_xml
from viewer_api import multipart
from viewer_api.addresses import warning
from viewer_api.media_types import DICOM_JSON, DICOM_XML, JSON, Offer, accepted, choose
from viewer_api.streaming import stream

_LIST: Final = (Offer(DICOM_JSON, False), Offer(JSON, False), Offer(DICOM_XML, True))
"""Forms of a list of datasets: an array of JSON, or a document for each in a part of its own (PS3.18 8.7.3.2)."""
_ONE: Final = (Offer(DICOM_JSON, False), Offer(JSON, False), Offer(DICOM_XML, False))
"""Forms of a single dataset, such as the response of a store."""


def negotiate_list(request: Request) -> Offer:
    """The form of a list of datasets that the client takes (PS3.18 8.7.1). Raises `NotAcceptable`."""
    return _negotiate(request, _LIST)


def negotiate_one(request: Request) -> Offer:
    """The form of a single dataset that the client takes. Raises `NotAcceptable`."""
    return _negotiate(request, _ONE)


def _negotiate(request: Request, offers: Sequence[Offer]) -> Offer:
    ranges = accepted(request.headers.get("accept"), request.query_params.getlist("accept"))
    return choose(ranges, offers)[0]


def dataset_list(found: Iterable[DicomJSON], form: Offer, headers: Mapping[str, str]) -> Response:
    """The datasets, written as they are made. Without one, an empty array; a body of no parts there is not: 204."""
    if form.media_type != DICOM_XML:
        return stream(_array(found), form.media_type, headers=headers)
    datasets = iter(found)
    first = next(datasets, None)
    if first is None:
        return Response(status_code=204, headers=dict(headers))
    boundary = multipart.new_boundary()
    documents = multipart.write(_parts(first, datasets), boundary)
    return stream(documents, multipart.content_type(boundary, DICOM_XML), headers=headers)


def page_headers(request: Request, result: SearchResult, offset: int) -> dict[str, str]:
    """How many matches there are, and whether we cut them off (PS3.18 8.3.4.4.2)."""
    headers = {"Cache-Control": "no-store"}
    if not result.more:
        headers["X-Total-Count"] = str(result.total)
    if result.truncated:
        left = result.total - offset - len(result.matches)
        least = "more than " if result.more else ""
        headers["Warning"] = warning(request, f"There are {least}{left} additional results that can be requested")
    return headers


def one_dataset(dataset: DicomJSON, form: Offer, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A response with this dataset."""
    content = native_xml(dataset) if form.media_type == DICOM_XML else orjson.dumps(dataset)
    return Response(content, status_code=status, headers=headers, media_type=form.media_type)


def _array(found: Iterable[DicomJSON]) -> Generator[bytes, None, None]:
    """The JSON array, as it is made; it is closed only if it is whole."""
    before = b"["
    empty = True
    for each in found:
        yield before + orjson.dumps(each)
        before, empty = b",\n", False
    yield b"[]" if empty else b"]"


def _parts(first: DicomJSON, rest: Iterable[DicomJSON]) -> Generator[multipart.Part, None, None]:
    yield _part(first)
    for each in rest:
        yield _part(each)


def _part(dataset: DicomJSON) -> multipart.Part:
    document = native_xml(dataset)
    return multipart.Part(DICOM_XML, (document,), len(document))
