"""Certificates for tests: an authority and what it signs, made anew for each test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.certificate import fingerprint


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path
    fingerprint: str


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sở Y tế"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._name = _name(f"Test CA {name}")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(_pem(self._certificate(self._name, self._key, days=30, ca=True, names=())))

    def pair(
        self,
        name: str,
        *,
        names: tuple[str, ...] = (),
        days: float = 20,
        password: str = "",
        file: str = "",
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> Pair:
        """A certificate for `name` with alternative names, valid for `days` from now (expired when negative)."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(_name(name), key, days=days, ca=False, names=names)
        paths = self.folder / f"{file or name}.crt", self.folder / f"{file or name}.key"
        paths[1].write_bytes(_key_pem(key, password))
        paths[0].write_bytes(_pem(certificate))
        return Pair(*paths, fingerprint(certificate.public_bytes(serialization.Encoding.DER)))

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: float, ca: bool, names: tuple[str, ...]
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=40))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), False)
        return made.sign(self._key, hashes.SHA256())


def self_signed(folder: Path, name: str) -> Pair:
    """A certificate that a device made for itself."""
    authority = Authority(folder, name)
    key = authority.folder / f"{name}.key"
    key.write_bytes(_key_pem(authority._key, ""))
    der = x509.load_pem_x509_certificate(authority.file.read_bytes()).public_bytes(serialization.Encoding.DER)
    return Pair(authority.file, key, fingerprint(der))


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey, password: str) -> bytes:
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
