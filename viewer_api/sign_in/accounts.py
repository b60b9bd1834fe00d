"""The pages under ``/accounts``: who can sign in, with which roles where, and what an administrator does about it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import segno
from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, Conflict, InvalidItem, NotFound, NotPermitted
from archive.people.accounts import NOT_FOR_PROGRAMS, PROVINCE_ONLY, Listed
from archive.people.caller import Caller, Membership
from archive.people.roles import Right, Role
from archive.standard.text import fold
from config.peers import UNKNOWN_FACILITY
from viewer_api.addresses import base_url
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.language import language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.problems import problem_of
from viewer_api.sign_in.pages import Field, forget_known
from viewer_api.sign_in.profile import facility_name, local_time
from viewer_api.sign_in.set_up import PATH as SET_UP

router = APIRouter(prefix="/accounts", include_in_schema=False, dependencies=[needs(Right.ACCOUNTS)])

_OF_PROVINCE: Final = (Role.ANALYST, Role.PROVINCE_ADMIN)
_MOST: Final = 100
_LINK: Final = "link"
_LONGEST_KEYS: Final = 20_000
Chosen = Annotated[list[str] | None, Form(max_length=_MOST)]


@router.get("")
def accounts(request: Request, archive: ArchiveDep, find: Annotated[str, Query(max_length=_MOST)] = "") -> Response:
    """All that the caller looks after, or those whose names have these letters; those to be reviewed first."""
    return _list(request, archive, find=find)


@router.post("")
def create(
    request: Request,
    archive: ArchiveDep,
    name: Field = "",
    display_name: Field = "",
    role: Field = "",
    facility: Field = "",
    right: Chosen = None,
    way: Field = "password",
) -> Response:
    """A new account; answers with what the person needs to get in, which is shown once.

    `way` is how: by a link to set a password (``link``), by a one-time password, or ``at:`` and a provider.
    """
    caller, people, name = known_caller(request), archive.people, name.strip().lower()
    try:
        provider = _provider(archive, way)
        made = people.accounts.create(
            caller,
            name,
            display_name,
            [_membership(role, facility)],
            _rights(role, right),
            provider=provider,
            password=way != _LINK,
        )
        number = people.accounts.named(caller, name).id
        if made:
            return _secret(request, name, made)
        if not provider:
            return _link(request, archive, name, people.set_up.make(caller, number))
    except (InvalidItem, Conflict, NotPermitted) as error:
        return _list(request, archive, error)
    return RedirectResponse(f"/accounts/{number}", HTTPStatus.SEE_OTHER)


@router.get("/{number}")
def account(request: Request, archive: ArchiveDep, number: int) -> Response:
    """One account."""
    return _one(request, archive, number)


@router.post("/{number}")
def act(
    request: Request,
    archive: ArchiveDep,
    number: int,
    action: Field = "",
    kept: Chosen = None,
    role: Field = "",
    facility: Field = "",
    right: Chosen = None,
    way: Field = "",
    display_name: Field = "",
    keys: Annotated[str, Form(max_length=_LONGEST_KEYS)] = "",
) -> Response:
    """Change it, then show it anew, so that reloading does not do it again."""
    people, caller = archive.people.accounts, known_caller(request)
    try:
        if action == _LINK:
            return _link(request, archive, people.one(caller, number).name, archive.people.set_up.make(caller, number))
        if action == "password":
            return _secret(request, people.one(caller, number).name, people.reset_password(caller, number))
        if action == "roles":
            roles = [_membership(*each.split("@", 1)) for each in kept or () if "@" in each]
            roles += [_membership(role, facility)] if role else []
            people.set_roles(caller, number, roles, _rights(str(roles[0].role) if roles else "", right))
        elif action == "keys":
            archive.people.programs.set_keys(caller, number, keys)
        elif action == "rename":
            people.rename(caller, number, display_name)
        elif action == "way":
            people.sign_in_at(caller, number, _provider(archive, way))
        else:
            acts = {
                "disable": people.disable,
                "enable": people.enable,
                "unlock": people.unlock,
                "factor": people.reset_factor,
                "confirm": people.confirm,
            }
            if action not in acts:
                raise InvalidItem("no such action")
            acts[action](caller, number)
    except NotFound:
        raise
    except (InvalidItem, NotPermitted) as error:
        return _one(request, archive, number, error)
    finally:
        forget_known(request)
    return RedirectResponse(f"/accounts/{number}", HTTPStatus.SEE_OTHER)


def _list(request: Request, archive: Archive, error: ArchiveError | None = None, find: str = "") -> Response:
    caller, wanted = known_caller(request), fold(find)
    listed = archive.people.accounts.listed(caller)
    found = [each for each in listed if wanted in fold(f"{each.name} {each.display_name}")]
    found.sort(key=lambda each: (not each.review_due, not each.enabled, each.name))
    return page(
        request,
        "accounts.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        accounts=found,
        find=find,
        message=_message(request, error),
        **_shared(request, archive, caller),
    )


def _one(request: Request, archive: Archive, number: int, error: ArchiveError | None = None) -> Response:
    caller = known_caller(request)
    found = archive.people.accounts.one(caller, number)
    return page(
        request,
        "account.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        account=found,
        manages=archive.people.accounts.manages(caller, found),
        message=_message(request, error),
        **_shared(request, archive, caller),
    )


def _secret(request: Request, name: str, secret: str) -> Response:
    return page(request, "account_secret.html", name=name, secret=secret, picture="", hours=0)


def _link(request: Request, archive: Archive, name: str, secret: str) -> Response:
    """The link by which the person sets a password, also as a picture for a telephone."""
    address = f"{base_url(request)}{SET_UP}/{secret}"
    picture = segno.make(address, error="m").svg_data_uri(scale=4, border=4, light="#fff")
    hours = round(archive.settings.access.one_time_hours)
    return page(request, "account_secret.html", name=name, secret=address, picture=picture, hours=hours)


def _provider(archive: Archive, way: str) -> str:
    """The provider that is chosen; empty for none. Raises `InvalidItem`."""
    kind, _, name = way.partition(":")
    if kind != "at":
        return ""
    if name not in {each.name for each in archive.settings.oidc}:
        raise InvalidItem.of({"way": "is not one of the settings"})
    return name


def _shared(request: Request, archive: Archive, caller: Caller) -> dict[str, Any]:
    """What both pages show: what may be given where, and how roles, states and times are written."""
    text = texts(language_of(request))
    where = caller.rights[Right.ACCOUNTS]
    facilities = [
        each
        for code, each in archive.peers.facilities.items()
        if code != UNKNOWN_FACILITY.code and (where is None or code in where)
    ]
    everywhere = text("role_everywhere")
    return {
        "facilities": facilities,
        "everywhere": where is None,
        "roles": [(each.value, text(f"role_{each}")) for each in Role if where is None or each not in _OF_PROVINCE],
        "rights": [
            (each.value, text(f"right_{each}"))
            for each in Right
            if each not in NOT_FOR_PROGRAMS and (where is None or each not in PROVINCE_ONLY)
        ],
        "providers": [(each.name, each.label) for each in archive.settings.oidc],
        "provider_label": lambda name: next((each.label for each in archive.settings.oidc if each.name == name), name),
        "said": lambda m: f"{text(f'role_{m.role}')} · {facility_name(archive, m.facility, everywhere)}",
        "states": lambda each: [text(f"account_{key}") for key in _states(each)],
        "time": lambda at: local_time(at, text.language) if at else text("account_never"),
    }


def _states(account: Listed) -> Sequence[str]:
    told = (
        ("disabled", not account.enabled),
        ("locked", account.locked),
        ("must_change", account.must_change),
        ("review_due", account.review_due),
        ("set_up", account.set_up),
    )
    return [key for key, holds in told if holds]


def _membership(role: str, facility: str) -> Membership:
    if role not in set(Role):
        raise InvalidItem.of({"roles": "are missing"})
    return Membership(Role(role), None if facility == "*" else facility)


def _rights(role: str, names: Sequence[str] | None) -> list[Right]:
    """The rights that were ticked, which count for programs only."""
    known = set(Right)
    return [Right(name) for name in names or () if name in known] if role == Role.SERVICE else []


def _message(request: Request, error: ArchiveError | None) -> str:
    if error is None:
        return ""
    text = texts(language_of(request))
    key = "account_taken" if isinstance(error, Conflict) else "account_refused"
    return text(key) if isinstance(error, Conflict) else f"{text(key)} ({error})"
