"""The addresses under which users see the service."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import Scope

from archive.core import Archive
from archive.ready_metadata import Addresses
from config.settings import Settings

DICOMWEB = "/dicom-web"


def base_url(request: HTTPConnection) -> str:
    """The address of the service, without a slash at the end."""
    archive: Archive = request.app.state.archive
    public = archive.settings.web.public_url
    return (public.rstrip("/") + mount_of(request) if public else str(request.base_url)).rstrip("/")


def mount_of(request: HTTPConnection) -> str:
    """The path below which the resources stand for this caller: empty, or that of patients' links."""
    path: str = request.scope.get("root_path", "")
    return path


def dicomweb_root(request: HTTPConnection) -> str:
    """The address of the DICOMweb service, for RetrieveURL and BulkDataURI."""
    return base_url(request) + DICOMWEB


def public_addresses(settings: Settings) -> Addresses | None:
    """How bulk data are named to all who ask for no view; None if that depends on the address by which they come."""
    return Addresses(settings.web.public_url.rstrip("/") + DICOMWEB) if settings.web.public_url else None


def warning(request: HTTPConnection, text: str) -> str:
    """The value of a Warning header (PS3.18 8.4); the agent is the host that answers (RFC 7234 5.5)."""
    return f'299 {request.url.netloc or "pacs"} "{text}"'


def route_template(scope: Scope) -> str:
    """The route as written in the code, so that no identifier of a patient reaches logs or metrics."""
    # A route of a nested router knows only the end of its path; the context that FastAPI keeps knows all of it.
    context = scope.get("fastapi", {}).get("effective_route_context")
    return getattr(context, "path", None) or getattr(scope.get("route"), "path", None) or "(none)"


def address_of(connection: HTTPConnection) -> str:
    """From where the request comes, as the server knows."""
    return connection.client.host if connection.client else ""
