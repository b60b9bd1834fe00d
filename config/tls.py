"""TLS in both directions, of the DICOM node and of HL7 (PS3.15 B.12: BCP 195 with RFC 8996 and RFC 9325).

TLS 1.3, and TLS 1.2 with ephemeral elliptic curves and authenticated encryption; nothing older, no renegotiation, no
compression, no resumption.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from config.certificate import fingerprint
from config.logs import fields
from config.node import TLSSettings
from config.watched import Watched

log = logging.getLogger(__name__)

TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""RFC 9325 4.2. Those of TLS 1.3 are OpenSSL's, all of them authenticated encryption."""
_VERIFY: Final = {"optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class BadTLSFile(ValueError):
    """A file of ``[node.tls]`` cannot be used. The message names it and says why."""


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """A certificate in a file of the settings."""

    path: Path
    fingerprint: str
    subject: str
    expires: datetime

    @property
    def time_left(self) -> timedelta:
        return self.expires - datetime.now(UTC)


class Credentials:
    """What the node proves itself with and whom it trusts; read again when the files change."""

    def __init__(self, settings: TLSSettings) -> None:
        """Read the files. Raises `BadTLSFile`."""
        self._settings = settings
        given = (
            settings.certificate_file,
            settings.private_key_file,
            settings.private_key_password_file,
            settings.ca_file,
        )
        paths = [path for path in given if path is not None]
        self._contexts = Watched(paths, lambda: (self._server(), self._client()))

    def server(self) -> ssl.SSLContext:
        """For connections that peers open. The settings must have a certificate."""
        context = self._contexts.get()[0]
        assert context is not None
        return context

    def client(self) -> ssl.SSLContext:
        """For connections that we open: the peer's certificate and name are checked."""
        return self._contexts.get()[1]

    def _server(self) -> ssl.SSLContext | None:
        if not self._settings.listens:
            return None
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        if self._settings.asks_for_certificates:
            context.verify_mode = _VERIFY[self._settings.client_certificates]
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET
        context.num_tickets = 0
        return context

    def _client(self) -> ssl.SSLContext:
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        if self._settings.ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context

    def _context(self, protocol: int) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(TLS_1_2_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        # A connection that is closed without a word can still be written to: an abort, when the node stops. Whether
        # something is missing at the end is told by the upper layer protocol.
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        # A single certificate in ca_file is trusted as such, without the authority above it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if settings.ca_file is not None:
            _loaded(str(settings.ca_file), lambda: context.load_verify_locations(settings.ca_file))
        if settings.certificate_file is not None and settings.private_key_file is not None:
            certificate, key = settings.certificate_file, settings.private_key_file
            try:
                password = settings.password()
            except ValueError as error:
                raise BadTLSFile(str(error)) from None
            # Given even if empty: OpenSSL would ask for it at the terminal.
            _loaded(f"{certificate} with {key}", lambda: context.load_cert_chain(certificate, key, lambda: password))
        return context


@lru_cache(maxsize=8)
def credentials(settings: TLSSettings) -> Credentials:
    """Those of these settings, shared by all that need them. Raises `BadTLSFile`."""
    return Credentials(settings)


def _loaded(what: str, load: Callable[[], object]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise BadTLSFile(f"{what}: {(error.reason or str(error)).replace('_', ' ').lower()}") from None
    except OSError as error:
        raise BadTLSFile(f"{what}: {error.strerror or error}") from None


def certificates_in(path: Path) -> list[OwnCertificate]:
    """The certificates of a PEM file. Raises `BadTLSFile`."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise BadTLSFile(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise BadTLSFile(f"{path}: {error}") from None
    return [
        OwnCertificate(
            path, fingerprint(each.public_bytes(Encoding.DER)), each.subject.rfc4514_string(), each.not_valid_after_utc
        )
        for each in found
    ]


def own_certificates(settings: TLSSettings) -> Iterator[OwnCertificate]:
    """All certificates of the settings. Raises `BadTLSFile`."""
    for path in (settings.certificate_file, settings.ca_file):
        if path is not None:
            yield from certificates_in(path)


class ExpiryWatch:
    """Says in the log that certificates are about to expire, each once a day."""

    PAUSE: Final = 3600.0
    """Seconds between two looks."""

    def __init__(self, settings: TLSSettings) -> None:
        self._settings = settings
        self._said: dict[str, datetime] = {}

    def look(self) -> float:
        """Look at the files, and have them read again if they changed; give the seconds until it is due again."""
        if self._settings.certificate_file is self._settings.ca_file is None:
            return self.PAUSE
        try:
            credentials(self._settings).client()
            found = list(own_certificates(self._settings))
        except BadTLSFile:
            # The log has a line of it, and what was read before stays in force.
            return self.PAUSE
        for certificate in found:
            if certificate.time_left < timedelta(days=self._settings.expiry_warning_days):
                self._say(certificate)
        return self.PAUSE

    def _say(self, certificate: OwnCertificate) -> None:
        last = self._said.get(certificate.fingerprint)
        if last is not None and datetime.now(UTC) - last < timedelta(days=1):
            return
        self._said[certificate.fingerprint] = datetime.now(UTC)
        facts = fields(
            file=str(certificate.path),
            subject=certificate.subject,
            expires=certificate.expires.isoformat(),
            days=certificate.time_left.days,
        )
        if certificate.time_left < timedelta():
            log.error("a certificate has expired", extra=facts)
        else:
            log.warning("a certificate is about to expire", extra=facts)
