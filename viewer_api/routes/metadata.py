"""WADO-RS: metadata of studies, series and instances (PS3.18 10.4.1.1.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.core import Archive
from archive.metadata import each_metadata
from archive.records import StoredInstance
from archive.standard.json_model import BulkPath, BulkURI
from viewer_api.addresses import dicomweb_root
from viewer_api.deps import ArchiveDep
from viewer_api.dicom_json import negotiate
from viewer_api.routes.resources import INSTANCE, SERIES, STUDY, located
from viewer_api.streaming import stream

router = APIRouter(tags=["WADO-RS"])


@router.get(STUDY + "/metadata", name="study_metadata", response_class=Response)
def study_metadata(request: Request, archive: ArchiveDep, study: str) -> Response:
    """Attributes of all instances of a study, without bulk data."""
    return _metadata(request, archive, located(archive, study))


@router.get(SERIES + "/metadata", name="series_metadata", response_class=Response)
def series_metadata(request: Request, archive: ArchiveDep, study: str, series: str) -> Response:
    """Attributes of all instances of a series, without bulk data."""
    return _metadata(request, archive, located(archive, study, series))


@router.get(INSTANCE + "/metadata", name="instance_metadata", response_class=Response)
def instance_metadata(request: Request, archive: ArchiveDep, study: str, series: str, instance: str) -> Response:
    """Attributes of an instance, without bulk data."""
    return _metadata(request, archive, located(archive, study, series, instance))


def _metadata(request: Request, archive: Archive, found: Sequence[StoredInstance]) -> Response:
    media_type = negotiate(request)
    root = dicomweb_root(request)
    headers = {"ETag": _tag(found, root, media_type), "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if headers["ETag"] in (value.strip() for value in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return stream(_array(archive, found, root), media_type, headers=headers)


def _tag(found: Sequence[StoredInstance], root: str, media_type: str) -> str:
    """Changes when an instance is added, removed or replaced.

    Weak, for the middleware may compress the same content.
    """
    digest = hashlib.sha256(f"{root} {media_type}".encode())
    for inst in found:
        digest.update(inst.object.digest + (inst.default_character_set or "").encode())
    return f'W/"{digest.hexdigest()[:32]}"'


def _array(archive: Archive, found: Sequence[StoredInstance], root: str) -> Generator[bytes, None, None]:
    """The JSON array, as it is made; it is closed only if it is whole."""
    before = b"["
    for each in each_metadata(archive.store, found, lambda inst: bulk_uri(root, inst)):
        yield before + orjson.dumps(each)
        before = b",\n"
    yield b"]"


def bulk_uri(root: str, inst: StoredInstance) -> BulkURI:
    """Builds the Bulk Data URIs of an instance."""
    instance = f"{root}/studies/{inst.study_instance_uid}/series/{inst.series_instance_uid}"
    instance += f"/instances/{inst.sop_instance_uid}/bulkdata/"

    def uri(path: BulkPath) -> str:
        return instance + "/".join(map(str, path))

    return uri
