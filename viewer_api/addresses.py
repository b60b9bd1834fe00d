"""The addresses under which users see the service."""

from __future__ import annotations

from fastapi import Request

from archive.core import Archive

DICOMWEB = "/dicom-web"


def base_url(request: Request) -> str:
    """The address of the service, without a slash at the end."""
    archive: Archive = request.app.state.archive
    return (archive.settings.web.public_url or str(request.base_url)).rstrip("/")


def dicomweb_root(request: Request) -> str:
    """The address of the DICOMweb service, for RetrieveURL and BulkDataURI."""
    return base_url(request) + DICOMWEB
