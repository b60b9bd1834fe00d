"""Does the connection tests that were asked for on the page of peers: a C-ECHO to each, and what came of it in words.

Which process of the node does it does not matter, see `archive.registry.checks`.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Final

from archive.background import Background
from archive.core import Archive
from archive.registry.checks import Outcome
from config.logs import fields
from config.node import NodeSettings
from config.peers import Peer
from dicom_node.commands import (
    AFFECTED_SOP_CLASS_UID,
    C_ECHO_RQ,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MESSAGE_ID,
    NO_DATA_SET,
    STATUS,
    encode_command,
)
from dicom_node.contexts import COMMAND_SERVICES, VERIFICATION
from dicom_node.requestor import Outgoing, Refused, Rejected
from dicom_node.secure_wire import HandshakeFailed
from dicom_node.status import SUCCESS
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError

log = logging.getLogger(__name__)

POLL: Final = 1.0
"""Seconds between two looks for a test that somebody asked for."""
PATIENCE: Final = 10.0
"""Seconds for the connection with the answer to the association, and for the answer to the C-ECHO: somebody waits."""

Result = tuple[Outcome, str, int | None]
"""How it came out, what was said, milliseconds if it came out well."""

_REJECTIONS: Final = {(1, 3): Outcome.CALLING_UNKNOWN, (1, 7): Outcome.CALLED_UNKNOWN}


def checking(archive: Archive) -> Background:
    """A thread that does one test after the other."""

    def step() -> float:
        claimed = archive.peer_checks.claim()
        if claimed is None:
            return POLL
        number, ae_title = claimed
        archive.peers.refresh()
        peer = archive.peers.known(ae_title)
        outcome, detail, milliseconds = check(peer, archive.settings.node)
        archive.peer_checks.done(number, outcome, detail, milliseconds)
        log.info("connection tested", extra=fields(peer=ae_title, outcome=outcome.value, detail=detail))
        return 0.0

    return Background("connection tests", step)


def check(peer: Peer | None, settings: NodeSettings) -> Result:
    """One C-ECHO (PS3.4 Annex A) to where the peer listens."""
    if peer is None or not peer.host:
        return Outcome.NO_PLACE, "", None
    quick = settings.model_copy(update={"artim_timeout": min(PATIENCE, settings.artim_timeout)})
    began = time.monotonic()
    try:
        association = Outgoing.open(peer, quick, [(VERIFICATION, COMMAND_SERVICES[VERIFICATION])])
    except Refused as error:
        return _why(error), str(error), None
    try:
        contexts = association.exchange.agreement.contexts
        if not contexts:
            association.release(PATIENCE)
            return Outcome.NO_VERIFICATION, "", None
        association.be_patient(PATIENCE)
        answer = association.exchange.request(next(iter(contexts)), 1, encode_command(_REQUEST)).command
        status, took = answer.number(STATUS), round((time.monotonic() - began) * 1000)
    except PeerSilent as error:
        association.abort()
        return Outcome.SILENT, str(error), None
    except (PeerGone, ProtocolError) as error:
        association.abort()
        return Outcome.NOT_DICOM, str(error), None
    association.release(PATIENCE)
    if status != SUCCESS:
        return Outcome.FAILED, f"status {status:04X}" if status is not None else "no status", None
    return Outcome.OK, "", took


_REQUEST: Final[dict[int, int | str]] = {
    AFFECTED_SOP_CLASS_UID: VERIFICATION,
    COMMAND_FIELD: C_ECHO_RQ,
    MESSAGE_ID: 1,
    COMMAND_DATA_SET_TYPE: NO_DATA_SET,
}


def _why(error: Refused) -> Outcome:
    """What stopped it, by what was raised at which step."""
    cause = error.__cause__
    if isinstance(cause, Rejected):
        return _REJECTIONS.get((cause.source, cause.reason), Outcome.REJECTED)
    table: tuple[tuple[type[BaseException], Outcome], ...] = (
        (HandshakeFailed, Outcome.TLS),
        (PeerSilent, Outcome.SILENT),
        (PeerGone, Outcome.NOT_DICOM),
        (ProtocolError, Outcome.NOT_DICOM),
        (ConnectionRefusedError, Outcome.REFUSED),
        (socket.gaierror, Outcome.NO_SUCH_HOST),
        (UnicodeError, Outcome.NO_SUCH_HOST),
        (OSError, Outcome.UNREACHABLE),
        # A file of [node.tls].
        (ValueError, Outcome.TLS),
    )
    return next((outcome for kind, outcome in table if isinstance(cause, kind)), Outcome.NOT_DICOM)
