"""The way of requests for frames, past what the framework does with a request: that takes longer than all of ours.

A viewer asks for a frame, waits for it and asks for the next. The route is like any other, and so is what it needs: its
gates are asked and its function is called, as FastAPI would; the answer is named, logged and counted like any other
(`viewer_api.middleware.Exchange`). What the other middleware does is not for answers such as these: they are not
compressed, change nothing, and come to requests without a body, by paths that need no tidying. Whatever else there is
to do, an error to be told, a dependency that is not known here, is left to FastAPI, which then begins anew: nothing was
sent or changed by then.

A frame that is at hand is given by the event loop itself; to hand a request to a thread, and its answer back, takes
longer than to ask the index and to read what the kernel has in memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from anyio import to_thread
from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from config.logs import correlated
from viewer_api.deps import archive_dependency, get_archive
from viewer_api.gate import Needs, Open
from viewer_api.metrics import Metrics
from viewer_api.middleware import Exchange, given_id

Gate = Needs | Open
AtHand = Callable[..., Awaitable[Response | None]]
_BODY: Final = frozenset((b"content-length", b"transfer-encoding"))


class Direct:
    """Answers GET of one route whose function takes the request, the archive and the parts of the path."""

    def __init__(
        self, app: ASGIApp, *, api: FastAPI, endpoint: Callable[..., Response], at_hand: AtHand | None = None
    ) -> None:
        """`at_hand` takes the same and answers without waiting; None of it means that `endpoint` is to be called."""
        self.app = app
        self._api = api
        self._metrics: Metrics = api.state.metrics
        self._endpoint = endpoint
        self._at_hand = at_hand
        self._route = next(each for each in iter_route_contexts(api.routes) if each.endpoint is endpoint)
        self._gates = gates_of(self._route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = self._parts(scope)
        if parts is None or self._gates is None:
            await self.app(scope, receive, send)
            return
        # For the gates, the log, and the record of refusals.
        scope.update(app=self._api, route=self._route, path_params=parts)
        with correlated(given_id(scope)) as identifier:
            exchange = Exchange(self._metrics, scope, send, identifier)
            with self._metrics.in_flight.track_inprogress():
                response = await self._response(Request(scope, receive), self._gates, parts)
            if response is None:
                await self.app(scope, receive, send)
            else:
                await exchange.run(response, receive)

    def _parts(self, scope: Scope) -> dict[str, str] | None:
        """The parts of the path of a request for the route; None for all other requests."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope.get("root_path"):
            return None
        found = self._route.path_regex.match(scope["path"])
        if found is None or any(name in _BODY for name, _ in scope["headers"]):
            return None
        parts: dict[str, str] = found.groupdict()
        return parts

    async def _response(self, request: Request, gates: list[Gate], parts: dict[str, str]) -> Response | None:
        """The answer; None if it is for FastAPI to give one."""
        try:
            for gate in gates:
                await gate(request)
            archive = get_archive(request)
            response = await self._at_hand(request, archive, **parts) if self._at_hand else None
            return response or await to_thread.run_sync(lambda: self._endpoint(request, archive, **parts))
        except Exception:  # what it is will be found, told and logged there
            return None


def gates_of(route: RouteContext) -> list[Gate] | None:
    """Those who decide whether a request is let through; None if the route needs anything else done for it."""
    gates: list[Gate] = []
    for each in route.dependant.dependencies:
        if isinstance(each.call, Gate) and not each.dependencies:
            gates.append(each.call)
        elif each.call is not archive_dependency:
            return None
    return gates
