"""Facilities and the DICOM peers (AE titles) that belong to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from config.character_sets import CharacterSetName
from config.coercion import Coercion

FACILITY_CODE = r"^[A-Za-z0-9_-]{1,16}$"


def _ae_title(value: str) -> str:
    """AE value representation (PS3.5 6.2): 1-16 printable ASCII characters, no backslash, not all spaces."""
    text = value.strip(" ")
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", text):
        raise ValueError(f"{value!r} is not an AE title: 1 to 16 printable ASCII characters without backslash")
    return text


def _network(value: str) -> str:
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address or network such as 10.1.2.3 or 10.1.2.0/24") from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return str(network if mapped is None or network.prefixlen < 96 else ip_network((mapped, network.prefixlen - 96)))


def plain_address(address: str) -> str:
    """An address as the system gives it, in the form in which it is compared and logged.

    IPv4 that arrives on a socket of IPv6 is IPv4; the zone of a link-local address is dropped.
    """
    host = ip_address(address.partition("%")[0])
    return str(getattr(host, "ipv4_mapped", None) or host)


_FINGERPRINT = re.compile(r"(?:sha-?256)?(?: fingerprint)?[:= ]*([0-9a-f]{2}(?::?[0-9a-f]{2}){31})")
_LOOKS_LIKE_ONE = re.compile(r"sha-?\d.*|(?:[0-9a-f]{2}:){7,}[0-9a-f]{2}|[0-9a-f]{32,}")


def _certificate(value: str) -> str:
    """A fingerprint as ``sha256:`` and 64 small hexadecimal digits; any other text is a name."""
    text = value.strip()
    if found := _FINGERPRINT.fullmatch(text.lower()):
        return f"sha256:{found[1].replace(':', '')}"
    if not text or _LOOKS_LIKE_ONE.fullmatch(text.lower()):
        raise ValueError(f"{value!r} is neither the SHA-256 fingerprint nor a name of a certificate")
    return text


AETitle = Annotated[str, AfterValidator(_ae_title)]
Network = Annotated[str, AfterValidator(_network)]
Certificate = Annotated[str, AfterValidator(_certificate)]


Right = Literal["store", "commit", "find", "move", "worklist"]
"""``store``: C-STORE. ``commit``: storage commitment. ``find``: C-FIND of Query/Retrieve. ``move``: C-MOVE and C-GET.
``worklist``: Modality Worklist and Modality Performed Procedure Step."""


CharacterSet = Literal[
    "ISO_IR 6", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 144", "ISO_IR 127", "ISO_IR 126",
    "ISO_IR 138", "ISO_IR 148", "ISO_IR 203", "ISO_IR 166", "ISO_IR 192", "GB18030", "GBK",
]  # fmt: skip
"""Defined terms of Specific Character Set that an answer can be written in (PS3.3 Tables C.12-2 and C.12-5)."""
IdentityRule = Literal["ignore", "optional", "required"]
"""Of user identity (PS3.7 D.3.3.7). ``ignore``: not looked at. ``optional``: right if there is one. ``required``."""


View = Literal["clinical", "quality", "everything"]

PersonNames = Literal["folded", "exact", "words"]
"""``folded``: without regard to accents, case and ``^``; ``đ`` is ``d``. ``exact``: letter by letter. ``words``:
folded, and each word begins any part of the name, in any order."""


class Facility(BaseModel):
    """A hospital or commune station. `code` is its MA_CSKCB; it names the facility everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=FACILITY_CODE)
    name: str = Field(min_length=1)
    issuer_of_patient_id: str = ""
    """Issuer given to patient IDs that carry none; the facility code when empty."""
    district: str = ""
    """Where it is, for statistics."""
    care_level: Literal["", "specialised", "basic", "primary"] = ""
    """Cấp chuyên sâu, cơ bản or ban đầu (Law 15/2023 article 104), for statistics."""

    @property
    def issuer(self) -> str:
        return self.issuer_of_patient_id or self.code


