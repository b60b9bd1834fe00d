"""The pages under ``/accounts``: who can sign in, with which roles where, and what an administrator does about it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, Conflict, InvalidItem, NotFound, NotPermitted
from archive.people.accounts import NOT_FOR_PROGRAMS, PROVINCE_ONLY, Listed
from archive.people.caller import Caller, Membership
from archive.people.roles import Right, Role
from config.peers import UNKNOWN_FACILITY
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.language import language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.problems import problem_of
from viewer_api.sign_in.pages import Field, forget_known
from viewer_api.sign_in.profile import facility_name, local_time

router = APIRouter(prefix="/accounts", include_in_schema=False, dependencies=[needs(Right.ACCOUNTS)])

_OF_PROVINCE: Final = (Role.ANALYST, Role.PROVINCE_ADMIN)
_MOST: Final = 100
Chosen = Annotated[list[str] | None, Form(max_length=_MOST)]


@router.get("")
def accounts(request: Request, archive: ArchiveDep) -> Response:
    """All that the caller looks after, those to be reviewed first."""
    return _list(request, archive)


@router.post("")
def create(
    request: Request,
    archive: ArchiveDep,
    name: Field = "",
    display_name: Field = "",
    role: Field = "",
    facility: Field = "",
    right: Chosen = None,
) -> Response:
    """A new account; answers with its one-time password, which is shown once."""
    try:
        roles = [_membership(role, facility)]
        made = archive.people.accounts.create(
            known_caller(request), name.strip().lower(), display_name, roles, _rights(role, right)
        )
    except (InvalidItem, Conflict, NotPermitted) as error:
        return _list(request, archive, error)
    return _secret(request, name.strip().lower(), made)


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
) -> Response:
    """Change it, then show it anew, so that reloading does not do it again."""
    people, caller = archive.people.accounts, known_caller(request)
    try:
        if action == "password":
            return _secret(request, people.one(caller, number).name, people.reset_password(caller, number))
        if action == "roles":
            roles = [_membership(*each.split("@", 1)) for each in kept or () if "@" in each]
            roles += [_membership(role, facility)] if role else []
            people.set_roles(caller, number, roles, _rights(str(roles[0].role) if roles else "", right))
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


def _list(request: Request, archive: Archive, error: ArchiveError | None = None) -> Response:
    caller = known_caller(request)
    found = archive.people.accounts.listed(caller)
    found.sort(key=lambda each: (not each.review_due, not each.enabled, each.name))
    return page(
        request,
        "accounts.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        accounts=found,
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
    return page(request, "account_secret.html", name=name, secret=secret)


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
