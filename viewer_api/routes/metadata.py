"""WADO-RS: metadata of studies, series and instances (PS3.18 10.4.1.1.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.core import Archive
from archive.metadata import each_metadata
from archive.people.roles import Right
from archive.ready_metadata import Addresses, fingerprint, worth_keeping
from archive.records import StoredInstance
from viewer_api.addresses import dicomweb_root
from viewer_api.datasets import dataset_list, negotiate_list
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.media_types import DICOM_XML, Offer, takes_gzip
from viewer_api.routes.resources import INSTANCE, SERIES, STUDY, located
from viewer_api.streaming import stream
from viewer_api.views import view_suffix

router = APIRouter(tags=["WADO-RS"], dependencies=[needs(Right.VIEW)])

_VARY: Final = "Accept, Accept-Encoding"


@router.get(STUDY + "/metadata", name="study_metadata", response_class=Response)
def study_metadata(request: Request, archive: ArchiveDep, study: str) -> Response:
    """Attributes of all instances of a study, without bulk data."""
    return _metadata(request, archive, located(request, archive, study))


@router.get(SERIES + "/metadata", name="series_metadata", response_class=Response)
def series_metadata(request: Request, archive: ArchiveDep, study: str, series: str) -> Response:
    """Attributes of all instances of a series, without bulk data."""
    return _metadata(request, archive, located(request, archive, study, series))


@router.get(INSTANCE + "/metadata", name="instance_metadata", response_class=Response)
def instance_metadata(request: Request, archive: ArchiveDep, study: str, series: str, instance: str) -> Response:
    """Attributes of an instance, without bulk data."""
    return _metadata(request, archive, located(request, archive, study, series, instance))


def _metadata(request: Request, archive: Archive, found: Sequence[StoredInstance]) -> Response:
    form = negotiate_list(request)
    addresses = Addresses(dicomweb_root(request), view_suffix(request))
    headers = {"ETag": _tag(found, addresses, form), "Cache-Control": "private, no-cache"}
    if headers["ETag"] in (value.strip() for value in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers={**headers, "Vary": _VARY})
    if form.media_type == DICOM_XML or not worth_keeping(found):
        made = each_metadata(archive.store, found, addresses.bulk_uri_of)
        # The middleware compresses it, and says that it may.
        return dataset_list(made, form, {**headers, "Vary": "Accept"})
    if takes_gzip(",".join(request.headers.getlist("accept-encoding"))):
        zipped = archive.metadata.gzipped(found, addresses)
        return stream(zipped, form.media_type, headers={**headers, "Vary": _VARY, "Content-Encoding": "gzip"})
    return stream(archive.metadata.plain(found, addresses), form.media_type, headers={**headers, "Vary": "Accept"})


def _tag(found: Sequence[StoredInstance], addresses: Addresses, form: Offer) -> str:
    """Changes when an instance is added, removed or replaced, or corrected otherwise.

    Weak, for it may be compressed or not.
    """
    digest = hashlib.sha256(f"{addresses.root} {addresses.suffix} {form.media_type}".encode())
    for inst in found:
        digest.update(fingerprint(inst))
    return f'W/"{digest.hexdigest()[:32]}"'