class Limits(BaseModel):
    """What one peer may take of the node. What is not set is the node's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    maximum_associations: int | None = Field(default=None, ge=1)
    """At once, of all its addresses together, in this process."""
    maximum_pdu_length: int | None = Field(default=None, ge=4096, le=16 << 20)
    """Bytes; what we offer it to receive in one P-DATA-TF (PS3.8 D.1)."""
    idle_timeout: float | None = Field(default=None, gt=0)
    """Seconds."""
    write_timeout: float | None = Field(default=None, gt=0)
    """Seconds."""


class Peer(BaseModel):
    """A DICOM application entity that may talk to the node."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ae_title: AETitle
    facility: str = Field(pattern=FACILITY_CODE)
    addresses: tuple[Network, ...] = ()
    """Where it may call from; empty means anywhere."""
    default_character_set: CharacterSetName | None = None
    """Assumed for objects and queries that have no SpecificCharacterSet (PS3.3 C.12.1.1.2)."""
    actual_character_set: CharacterSetName | None = None
    """What its objects and queries are in, whatever SpecificCharacterSet they name, for a device that names a wrong
    one."""
    coerce: Coercion | None = None
    """What to correct in what it sends, beside the stored object."""
    character_sets: tuple[CharacterSet, ...] = ()
    """What it can show, best first: answers to it are written in one of these, or without accents. Any when empty."""
    person_names: PersonNames = "folded"
    """How the person names in its queries match."""
    rights: frozenset[Right] = frozenset(("store", "commit"))
    """What it may ask for; most devices only send."""
    sees: Literal["own", "province"] = "own"
    """What it finds and gets: studies of its facility, or of every facility."""
    destinations: Literal["own", "province"] | tuple[AETitle, ...] = "own"
    """Where its C-MOVE may send to beside itself: peers of its facility, of every facility, or these AE titles."""
    worklist: Literal["facility", "station"] = "facility"
    """Which worklist items it is given: those of its facility, or of these only the ones that are scheduled on its own
    AE title or on no station in particular."""
    host: str = Field(default="", pattern=r"^[A-Za-z0-9_.:-]*$")
    """Name or address to send to, for a destination of C-MOVE or of a route."""
    port: int | None = Field(default=None, ge=1, le=65535)
    commitment: Literal["either", "same", "new"] = "either"
    """Where it takes results of storage commitment: on an association that it opened, on one that we open to it
    (``new``), or the first of the two that there is."""
    parallel: int = Field(default=1, ge=1, le=16)
    """Associations that are opened to it at once, for each C-MOVE and by each process that forwards."""
    tls: bool = False
    """It must call by TLS, and is called by TLS."""
    tls_name: str = Field(default="", pattern=r"^[A-Za-z0-9_.:-]*$")
    """Name or address that its certificate has when we call it; `host` when empty."""
    certificates: tuple[Certificate, ...] = ()
    """SHA-256 fingerprints or names, one of which its certificate must have; several while one is being replaced."""
    identity: IdentityRule | None = None
    """What is made of user identity; the node's rule when unset."""
    limits: Limits = Limits()
    view: View = "clinical"
    """What of the hidden it finds and gets. ``clinical``: nothing; ``quality``: what was rejected for quality reasons;
    ``everything``: all, quarantine too."""
    rejects: Literal["own", "province", "nothing"] = "own"
    """In whose studies its rejection notes are obeyed: of its facility, of every facility, in none."""
    description: str = ""

    @model_validator(mode="after")
    def _place_is_whole(self) -> Self:
        if bool(self.host) != (self.port is not None):
            raise ValueError("a move destination needs host and port, any other peer neither")
        if self.certificates and not self.tls:
            raise ValueError("certificates without tls = true would let it call without any")
        if self.tls_name and not (self.tls and self.host):
            raise ValueError("tls_name is for a destination that is called by TLS")
        return self

    @property
    def quarantined(self) -> bool:
        """Whether what it sends is hidden until it is released."""
        return False

    def may(self, right: Right) -> bool:
        """Whether it has this right."""
        return right in self.rights

    def may_send_to(self, destination: Peer) -> bool:
        """Whether it may have objects sent to this peer."""
        if destination.ae_title == self.ae_title or self.destinations == "province":
            return True
        if self.destinations == "own":
            return destination.facility == self.facility
        return destination.ae_title in self.destinations

    def calls_from(self, address: str) -> bool:
        """Whether a connection from `address` can be this peer."""
        host = ip_address(plain_address(address))
        return not self.addresses or any(host in ip_network(network) for network in self.addresses)


