"""What the settings say of the sender of an object."""

from __future__ import annotations

from archive.records import Source, Transport
from config.peers import Peer, PeerBook


def source_of(
    peers: PeerBook,
    peer: Peer | None,
    transport: Transport,
    *,
    facility: str,
    calling_ae_title: str,
    called_ae_title: str = "",
    address: str = "",
    user: str = "",
) -> Source:
    """The source of what `peer` sends, for a facility; None for a sender that is not listed."""
    return Source(
        facility=facility,
        issuer_of_patient_id=peers.facility(facility).issuer if facility in peers.facilities else facility,
        transport=transport,
        calling_ae_title=calling_ae_title,
        called_ae_title=called_ae_title,
        address=address,
        user=user,
        default_character_set=peer.default_character_set if peer else None,
        actual_character_set=peer.actual_character_set if peer else None,
        coercion=peer.coerce if peer else None,
        quarantined=peer.quarantined if peer else False,
    )
