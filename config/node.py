"""Settings of the DICOM node: where it listens, its limits, TLS, and who its users are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from config.peers import AETitle, IdentityRule, Peer
from config.section import MEBIBYTE, Section, secret

ClientCertificates = Literal["none", "optional", "required"]
MOST_PROCESSES = 4
PROCESSORS_EACH = 4
"""A process of the node keeps one processor busy, and PostgreSQL, the web service and the disk two or three more."""
SYMMETRIC_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
]
"""What a token may be signed with (RFC 7518 3.1, RFC 8037). There is no "none"."""


class TLSSettings(Section):
    """TLS of the node (PS3.15 B.12). Without `certificate_file` it does not listen for TLS."""

    port: int = Field(default=2762, ge=0, le=65535)
    certificate_file: Path | None = None
    """PEM: our certificate, then those between it and the root."""
    private_key_file: Path | None = None
    private_key_password: SecretStr = SecretStr("")
    private_key_password_file: Path | None = None
    ca_file: Path | None = None
    """PEM: the authorities (or single certificates) that vouch for peers, in both directions."""
    client_certificates: ClientCertificates = "optional"
    """Whether peers that call are asked for theirs; without `ca_file`, nobody is."""
    expiry_warning_days: int = Field(default=30, ge=0, le=3650)

    @property
    def listens(self) -> bool:
        return self.certificate_file is not None

    @property
    def asks_for_certificates(self) -> bool:
        return self.ca_file is not None and self.client_certificates != "none"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate_file is None) != (self.private_key_file is None):
            raise ValueError("certificate_file and private_key_file are given together")
        if self.client_certificates == "required" and self.ca_file is None:
            raise ValueError('client_certificates = "required" needs ca_file')
        if self.private_key_password_file is not None and self.private_key_password.get_secret_value():
            raise ValueError("give private_key_password or private_key_password_file, not both")
        return self

    def fault_of(self, peer: Peer) -> tuple[str, str] | None:
        """The field of a peer that needs more of TLS than there is here, and what; None if none does."""
        if peer.tls and peer.host and self.ca_file is None:
            return "tls", "is called by TLS: node.tls.ca_file must say whom to trust"
        if peer.certificates and self.listens and not self.asks_for_certificates:
            return "certificates", "has certificates: node.tls must have ca_file, and ask for them"
        if peer.tls and not peer.host and not self.listens:
            return "tls", "must call by TLS: node.tls.certificate_file is missing"
        return None

    def password(self) -> str:
        """The password of the key, read when it is needed: other processes of the archive need not see the file.

        Raises `ValueError`.
        """
        return secret(
            self.private_key_password, self.private_key_password_file, "private_key_password"
        ).get_secret_value()


def _passcode_hash(value: str) -> str:
    if value and not re.fullmatch(r"\$argon2id\$v=\d+\$m=\d+,t=\d+,p=\d+\$[\w+/]+\$[\w+/]+", value, re.ASCII):
        raise ValueError("not a hash as `python -m dicom_node.passcode` makes it")
    return value


class User(Section):
    """Somebody who may identify himself to the node (PS3.7 D.3.3.7)."""

    name: str = Field(min_length=1, max_length=64)
    passcode_hash: Annotated[str, AfterValidator(_passcode_hash)] = ""
    """Argon2id. Empty: the name alone will do, which proves nothing."""


class JWTSettings(Section):
    """Tokens by which users identify themselves. Without `key_file`, none is taken."""

    key_file: Path | None = None
    """What signatures are checked with: a public key in PEM, a JWKS, or for HS algorithms the secret."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1)
    issuer: str = ""
    audience: str = ""
    name_claim: str = Field(default="sub", min_length=1)
    """The claim that has the name of the user."""
    leeway: float = Field(default=30, ge=0, le=300)
    """Seconds by which clocks may differ."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.key_file is not None and not (self.issuer and self.audience):
            raise ValueError("key_file needs issuer and audience: a token for somebody else must not open this door")
        if 0 < len(SYMMETRIC_ALGORITHMS.intersection(self.algorithms)) < len(self.algorithms):
            raise ValueError("HS algorithms cannot stand beside others: a public key would be taken for a secret")
        return self


class NodeSettings(Section):
    """The DICOM node."""

    host: str = "0.0.0.0"  # noqa: S104  modalities are on other machines
    """Address to listen on. ``""`` or ``"::"``: all addresses of IPv6 and IPv4."""
    port: int = Field(default=11112, ge=0, le=65535)
    plain: bool = True
    """Listen on `port` without TLS."""
    ae_title: AETitle = "PACS"
    require_called_ae_title: bool = True
    """Reject associations that call another AE title."""
    maximum_pdu_length: int = Field(default=256 * 1024, ge=4096, le=16 * MEBIBYTE)
    """Bytes; what we offer to receive in one P-DATA-TF (PS3.8 D.1)."""
    maximum_associations: int = Field(default=200, ge=1)
    """Over all processes."""
    processes: int = Field(default=0, ge=0, le=64)
    """That serve associations side by side on the same port; 0: one for every four processors, four at most."""
    artim_timeout: float = Field(default=30, gt=0)
    """Seconds for TLS and the A-ASSOCIATE-RQ together, or for the peer to close (PS3.8 9.1.5)."""
    idle_timeout: float = Field(default=300, gt=0)
    """Seconds without a byte from the peer before an association is aborted."""
    write_timeout: float = Field(default=60, gt=0)
    """Seconds that a peer may refuse to take our bytes."""
    minimum_rate: int = Field(default=512, ge=0, le=MEBIBYTE)
    """Bytes per second below which a peer in the middle of a message is aborted, once it has kept us waiting for
    ``idle_timeout``; the same for bytes of ours and ``write_timeout``. 0: never."""
    maximum_object_bytes: int = Field(default=16 * 1024 * MEBIBYTE, ge=MEBIBYTE)
    shutdown_grace: float = Field(default=10, ge=0)
    """Seconds that running transfers get to finish when the node stops."""
    identity: IdentityRule = "ignore"
    """What is made of user identity (PS3.7 D.3.3.7), for peers that do not say otherwise."""
    users: tuple[User, ...] = ()
    jwt: JWTSettings = JWTSettings()
    tls: TLSSettings = TLSSettings()

    @property
    def process_count(self) -> int:
        """How many processes there are to be on this machine."""
        return self.processes or min(max(len(os.sched_getaffinity(0)) // PROCESSORS_EACH, 1), MOST_PROCESSES)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not self.plain and not self.tls.listens:
            raise ValueError("plain = false needs tls.certificate_file, or nobody could call")
        if self.plain and self.tls.listens and self.port == self.tls.port != 0:
            raise ValueError("port and tls.port are the same")
        names = [user.name for user in self.users]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"user given twice: {', '.join(twice)}")
        return self
