"""What the service can do, told by its own routes: OPTIONS on every resource (PS3.18 8.9), and the root."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from archive.errors import NotFound
from viewer_api.addresses import DICOMWEB, base_url, dicomweb_root
from viewer_api.gate import OPEN
from viewer_api.media_types import JSON, Offer, accepted, choose

router = APIRouter(prefix=DICOMWEB, tags=["Capabilities"], dependencies=[OPEN])

_FORM: Final = (Offer(JSON, False),)
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
_OTHERS: Final = ["OPTIONS", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_DESCRIPTION: Final[dict[str, Any]] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "Resources, their methods, parameters and media types",
            "content": {JSON: {"schema": {"type": "object", "required": ["application"]}}},
        }
    },
}
Paths = Mapping[str, Mapping[str, Any]]


@router.get("", name="service_description", **_DESCRIPTION)
def describe_service(request: Request) -> Response:
    """All resources of the service, and where to read on."""
    return _described(request, _paths(request), {})


@router.options("", name="service_capabilities", **_DESCRIPTION)
def service_capabilities(request: Request) -> Response:
    """All resources of the service, with methods, parameters and media types (PS3.18 8.9)."""
    return _described(request, _paths(request), {"Allow": "GET, OPTIONS"})


@router.api_route("/{path:path}", methods=_OTHERS, include_in_schema=False)
def other(request: Request, path: str) -> Response:
    """OPTIONS on any resource; and whatever no other route takes, with the methods that the resource does have."""
    address = f"{DICOMWEB}/{path}"
    found = {each: methods for each, methods in _paths(request).items() if _pattern(each).fullmatch(address)}
    if not found:
        raise NotFound(f"there is no such resource; {dicomweb_root(request)} tells which there are")
    allowed = sorted({name.upper() for methods in found.values() for name in methods if name in _METHODS} | {"OPTIONS"})
    if request.method == "OPTIONS":
        return _described(request, found, {"Allow": ", ".join(allowed)})
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(allowed)})


def _paths(request: Request) -> Paths:
    paths: Paths = request.app.openapi()["paths"]
    return {path: methods for path, methods in paths.items() if path == DICOMWEB or path.startswith(DICOMWEB + "/")}


def _pattern(template: str) -> re.Pattern[str]:
    """What the addresses of a resource look like; only a path to bulk data has slashes of its own."""
    parts = re.split(r"(\{\w+\})", template)
    return re.compile("".join(_part(part) if part.startswith("{") else re.escape(part) for part in parts))


def _part(name: str) -> str:
    return ".+" if name == "{path}" else "[^/]+"


def _described(request: Request, paths: Paths, headers: dict[str, str]) -> Response:
    choose(accepted(request.headers.get("accept"), request.query_params.getlist("accept")), _FORM)
    found = {
        "name": "DICOMweb (DICOM PS3.18)",
        "openapi": f"{base_url(request)}{request.app.openapi_url}",
        # The elements of a WADL document, which PS3.18 8.9 names, written in JSON.
        "application": {
            "resources": {
                "base": dicomweb_root(request) + "/",
                "resource": [_resource(path, methods) for path, methods in sorted(paths.items())],
            }
        },
    }
    return Response(
        orjson.dumps(found), headers={"Cache-Control": "no-cache", "Vary": "Accept", **headers}, media_type=JSON
    )


def _resource(path: str, methods: Mapping[str, Any]) -> dict[str, Any]:
    made = [_method(name, about) for name, about in methods.items() if name in (*_METHODS, "options")]
    return {"path": path.removeprefix(DICOMWEB).removeprefix("/"), "method": made}


def _method(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {
        "param": [
            {
                "name": each["name"],
                "style": {"path": "template"}.get(each["in"], each["in"]),
                "required": each.get("required", False),
                **({"doc": each["description"]} if "description" in each else {}),
            }
            for each in about.get("parameters", ())
        ]
    }
    if "requestBody" in about:
        request["representation"] = _representations(about["requestBody"])
    return {
        "name": name.upper(),
        "id": about["operationId"],
        "doc": about.get("description") or about["summary"],
        "request": request,
        "response": [
            {"status": status, "doc": each["description"], "representation": _representations(each)}
            for status, each in about["responses"].items()
        ],
    }


def _representations(described: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"mediaType": name} for name in described.get("content", ())]
