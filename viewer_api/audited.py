"""What the web service puts on record: searches, looks, copies, changes, and refusals of each.

Routes that show images or answer searches call `looked` and `searched`. All others are put on record where their right
is asked for (`viewer_api.gate`): each change, and one look for each route and caller within some minutes.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from anyio import to_thread
from fastapi import Request
from pydicom.datadict import keyword_for_tag
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archive.audit.events import Action, AuditEvent, Detail, Outcome
from archive.core import Archive
from archive.errors import ArchiveError
from archive.people.caller import ANYBODY, Caller, Kind
from archive.people.roles import Right
from archive.records import Nested, Query, Receipt, StoredInstance
from archive.standard.uids import is_uid
from config.logs import fields
from viewer_api.addresses import route_template

log = logging.getLogger(__name__)

_READING: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_OF_RIGHTS: Final[Mapping[Right, Action]] = {
    Right.ORDERS: Action.ORDER,
    Right.REJECT: Action.REJECT,
    Right.OPERATE: Action.OPERATE,
    Right.WORKITEMS: Action.OPERATE,
    Right.FEED: Action.OPERATE,
}
"""Rights whose routes do not put themselves on record, and what a change by them is."""
NOT_BY_THEMSELVES: Final = frozenset(_OF_RIGHTS)
_ABOUT_PATIENTS: Final = frozenset((Right.ORDERS, Right.REJECT, Right.WORKITEMS))
"""Of these, those whose answers name patients."""
_TOLD_WITH_KEYS: Final = frozenset(("GET /worklist", "POST /worklist"))
"""Searches that put themselves on record, because what they ask for is known only to them (`listed`)."""
_TAKING: Final[Mapping[Right, Action]] = {**_OF_RIGHTS, Right.COPY: Action.COPY, Right.STORE: Action.STORE}
_PATIENT_ID: Final = 0x00100020
_STUDY: Final = 0x0020000D


def who(connection: HTTPConnection) -> Caller:
    """The caller, with the address that the request came from."""
    found: Caller = getattr(connection.state, "caller", ANYBODY)
    if found.address or connection.client is None:
        return found
    return found.at(connection.client.host)


def looked(request: Request, archive: Archive, found: Sequence[StoredInstance], action: Action) -> None:
    """Put on record, before anything of it is given, who gets these instances of one study.

    Raises `IndexUnavailable`.
    """
    archive.looks.note(look_of(request, found[0], action), [inst.sop_instance_uid for inst in found])
    request.state.looked = True


def look_of(request: Request, inst: StoredInstance, action: Action) -> AuditEvent:
    """What is put on record of a look at instances of a study."""
    return AuditEvent(action, who(request), studies=(inst.study_instance_uid,), detail={"what": "images"})


def searched(request: Request, archive: Archive, query: Query, matches: int) -> None:
    """Put a search on record, with all that it asked for. Raises `IndexUnavailable`."""
    patient, study = (query.keys.get(tag, "") for tag in (_PATIENT_ID, _STUDY))
    keys = [*_keys(Nested(query.keys, query.sequences))]
    event = AuditEvent(
        Action.SEARCH,
        who(request),
        studies=tuple(uid for uid in study.split("\\") if uid),
        patient_id="" if set(patient) & set("*?\\") else patient,
        detail={"what": f"search of {query.level.value.lower()}", "keys": keys, "matches": matches},
    )
    # A viewer asks for the series of the study that it shows, again and again; so does a list that refreshes itself or
    # a program that waits. The same question with as many answers within the window is counted, and told at its end.
    archive.looks.note(event, about=f"{query.level} {keys} {matches}")


def stored(request: Request, archive: Archive, receipts: Sequence[Receipt], refused: int) -> None:
    """Put on record what was sent by STOW-RS. Raises `IndexUnavailable`: then it is to be sent again."""
    outcome = Outcome.SUCCESS if receipts else Outcome.FAILED
    studies = tuple(dict.fromkeys(receipt.study_instance_uid for receipt in receipts))
    counts = {"instances": len(receipts), "refused": refused}
    detail: dict[str, Detail] = {"what": "stored", "transport": "stow", **counts}
    archive.audit.record(AuditEvent(Action.STORE, who(request), outcome, studies=studies, detail=detail))


def used(connection: HTTPConnection, archive: Archive, right: Right) -> None:
    """Put on record that a route is used which does not do so itself. Raises `IndexUnavailable`: then it is not."""
    route = _route(connection)
    detail: dict[str, Detail] = {"what": route, **{name: str(value) for name, value in connection.path_params.items()}}
    study = connection.path_params.get("study", "")
    studies = (study,) if is_uid(study) else ()
    if route in _TOLD_WITH_KEYS:
        return
    if connection.scope.get("method", "GET") in _READING:
        # Whoever follows the feed or the metrics asks the same again and again, with another number.
        asked = str(connection.url.query) if right in _ABOUT_PATIENTS else ""
        action = Action.SEARCH if right in _ABOUT_PATIENTS else Action.OPERATE
        event = AuditEvent(action, who(connection), studies=studies, detail={**detail, "query": asked})
        archive.looks.note(event, about=f"{route} {connection.path_params} {asked}")
    else:
        intended = AuditEvent(
            _OF_RIGHTS[right],
            who(connection),
            Outcome.INTENDED,
            studies=studies,
            detail={**detail, "act": secrets.token_hex(8)},
        )
        archive.audit.record(intended)
        connection.state.intended = intended


def listed(request: Request, archive: Archive, what: str, keys: list[str], matches: int) -> None:
    """Put a search on record that a page makes, with what it asked for. Raises `IndexUnavailable`."""
    detail: dict[str, Detail] = {"what": what, "keys": keys, "matches": matches}
    archive.looks.note(AuditEvent(Action.SEARCH, who(request), detail=detail), about=f"{what} {keys}")


class Recorded:
    """Puts on record how each change ended that was put on record as intended, before its caller is told."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self.app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                await _ended(scope, state, message["status"])
            await send(message)

        try:
            await self.app(scope, receive, told)
        except Exception:
            await _ended(scope, state, HTTPStatus.INTERNAL_SERVER_ERROR)
            raise


