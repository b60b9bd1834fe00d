"""The change feed: what was stored, replaced, hidden, corrected and completed, in order, to be resumed anywhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, cast

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from archive.errors import InvalidQuery, Unavailable
from archive.feed.feed import KINDS, ChangeRecord, Feed, Page, Wanted
from archive.people.roles import Right
from config.feed import ChangeKind
from viewer_api.addresses import DICOMWEB
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.listeners import Listeners
from viewer_api.media_types import JSON, Offer, accepted, choose
from viewer_api.views import PARAMETER, VIEW, feed_scope_of

router = APIRouter(prefix=DICOMWEB, tags=["Change feed"], dependencies=[needs(Right.FEED)])

EVENT_STREAM: Final = "text/event-stream"
MOST: Final = 1000
LONGEST_WAIT: Final = 60
_DEFAULT_LIMIT: Final = 100
_KEEP_ALIVE: Final = 15.0
"""Seconds after which a silent stream says that it is there: proxies cut what is silent for long."""
_LARGEST: Final = (1 << 63) - 1
_NO_STORE: Final = {"Cache-Control": "no-store"}
_OFFERS: Final = (Offer(JSON, False), Offer(EVENT_STREAM, False))
_NAMES: Final = frozenset({"since", "limit", "kind", "facility", "wait", "accept", VIEW})

_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_CHANGE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["sequence", "kind", "at", "facility", "study"],
    "properties": {
        "sequence": {"type": "integer"},
        "kind": {"type": "string", "enum": list(KINDS)},
        "at": {"type": "string", "format": "date-time"},
        "facility": {"type": "string"},
        "study": {"type": "string"},
        "series": {"type": "string"},
        "instance": {"type": "string"},
        "sopClass": {"type": "string"},
    },
}
_PAGE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["changes", "next", "latest"],
    "properties": {
        "changes": {"type": "array", "items": _CHANGE},
        "next": {"type": "integer", "description": "`since` of the next request"},
        "latest": {"type": "integer", "description": "How far the feed has come"},
    },
}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Changes in order",
        "content": {JSON: {"schema": _PAGE}, EVENT_STREAM: {"schema": {"type": "string"}}},
    },
    400: {"description": "A parameter is unknown or cannot be understood", **_PROBLEM},
    403: {"description": "The view is not open", **_PROBLEM},
    406: {"description": "Only JSON and server-sent events can be given", **_PROBLEM},
    410: {"description": "Changes behind `since` are not kept any more", **_PROBLEM},
    503: {"description": "The archive cannot answer now, or too many wait", **_PROBLEM},
}


def _parameter(name: str, about: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": about, "schema": schema}


_WHOLE: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_PARAMETERS: Final[list[dict[str, Any]]] = [
    _parameter("since", "Only changes with higher numbers; without it, from the oldest one kept.", **_WHOLE),
    _parameter("limit", "Most changes wanted.", type="integer", minimum=1, maximum=MOST, default=_DEFAULT_LIMIT),
    _parameter("kind", "Kinds wanted, with commas between; all without it.", type="string"),
    _parameter("facility", "Codes of the owners of studies, with commas between; all without it.", type="string"),
    _parameter(
        "wait",
        "Seconds to wait for a change if there is none.",
        type="integer",
        minimum=0,
        maximum=LONGEST_WAIT,
        default=0,
    ),
    PARAMETER,
    {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Where a broken stream goes on; it wins over `since`.",
        "schema": _WHOLE,
    },
]


class _Asked(NamedTuple):
    since: int | None
    limit: int
    wait: int
    wanted: Wanted


@router.get(
    "/changes",
    summary="The change feed",
    responses=_RESPONSES,
    response_class=Response,
    openapi_extra={"parameters": _PARAMETERS},
)
async def changes(request: Request, archive: ArchiveDep) -> Response:
    """Changes as a list, or one after the other as server-sent events, as the Accept header says."""
    ranges = accepted(request.headers.get("accept"), request.query_params.getlist("accept"))
    form = choose(ranges, _OFFERS)[0]
    asked = _asked(request)
    listeners = cast(Listeners, request.app.state.listeners)
    if form.media_type == EVENT_STREAM:
        return await _stream(archive.feed, listeners, asked)
    page = await _read(archive.feed, asked)
    if asked.wait and not page.changes and page.next == page.latest:
        page = await _wait(archive.feed, listeners, asked, page)
    body = {"changes": [change.to_json() for change in page.changes], "next": page.next, "latest": page.latest}
    return Response(orjson.dumps(body), headers=_NO_STORE, media_type=JSON)


async def _read(feed: Feed, asked: _Asked) -> Page:
    return await to_thread.run_sync(feed.read, asked.since, asked.wanted, asked.limit)


async def _wait(feed: Feed, listeners: Listeners, asked: _Asked, page: Page) -> Page:
    """One more look when something came, whether it is wanted or not: then the answer says from where to go on."""
    async with listeners.place():
        if not await listeners.beyond(page.next, asked.wait):
            return page
    return await _read(feed, asked._replace(since=page.next))


# -- server-sent events ----------------------------------------------------------------------------------------------


async def _stream(feed: Feed, listeners: Listeners, asked: _Asked) -> Response:
    # The first page before the answer begins: what is wrong becomes a proper problem response.
    listeners.require_place()
    first = await _read(feed, asked)
    headers = {**_NO_STORE, "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(feed, listeners, asked, first), media_type=EVENT_STREAM, headers=headers)


async def _events(feed: Feed, listeners: Listeners, asked: _Asked, page: Page) -> AsyncGenerator[bytes, None]:
    """Until the client goes, the process stops or the archive cannot serve; the client comes again by itself."""
    try:
        async with listeners.place():
            while not listeners.stopping:
                yield _told(page)
                if page.next < page.latest or await listeners.beyond(page.next, _KEEP_ALIVE):
                    page = await _read(feed, asked._replace(since=page.next))
                else:
                    page = replace(page, changes=[])
    except Unavailable as error:
        yield f": {error}\n\n".encode()


def _told(page: Page) -> bytes:
    """Events, then where the stream stands: so a client that wants little goes on from here as well."""
    return b"".join(map(_event, page.changes)) + b": here\nid: %d\n\n" % page.next


def _event(change: ChangeRecord) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (change.sequence, change.kind.encode(), orjson.dumps(change.to_json()))


# -- what is asked for -----------------------------------------------------------------------------------------------


def _asked(request: Request) -> _Asked:
    """Raises `InvalidQuery`."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in _NAMES:
            raise InvalidQuery(f"there is no parameter {name[:32]!a}")
        if given.setdefault(name, value) != value and name != "accept":
            raise InvalidQuery(f"{name} is given more than once with different values")
    since = _number(given, "since", 0, _LARGEST)
    resumed = _number(request.headers, "last-event-id", 0, _LARGEST)
    limit = _number(given, "limit", 1, MOST)
    wanted = Wanted(_kinds(given.get("kind", "")), _list(given.get("facility", "")), feed_scope_of(request))
    return _Asked(
        since if resumed is None else resumed,
        _DEFAULT_LIMIT if limit is None else limit,
        _number(given, "wait", 0, LONGEST_WAIT) or 0,
        wanted,
    )


def _kinds(text: str) -> list[ChangeKind]:
    kinds = _list(text)
    if unknown := set(kinds) - set(KINDS):
        raise InvalidQuery(f"kind is of {', '.join(KINDS)}; not {min(unknown)[:32]!a}")
    return cast(list[ChangeKind], kinds)


def _list(text: str) -> Sequence[str]:
    if "\0" in text:
        raise InvalidQuery("facility has a character that no code has")
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(given: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise InvalidQuery(f"{name} is a whole number from {least} to {most}")
    return int(text)
