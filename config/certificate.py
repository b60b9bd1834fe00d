"""What the certificate of a peer says of it (RFC 5280 4.1.2.6, 4.2.1.6)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

_NAMES = frozenset({"DNS", "IP Address", "email", "URI"})


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A certificate that an authority of ours vouches for."""

    fingerprint: str
    """``sha256:`` and hexadecimal digits."""
    subject: str
    """RFC 4514, safe to log."""
    names: frozenset[str]
    """The subject, its common names and its alternative names, without regard to case."""

    def is_one_of(self, wanted: Iterable[str]) -> bool:
        """Whether a fingerprint or name of `config.peers.Peer.certificates` is its own."""
        return any(each == self.fingerprint or each.casefold() in self.names for each in wanted)


def read_peer_certificate(der: bytes, described: Mapping[str, Any]) -> PeerCertificate:
    """From a certificate and what `ssl.SSLSocket.getpeercert` makes of it. Raises `ValueError` if it is malformed."""
    subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    names = {value for part in described.get("subject", ()) for kind, value in part if kind == "commonName"}
    names |= {value for kind, value in described.get("subjectAltName", ()) if kind in _NAMES}
    shown = "".join(each if each.isprintable() else "?" for each in subject)
    return PeerCertificate(fingerprint(der), shown, frozenset(name.casefold() for name in (*names, subject) if name))


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate as settings give it."""
    return f"sha256:{hashlib.sha256(der).hexdigest()}"
