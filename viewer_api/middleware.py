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

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.logs import correlated, correlation_id, fields
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
        # One that was begun past the framework has its name.
        with correlated(correlation_id() or given_id(scope)) as identifier:
            await Exchange(self.metrics, scope, send, identifier).run(self.app, receive)


def given_id(scope: Scope) -> str | None:
    """The name that the client gave its request, if it is one for our logs."""
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    return given if _REQUEST_ID.fullmatch(given) else None


class Exchange:
    """One request and its answer."""

    def __init__(self, metrics: Metrics, scope: Scope, send: Send, identifier: str) -> None:
        self._metrics = metrics
        self._started = time.perf_counter()
        self._scope = scope
        self._send = send
        self._identifier = identifier
        self._status = 0
        self._bytes = 0

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        """Have `app` answer, and note what became of it."""
        with self._metrics.in_flight.track_inprogress():
            try:
                await app(self._scope, receive, self._forward)
            except ClientDisconnect:
                self._status = self._status or CLIENT_CLOSED
            except ResponseAborted:
                pass  # logged where it happened; the answer stays unfinished, so that nobody takes it for whole
            except Exception as error:
                await self._last_resort(error, receive)
            finally:
                self._record(time.perf_counter() - self._started)

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            given = [each for each in message.get("headers", ()) if each[0] != b"x-request-id"]
            named = {name for name, _ in given}
            ours = _SECURITY_HEADERS if self._scope["scheme"] != "https" else _SECURITY_HEADERS_SAFELY
            message["headers"] = [
                *given,
                (b"x-request-id", self._identifier.encode()),
                *(each for each in ours if each[0] not in named),
            ]
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
        self._metrics.request(method, route, int(status), seconds)
        if log.isEnabledFor(logging.INFO):
            milliseconds = round(seconds * 1000, 1)
            about = fields(method=method, route=route, status=int(status), bytes=self._bytes, ms=milliseconds)
            log.info("request", extra=about)


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


_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", API_POLICY.encode()),
)
# Two years, as browsers' makers advise; for this host alone, since others of the hospital may not have TLS.
_SECURITY_HEADERS_SAFELY: Final = (*_SECURITY_HEADERS, (b"strict-transport-security", b"max-age=63072000"))


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
