"""Sends our requests to other archives: N-ACTION as SCU, and the answer if it comes at once (PS3.4 J.3.2)."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Final

from archive.commitment.check import back_off
from archive.commitment.records import Order
from archive.core import Archive
from config.logs import fields
from config.peers import Peer
from dicom_node.commands import (
    ACTION_TYPE_ID,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    ERROR_COMMENT,
    MESSAGE_ID,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    STATUS,
    WITH_DATA_SET,
    encode_command,
    response,
)
from dicom_node.commitment.calls import Calls
from dicom_node.commitment.information import (
    REQUEST_STORAGE_COMMITMENT,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    encode_action,
)
from dicom_node.commitment.results import take_result
from dicom_node.contexts import COMMAND_SERVICES
from dicom_node.exchange import Message
from dicom_node.negotiation import Context
from dicom_node.requestor import Outgoing, Refused
from dicom_node.status import SUCCESS, UNRECOGNIZED_OPERATION, is_warning
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError

log = logging.getLogger(__name__)

STAY: Final = 10.0
"""Seconds for which an association stays open for the answer; later the peer opens one of its own."""


_LOOK: Final = 1.0
"""Seconds after which a waiting thread looks whether the answer came on another association."""


class Asking:
    """Sends orders. Used by one thread at a time."""

    def __init__(self, archive: Archive, calls: Calls | None = None) -> None:
        self._archive = archive
        self._calls = calls or Calls()
        self._orders = archive.commitments.orders

    def ask_next(self) -> bool:
        """Send the order that is due; False if none is. Raises `IndexUnavailable`."""
        order = self._orders.claim()
        if order is None:
            return False
        self.ask(order, STAY)
        return True

    def ask(self, order: Order, stay: float) -> None:
        """Send this order and wait some seconds for the answer. Raises `IndexUnavailable`."""
        peer = self._archive.peers.named(order.ae_title)
        problem = "the peer is not listed with host and port"
        if peer is not None and peer.host:
            problem = self._ask(peer, order, stay)
        if problem:
            self._orders.put_off(order, back_off(order.attempts - 1), problem)
            log.info(
                "commitment request is sent later",
                extra=fields(peer=order.ae_title, order=order.id, attempts=order.attempts, error=problem),
            )

    def _ask(self, peer: Peer, order: Order, stay: float) -> str:
        """Give what went wrong; nothing once the peer has taken the request."""
        proposal = (STORAGE_COMMITMENT, COMMAND_SERVICES[STORAGE_COMMITMENT])
        problem = "the peer does not accept the presentation context of Storage Commitment"
        try:
            with self._calls.call(peer, self._archive.settings.node, [proposal]) as association:
                for context in association.exchange.agreement.contexts.values():
                    problem = self._request(association, context, order)
                    if not problem:
                        self._await_answer(association, order, stay)
                    break
        except (Refused, PeerGone, PeerSilent, ProtocolError) as error:
            # Once the peer has taken the request, the end of the association is no fault.
            return problem and str(error)
        return problem

    def _request(self, association: Outgoing, context: Context, order: Order) -> str:
        data = encode_action(order.transaction_uid, self._orders.references(order), context.transfer_syntax)
        command = encode_command(
            {
                REQUESTED_SOP_CLASS_UID: STORAGE_COMMITMENT,
                COMMAND_FIELD: N_ACTION_RQ,
                MESSAGE_ID: 1,
                COMMAND_DATA_SET_TYPE: WITH_DATA_SET,
                REQUESTED_SOP_INSTANCE_UID: WELL_KNOWN_INSTANCE,
                ACTION_TYPE_ID: REQUEST_STORAGE_COMMITMENT,
            }
        )
        answer = association.exchange.request(context.id, 1, command, (data,)).command
        status = answer.number(STATUS)
        if status == SUCCESS or is_warning(status):
            self._orders.asked(order, self._archive.commitments.settings.answer_timeout)
            log.info("commitment requested", extra=fields(peer=order.ae_title, order=order.id))
            return ""
        return f"answered with status {status:04X} {answer.text(ERROR_COMMENT)}".strip()

    def _await_answer(self, association: Outgoing, order: Order, stay: float) -> None:
        """Take what the peer reports until the order has its answer, which may come elsewhere, or the time is over."""
        deadline = time.monotonic() + stay
        while (left := deadline - time.monotonic()) > 0 and not self._orders.is_over(order):
            association.be_patient(min(left, _LOOK))
            with contextlib.suppress(PeerSilent):
                message = association.exchange.receive()
                association.exchange.respond(message.context_id, self._answer_to(association, order, message))

    def _answer_to(self, association: Outgoing, order: Order, message: Message) -> bytes:
        if message.command.field != N_EVENT_REPORT_RQ:
            return response(message.command, UNRECOGNIZED_OPERATION)
        context = association.exchange.agreement.contexts[message.context_id]
        return take_result(self._archive, order.ae_title, message.command, message.dataset, context.transfer_syntax)
