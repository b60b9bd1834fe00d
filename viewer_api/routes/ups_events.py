"""UPS-RS: subscriptions to workitems, and the channel by which subscribers are told (PS3.18 11.10 to 11.13, 8.10)."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

import anyio
import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from archive.core import Archive
from archive.errors import InvalidQuery, NotPermitted, Unavailable
from archive.people.roles import Right
from archive.records import Nested
from archive.ups.channels import EventChannel, Replaced
from archive.ups.subscriptions import FILTERED, GLOBAL
from config.logs import fields
from viewer_api.addresses import DICOMWEB, dicomweb_root
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.query_params import parse_workitem_query
from viewer_api.routes.ups import require_workitem
from viewer_api.same_origin import require_same_origin

log = logging.getLogger(__name__)

router = APIRouter(
    prefix=DICOMWEB, tags=["UPS-RS"], dependencies=[needs(Right.WORKITEMS), Depends(require_same_origin)]
)

POLL: Final = 0.5
"""Seconds between two looks for events; any process may have written them."""
_AFTER_FAILURE: Final = 5.0
REPLACED: Final = 4000
"""The websocket is closed with this code when the AE has opened another."""
_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The AE title, the UID or a key cannot be understood", **_PROBLEM},
    404: {"description": "No such workitem or subscription", **_PROBLEM},
    503: {"description": "The archive cannot answer now", **_PROBLEM},
}
_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "deletionlock",
        "in": "query",
        "description": "Whether workitems are kept until the subscription ends.",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "filter",
        "in": "query",
        "description": "Matching keys of a filtered subscription: `attribute=value`, also as parameters by themselves.",
        "schema": {"type": "array", "items": {"type": "string"}},
        "explode": True,
    },
]


@router.post(
    "/workitems/{workitem}/subscribers/{aet}",
    summary="Subscribe to a workitem, or to all",
    status_code=201,
    response_class=Response,
    responses={201: {"description": "Subscribed; Content-Location is the event channel"}, **_REFUSED},
    openapi_extra={"parameters": _PARAMETERS},
)
def subscribe_to_workitem(request: Request, archive: ArchiveDep, workitem: str, aet: str) -> Response:
    """Have an AE told of events of the workitem, of all workitems, or of those with certain attributes (11.10)."""
    lock, keys = _parsed(request.query_params.multi_items())
    _check(request, archive, workitem, aet)
    archive.ups.subscriptions.subscribe(workitem, aet, deletion_lock=lock, keys=keys)
    scheme, _, rest = dicomweb_root(request).partition("://")
    channel = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/subscribers/{quote(aet.strip(), safe='')}"
    return Response(status_code=201, headers={"Content-Location": channel})


@router.delete(
    "/workitems/{workitem}/subscribers/{aet}",
    summary="Unsubscribe from a workitem, or from all",
    response_class=Response,
    responses={200: {"description": "No longer subscribed"}, **_REFUSED},
)
def unsubscribe_from_workitem(request: Request, archive: ArchiveDep, workitem: str, aet: str) -> Response:
    """End a subscription with its deletion lock; a global one ends all of the AE (11.11)."""
    _check(request, archive, workitem, aet)
    archive.ups.subscriptions.unsubscribe(workitem, aet)
    return Response()


@router.post(
    "/workitems/{workitem}/subscribers/{aet}/suspend",
    summary="Suspend a global subscription",
    response_class=Response,
    responses={200: {"description": "New workitems are no longer subscribed to"}, **_REFUSED},
)
def suspend_global_subscription(request: Request, archive: ArchiveDep, workitem: str, aet: str) -> Response:
    """Subscribe the AE to no further workitems; it stays subscribed to those that it was (11.12)."""
    _check(request, archive, workitem, aet)
    archive.ups.subscriptions.suspend(workitem, aet)
    return Response()


@router.websocket("/subscribers/{aet}")
async def open_event_channel(socket: WebSocket, aet: str) -> None:
    """Send the event reports of an AE as they happen, first those that have waited."""
    _check_title(socket, socket.app.state.archive, aet)
    channel = socket.app.state.archive.ups.channel(aet)
    await run_sync(channel.open)
    try:
        await socket.accept()
        async with anyio.create_task_group() as group:
            group.start_soon(_listen, socket, group.cancel_scope)
            await _deliver(socket, channel)
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True), suppress(Unavailable):
            await run_sync(channel.close)


def _check(request: Request, archive: Archive, workitem: str, aet: str) -> None:
    """Who does not see all subscribes their own AEs to their own workitems. Raises `NotPermitted`, `NoSuchWorkitem`."""
    _check_title(request, archive, aet)
    if workitem in (GLOBAL, FILTERED):
        if not known_caller(request).may_everywhere(Right.WORKITEMS):
            raise NotPermitted("workitems of all facilities are for those who see the whole province")
    else:
        require_workitem(request, archive, workitem)


def _check_title(connection: HTTPConnection, archive: Archive, aet: str) -> None:
    caller = known_caller(connection)
    if caller.may_everywhere(Right.WORKITEMS):
        return
    peer = archive.peers.named(aet.strip())
    if peer is None or not caller.may(Right.WORKITEMS, peer.facility):
        raise NotPermitted("this AE title is not one of your facility")


async def _listen(socket: WebSocket, scope: anyio.CancelScope) -> None:
    """Until the subscriber goes; what it says has no meaning."""
    with suppress(WebSocketDisconnect):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
    scope.cancel()


async def _deliver(socket: WebSocket, channel: EventChannel) -> None:
    sent: set[int] = set()
    while True:
        try:
            messages = await run_sync(channel.waiting)
            for message in messages:
                if message.id not in sent:
                    await socket.send_text(orjson.dumps(message.dataset()).decode())
                    sent.add(message.id)
            if messages:
                await run_sync(channel.delivered, messages)
                sent.clear()
        except Unavailable as error:
            # Nothing is lost: the events wait in the index.
            log.warning("events of workitems wait", extra=fields(reason=str(error)))
            await anyio.sleep(_AFTER_FAILURE)
        except Replaced:
            await socket.close(REPLACED, "the AE has opened another channel")
            return
        except WebSocketDisconnect:
            return
        else:
            if not messages:
                await anyio.sleep(POLL)


def _parsed(items: list[tuple[str, str]]) -> tuple[bool, Nested | None]:
    """The deletion lock, and the matching keys if there are any. Raises `InvalidQuery`."""
    lock, keys = False, []
    for name, value in items:
        if name.lower() == "deletionlock":
            if value.lower() not in ("true", "false"):
                raise InvalidQuery("deletionlock is neither true nor false")
            lock = value.lower() == "true"
        elif name.lower() in ("filter", "match"):
            for part in value.split("&" if "&" in value else ","):
                key, equals, wanted = part.partition("=")
                if not equals:
                    raise InvalidQuery("a filter is attribute=value")
                keys.append((key.strip(), wanted))
        else:
            keys.append((name, value))
    return lock, parse_workitem_query(keys).keys if keys else None
