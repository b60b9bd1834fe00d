"""Whoever asks something of the archive, by whichever door: what they may do, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self

from archive.errors import NotPermitted
from archive.people.roles import RIGHTS, Right, Role
from archive.records import Scope
from archive.rejection.causes import View
from config.peers import Peer

Where = frozenset[str] | None
"""Codes of facilities; None for all of them."""
_OF_PEERS: Final[Mapping[str, frozenset[Right]]] = {
    "store": frozenset((Right.STORE,)),
    "commit": frozenset(),
    "find": frozenset((Right.VIEW,)),
    "move": frozenset((Right.COPY,)),
    "worklist": frozenset((Right.ORDERS,)),
}


class Kind(StrEnum):
    """What a caller is."""

    ACCOUNT = "account"
    """A person who has signed in."""
    SERVICE = "service"
    """A program with an account."""
    PEER = "peer"
    """A device that speaks DIMSE."""
    LINK = "link"
    """Whoever holds the link that was given to a patient."""
    SYSTEM = "system"
    """The archive itself, or an operator at its command line."""
    ANYBODY = "anybody"
    """Nobody was asked who they are, because sign-in is off."""
    NOBODY = "nobody"
    """Has not signed in."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A role at a facility; at all of them where `facility` is None."""

    role: Role
    facility: str | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Made by the door (sign-in, association, link), never changed after."""

    kind: Kind
    name: str = ""
    """For the audit trail: sign-in name, AE title, number of the link."""
    rights: Mapping[Right, Where] = field(default_factory=dict)
    """Where each right holds; a right that is not here holds nowhere."""
    roles: frozenset[Role] = frozenset()
    account: int | None = None
    link: int | None = None
    session: int | None = None
    address: str = ""
    """From where, without a port."""
    purpose: str = ""
    """Why, as far as the caller has said."""
    home: frozenset[str] = frozenset()
    """Facilities that it belongs to, where that cannot be told from its rights."""

    def may(self, right: Right, facility: str | None = None) -> bool:
        """Whether the right holds at this facility; without one, whether it holds anywhere."""
        if right not in self.rights:
            return False
        where = self.rights[right]
        if self.kind is Kind.LINK:
            # It holds for the studies of the link, wherever they are.
            return facility is None
        return where is None or (bool(where) if facility is None else facility in where)

    def may_everywhere(self, right: Right) -> bool:
        """Whether the right holds for the whole province."""
        return right in self.rights and self.rights[right] is None

    def at(self, address: str) -> Self:
        """The same caller, at this address."""
        return replace(self, address=address)

    def require(self, right: Right, facility: str | None = None) -> None:
        """Raise `NotPermitted` unless `may`."""
        if not self.may(right, facility):
            raise NotPermitted(f"the right to {right.value.replace('_', ' ')} is missing")

    def scope(self, view: View = View.CLINICAL, right: Right = Right.VIEW) -> Scope:
        """Which studies the caller has the right for. Raises `NotPermitted` if none can be."""
        copying = right is not Right.VIEW
        if self.kind is Kind.LINK and right in self.rights:
            return Scope(frozenset(), view, link=self.link, copying=copying)
        self.require(right)
        return Scope(self.rights[right], view, account=self.account, copying=copying)


ANYBODY: Final = Caller(Kind.ANYBODY, "anybody", dict.fromkeys(Right))
"""With sign-in off, whoever reaches the port may do everything."""
NOBODY: Final = Caller(Kind.NOBODY)
SYSTEM: Final = Caller(Kind.SYSTEM, "archive")
"""The archive, of itself."""


def rights_of(memberships: Iterable[Membership], listed: Iterable[Right] = ()) -> dict[Right, Where]:
    """Where each right holds for somebody with these roles; `listed` are the rights of each role SERVICE."""
    found: dict[Right, Where] = {}
    for membership in memberships:
        rights = frozenset(listed) if membership.role is Role.SERVICE else RIGHTS[membership.role]
        for right in rights:
            before = found.get(right, frozenset())
            everywhere = before is None or membership.facility is None
            found[right] = None if everywhere else (before or frozenset()) | {str(membership.facility)}
    return found


def of_peer(peer: Peer, name: str, address: str) -> Caller:
    """A device that has been let in under this peer's settings."""
    where: Where = None if peer.sees == "province" else frozenset({peer.facility})
    rights: dict[Right, Where] = {right: where for given in peer.rights for right in _OF_PEERS.get(given, frozenset())}
    return Caller(Kind.PEER, name, rights, address=address, home=frozenset({peer.facility}))