class Quarantined(Peer):
    """A stand-in for an unlisted peer where those are quarantined."""

    @property
    def quarantined(self) -> bool:
        return True


UnknownPeers = Literal["accept", "reject", "quarantine"]
"""What becomes of peers that are not listed. ``quarantine``: what they send is kept, hidden until it is released."""
UNKNOWN_FACILITY = Facility(code="UNKNOWN", name="Chưa xác định / Unknown")
"""Owner of what an unlisted peer sent where unknown peers are accepted."""


class PeerBook:
    """Finds the peer behind an AE title and address."""

    def __init__(
        self,
        facilities: tuple[Facility, ...],
        peers: tuple[Peer, ...],
        unknown: UnknownPeers,
        resting: tuple[Peer, ...] = (),
    ) -> None:
        """`resting` are listed and not let in for the time being."""
        self.facilities = {facility.code: facility for facility in (UNKNOWN_FACILITY, *facilities)}
        self._lists = lists(peers, resting)
        self._unknown = unknown

    def find(self, ae_title: str, address: str) -> Peer | None:
        """The peer, a stand-in for an unlisted one where those are accepted, or None where it is refused.

        A listed AE title that calls from an address not its own, or is resting, is refused, never treated as unlisted.
        """
        peers, resting = self._lists
        title = ae_title.strip(" ")
        peer = peers.get(title)
        if peer is not None:
            return peer if peer.calls_from(address) else None
        if self._unknown == "reject" or title in resting:
            return None
        # Let in to send, and to be told what is kept of it; it may not look.
        stand_in = Quarantined if self._unknown == "quarantine" else Peer
        return stand_in.model_construct(ae_title=title, facility=UNKNOWN_FACILITY.code)

    @property
    def listed(self) -> tuple[Peer, ...]:
        """Those that may call or be called."""
        return tuple(self._lists[0].values())

    def named(self, ae_title: str) -> Peer | None:
        """The listed peer of this AE title, wherever it calls from; None for one that is resting."""
        return self._lists[0].get(ae_title.strip(" "))

    def known(self, ae_title: str) -> Peer | None:
        """The same, also of one that is resting: for what is to be made of objects that it has sent."""
        peers, resting = self._lists
        title = ae_title.strip(" ")
        return peers.get(title) or resting.get(title)

    def correcting(self) -> frozenset[str]:
        """AE titles of the peers with settings by which their objects are corrected."""
        return frozenset(self.correction_settings())

    def correction_settings(self) -> dict[str, dict[str, object]]:
        """Those settings as JSON has them, by AE title, with what they depend on."""
        peers, resting = self._lists
        return {
            title: {
                "default": peer.default_character_set,
                "actual": peer.actual_character_set,
                "coerce": peer.coerce.model_dump(mode="json") if peer.coerce else None,
                "issuer": self.facilities[peer.facility].issuer,
            }
            for title, peer in sorted({**resting, **peers}.items())
            if peer.default_character_set or peer.actual_character_set or peer.coerce
        }

    def facility(self, code: str) -> Facility:
        """The facility with this code. Raises `KeyError`."""
        return self.facilities[code]


_Titled = Mapping[str, Peer]


def lists(peers: Iterable[Peer], resting: Iterable[Peer]) -> tuple[_Titled, _Titled]:
    """Both lists, in one value: who reads while they are exchanged sees the old ones or the new ones."""
    return {peer.ae_title: peer for peer in peers}, {peer.ae_title: peer for peer in resting}
