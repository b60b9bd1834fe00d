"""Who may associate (PS3.8 9.3.4; PS3.7 D.3.3.7): one decision, in one place, in one order.

1. The node is stopping: rejected for now.
2. Protocol version, application context, called AE title: as PS3.8 Table 9-21 has them.
3. Calling AE title: listed and not disabled, or let in as an unknown peer.
4. Address: a listed AE title calls from one of its own.
5. TLS, and the certificate, where the peer must have them.
6. User identity, where it is asked for: only now, so that nobody who is not admitted costs us a hash.
7. Places: the peer's own limit, then the node's. Last, so that who is rejected takes nobody's place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from config.certificate import PeerCertificate
from config.logs import fields
from config.node import NodeSettings
from config.peers import Peer, PeerBook
from dicom_node.identity import Identities
from dicom_node.negotiation import DICOM_APPLICATION_CONTEXT, Rejection, Request
from dicom_node.places import Places, SharedPlaces

log = logging.getLogger(__name__)


Told = Callable[[str, str, str, str], None]
"""Told of each rejection: calling and called AE title, address, reason. It raises nothing."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How a request came."""

    address: str
    secured: bool = False
    """By TLS."""
    certificate: PeerCertificate | None = None

    def facts(self, request: Request) -> dict[str, object]:
        """What the log says of a request, let in or not."""
        facts: dict[str, object] = {
            "calling": request.calling_ae_title,
            "called": request.called_ae_title,
            "address": self.address,
            "implementation": request.implementation,
            "tls": self.secured,
        }
        if self.certificate is not None:
            facts |= {"certificate": self.certificate.subject, "fingerprint": self.certificate.fingerprint}
        return facts


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who is let in. It holds a place until that is given back."""

    peer: Peer
    user: str = ""
    """By whom it is used, as far as that was proved."""
    identity_response: bytes | None = None


class Admission:
    """Decides on requests. For all threads."""

    def __init__(
        self, settings: NodeSettings, peers: PeerBook, places: Places | SharedPlaces, told: Told | None = None
    ) -> None:
        """Raises `ValueError` when a file that identities are checked with cannot be used."""
        self._told = told
        self._settings = settings
        self._peers = peers
        self._identities = Identities(settings)
        self._places = places
        self.stopping = False

    def decide(self, request: Request, connection: Connection) -> Admitted | Rejection:
        """Whether this request is let in. Who is has taken a place, and must `leave`. A refusal is logged."""
        decided = self._decide(request, connection)
        if isinstance(decided, Rejection):
            log.warning("association rejected", extra=fields(**connection.facts(request), reason=decided.name))
            if self._told is not None:
                self._told(request.calling_ae_title, request.called_ae_title, connection.address, decided.name)
        return decided

    def _decide(self, request: Request, connection: Connection) -> Admitted | Rejection:
        peer = self._known(request, connection)
        if isinstance(peer, Rejection):
            return peer
        identified = self._identities.check(request.identity, self._rule(peer), connection.address, peer.ae_title)
        if isinstance(identified, Rejection):
            return identified
        return self._places.take(peer) or Admitted(peer, identified.user, identified.response)

    def leave(self, peer: Peer) -> None:
        """The association of an admitted peer is over."""
        self._places.give_back(peer)

    def _known(self, request: Request, connection: Connection) -> Peer | Rejection:
        if self.stopping:
            return Rejection.SHUTTING_DOWN
        if not request.protocol_version & 1:
            return Rejection.PROTOCOL_VERSION
        if str(request.primitive.application_context_name) != DICOM_APPLICATION_CONTEXT:
            return Rejection.APPLICATION_CONTEXT
        if self._settings.require_called_ae_title and request.called_ae_title != self._settings.ae_title:
            return Rejection.CALLED_AE_TITLE
        if not request.calling_ae_title:
            return Rejection.CALLING_AE_TITLE
        peer = self._peers.find(request.calling_ae_title, connection.address)
        if peer is None:
            return self._why_not(request.calling_ae_title)
        if peer.tls and not connection.secured:
            return Rejection.NOT_BY_TLS
        shown = connection.certificate
        if peer.certificates and (shown is None or not shown.is_one_of(peer.certificates)):
            return Rejection.CERTIFICATE
        return peer

    def _why_not(self, ae_title: str) -> Rejection:
        if self._peers.named(ae_title) is not None:
            return Rejection.ADDRESS
        return Rejection.DISABLED if self._peers.known(ae_title) is not None else Rejection.CALLING_AE_TITLE

    def _rule(self, peer: Peer) -> str:
        return peer.identity or self._settings.identity