async def _ended(scope: Scope, state: dict[str, Any], status: int) -> None:
    intended: AuditEvent | None = state.pop("intended", None)
    if intended is None:
        return
    refused = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
    failed = Outcome.DENIED if refused else Outcome.FAILED
    detail: dict[str, Detail] = {**intended.detail, "status": int(status)}
    if "why" in state:
        detail["why"] = state["why"]
    outcome = Outcome.SUCCESS if status < HTTPStatus.BAD_REQUEST else failed
    archive: Archive = scope["app"].state.archive
    try:
        await to_thread.run_sync(archive.audit.record, replace(intended, outcome=outcome, detail=detail))
    except ArchiveError as error:
        # It is done or not, and that it was begun is on record: to call it failed now would be a lie.
        log.warning("the outcome of a change is not on record", extra=fields(error=str(error)))


def refused(connection: HTTPConnection, status: int, why: str) -> None:
    """Put a refusal on record. The caller gets its answer in any case.

    That there is no such study may mean that it is not theirs; what is missing of a study that they see is no refusal.
    """
    if getattr(connection.state, "intended", None) is not None:
        connection.state.why = why  # told with the outcome of what was begun
        return
    archive: Archive | None = getattr(connection.app.state, "archive", None)
    study = connection.path_params.get("study", "")
    seen = getattr(connection.state, "looked", False)
    if archive is None or (status == HTTPStatus.NOT_FOUND and (seen or not is_uid(study))):
        return
    caller, route = who(connection), _route(connection)
    right = getattr(connection.state, "right", Right.VIEW)
    action = Action.SIGN_IN if caller.kind is Kind.NOBODY else _TAKING.get(right, Action.VIEW)
    detail: dict[str, Detail] = {"what": route, "status": status, "why": why}
    event = AuditEvent(action, caller, Outcome.DENIED, studies=(study,) if is_uid(study) else (), detail=detail)
    try:
        archive.looks.note(event, about=f"{route} {status}")
    except ArchiveError as error:
        log.warning("a refusal is not on record", extra=fields(error=str(error)))


def _route(connection: HTTPConnection) -> str:
    return f"{connection.scope.get('method', 'GET')} {route_template(connection.scope)}"


def _keys(keys: Nested, prefix: str = "") -> list[str]:
    found = []
    for tag, value in keys.keys.items():
        name = prefix + (keyword_for_tag(tag) or f"{tag:08X}")
        if value:
            found.append(f"{name}={value}")
    for tag, nested in keys.sequences.items():
        found += _keys(nested, f"{prefix}{keyword_for_tag(tag) or f'{tag:08X}'}.")
    return found
