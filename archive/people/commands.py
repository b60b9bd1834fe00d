"""``python -m archive accounts``: who can sign in. Makes the first administrator, and helps when none can get in."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from archive.core import Archive
from archive.errors import InvalidItem
from archive.people.accounts import Listed
from archive.people.caller import Caller, Kind, Membership
from archive.people.roles import Right, Role
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]

OPERATOR: Final = Caller(Kind.SYSTEM, "command line", dict.fromkeys(Right))


def register(add: Add) -> None:
    """Add the command."""
    command = add("accounts", _list, "List who can sign in; make, change and disable accounts.")
    actions = command.add_subparsers(metavar="ACTION")

    def action(name: str, run: Callable[[Archive, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=text, description=text)
        parser.set_defaults(run=lambda settings, given: _with_archive(settings, given, run))
        return parser

    action("list", _show, "List all accounts.")
    made = action("add", _add, "Make an account and print its one-time password, or a program's secret.")
    made.add_argument("name", help="sign-in name, such as lan.tran")
    made.add_argument("--display-name", required=True, help="as pages show it")
    made.add_argument("--provider", default="", metavar="NAME", help="sign in there ([[oidc]]), without a password")
    _roles(made)
    changed = action("roles", _set_roles, "Give an account these roles in place of those before.")
    changed.add_argument("name")
    _roles(changed)
    keys = action("keys", _keys, "Let a program sign in by these public keys, and no longer by its secret.")
    keys.add_argument("name")
    keys.add_argument("file", type=Path, help="public keys: PEM, a JWK or a JWK set")
    for name, run, text in (
        ("disable", _disable, "Let an account in no more; its sessions end."),
        ("enable", _enable, "Let it in again."),
        ("unlock", _unlock, "Forget wrong tries under its name."),
        ("password", _password, "Print a new one-time password, or a program's new secret; sessions end."),
        ("reset-factor", _reset_factor, "Take away its second factor; sessions end."),
    ):
        action(name, run, text).add_argument("name")


def _roles(parser: argparse.ArgumentParser) -> None:
    roles = ", ".join(Role)
    parser.add_argument(
        "--role",
        action="append",
        required=True,
        type=membership,
        metavar="ROLE@FACILITY",
        help=f"one of {roles}; with the code of a facility, or ROLE@* for all of them; several times for several",
    )
    rights = ", ".join(Right)
    parser.add_argument(
        "--right", action="append", default=[], type=_right, metavar="RIGHT", help=f"of a program: {rights}"
    )


def membership(value: str) -> Membership:
    """``radiologist@87001``, ``province_admin@*``. Raises `argparse.ArgumentTypeError`."""
    role, at, facility = value.partition("@")
    if role not in set(Role) or not at or not facility:
        raise argparse.ArgumentTypeError(f"{value!r} is not like radiologist@87001 or province_admin@*")
    return Membership(Role(role), None if facility == "*" else facility)


def _right(value: str) -> Right:
    if value not in set(Right):
        raise argparse.ArgumentTypeError(f"{value!r} is not one of {', '.join(Right)}")
    return Right(value)


def _with_archive(
    settings: Settings, given: argparse.Namespace, run: Callable[[Archive, argparse.Namespace], int]
) -> int:
    with Archive.open(settings, application="pacs accounts") as archive:
        return run(archive, given)


def _list(settings: Settings, given: argparse.Namespace) -> int:
    return _with_archive(settings, given, _show)


def _show(archive: Archive, given: argparse.Namespace) -> int:
    del given
    for each in archive.people.accounts.listed(OPERATOR):
        print(line(each))
    return 0


def line(account: Listed) -> str:
    """An account in one line."""
    roles = " ".join(f"{each.role}@{each.facility or '*'}" for each in account.memberships)
    states = [
        *(["disabled"] if not account.enabled else []),
        *(["locked"] if account.locked else []),
        *(["MFA"] if account.has_factor else []),
        *(["roles to be confirmed"] if account.review_due else []),
    ]
    used = f"{account.used_at:%Y-%m-%d}" if account.used_at else "never used"
    return f"{account.name:<24} {used:<10}  {roles}{'  [' + ', '.join(states) + ']' if states else ''}"


def _add(archive: Archive, given: argparse.Namespace) -> int:
    if given.provider and given.provider not in {each.name for each in archive.settings.oidc}:
        raise InvalidItem(f"the settings have no provider {given.provider}")
    accounts = archive.people.accounts
    secret = accounts.create(OPERATOR, given.name, given.display_name, given.role, given.right, provider=given.provider)
    if given.provider:
        return 0
    print(secret)
    print(f"{given.name}: this is shown once, hand it over in person", file=sys.stderr)
    return 0


def _set_roles(archive: Archive, given: argparse.Namespace) -> int:
    archive.people.accounts.set_roles(OPERATOR, _number(archive, given), given.role, given.right)
    return 0


def _keys(archive: Archive, given: argparse.Namespace) -> int:
    try:
        text = given.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidItem(f"{given.file}: {getattr(error, 'strerror', None) or 'no text'}") from None
    count = archive.people.programs.set_keys(OPERATOR, _number(archive, given), text)
    print(f"{given.name}: {count} keys; its secret is void", file=sys.stderr)
    return 0


def _disable(archive: Archive, given: argparse.Namespace) -> int:
    archive.people.accounts.disable(OPERATOR, _number(archive, given))
    return 0


def _enable(archive: Archive, given: argparse.Namespace) -> int:
    archive.people.accounts.enable(OPERATOR, _number(archive, given))
    return 0


def _unlock(archive: Archive, given: argparse.Namespace) -> int:
    archive.people.accounts.unlock(OPERATOR, _number(archive, given))
    return 0


def _password(archive: Archive, given: argparse.Namespace) -> int:
    print(archive.people.accounts.reset_password(OPERATOR, _number(archive, given)))
    return 0


def _reset_factor(archive: Archive, given: argparse.Namespace) -> int:
    archive.people.accounts.reset_factor(OPERATOR, _number(archive, given))
    return 0


def _number(archive: Archive, given: argparse.Namespace) -> int:
    return archive.people.accounts.named(OPERATOR, given.name).id
