"""Electronic signatures of reports: those that hold are kept, all others are refused."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from archive.core import Archive
from archive.errors import InvalidItem
from tests.integration.archive.test_reports import FOUND, radiologist, with_settings
from tests.integration.archive.test_sharing import A, kept


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, days: int = 30
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    begin = datetime.now(UTC) - timedelta(days=60)
    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=60 + days))
    return builder.sign(signer, hashes.SHA256())


def test_only_a_signature_that_holds_signs(archive: Archive, tmp_path: Path) -> None:
    authority, doctor, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    pem = certificate("CA", authority, "CA", authority).public_bytes(serialization.Encoding.PEM)
    file = tmp_path / "authorities.pem"
    file.write_bytes(pem)
    an = radiologist(archive, "an", "86001")
    reports = with_settings(archive, signature_required=True, signature_authorities=file)
    entry = reports.create(an, kept(archive, A), FOUND)
    content = reports.to_sign(an, entry.number)

    def signature(key: ec.EllipticCurvePrivateKey, of: x509.Certificate, text: bytes) -> dict[str, str]:
        value = key.sign(text, ec.ECDSA(hashes.SHA256()))
        der = of.public_bytes(serialization.Encoding.DER)
        return {
            "method": "x509",
            "certificate": base64.b64encode(der).decode(),
            "value": base64.b64encode(value).decode(),
        }

    good = certificate("BS. An", doctor, "CA", authority)
    refused = {
        "is needed": None,
        "method": {"method": "picture", "value": "iVBOR"},
        "not that of the text": signature(doctor, good, content + b" "),
        "authority": signature(stranger, certificate("BS. An", stranger, "CA", stranger), content),
        "not valid now": signature(doctor, certificate("BS. An", doctor, "CA", authority, -1), content),
        "base64": {**signature(doctor, good, content), "value": "%"},
    }
    for why, given in refused.items():
        with pytest.raises(InvalidItem, match=why):
            reports.sign(an, entry.number, entry.revision, signature=given)
    signed = reports.sign(an, entry.number, entry.revision, signature=signature(doctor, good, content))
    assert signed.version is not None and signed.version.signature is not None
    assert (signed.version.signature["method"], signed.version.signature["subject"]) == ("x509", "CN=BS. An")
