"""C-STORE as SCU: instances sent to one peer over one association (PS3.4 B.2.1, PS3.7 9.1.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from archive.core import Archive
from archive.errors import ArchiveError, CannotParse, NotAcceptable
from archive.imaging.deliver import choose_syntax, dataset_chunks
from archive.imaging.encode import LOSSLESS
from archive.imaging.transcode import TARGETS
from archive.records import StoredInstance
from config.peers import Peer
from dicom_node import commands
from dicom_node.commands import Command, encode_command
from dicom_node.exchange import Exchange
from dicom_node.requestor import MOST_CONTEXTS, Outgoing, Proposal

MOST_IDS: Final = 0xFFFF
MEDIUM: Final = 0
PRIORITIES: Final = (1, MEDIUM, 2)
"""High, medium and low (PS3.7 9.1.1.1.6)."""

Kind = tuple[str, str]
"""SOP class and stored transfer syntax of an instance."""


class Interrupted(Exception):
    """An object broke off after part of it was sent; the association is of no more use."""


def send_instance(
    archive: Archive,
    exchange: Exchange,
    inst: StoredInstance,
    message_id: int,
    elements: Mapping[int, int | str],
    *,
    as_stored: bool = False,
) -> Command:
    """Send one instance and give the response. `elements` are more of the command set, such as the priority.

    With `as_stored` it goes in the transfer syntax in which it is stored or not at all. Raises `ArchiveError` for what
    cannot be sent, `Interrupted`, and what `Exchange` raises.
    """
    accepted = {
        context.transfer_syntax: context_id
        for context_id, context in exchange.agreement.contexts.items()
        if context.abstract_syntax == inst.sop_class_uid and context.peer_is_scp
    }
    stored = inst.object.transfer_syntax_uid
    syntax = choose_syntax(archive.store, inst, {stored} & accepted.keys() if as_stored else accepted)
    if syntax is None:
        raise NotAcceptable("the receiver accepted no transfer syntax that the object can be given in")
    chunks = dataset_chunks(archive.store, inst, syntax, archive.settings.web.maximum_decoded_bytes)
    try:
        first = _first(chunks)
        command: dict[int, int | str] = {
            commands.AFFECTED_SOP_CLASS_UID: inst.sop_class_uid,
            commands.COMMAND_FIELD: commands.C_STORE_RQ,
            commands.MESSAGE_ID: message_id,
            commands.PRIORITY: MEDIUM,
            commands.COMMAND_DATA_SET_TYPE: commands.WITH_DATA_SET,
            commands.AFFECTED_SOP_INSTANCE_UID: inst.sop_instance_uid,
            **elements,
        }
        return exchange.request(accepted[syntax], message_id, encode_command(command), _whole(first, chunks)).command
    finally:
        chunks.close()


def _first(chunks: Iterator[bytes]) -> bytes:
    """The first chunk. What a decoder raises, whatever it is, concerns this one object."""
    try:
        return next(chunks, b"")
    except ArchiveError:
        raise
    except Exception as error:
        raise CannotParse(f"the object cannot be read: {type(error).__name__}") from error


def _whole(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    try:
        yield from rest
    except Exception as error:
        raise Interrupted(str(error) if isinstance(error, ArchiveError) else type(error).__name__) from error


class Sender:
    """Sends to one peer, from one thread, over an association that is opened when something is to be sent.

    What is proposed follows from the instances announced by `expect`. An instance of a kind that did not fit, or was
    not announced, has the association released and another one opened.
    """

    def __init__(
        self, archive: Archive, peer: Peer, elements: Mapping[int, int | str] | None = None, *, as_stored: bool = False
    ) -> None:
        self.peer = peer
        self._archive = archive
        self._elements = elements or {}
        self._as_stored = as_stored
        self._expected: dict[Kind, None] = {}
        self._proposed: frozenset[Kind] = frozenset()
        self._association: Outgoing | None = None
        self._interrupted = False
        self._sent = 0

    @property
    def is_open(self) -> bool:
        """Whether there is an association; it may have broken without our notice."""
        return self._association is not None

    def expect(self, instances: Iterable[StoredInstance]) -> None:
        """What is going to be sent."""
        self._expected = dict.fromkeys(kind_of(inst) for inst in instances)

    def open(self, inst: StoredInstance) -> None:
        """See to an association over which the instance can be sent. Raises `Refused`."""
        kind = kind_of(inst)
        if self._association is not None and kind not in self._proposed:
            self.close(abort=False)
        if self._association is None:
            self._open(kind)

    def send(self, inst: StoredInstance) -> Command:
        """Send one instance and give the response.

        Raises `Refused` when there can be no association, and what `send_instance` raises. Unless that is an
        `ArchiveError`, the association must then be closed with `abort`.
        """
        self.open(inst)
        assert self._association is not None
        self._sent = self._sent % MOST_IDS + 1
        return send_instance(
            self._archive, self._association.exchange, inst, self._sent, self._elements, as_stored=self._as_stored
        )

    def interrupt(self) -> None:
        """From another thread: have `send` raise at once, or when its association is there."""
        self._interrupted = True
        association = self._association
        if association is not None:
            association.interrupt()

    def close(self, *, abort: bool) -> None:
        """End the association, if there is one."""
        association, self._association = self._association, None
        if association is None:
            return
        if abort or self._interrupted:
            association.abort()
        else:
            association.release(self._archive.settings.node.artim_timeout)

    def _open(self, kind: Kind) -> None:
        kinds, offer = fitting((kind, *self._expected), as_stored=self._as_stored)
        self._association = Outgoing.open(self.peer, self._archive.settings.node, offer)
        self._proposed = kinds
        if self._interrupted:
            self._association.interrupt()


def kind_of(inst: StoredInstance) -> Kind:
    """What decides the presentation contexts that an instance needs."""
    return inst.sop_class_uid, inst.object.transfer_syntax_uid


def fitting(kinds: Iterable[Kind], *, as_stored: bool = False) -> tuple[frozenset[Kind], list[Proposal]]:
    """The first of these kinds that one association can propose, and the proposals (PS3.8 9.3.2.2).

    Each class is proposed decoded, unless `as_stored`, and alone in each syntax that its objects are stored in. Where
    contexts are left, it is proposed compressed without loss, for receivers that take nothing else.
    """
    decoded: dict[str, Proposal] = {}
    stored: dict[Kind, Proposal] = {}
    for sop_class, syntax in dict.fromkeys(kinds):
        more = 1 + (not as_stored and sop_class not in decoded)
        if len(decoded) + len(stored) + more > MOST_CONTEXTS:
            continue
        if not as_stored:
            decoded[sop_class] = (sop_class, TARGETS)
        stored[sop_class, syntax] = (sop_class, (syntax,))
    compressed = [(sop_class, tuple(LOSSLESS)) for sop_class in decoded]
    return frozenset(stored), [*decoded.values(), *stored.values(), *compressed][:MOST_CONTEXTS]
