"""Errors below ``/fhir`` as OperationOutcome, whoever answers them: routes, the gate, limits, the last resort."""

from __future__ import annotations

import gzip
from typing import Any, Final

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viewer_api.fhir.answers import MEDIA_TYPE, ROOT, issue, outcome
from viewer_api.problems import MEDIA_TYPE as PROBLEM

CODES: Final[dict[int, str]] = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    408: "timeout",
    409: "conflict",
    410: "deleted",
    412: "conflict",
    413: "too-long",
    415: "not-supported",
    422: "processing",
    500: "exception",
    503: "transient",
}
"""Code of the issue, by HTTP status (valueset-issue-type.html)."""
_OF_PROBLEMS: Final = {"urn:pacs:problem:too-many-matches": "too-costly", "urn:pacs:problem:invalid-item": "value"}


class Outcomes:
    """Rewrites problem details on their way out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] != "http" or not (path == ROOT or path.startswith(f"{ROOT}/")):
            await self.app(scope, receive, send)
            return
        await self.app(scope, receive, _Rewriting(send).send)


class _Rewriting:
    """One response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """Hold back a problem until it is whole; give all else on as it comes."""
        if message["type"] == "http.response.start":
            if Headers(raw=message["headers"]).get("content-type", "").startswith(PROBLEM):
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)
            return
        await self._send(message)

    async def _finish(self, start: Message) -> None:
        headers = MutableHeaders(raw=[*start["headers"]])
        body = gzip.decompress(self._body) if headers.get("content-encoding") == "gzip" else self._body
        made = orjson.dumps(of_problem(orjson.loads(body))) if body else b""
        if "content-encoding" in headers:
            del headers["content-encoding"]
        headers["content-type"] = MEDIA_TYPE
        headers["content-length"] = str(len(made))
        await self._send({**start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": made})


def of_problem(problem: dict[str, Any]) -> dict[str, Any]:
    """The OperationOutcome that says what problem details say."""
    status = problem["status"]
    code = _OF_PROBLEMS.get(problem["type"], CODES.get(status, "processing"))
    severity = "fatal" if status >= 500 else "error"
    errors = problem.get("errors") or []
    if errors:
        return outcome(issue(severity, code, f"{each['field']}: {each['detail']}") for each in errors)
    text = problem.get("detail") or problem["title"]
    reference = problem.get("correlation")
    return outcome([issue(severity, code, f"{text} [{reference}]" if reference and status >= 500 else text)])
