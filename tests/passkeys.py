"""An authenticator in software, which can lie about everything that it signs."""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def text(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


@dataclass
class Authenticator:
    """One key pair."""

    origin: str
    host: str
    flags: int = PRESENT | VERIFIED
    count: int = 0
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    name: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def create(self, given: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """What it says to `navigator.credentials.create`."""
        numbers = self.key.public_key().public_numbers()
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        told = bytes(16) + struct.pack(">H", len(self.name)) + self.name + cose
        data = self._data(self.flags | ATTESTED) + told
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", given, changes)
        return self._credential({"attestationObject": text(attestation), "clientDataJSON": text(client)})

    def get(self, given: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """What it says to `navigator.credentials.get`."""
        self.count += 1
        data, client = self._data(self.flags), self._client("webauthn.get", given, changes)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {"authenticatorData": text(data), "clientDataJSON": text(client), "signature": text(signature)}
        return self._credential(response)

    def _client(self, kind: str, given: dict[str, Any], changes: dict[str, Any]) -> bytes:
        challenge = given["options"]["challenge"]
        client = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False, **changes}
        return json.dumps(client).encode()

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.host.encode()).digest() + bytes([flags]) + struct.pack(">I", self.count)

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        return {"id": text(self.name), "rawId": text(self.name), "type": "public-key", "response": response}
