"""A-ASSOCIATE: reading the request and encoding the answer (PS3.8 7.1, 9.3.2 to 9.3.4).

What is decided in between is in `dicom_node.admission`. PDU types and context negotiation are pynetdicom's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import UserIdentitySubItemRQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from archive.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, is_storage_sop_class
from dicom_node import wire
from dicom_node.contexts import SELECTABLE_ROLES, acceptor_contexts
from dicom_node.models import FIND, GET, MOVE
from dicom_node.request_items import understandable
from dicom_node.wire import PeerGone, ProtocolError, Wire

# It logs a traceback for a character that is no ASCII. Our own line, that the request is malformed, says enough.
logging.getLogger("pynetdicom.utils").setLevel(logging.CRITICAL)

_FIXED_PART = 74
"""Bytes before the first item (PS3.8 Table 9-11)."""
_ANY_TITLES = b"ANY".ljust(16) * 2
LONGEST_REQUEST = 256 * 1024
"""Bytes of an A-ASSOCIATE-RQ: 128 contexts with dozens of transfer syntaxes each fit many times over."""
_TLS_HANDSHAKE = 0x16
"""First byte of a TLS client hello (RFC 8446 5.1)."""
_USER_INFORMATION, _USER_IDENTITY = 0x50, 0x58
DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


class BadRequest(Exception):
    """The A-ASSOCIATE-RQ cannot be read."""


class Rejection(Enum):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21), and what is behind it.

    Who is not known, calls from elsewhere or proves to be somebody else is told the same, and the log which it was.
    """

    SHUTTING_DOWN = (2, 3, 1, "the node is stopping")
    PROTOCOL_VERSION = (1, 2, 2, "the peer does not speak version 1 of the protocol")
    APPLICATION_CONTEXT = (1, 1, 2, "another application context than DICOM's")
    CALLED_AE_TITLE = (1, 1, 7, "not the AE title of this node")
    CALLING_AE_TITLE = (1, 1, 3, "not listed, where unknown peers are rejected, or blank")
    DISABLED = (1, 1, 3, "a listed AE title that an administrator has disabled")
    ADDRESS = (1, 1, 3, "a listed AE title calls from an address that is not its own")
    NOT_BY_TLS = (1, 1, 3, "a peer with `tls` calls without TLS")
    CERTIFICATE = (1, 1, 3, "another certificate than those of the peer, or none")
    USER_IDENTITY = (1, 2, 1, "user identity is required and missing, or is wrong (PS3.7 D.3.3.7)")
    TOO_MANY_FAILURES = (2, 3, 1, "user identity failed several times, and is not looked at for a while")
    IDENTITY_CONGESTION = (2, 3, 1, "too many identities are being checked at once")
    TOO_MANY_OF_PEER = (2, 3, 2, "the peer has as many associations as its limit allows")
    TOO_MANY_ASSOCIATIONS = (2, 3, 2, "the node has as many associations as its limit allows")

    def encode(self) -> bytes:
        """The A-ASSOCIATE-RJ PDU."""
        primitive = A_ASSOCIATE()
        primitive.result, primitive.result_source, primitive.diagnostic, _ = self.value
        pdu = A_ASSOCIATE_RJ()
        pdu.from_primitive(primitive)
        return bytes(pdu.encode())


