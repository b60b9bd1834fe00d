"""Electronic signatures by certificates (X.509): RSA with PKCS #1 v1.5 or ECDSA, both with SHA-256.

A program signs the canonical text; the archive checks the signature, the time in which the certificate is valid, and
that one of the known authorities has issued it. Whether it was revoked is for the signing program to ask (OCSP, CRL).
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from archive.errors import InvalidItem

METHOD: Final = "x509"
LONGEST: Final = 32_768


class Certificates:
    """Checks signatures whose certificates these authorities have issued."""

    def __init__(self, authorities: Path) -> None:
        """Read a PEM file. Raises `ValueError`, which names the file."""
        try:
            self._authorities = x509.load_pem_x509_certificates(authorities.read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"reports.signature_authorities {authorities}: {error}") from None

    def check(self, content: bytes, given: dict[str, Any], at: datetime) -> dict[str, Any]:
        """What to keep of a signature that holds. Raises `InvalidItem`."""
        certificate, value = _certificate(str(given.get("certificate", ""))), _bytes(str(given.get("value", "")))
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise _wrong("is made with a certificate that is not valid now")
        if not any(_issued_by(certificate, authority) for authority in self._authorities):
            raise _wrong("is made with a certificate of an authority that is not known here")
        try:
            _verify(certificate.public_key(), value, content)
        except InvalidSignature:
            raise _wrong("is not that of the text to be signed") from None
        return {
            "method": METHOD,
            "certificate": given["certificate"],
            "value": given["value"],
            "subject": certificate.subject.rfc4514_string(),
        }


def _verify(key: Any, value: bytes, content: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(value, content, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(value, content, ec.ECDSA(hashes.SHA256()))
    else:
        raise _wrong("is made with a kind of key that is not taken here: RSA or ECDSA")


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificate(text: str) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(_bytes(text))
    except ValueError:
        raise _wrong("has no certificate (DER in base64)") from None


def _bytes(text: str) -> bytes:
    if len(text) > LONGEST:
        raise _wrong("is too long")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("is no base64") from None


def _wrong(text: str) -> InvalidItem:
    return InvalidItem.of({"signature": text})
