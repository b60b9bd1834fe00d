"""The pages under ``/peers``: devices and systems that speak DICOM with the archive, and what each of them may do.

Those of ``pacs.toml`` are shown only. A connection test is done by a DICOM node; the page looks until it is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, Conflict, InvalidItem, NotFound, NotPermitted, Outdated
from archive.people.roles import Right
from archive.registry.activity import Activity
from archive.registry.checks import WORTH, Check
from archive.registry.entries import Entry
from archive.registry.limits import BeyondRights
from archive.standard.text import fold
from config import peers as kinds
from config.peers import UNKNOWN_FACILITY, Facility
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.peer_form import LIMITS, PeerForm, plain, typed
from viewer_api.pages.rendering import page
from viewer_api.problems import problem_of
from viewer_api.routes.peers import ask_test, read_test
from viewer_api.sign_in.profile import local_time

router = APIRouter(prefix="/peers", include_in_schema=False, dependencies=[needs(Right.PEERS)])

_LONGEST: Final = 100
RIGHTS: Final = ("store", "commit", "worklist", "find", "move")
"""In the order in which they are shown: what most devices have comes first."""
_SLOW: Final = timedelta(seconds=20)
"""After this, a test that nobody has taken means that no DICOM node runs."""
_FOLDED: Final[dict[str, tuple[str, ...]]] = {
    "finding": ("sees", "destinations", "worklist", "person_names", "character_sets", "view", "rejects"),
    "security": ("tls", "tls_name", "certificates", "identity"),
    "text": ("default_character_set", "actual_character_set", "coerce"),
    "limits": ("commitment", "parallel", "limits"),
}
"""Parts of the form that are folded away unless something in them is set or wrong, and the settings in each."""
Text = Annotated[str, Query(max_length=_LONGEST)]


_SHOWN: Final = frozenset((*PeerForm.model_fields, "coerce", "limits"))
"""Fields beside which the form says what is wrong."""


@dataclass(frozen=True, slots=True)
class Line:
    """A peer in the list."""

    entry: Entry
    facility: str
    rights: list[str]
    addresses: list[str]
    activity: Activity
    heard: str
    refused: str
    why: str
    test: Check | None


@router.get("")
def peers(request: Request, archive: ArchiveDep, facility: Text = "", find: Text = "") -> Response:
    """All that the caller looks after, or those of a facility, or that have these letters."""
    text = texts(language_of(request))
    entries = [
        each
        for each in archive.registry.listed(known_caller(request))
        if facility in ("", each.facility) and _has(each, find)
    ]
    heard = archive.peer_activities.of(list({each.ae_title for each in entries}))
    tests = archive.peer_checks.last()
    return page(
        request,
        "peers.html",
        lines=[_line(archive, each, heard[each.ae_title], tests.get(each.ae_title), text) for each in entries],
        strangers=_strangers(request, archive, text),
        chosen=facility,
        find=find,
        **_shared(request, archive),
    )


@router.get("/new")
def new(request: Request, archive: ArchiveDep, ae_title: Text = "", address: Text = "") -> Response:
    """An empty form; of a device that has called, with what is known of it."""
    form = typed(ae_title, {"addresses": [address] if address else []})
    return _form(request, archive, form)


@router.post("/new")
def add(request: Request, archive: ArchiveDep, form: Annotated[PeerForm, Form()]) -> Response:
    """List it, then show it."""
    try:
        entry = archive.registry.add(who(request), form.ae_title, form.settings())
    except (InvalidItem, Conflict) as error:
        return _form(request, archive, form, error=error)
    return _to(entry.ae_title)


@router.get("/one")
def one(request: Request, archive: ArchiveDep, ae_title: Text, test: int | None = None) -> Response:
    """One peer, with its form if the caller may change it."""
    return _one(request, archive, ae_title, test=test)


@router.post("/one")
def act(request: Request, archive: ArchiveDep, form: Annotated[PeerForm, Form()]) -> Response:
    """Change it, then show it anew, so that reloading does not do it again."""
    registry, caller, title = archive.registry, who(request), form.ae_title
    try:
        if form.action == "test":
            return _to(title, test=ask_test(request, archive, title))
        if form.action == "remove":
            registry.remove(caller, title, form.revision)
            return RedirectResponse("/peers", HTTPStatus.SEE_OTHER)
        if form.action == "change":
            registry.change(caller, title, form.settings(), form.revision)
        elif form.action == "disable":
            registry.disable(caller, title, form.revision)
        elif form.action == "enable":
            registry.enable(caller, title, form.revision)
        else:
            raise InvalidItem("no such action")
    except NotFound:
        raise
    except (InvalidItem, Outdated, NotPermitted) as error:
        return _one(request, archive, title, form if form.action == "change" else None, error=error)
    return _to(title)


def _to(ae_title: str, **more: int) -> Response:
    return RedirectResponse(f"/peers/one?{urlencode({'ae_title': ae_title, **more})}", HTTPStatus.SEE_OTHER)


def _one(
    request: Request,
    archive: Archive,
    ae_title: str,
    form: PeerForm | None = None,
    *,
    test: int | None = None,
    error: ArchiveError | None = None,
) -> Response:
    caller = known_caller(request)
    entry = archive.registry.one(caller, ae_title)
    check = read_test(request, archive, test) if test is not None else archive.peer_checks.last().get(entry.ae_title)
    text = texts(language_of(request))
    activity = archive.peer_activities.of([entry.ae_title])[entry.ae_title]
    # Who was too slow sees what they typed, and saves it over the new revision only if they say so once more.
    form = form or typed(entry.ae_title, entry.settings, entry.revision)
    form = form.model_copy(update={"revision": entry.revision})
    return _form(
        request,
        archive,
        form,
        error=error,
        line=_line(archive, entry, activity, check, text),
        changed=local_time(entry.changed_at, text.language) if entry.changed_at else "",
        manages=archive.registry.manages(caller, entry),
        waiting=check is not None and check.outcome is None,
        nobody=check is not None and check.outcome is None and datetime.now(UTC) - check.asked_at > _SLOW,
        given_up=check is not None
        and check.outcome is None
        and datetime.now(UTC) - check.asked_at > timedelta(seconds=WORTH),
    )


def _form(
    request: Request, archive: Archive, form: PeerForm, *, error: ArchiveError | None = None, **values: Any
) -> Response:
    text = texts(language_of(request))
    faults = _faults(error, text)
    settings = _settings(form)
    return page(
        request,
        "peer.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        form=form,
        faults=faults,
        message=_message(error, text),
        opened={
            part for part, names in _FOLDED.items() if any(_set(settings, name) or name in faults for name in names)
        },
        choices={name: get_args(kind) for name, kind in _KINDS.items()},
        limits=LIMITS,
        **{"line": None, "manages": True, "waiting": False, "nobody": False, "given_up": False, **values},
        **_shared(request, archive),
    )


_KINDS: Final = {
    "identity": kinds.IdentityRule,
    "view": kinds.View,
    "person_names": kinds.PersonNames,
    "character_sets": kinds.CharacterSet,
}


def _shared(request: Request, archive: Archive) -> dict[str, Any]:
    """What all pages show: the facilities, and what to enter at a device."""
    node, where = archive.settings.node, known_caller(request).rights[Right.PEERS]
    return {
        "facilities": _facilities(archive, where),
        "everywhere": where is None,
        "node": node,
        "server": request.url.hostname or "",
        "rights": RIGHTS,
    }


def _facilities(archive: Archive, where: frozenset[str] | None) -> list[Facility]:
    return [
        each
        for code, each in archive.peers.facilities.items()
        if code != UNKNOWN_FACILITY.code and (where is None or code in where)
    ]


def _has(entry: Entry, find: str) -> bool:
    addresses = " ".join(entry.peer.addresses)
    told = f"{entry.ae_title} {entry.peer.description} {entry.peer.host} {addresses}"
    return fold(find) in fold(told)


def _line(archive: Archive, entry: Entry, activity: Activity, test: Check | None, text: Texts) -> Line:
    facility = archive.peers.facilities.get(entry.facility)
    why = text.get(f"peer_refused_{activity.refused_why}") or activity.refused_why
    return Line(
        entry,
        facility.name if facility else entry.facility,
        [text(f"peer_may_{right}") for right in RIGHTS if right in entry.peer.rights],
        list(map(plain, entry.peer.addresses)),
        activity,
        local_time(activity.received_at, text.language) if activity.received_at else "",
        local_time(activity.refused_at, text.language) if activity.refused_at else "",
        why,
        test,
    )


def _strangers(request: Request, archive: Archive, text: Texts) -> list[tuple[str, str, str, str]]:
    """Who has called lately and is not listed: AE title, address, when, and where a form for it is."""
    if not known_caller(request).may_everywhere(Right.PEERS):
        return []
    return [
        (
            each.ae_title,
            each.address,
            local_time(each.last_at, text.language),
            f"/peers/new?{urlencode({'ae_title': each.ae_title, 'address': each.address})}",
        )
        for each in archive.peer_activities.strangers()
        if archive.peers.known(each.ae_title) is None
    ]


def _settings(form: PeerForm) -> dict[str, Any]:
    try:
        return form.settings()
    except InvalidItem:
        return {}


_AS_BY_DEFAULT: Final = {
    "sees": "own",
    "destinations": "own",
    "worklist": "facility",
    "person_names": "folded",
    "view": "clinical",
    "rejects": "own",
    "commitment": "either",
    "parallel": "1",
    "tls": False,
}


def _set(settings: dict[str, Any], name: str) -> bool:
    return name in settings and settings[name] != _AS_BY_DEFAULT.get(name)


def _faults(error: ArchiveError | None, text: Texts) -> dict[str, tuple[str, str]]:
    """What is wrong by field of the form: in words, and exactly."""
    if not isinstance(error, InvalidItem):
        return {}
    found: dict[str, tuple[str, str]] = {}
    family = "peer_beyond" if isinstance(error, BeyondRights) else "peer_fault"
    for path, exact in error.faults.items():
        name = path.split(".")[0]
        name = name if name in _SHOWN else "other"
        found.setdefault(name, (text.get(f"{family}_{name}") or text(f"{family}_other"), exact))
    return found


def _message(error: ArchiveError | None, text: Texts) -> str:
    if error is None:
        return ""
    if isinstance(error, Conflict):
        return text("peer_in_file") if "pacs.toml" in str(error) else text("peer_taken")
    if isinstance(error, Outdated):
        return text("peer_outdated")
    if isinstance(error, InvalidItem) and error.faults:
        return text("peer_wrong")
    return text("peer_refused", reason=str(error))
