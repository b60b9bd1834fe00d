"""What of a peer reaches beyond its facility, so that only who looks after all facilities may give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from archive.errors import InvalidItem, NotPermitted
from archive.people.caller import Where
from config.node import NodeSettings
from config.peers import Peer, PeerBook

_STRICTNESS: Final = ("ignore", "optional", "required")


class BeyondRights(NotPermitted, InvalidItem):
    """Fields that only an administrator of the province may set so."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name} {said}" for name, said in faults.items()), faults)


def beyond(peer: Peer, where: Where, book: PeerBook, node: NodeSettings) -> dict[str, str]:
    """The fields by which a peer reaches beyond these facilities, and what may be set; empty if it does not."""
    if where is None:
        return {}
    found: dict[str, str] = {}
    if peer.facility not in where:
        found["facility"] = "is not one whose peers you look after"
    if peer.sees != "own":
        found["sees"] = "can be own only: all facilities are for an administrator of the province"
    if peer.view != "clinical":
        found["view"] = "can be clinical only: what is hidden is for an administrator of the province"
    if peer.rejects == "province":
        found["rejects"] = "can be own or nothing only: all facilities are for an administrator of the province"
    if foreign := _foreign(peer, where, book):
        found["destinations"] = f"can be peers of your own facilities only: {', '.join(foreign)}"
    if peer.identity is not None and _STRICTNESS.index(peer.identity) < _STRICTNESS.index(node.identity):
        found["identity"] = f"cannot be less strict than that of the node, which is {node.identity}"
    return found


def _foreign(peer: Peer, where: frozenset[str], book: PeerBook) -> list[str]:
    if isinstance(peer.destinations, str):
        return ["province"] if peer.destinations == "province" else []
    own = {peer.ae_title, *(each.ae_title for each in book.listed if each.facility in where)}
    return [title for title in peer.destinations if title not in own]
