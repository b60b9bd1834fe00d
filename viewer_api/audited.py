"""What the web service puts on record: searches, looks, copies, changes, and refusals of each.

Routes that show images or answer searches call `looked` and `searched`. All others are put on record where their right
is asked for (`viewer_api.gate`): each change, and one look for each route and caller within some minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from fastapi import Request
from pydicom.datadict import keyword_for_tag
from starlette.requests import HTTPConnection

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
_FORMS: Final = frozenset(("POST /worklist",))
"""Searches that are sent as forms."""
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
    event = AuditEvent(action, who(request), studies=(found[0].study_instance_uid,), detail={"what": "images"})
    archive.looks.note(event, [inst.sop_instance_uid for inst in found])
    request.state.looked = True


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
    if event.studies:
        # A viewer asks for the series of the study that it shows, again and again.
        archive.looks.note(event, about=f"{query.level} {keys}")
    else:
        archive.audit.record(event)


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
    if connection.scope.get("method", "GET") in _READING or route in _FORMS:
        # Whoever follows the feed or the metrics asks the same again and again, with another number.
        asked = str(connection.url.query) if right in _ABOUT_PATIENTS else ""
        action = Action.SEARCH if right in _ABOUT_PATIENTS else Action.OPERATE
        event = AuditEvent(action, who(connection), studies=studies, detail={**detail, "query": asked})
        archive.looks.note(event, about=f"{route} {connection.path_params} {asked}")
    else:
        archive.audit.record(AuditEvent(_OF_RIGHTS[right], who(connection), studies=studies, detail=detail))


def refused(connection: HTTPConnection, status: int, why: str) -> None:
    """Put a refusal on record. The caller gets its answer in any case.

    That there is no such study may mean that it is not theirs; what is missing of a study that they see is no refusal.
    """
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
