"""Completes the OpenAPI document that FastAPI makes of the routes: what answers may be, and what paths hold.

A request that cannot be understood is 400 here, everywhere (`viewer_api.problems`), not FastAPI's 422. What the
resources of one kind have in common is said once, below, by how their path ends.
"""

from __future__ import annotations

from typing import Any, Final, cast

from fastapi import FastAPI

from viewer_api.addresses import DICOMWEB
from viewer_api.media_types import DICOM, DICOM_JSON, GIF, JPEG, JSON, MP4, MULTIPART, OCTET_STREAM, PNG, WEBP, ZIP
from viewer_api.problems import MEDIA_TYPE
from viewer_api.views import PARAMETER

Operation = dict[str, Any]

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_DATASETS: Final = {"schema": {"type": "array", "items": {"type": "object"}}}
_PROBLEM: Final = {
    MEDIA_TYPE: {
        "schema": {
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "correlation": {"type": "string", "description": "Finds the lines of the log"},
            },
        }
    }
}
_PICTURES: Final = dict.fromkeys((JPEG, PNG, GIF, WEBP), _BINARY)
_CONTENT: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("/metadata", {DICOM_JSON: _DATASETS, JSON: _DATASETS, MULTIPART: _BINARY}),
    ("/instances/{instance}/rendered", {**_PICTURES, MP4: _BINARY, "video/*": _BINARY, MULTIPART: _BINARY}),
    ("/frames/{frames}/rendered", {**_PICTURES, MP4: _BINARY, MULTIPART: _BINARY}),
    ("/rendered", {**_PICTURES, MULTIPART: _BINARY}),
    ("/thumbnail", _PICTURES),
    ("/frames/{frames}", {MULTIPART: _BINARY, OCTET_STREAM: _BINARY, "image/*": _BINARY}),
    ("/bulkdata/{path}", {MULTIPART: _BINARY, "*/*": _BINARY}),
    ("/wado", {DICOM: _BINARY, **_PICTURES}),
    ("/instances/{instance}", {MULTIPART: _BINARY, DICOM: _BINARY, ZIP: _BINARY}),
    ("/series/{series}", {MULTIPART: _BINARY, ZIP: _BINARY}),
    ("/studies/{study}", {MULTIPART: _BINARY, ZIP: _BINARY}),
)
"""What a GET of a path that ends so may give."""
_BY_RANGE: Final = (
    "/bulkdata/{path}",
    "/frames/{frames}",
    "/frames/{frames}/rendered",
    "/instances/{instance}",
    "/instances/{instance}/rendered",
    "/wado",
)
_UNCHANGED: Final = ("/metadata", "/thumbnail", *_BY_RANGE)
_IN_PART: Final = ("/series/{series}", "/studies/{study}", *_BY_RANGE)
_PROBLEMS: Final = {
    400: "The request cannot be understood; `detail` says what of it",
    403: "Not open here, or asked for by a page of another site",
    404: "There is none",
    413: "The body is larger than the settings allow",
    415: "The body is of a media type that is not taken here",
    503: "The archive cannot answer now",
}
_WITH_BODY: Final = (413, 415)
_NEGOTIATED: Final = {406: "It cannot be given in any form that is accepted"}
_UIDS: Final = ("study", "series", "instance")
_UID: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
_FRAMES: Final = {"type": "string", "pattern": r"^[1-9][0-9]{0,3}(-[1-9][0-9]{0,3})?(,[1-9][0-9]{0,3})*$"}
_ACCEPT: Final = {
    "name": "accept",
    "in": "query",
    "description": "Media types wanted, where the Accept header cannot be set (PS3.18 8.3.3.1).",
    "schema": {"type": "string"},
}


def install(app: FastAPI) -> None:
    """Have the application describe itself so."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(made())
        return cast(dict[str, Any], app.openapi_schema)

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _complete_answers(path, method, operation)
            if path.startswith(DICOMWEB):
                _complete_parameters(path, method, operation)
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _complete_answers(path: str, method: str, operation: Operation) -> None:
    answers: dict[str, Any] = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    resource = path.startswith(DICOMWEB + "/") and method == "get"
    if resource:
        for end, content in _CONTENT:
            if path.endswith(end):
                _content(answers, "200", content)
                if end in _UNCHANGED:
                    answers["304"] = {"description": "It is as the ETag in If-None-Match says"}
                if end in _IN_PART:
                    answers["206"] = {"description": "A part of it: the ranges asked for, or what can be given so"}
                    _content(answers, "206", content)
                if end in _BY_RANGE:
                    answers["416"] = _problem("There are no such bytes")
                break
    for status, about in (_PROBLEMS | (_NEGOTIATED if path.startswith(DICOMWEB) else {})).items():
        if status not in _WITH_BODY or "requestBody" in operation:
            answers.setdefault(str(status), _problem(about))
    operation["responses"] = dict(sorted(answers.items()))


def _content(answers: dict[str, Any], status: str, content: dict[str, Any]) -> None:
    answers[status] = {**answers.get(status, {"description": "It"}), "content": content}


def _problem(about: str) -> dict[str, Any]:
    return {"description": about, "content": _PROBLEM}


def _complete_parameters(path: str, method: str, operation: Operation) -> None:
    parameters: list[dict[str, Any]] = operation.setdefault("parameters", [])
    for each in parameters:
        if each["in"] == "path" and each["name"] in _UIDS:
            each["schema"] = _UID
        elif each["in"] == "path" and each["name"] == "frames":
            each["schema"] = _FRAMES
    names = {each["name"] for each in parameters}
    if method == "get" and path != DICOMWEB:
        parameters.extend(each for each in (PARAMETER, _ACCEPT) if each["name"] not in names)
    if not parameters:
        del operation["parameters"]
