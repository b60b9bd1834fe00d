"""What C-FIND, C-GET and C-MOVE have in common: a request whose dataset is an identifier (PS3.4 C.4.1.1.3).

And what the C-FIND of all information models have in common: the responses (PS3.4 C.4.1.3, K.4.1.3).
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydicom.uid import UID

from archive.audit.events import Action
from archive.database import Stop
from archive.errors import ArchiveError, CannotParse, NotPermitted, Withdrawn
from archive.records import DicomJSON
from config.logs import fields
from config.peers import Right
from dicom_node.audited import asked, refused
from dicom_node.commands import response
from dicom_node.exchange import Exchange
from dicom_node.identifier import LONGEST, Identifier, encode_identifier, read_identifier
from dicom_node.operation import Dialogue, WholeRequest
from dicom_node.status import CANCEL, PENDING, SUCCESS, c_find_status
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError

log = logging.getLogger(__name__)


class Asked(WholeRequest):
    """A request and its identifier, collected until it is whole."""

    longest = LONGEST

    def _identifier(self) -> Identifier:
        """The identifier, decoded. Raises `CannotParse`."""
        if self._collected.too_long:
            raise CannotParse(f"the identifier is longer than {LONGEST} bytes")
        peer, data = self._caller.peer, bytes(self._collected.data)
        return read_identifier(
            data, self._context.transfer_syntax, peer.default_character_set, peer.actual_character_set
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """What a C-FIND is answered with."""

    matches: Callable[[Stop], Iterator[DicomJSON]]
    """Makes the identifiers of the responses, one by one. It is given what to ask, during long work, whether the peer
    has cancelled or gone; then, and for other reasons, it may raise an `ArchiveError`, which becomes the status."""
    pending: int = PENDING
    """The status of each response but the last; `PENDING_UNSUPPORTED_KEYS` if a key was ignored."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """For the log; nothing that a patient could be known by."""


class FindOperation(Asked, ABC):
    """One C-FIND-RQ of any information model and its responses."""

    right: ClassVar[Right]
    """Which right of the peer it takes."""

    @abstractmethod
    def _answers(self, identifier: Identifier) -> Answers:
        """What the identifier asks for. Raises `InvalidQuery` and other `ArchiveError`."""

    def finish(self) -> bytes | Dialogue:
        try:
            if not self._caller.peer.may(self.right):
                raise NotPermitted("this AE title may not query")
            identifier = self._identifier()
            answers = self._answers(identifier)
            self._archive.audit.record(asked(self._caller.who, self._what(), identifier))
        except Exception as error:
            return self._failure(error)

        def answer(exchange: Exchange) -> None:
            self._answer(exchange, answers, identifier.character_sets)

        return answer

    def _what(self) -> str:
        return f"C-FIND {UID(self._context.abstract_syntax).name}"

    def _answer(self, exchange: Exchange, answers: Answers, wanted: list[str]) -> None:
        """Send the matches, then the final response."""
        sent = 0
        watch = _Watch(exchange)
        shown = self._caller.peer.character_sets
        pending = response(self._command, answers.pending, with_data_set=True)
        syntax, context_id = self._context.transfer_syntax, exchange.context_id
        try:
            for match in answers.matches(watch):
                if exchange.poll():
                    raise Withdrawn("cancelled by the peer")
                exchange.respond(context_id, pending, encode_identifier(match, syntax, wanted, shown))
                sent += 1
            final = response(self._command, SUCCESS)
        except (PeerGone, PeerSilent, ProtocolError):
            raise
        except Withdrawn:
            watch.check()
            final = response(self._command, CANCEL)
        except Exception as error:
            final = self._failure(error)
        exchange.respond(context_id, final)
        facts = fields(**answers.facts, matches=sent, calling=self._caller.calling_ae_title)
        log.info("query answered", extra=facts)

    def _failure(self, error: BaseException) -> bytes:
        refused(self._archive, self._caller.who, Action.SEARCH, error, self._what())
        status, comment = c_find_status(error)
        # By its kind: the comment may quote a value of the identifier, which the log must not.
        facts = fields(status=f"{status:04X}", error=type(error).__name__, calling=self._caller.calling_ae_title)
        if isinstance(error, ArchiveError):
            log.warning("query refused", extra=facts)
        else:
            log.error("query refused", extra=facts, exc_info=error)
        return response(self._command, status, comment)


class _Watch:
    """Tells, while the index works, whether the peer has cancelled or gone."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._broken: Exception | None = None

    def __call__(self) -> bool:
        try:
            return self._exchange.poll()
        except (PeerGone, PeerSilent, ProtocolError) as error:
            self._broken = error
            return True

    def check(self) -> None:
        """Raise what broke the association meanwhile, if anything did."""
        if self._broken is not None:
            raise self._broken
