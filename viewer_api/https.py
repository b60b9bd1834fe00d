"""TLS of the web service (BCP 195): TLS 1.3, and TLS 1.2 with ephemeral keys and authenticated encryption.

The certificate is read again when its files change, so that one that is renewed needs no restart.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final

from config.watched import Watched
from config.web_tls import WebTLSSettings

TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""RFC 9325 4.2."""


class BadCertificate(ValueError):
    """The files of ``[web.tls]`` cannot be used. The message says why."""


def context_factory(settings: WebTLSSettings) -> Callable[[Any, Callable[[], ssl.SSLContext]], ssl.SSLContext]:
    """What uvicorn calls for its context. Raises `BadCertificate` at once for files that cannot be used."""
    watched = Watched(
        [path for path in (settings.certificate_file, settings.private_key_file) if path is not None],
        lambda: _context(settings),
    )

    def front(*_: Any) -> ssl.SSLContext:
        context = watched.get()

        def renew(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, used: ssl.SSLContext) -> None:
            # With each handshake: the certificate as it is now. Its context stays ours, and asks again.
            del name, used
            newest = watched.get()
            if newest is not connection.context:
                connection.context = newest

        context.sni_callback = renew
        return context

    return front


def _context(settings: WebTLSSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(str(settings.certificate_file), str(settings.private_key_file))
    except (OSError, ssl.SSLError) as error:
        raise BadCertificate(f"the certificate of the web service cannot be used: {error}") from None
    return context
