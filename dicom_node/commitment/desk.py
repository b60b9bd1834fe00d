"""What a node does for storage commitment beside answering: look at objects, deliver results, send its own requests.

=====================  ============================================================================================
thread                 does
=====================  ============================================================================================
commitment check       takes one request after the other and looks at its objects (`archive.commitment.check`)
commitment delivery    (several) brings results to peers (`Delivery`)
commitment orders      sends our requests to other archives (`Asking`), ends and deletes what is too old
=====================  ============================================================================================
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from archive.background import Background
from archive.commitment.check import Stopped, back_off
from archive.commitment.requests import LeaseLost
from archive.core import Archive
from archive.errors import IndexUnavailable
from config.logs import fields
from dicom_node.commitment.asking import Asking
from dicom_node.commitment.calls import Calls
from dicom_node.commitment.delivery import Delivery
from dicom_node.commitment.information import STORAGE_COMMITMENT
from dicom_node.commitment.open_associations import OpenAssociations
from dicom_node.negotiation import Context
from dicom_node.operation import Caller

log = logging.getLogger(__name__)

POLL: Final = 5.0
"""Seconds after which a thread without work looks for what other processes left to it."""
UPKEEP: Final = 60.0
DELIVERERS: Final = 2
"""Peers that are brought results at once; one that is dead holds up a thread until the connection times out."""
_DAY: Final = 86_400.0


class Desk:
    """The threads live as long as the ``with`` block. Requests are kept without it as well, for others to work on."""

    def __init__(self, archive: Archive, poll: float = POLL) -> None:
        self._archive = archive
        self._poll = poll
        self._requests = archive.commitments.requests
        self.associations = OpenAssociations()
        self._calls = Calls()
        self._delivery = Delivery(archive, self.associations, self._calls)
        self._asking = Asking(archive, self._calls)
        self._check = Background("commitment check", self._check_next)
        self._checker = archive.commitments.checker(lambda: self._check.stopping)
        self._deliverers = [
            Background(f"commitment delivery {n}", lambda: 0.0 if self._delivery.deliver_next() else poll)
            for n in range(DELIVERERS)
        ]
        self._orders = Background("commitment orders", self._order_next)
        self._upkeep_at = 0.0
        self._running = ExitStack()

    def __enter__(self) -> Self:
        for thread in (self._check, *self._deliverers, self._orders):
            self._running.enter_context(thread)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._calls.stop()
        self._running.close()

    def wake(self) -> None:
        """A request was made in this process."""
        self._check.wake()

    def greet(self, contexts: Mapping[int, Context], caller: Caller) -> None:
        """A peer has associated: if results wait for it, and it takes them here, they are due now."""
        peer = caller.peer
        for context in contexts.values():
            takes = context.abstract_syntax == STORAGE_COMMITMENT and context.peer_is_scu
            if takes and peer.may("commit") and peer.commitment != "new":
                try:
                    if self._requests.has_undelivered(peer.ae_title):
                        self.associations.add(peer.ae_title, caller.outbox, context)
                        self._requests.rouse(peer.ae_title)
                        self._wake_deliverers()
                except IndexUnavailable as error:
                    log.info("no results are looked for", extra=fields(peer=peer.ae_title, error=str(error)))
                return

    def _wake_deliverers(self) -> None:
        for thread in self._deliverers:
            thread.wake()

    def _check_next(self) -> float:
        claimed = self._requests.claim_to_check()
        if claimed is None:
            return self._poll
        try:
            failed = self._checker.check(claimed)
        except LeaseLost:
            return 0.0
        except Stopped:
            self._requests.let_go(claimed)
            return self._poll
        except IndexUnavailable:
            raise
        except Exception as error:
            # Whatever is wrong with this request must not hold up the others.
            self._requests.let_go(claimed, back_off(claimed.attempts), type(error).__name__)
            raise
        if failed is not None:
            log.info(
                "storage commitment decided",
                extra=fields(peer=claimed.requester.ae_title, transaction=claimed.transaction_uid, failed=failed),
            )
            self._wake_deliverers()
        return 0.0

    def _order_next(self) -> float:
        if time.monotonic() >= self._upkeep_at:
            self._keep_up()
            self._upkeep_at = time.monotonic() + UPKEEP
        return 0.0 if self._asking.ask_next() else self._poll

    def _keep_up(self) -> None:
        """End what is too old, and delete what ended long ago."""
        settings, orders = self._archive.commitments.settings, self._archive.commitments.orders
        for row in self._requests.expire(settings.give_up_days * _DAY):
            log.warning(
                "a result of storage commitment could not be delivered",
                extra=fields(request=row.id, peer=row.ae_title, transaction=row.transaction_uid, error=row.problem),
            )
        for row in orders.expire(settings.give_up_days * _DAY):
            log.warning(
                "a commitment request was not answered",
                extra=fields(order=row.id, peer=row.ae_title, error=row.problem),
            )
        age = settings.keep_days * _DAY
        while self._requests.forget(age) or orders.forget(age):
            pass
