"""Accounts of the demo province, one of each kind, with passwords of this installation only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from archive.people.caller import Caller, Kind, Membership
from archive.people.roles import Right, Role

if TYPE_CHECKING:
    from archive.core import Archive

FILE: Final = "demo-accounts.txt"
"""In the folder of the data."""


class DemoAccount(NamedTuple):
    """One of them."""

    name: str
    display_name: str
    roles: tuple[Membership, ...]
    rights: tuple[Right, ...] = ()


ACCOUNTS: Final = (
    DemoAccount("bs.songxanh", "BS. Phạm Minh Hà", (Membership(Role.RADIOLOGIST, "99001"),)),
    DemoAccount("bs.anbinh", "BS. Lò Thị Mai", (Membership(Role.CLINICIAN, "99014"),)),
    DemoAccount("ktv.anbinh", "KTV. Vũ Văn Sơn", (Membership(Role.TECHNICIAN, "99014"),)),
    DemoAccount("quantri.songxanh", "Quản trị BVĐK Sông Xanh", (Membership(Role.FACILITY_ADMIN, "99001"),)),
    DemoAccount("soyte", "Chuyên viên Sở Y tế", (Membership(Role.ANALYST, None),)),
    DemoAccount("quantri.tinh", "Quản trị PACS tỉnh", (Membership(Role.PROVINCE_ADMIN, None),)),
    DemoAccount(
        "his.songxanh",
        "HIS BVĐK Sông Xanh",
        (Membership(Role.SERVICE, "99001"),),
        (Right.VIEW, Right.COPY, Right.STORE, Right.ORDERS),
    ),
)
_INSTALLER: Final = Caller(Kind.SYSTEM, "demo", dict.fromkeys(Right))


def make(archive: Archive) -> list[tuple[str, str]]:
    """Make them where there is no account at all; give names and passwords, which stand in `FILE` too."""
    people = archive.people.accounts
    if people.listed(_INSTALLER):
        return []
    made = [
        (each.name, people.create(_INSTALLER, each.name, each.display_name, each.roles, each.rights, one_time=False))
        for each in ACCOUNTS
    ]
    _write(archive.settings.data_dir / FILE, made)
    return made


def _write(path: Path, made: list[tuple[str, str]]) -> None:
    """Readable by whoever runs the archive, and by nobody else from the first moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{name}\t{password}\n" for name, password in made)
