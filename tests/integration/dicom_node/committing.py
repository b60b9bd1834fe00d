"""Clients and servers of storage commitment: pynetdicom in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from archive.core import Archive
from config.peers import Peer
from config.settings import Settings
from tests.integration.dicom_node.peer import EXPLICIT
from tests.integration.dicom_node.process import NodeProcess
from tests.integration.dicom_node.running import Node, running, wait_until

COMMITMENT = "1.2.840.10008.1.20.1"
WELL_KNOWN = "1.2.840.10008.1.20.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"


def action(references: Iterable[tuple[str, str]], transaction: str | None = None) -> Dataset:
    """Action Information about pairs of SOP Class and SOP Instance UID."""
    ds = Dataset()
    ds.TransactionUID = UID(transaction or generate_uid())
    ds.ReferencedSOPSequence = [_reference(*pair) for pair in references]
    return ds


def _reference(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = UID(sop_class), UID(instance)
    return item


def about(images: Iterable[Dataset], transaction: str | None = None) -> Dataset:
    return action([(image.SOPClassUID, image.SOPInstanceUID) for image in images], transaction)


@dataclass
class Report:
    """An N-EVENT-REPORT as it came."""

    kind: int
    information: Dataset
    status: int

    @property
    def transaction(self) -> str:
        return str(self.information.TransactionUID)

    @property
    def committed(self) -> list[str]:
        return [str(item.ReferencedSOPInstanceUID) for item in self.information.get("ReferencedSOPSequence", ())]

    @property
    def failed(self) -> dict[str, int]:
        return {
            str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
            for item in self.information.get("FailedSOPSequence", ())
        }


@dataclass
class Reports:
    """Takes N-EVENT-REPORTs as handlers of pynetdicom; the statuses to answer with are given first, then 0000."""

    statuses: list[int] = field(default_factory=list)
    got: list[Report] = field(default_factory=list)
    before: Callable[[evt.Event], None] = lambda _: None

    def __call__(self, event: evt.Event) -> tuple[int, None]:
        self.before(event)
        status = self.statuses.pop(0) if self.statuses else 0x0000
        self.got.append(Report(int(event.event_type), event.event_information, status))
        return status, None

    @property
    def handlers(self) -> list[Any]:
        return [(evt.EVT_N_EVENT_REPORT, self)]

    def wait(self, count: int = 1) -> list[Report]:
        wait_until(lambda: len(self.got) >= count, f"{count} reports")
        return self.got


@contextmanager
def asking(
    node: Node | NodeProcess,
    reports: Reports,
    *,
    calling: str = "CT1",
    contexts: Sequence[str] = (CT,),
    role: bool = False,
) -> Iterator[Association]:
    """An association that proposes storage commitment, and these storage classes."""
    ae = AE(ae_title=calling)
    for context in (COMMITMENT, *contexts):
        ae.add_requested_context(context, EXPLICIT)
    roles = [build_role(COMMITMENT, scu_role=True, scp_role=True)] if role else None
    association = ae.associate("127.0.0.1", node.port, ae_title="PACS", evt_handlers=reports.handlers, ext_neg=roles)
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        ae.shutdown()


def ask(association: Association, information: Dataset, **options: Any) -> int:
    """Send an N-ACTION; give the status."""
    status, _ = association.send_n_action(
        information, options.get("action", 1), options.get("sop_class", COMMITMENT), options.get("instance", WELL_KNOWN)
    )
    return int(status.Status) if "Status" in status else -1


@contextmanager
def listening(reports: Reports, ae_title: str = "CT1", *, port: int = 0) -> Iterator[int]:
    """A pynetdicom server of a peer that takes reports; give its port."""
    ae = AE(ae_title=ae_title)
    ae.add_supported_context(COMMITMENT, EXPLICIT, scu_role=False, scp_role=True)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=reports.handlers)
    try:
        yield int(server.socket.getsockname()[1])
    finally:
        server.shutdown()


def with_peer(settings: Settings, **changes: Any) -> Settings:
    """The settings with the peer CT1 changed."""
    peers = [Peer(**{**peer.model_dump(), **changes}) if peer.ae_title == "CT1" else peer for peer in settings.peers]
    return settings.model_copy(update={"peers": tuple(peers)})


def with_commitment(settings: Settings, **changes: Any) -> Settings:
    commitment = type(settings.commitment)(**{**settings.commitment.model_dump(), **changes})
    return settings.model_copy(update={"commitment": commitment})


@contextmanager
def committing(settings: Settings) -> Iterator[Node]:
    """A node that does its work of storage commitment."""
    with Archive.open(settings) as archive, running(settings, archive, committing=True) as node:
        yield node
        node.wait_until_idle()


@contextmanager
def undecided(settings: Settings) -> Iterator[None]:
    """Requests are taken in, and not decided before the end of the block."""
    with psycopg.connect(settings.database.url.get_secret_value()) as connection:
        connection.execute("LOCK TABLE instance IN ACCESS EXCLUSIVE MODE")
        yield


class Gate:
    """Holds a handler up until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, event: evt.Event) -> None:
        self.reached.set()
        assert self.opened.wait(120)
