"""What happens to every request: correlation id, access log, metrics, security headers, size limit, last resort.

Plain ASGI: the wrappers of Starlette for functions would buffer or slow streamed bodies.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.logs import correlated, fields
from viewer_api.addresses import route_template
from viewer_api.metrics import Metrics
from viewer_api.problems import RequestTooLarge, internal_problem, too_large_problem
from viewer_api.streaming import ResponseAborted

log = logging.getLogger("viewer_api.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_CLOSED: Final = 499
"""Logged when the caller went away before the answer; the number that nginx made known."""
SMALL_BODY: Final = 1 << 20
"""Limit for what is not DICOMweb: search forms."""

# The API answers data, never a page: a browser that is led to it may run and load nothing. Pages widen this.
API_POLICY: Final = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; frame-ancestors 'self'"


class Observer:
    """Outermost: names the request, answers what nobody caught, writes the access log, counts."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        with correlated(given if _REQUEST_ID.fullmatch(given) else None) as identifier:
            await _Exchange(self, scope, send, identifier).run(receive)


class _Exchange:
    """One request and its answer."""

    def __init__(self, observer: Observer, scope: Scope, send: Send, identifier: str) -> None:
        self._observer = observer
        self._scope = scope
        self._send = send
        self._identifier = identifier
        self._status = 0
        self._bytes = 0

    async def run(self, receive: Receive) -> None:
        started = time.perf_counter()
        with self._observer.metrics.in_flight.track_inprogress():
            try:
                await self._observer.app(self._scope, receive, self._forward)
            except ClientDisconnect:
                self._status = self._status or CLIENT_CLOSED
            except ResponseAborted:
                pass  # logged where it happened; the answer stays unfinished, so that nobody takes it for whole
            except Exception as error:
                await self._last_resort(error, receive)
            finally:
                self._record(time.perf_counter() - started)

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._identifier
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._scope["scheme"] == "https":
                headers["Strict-Transport-Security"] = _ONLY_SAFELY
        elif message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
        await self._send(message)

    async def _last_resort(self, error: Exception, receive: Receive) -> None:
        """Log what broke without its message, which may quote a dataset; answer 500 if nothing was sent yet.

        An answer that has begun is left unfinished: the server then closes the connection, and the client sees
        that the body is cut off.
        """
        log_failure("request failed", error, route=route_template(self._scope))
        if not self._status:
            await internal_problem()(self._scope, receive, self._forward)

    def _record(self, seconds: float) -> None:
        method, route = self._scope["method"], route_template(self._scope)
        status = self._status or HTTPStatus.INTERNAL_SERVER_ERROR
        self._observer.metrics.request(method, route, int(status), seconds)
        log.info(
            "request",
            extra=fields(
                method=method, route=route, status=int(status), bytes=self._bytes, ms=round(seconds * 1000, 1)
            ),
        )


def log_failure(message: str, error: BaseException, **facts: object) -> None:
    """Log an unforeseen error by type and place; its message could carry what identifies a patient."""
    chain: list[str] = []
    current: BaseException | None = error
    while current is not None:
        frames = traceback.extract_tb(current.__traceback__)
        chain.append(type(current).__name__)
        chain.extend(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
        current = current.__cause__ or current.__context__
    log.error(message, extra=fields(error=type(error).__name__, trace=chain, **facts))


_SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": API_POLICY,
}


# Two years, as browsers' makers advise; for this host alone, since others of the hospital may not have TLS.
_ONLY_SAFELY: Final = "max-age=63072000"


class SizeLimit:
    """Refuses a request body over the limit, by its announced length or, without one, as it comes in."""

    def __init__(self, app: ASGIApp, maximum: int) -> None:
        self.app = app
        self.maximum = maximum

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.maximum if scope["path"].startswith("/dicom-web") else min(SMALL_BODY, self.maximum)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            await too_large_problem(limit)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise RequestTooLarge(limit)
            return message

        await self.app(scope, counted, send)
