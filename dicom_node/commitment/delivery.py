"""Brings results to the peers that asked: N-EVENT-REPORT (PS3.4 J.3.3).

First on an association that the peer has open, then on one that we open to it, by the setting ``commitment`` of the
peer. What cannot be delivered is tried again later. A result is delivered when the peer answered it with Success; if
that answer is lost, the peer gets the result once more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from archive.commitment.check import back_off
from archive.commitment.records import Claimed
from archive.commitment.requests import LeaseLost
from archive.core import Archive
from config.logs import fields
from config.peers import Peer
from config.settings import NodeSettings
from dicom_node.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    EVENT_TYPE_ID,
    MESSAGE_ID,
    N_EVENT_REPORT_RQ,
    STATUS,
    WITH_DATA_SET,
    encode_command,
)
from dicom_node.commitment.calls import Calls
from dicom_node.commitment.information import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, encode_event
from dicom_node.commitment.open_associations import OpenAssociations
from dicom_node.contexts import COMMAND_SERVICES
from dicom_node.negotiation import Context
from dicom_node.requestor import Outgoing, Refused
from dicom_node.status import SUCCESS, is_warning
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError

log = logging.getLogger(__name__)

_BASE: Final[dict[int, int | str]] = {
    AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT,
    COMMAND_FIELD: N_EVENT_REPORT_RQ,
    COMMAND_DATA_SET_TYPE: WITH_DATA_SET,
    AFFECTED_SOP_INSTANCE_UID: WELL_KNOWN_INSTANCE,
}


class Delivery:
    """Used by several threads at once; each delivers to another peer."""

    def __init__(self, archive: Archive, associations: OpenAssociations, calls: Calls) -> None:
        self._archive = archive
        self._calls = calls
        self._requests = archive.commitments.requests
        self._associations = associations

    def deliver_next(self) -> bool:
        """Deliver what is due for one peer; False if nothing is. Raises `IndexUnavailable`."""
        batch = self._requests.claim_to_deliver()
        if not batch:
            return False
        ae_title = batch[0].requester.ae_title
        peer = self._archive.peers.named(ae_title)
        takes = peer.commitment if peer is not None else "either"
        left = batch
        if takes != "new":
            left = [claimed for claimed in batch if not self._on_open_association(claimed)]
        if takes == "same" or peer is None or not peer.host:
            self._put_off(left, "the peer has no association open, and is not called")
        elif left:
            self._on_new_association(peer, left)
        return True

    # -- on an association of the peer -----------------------------------------------------------------------------

    def _on_open_association(self, claimed: Claimed) -> bool:
        """Deliver on an association that the peer opened; False if that gave no answer."""
        for association in self._associations.of(claimed.requester.ae_title, claimed.id):
            if not self._is_held(claimed):
                return True
            kind, data = self._event(claimed, association.context.transfer_syntax)
            status = association.send({**_BASE, EVENT_TYPE_ID: kind}, data)
            if status is not None:
                self._settle(claimed, status)
                return True
            self._associations.remove(association)
        return False

    # -- on an association of ours ---------------------------------------------------------------------------------

    def _on_new_association(self, peer: Peer, batch: Sequence[Claimed]) -> None:
        proposal = (STORAGE_COMMITMENT, COMMAND_SERVICES[STORAGE_COMMITMENT])
        done = 0
        problem = "the peer does not accept the presentation context of Storage Commitment"
        try:
            with self._calls.call(
                peer, self._known_as(batch[-1]), [proposal], as_scp={STORAGE_COMMITMENT}
            ) as association:
                for context in association.exchange.agreement.contexts.values():
                    for claimed in batch:
                        if self._is_held(claimed):
                            self._settle(claimed, self._send(association, context, claimed, done + 1))
                        done += 1
        except (Refused, PeerGone, PeerSilent, ProtocolError) as error:
            problem = str(error)
        self._put_off(batch[done:], problem)

    def _known_as(self, claimed: Claimed) -> NodeSettings:
        """Our side of the association: the peer knows us by the AE title that it called."""
        node = self._archive.settings.node
        return node.model_copy(update={"ae_title": claimed.requester.called_ae_title or node.ae_title})

    def _send(self, association: Outgoing, context: Context, claimed: Claimed, message_id: int) -> int:
        kind, data = self._event(claimed, context.transfer_syntax)
        command = encode_command({**_BASE, EVENT_TYPE_ID: kind, MESSAGE_ID: message_id})
        answer = association.exchange.request(context.id, message_id, command, (data,))
        return answer.command.number(STATUS)

    # -- both ------------------------------------------------------------------------------------------------------

    def _event(self, claimed: Claimed, syntax: str) -> tuple[int, bytes]:
        results = self._requests.results(claimed)
        return encode_event(claimed.transaction_uid, results, self._archive.settings.node.ae_title, syntax)

    def _is_held(self, claimed: Claimed) -> bool:
        """Hold the lease for longer; False if another process delivers it by now."""
        try:
            self._requests.renew(claimed)
        except LeaseLost:
            return False
        return True

    def _settle(self, claimed: Claimed, status: int) -> None:
        """The peer has answered."""
        if status != SUCCESS and not is_warning(status):
            self._put_off([claimed], f"answered with status {status:04X}")
            return
        self._requests.delivered(claimed)
        log.info(
            "result of storage commitment delivered",
            extra=fields(
                peer=claimed.requester.ae_title, transaction=claimed.transaction_uid, failed=claimed.failed_count
            ),
        )

    def _put_off(self, batch: Sequence[Claimed], problem: str) -> None:
        for claimed in batch:
            self._requests.let_go(claimed, back_off(claimed.attempts), problem)
        if batch:
            log.info(
                "results of storage commitment are delivered later",
                extra=fields(peer=batch[0].requester.ae_title, results=len(batch), error=problem),
            )
