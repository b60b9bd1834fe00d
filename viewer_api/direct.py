"""The way of requests for frames, past what the framework does with a request: that takes longer than all of ours.

A viewer asks for a frame, waits for it and asks for the next. The route is like any other, and so is what it needs: its
gates are asked and its function is called, as FastAPI would. Whatever else there is to do, an error to be told, a
dependency that is not known here, is left to FastAPI, which then begins anew: nothing was sent or changed by then.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread
from fastapi import FastAPI, HTTPException
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from archive.errors import ArchiveError
from viewer_api.deps import archive_dependency, get_archive
from viewer_api.gate import Needs, Open
from viewer_api.problems import SignInNeeded

Gate = Needs | Open


class Direct:
    """Answers GET of one route whose function takes the request, the archive and the parts of the path."""

    def __init__(self, app: ASGIApp, *, api: FastAPI, endpoint: Callable[..., Response]) -> None:
        self.app = app
        self._endpoint = endpoint
        self._route = next(each for each in iter_route_contexts(api.routes) if each.endpoint is endpoint)
        self._gates = gates_of(self._route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = None
        if scope["type"] == "http" and scope["method"] == "GET" and self._gates and not scope.get("root_path"):
            response = await self._response(Request(scope, receive), self._gates)
        await (response or self.app)(scope, receive, send)

    async def _response(self, request: Request, gates: list[Gate]) -> Response | None:
        """The answer; None if it is for FastAPI to give one."""
        found = self._route.path_regex.match(request.scope["path"])
        if found is None:
            return None
        request.scope.update(
            route=self._route, path_params=found.groupdict()
        )  # for the log, and the record of refusals
        try:
            for gate in gates:
                await gate(request)
            archive = get_archive(request)
            return await to_thread.run_sync(lambda: self._endpoint(request, archive, **request.path_params))
        except (ArchiveError, SignInNeeded, HTTPException):
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