@dataclass(frozen=True, slots=True)
class Identity:
    """A User Identity sub-item of a request (PS3.7 D.3.3.7.1)."""

    kind: int
    """1: username, 2: username and passcode, 3: Kerberos, 4: SAML, 5: JSON Web Token."""
    wants_response: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str
    relational: bool = False
    """Relational queries or retrieval were agreed on (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1)."""
    fuzzy: bool = False
    """Fuzzy matching of person names was agreed on (PS3.4 C.5.1.1)."""
    combined: bool = False
    """Combined matching of dates and their times was agreed on (PS3.4 C.5.1.1)."""
    peer_is_scp: bool = False
    """We may send requests on it, of C-STORE or as the SCU of its service (PS3.7 D.3.3.4)."""
    peer_is_scu: bool = True
    """The peer takes what the SCP of its service sends unasked, such as N-EVENT-REPORT."""
    id: int = 0
    """Presentation context ID."""


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ as far as we use it."""

    calling_ae_title: str
    called_ae_title: str
    titles: bytes
    """The fields of the called and the calling AE title as received."""
    protocol_version: int
    primitive: Any
    identity: Identity | None = None

    @property
    def implementation(self) -> str:
        """Version name of the peer's software, for the log."""
        for item in self.primitive.user_information:
            if isinstance(item, ImplementationVersionNameNotification):
                return str(item.implementation_version_name or "")
        return ""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The A-ASSOCIATE-AC PDU to send and what it agrees on."""

    pdu: bytes
    contexts: dict[int, Context]
    peer_maximum_length: int
    """Largest P-DATA-TF variable field the peer takes; 0 means no limit (PS3.8 D.1.1)."""


def read_request(pdu: bytes) -> Request:
    """Decode an A-ASSOCIATE-RQ PDU. Raises `BadRequest`."""
    if len(pdu) < _FIXED_PART:
        raise BadRequest(f"an A-ASSOCIATE-RQ of {len(pdu)} bytes")
    titles = pdu[10:42]
    pdu = understandable(pdu)
    try:
        decoded = A_ASSOCIATE_RQ()
        # pynetdicom refuses titles that are blank or not ASCII. That is for admission to decide on.
        decoded.decode(pdu[:10] + _ANY_TITLES + pdu[42:])
        information: Any = decoded.user_information
        identity = _take_identity(information.user_data, pdu)
        primitive = decoded.to_primitive()
        _check_contexts(primitive.presentation_context_definition_list)
        return Request(
            calling_ae_title=_ae_title(titles[16:]),
            called_ae_title=_ae_title(titles[:16]),
            titles=titles,
            protocol_version=int.from_bytes(pdu[6:8], "big"),
            primitive=primitive,
            identity=identity,
        )
    except BadRequest:
        raise
    except Exception as error:
        # pynetdicom raises whatever its converters meet in malformed items: KeyError, struct.error, ValueError ...
        raise BadRequest(f"malformed A-ASSOCIATE-RQ: {type(error).__name__}") from error


def receive_request(connection: Wire, deadline: float) -> Request:
    """The A-ASSOCIATE-RQ, by `deadline` of the monotonic clock. Raises `PeerGone`, `PeerSilent`, `ProtocolError`."""

    def check(kind: int, length: int) -> None:
        if kind == wire.ABORT:
            raise PeerGone("aborted by the peer")
        if kind != wire.ASSOCIATE_RQ:
            hint = " (it speaks TLS, on the port without)" if kind == _TLS_HANDSHAKE and not connection.secured else ""
            raise ProtocolError(wire.UNEXPECTED_PDU, f"PDU type {kind:#04x} instead of A-ASSOCIATE-RQ{hint}")
        if length > min(LONGEST_REQUEST, len(connection.buffer) - 6):
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"A-ASSOCIATE-RQ of {length} bytes")

    try:
        return read_request(connection.first_pdu(deadline, check))
    except BadRequest as error:
        raise ProtocolError(wire.INVALID_PDU_PARAMETER, str(error)) from error


def _take_identity(items: list[Any], pdu: bytes) -> Identity | None:
    """The User Identity sub-item, read by us alone: pynetdicom neither sees types to come nor keeps a passcode."""
    count = sum(isinstance(item, UserIdentitySubItemRQ) for item in items)
    items[:] = [item for item in items if not isinstance(item, UserIdentitySubItemRQ)]
    if not count:
        return None
    bodies = [
        body
        for kind, information in _items(memoryview(pdu)[_FIXED_PART:])
        if kind == _USER_INFORMATION
        for inner, body in _items(information)
        if inner == _USER_IDENTITY
    ]
    if count != 1 or len(bodies) != 1:
        raise BadRequest("more than one user identity")
    body = bodies[0]
    middle = 4 + int.from_bytes(body[2:4], "big")
    end = middle + 2 + int.from_bytes(body[middle : middle + 2], "big")
    if len(body) < 6 or end != len(body):
        raise BadRequest("a user identity whose fields do not fill it")
    return Identity(body[0], body[1] == 1, bytes(body[4:middle]), bytes(body[middle + 2 : end]))


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each item (PS3.8 9.3.1)."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 + length > len(data):
            raise BadRequest("an item longer than what it is in")
        yield data[at], data[at + 4 : at + 4 + length]
        at += 4 + length


def accept(request: Request, maximum_length: int, identity_response: bytes | None = None) -> Acceptance:
    """Negotiate the contexts and encode the A-ASSOCIATE-AC.

    `maximum_length` is what we offer to receive in one P-DATA-TF, `identity_response` the positive response to a user
    identity (PS3.7 D.3.3.7.2), if one is due.
    """
    requested = request.primitive.presentation_context_definition_list
    # One by one: what another context of the same class proposes must not change the choice in this one.
    results = [negotiate_as_acceptor([context], acceptor_contexts(context))[0][0] for context in requested]
    primitive = A_ASSOCIATE()
    primitive.application_context_name = DICOM_APPLICATION_CONTEXT
    primitive.calling_ae_title = request.primitive.calling_ae_title
    primitive.called_ae_title = request.primitive.called_ae_title
    primitive.result, primitive.result_source = 0, 1
    primitive.presentation_context_definition_results_list = results
    accepted = {str(context.abstract_syntax) for context in results if context.result == 0}
    extended = _extended(request, accepted)
    roles = _roles(request, accepted)
    items: list[Any] = list(roles.values())
    for uid, agreed in extended.items():
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = uid, agreed
        items.append(item)
    if identity_response is not None:
        response = UserIdentityNegotiation()
        response.server_response = identity_response
        items.append(response)
    primitive.user_information = [*user_information(maximum_length), *items]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)
    encoded = bytes(pdu.encode())
    # PS3.8 9.3.3: the fields of the titles are sent back as received.
    encoded = encoded[:10] + request.titles + encoded[42:]
    contexts = {
        int(context.context_id or 0): _context(context, extended, roles) for context in results if context.result == 0
    }
    return Acceptance(encoded, contexts, int(request.primitive.maximum_length_received or 0))


_UNDERSTOOD: Final = dict.fromkeys(FIND, b"\1\1\1\0\0\1\1") | dict.fromkeys(MOVE | GET, b"\1")
"""What we can agree to, by byte of the application information (PS3.4 Tables C.5.1-1, C.5.2-1, C.5.3-1).

