"""A-ASSOCIATE: reading the request, deciding, and encoding the answer (PS3.8 7.1, 9.3.2 to 9.3.4).

PDU types and context negotiation are pynetdicom's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from archive.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, is_storage_sop_class
from config.peers import Peer, PeerBook
from config.settings import NodeSettings
from dicom_node.contexts import SELECTABLE_ROLES, acceptor_contexts
from dicom_node.models import FIND, GET, MOVE

# It logs a traceback for a character that is no ASCII. Our own line, that the request is malformed, says enough.
logging.getLogger("pynetdicom.utils").setLevel(logging.CRITICAL)

_FIXED_PART = 74
"""Bytes before the first item (PS3.8 Table 9-11)."""
_ANY_TITLES = b"ANY".ljust(16) * 2
DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


class BadRequest(Exception):
    """The A-ASSOCIATE-RQ cannot be read."""


class Rejection(Enum):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    APPLICATION_CONTEXT = (1, 1, 2)
    CALLING_AE_TITLE = (1, 1, 3)
    CALLED_AE_TITLE = (1, 1, 7)
    PROTOCOL_VERSION = (1, 2, 2)
    TOO_MANY_ASSOCIATIONS = (2, 3, 2)
    SHUTTING_DOWN = (2, 3, 1)

    def encode(self) -> bytes:
        """The A-ASSOCIATE-RJ PDU."""
        primitive = A_ASSOCIATE()
        primitive.result, primitive.result_source, primitive.diagnostic = self.value
        pdu = A_ASSOCIATE_RJ()
        pdu.from_primitive(primitive)
        return bytes(pdu.encode())


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str
    relational: bool = False
    """Relational queries or retrieval were agreed on (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1)."""
    fuzzy: bool = False
    """Fuzzy matching of person names was agreed on (PS3.4 C.5.1.1)."""
    peer_is_scp: bool = False
    """We may send requests on it, of C-STORE or as the SCU of its service (PS3.7 D.3.3.4)."""


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ as far as we use it."""

    calling_ae_title: str
    called_ae_title: str
    titles: bytes
    """The fields of the called and the calling AE title as received."""
    protocol_version: int
    primitive: Any

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
    try:
        decoded = A_ASSOCIATE_RQ()
        # pynetdicom refuses titles that are blank or not ASCII. That is for admission to decide on.
        decoded.decode(pdu[:10] + _ANY_TITLES + pdu[42:])
        primitive = decoded.to_primitive()
        _check_contexts(primitive.presentation_context_definition_list)
        return Request(
            calling_ae_title=_ae_title(titles[16:]),
            called_ae_title=_ae_title(titles[:16]),
            titles=titles,
            protocol_version=int.from_bytes(pdu[6:8], "big"),
            primitive=primitive,
        )
    except BadRequest:
        raise
    except Exception as error:
        # pynetdicom raises whatever its converters meet in malformed items: KeyError, struct.error, ValueError ...
        raise BadRequest(f"malformed A-ASSOCIATE-RQ: {type(error).__name__}") from error


def admit(request: Request, address: str, settings: NodeSettings, peers: PeerBook) -> Peer | Rejection:
    """Decide whether this peer may associate, in the order of PS3.8 Table 9-21."""
    if not request.protocol_version & 1:
        return Rejection.PROTOCOL_VERSION
    if str(request.primitive.application_context_name) != DICOM_APPLICATION_CONTEXT:
        return Rejection.APPLICATION_CONTEXT
    if settings.require_called_ae_title and request.called_ae_title != settings.ae_title:
        return Rejection.CALLED_AE_TITLE
    if not request.calling_ae_title:
        return Rejection.CALLING_AE_TITLE
    return peers.find(request.calling_ae_title, address) or Rejection.CALLING_AE_TITLE


def accept(request: Request, settings: NodeSettings) -> Acceptance:
    """Negotiate the contexts and encode the A-ASSOCIATE-AC."""
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
    primitive.user_information = [*user_information(settings.maximum_pdu_length), *items]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)
    encoded = bytes(pdu.encode())
    # PS3.8 9.3.3: the fields of the titles are sent back as received.
    encoded = encoded[:10] + request.titles + encoded[42:]
    contexts = {
        int(context.context_id or 0): _context(context, extended, roles) for context in results if context.result == 0
    }
    return Acceptance(encoded, contexts, int(request.primitive.maximum_length_received or 0))


_UNDERSTOOD: Final = dict.fromkeys(FIND, b"\x01\x00\x01") | dict.fromkeys(MOVE | GET, b"\1")
"""What we can agree to, by byte of the application information (PS3.4 Tables C.5.1-1, C.5.2-1, C.5.3-1).

Relational queries and retrieval; not combined date and time; fuzzy matching of names. Behind these: nothing.
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
        fuzzy=agreed[2:3] == b"\1",
        peer_is_scp=role is not None and bool(role.scp_role),
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