Of queries: relational ones, combined date and time, fuzzy matching of names, matching of empty and of several values;
not adjustment to a time zone, no view of converted multi-frame images. Of retrieval: relational.
"""


def _extended(request: Request, accepted: Container[str]) -> dict[str, bytes]:
    """The answers to SOP Class Extended Negotiation: of what was asked, what we do (PS3.7 D.3.3.5)."""
    agreed = {}
    for item in request.primitive.user_information:
        if isinstance(item, SOPClassExtendedNegotiation):
            uid, asked = str(item.sop_class_uid), bytes(item.service_class_application_information or b"")
            if uid in _UNDERSTOOD and uid in accepted and asked:
                understood = _UNDERSTOOD[uid].ljust(len(asked), b"\0")
                agreed[uid] = bytes(int(mine and each == 1) for mine, each in zip(understood, asked, strict=False))
    return agreed


def _roles(request: Request, accepted: Container[str]) -> dict[str, SCP_SCU_RoleSelectionNegotiation]:
    """The answers to SCP/SCU Role Selection (PS3.7 D.3.3.4): as proposed, for storage and `SELECTABLE_ROLES`."""
    return {
        str(item.sop_class_uid): item
        for item in request.primitive.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
        and str(item.sop_class_uid) in accepted
        and (is_storage_sop_class(str(item.sop_class_uid)) or str(item.sop_class_uid) in SELECTABLE_ROLES)
        # Neither role: there is nothing to agree to, and pynetdicom would not encode it.
        and (item.scu_role or item.scp_role)
    }


def _context(
    context: PresentationContext,
    extended: Mapping[str, bytes],
    roles: Mapping[str, SCP_SCU_RoleSelectionNegotiation],
) -> Context:
    abstract_syntax = str(context.abstract_syntax)
    agreed, role = extended.get(abstract_syntax, b""), roles.get(abstract_syntax)
    return Context(
        abstract_syntax,
        str(context.transfer_syntax[0]),
        relational=agreed[:1] == b"\1",
        fuzzy=abstract_syntax in FIND and agreed[2:3] == b"\1",
        combined=abstract_syntax in FIND and agreed[1:2] == b"\1",
        peer_is_scp=role is not None and bool(role.scp_role),
        peer_is_scu=role is None or bool(role.scu_role),
        id=int(context.context_id or 0),
    )


def user_information(maximum_length: int) -> list[Any]:
    """The items of every association of ours: the largest PDU that we take, and who we are (PS3.7 D.3.3)."""
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum_length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]


def _check_contexts(contexts: Sequence[PresentationContext]) -> None:
    """What later steps rely on (PS3.8 9.3.2.2): odd identifiers used once, and something to choose from."""
    identifiers = [context.context_id for context in contexts]
    if len(set(identifiers)) != len(identifiers) or not all(isinstance(each, int) and each & 1 for each in identifiers):
        raise BadRequest("presentation context identifiers are not odd and unique")
    if not all(context.abstract_syntax and context.transfer_syntax for context in contexts):
        raise BadRequest("a presentation context without abstract or transfer syntax")


def _ae_title(field: bytes) -> str:
    """An AE title field of 16 bytes (PS3.8 Table 9-11) as printable text, safe to log."""
    return re.sub(r"[^\x20-\x5b\x5d-\x7e]", "?", field.decode("latin-1")).strip(" ")
