"""``python -m dicom_node``: serve DIMSE until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from contextlib import AbstractContextManager, ExitStack

from archive.audit.upkeep import AuditUpkeep
from archive.background import Background, Backgrounds
from archive.core import Archive
from archive.errors import ArchiveError
from archive.maintenance import Maintenance
from archive.routing.rules import rules_of
from archive.worklist.upkeep import WorklistUpkeep
from config.garbage import settle
from config.logs import configure, fields
from config.settings import Settings, SettingsError, load
from config.tls import ExpiryWatch
from config.workers import Workers
from dicom_node.audited import Rejections
from dicom_node.checking import checking
from dicom_node.commands import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_EVENT_REPORT_RQ,
    N_GET_RQ,
    N_SET_RQ,
)
from dicom_node.commitment.desk import Desk
from dicom_node.commitment.information import STORAGE_COMMITMENT
from dicom_node.forward import Forwarder
from dicom_node.front import Front
from dicom_node.handlers import mpps
from dicom_node.handlers.commitment import RequestService, ResultService
from dicom_node.handlers.echo import Echo
from dicom_node.handlers.find import FindService
from dicom_node.handlers.retrieve import RetrieveService
from dicom_node.handlers.store import StoreService
from dicom_node.handlers.worklist import WorklistService
from dicom_node.models import FIND, GET, MODALITY_WORKLIST_FIND, MOVE, PERFORMED_STEP, PERFORMED_STEP_RETRIEVE
from dicom_node.operation import BySOPClass, Service
from dicom_node.server import DicomServer

log = logging.getLogger(__name__)


def services(archive: Archive, desk: Desk | None = None) -> dict[int, Service]:
    """The operations of this node by command field; without a desk, others answer storage commitment requests."""
    retrieve = RetrieveService(archive)
    commitment = (STORAGE_COMMITMENT,)
    return {
        C_ECHO_RQ: Echo,
        C_STORE_RQ: StoreService(archive),
        C_FIND_RQ: BySOPClass((FIND, FindService(archive)), ((MODALITY_WORKLIST_FIND,), WorklistService(archive))),
        C_GET_RQ: BySOPClass((GET, retrieve)),
        C_MOVE_RQ: BySOPClass((MOVE, retrieve)),
        N_CREATE_RQ: BySOPClass(((PERFORMED_STEP,), mpps.create_service(archive))),
        N_SET_RQ: BySOPClass(((PERFORMED_STEP,), mpps.set_service(archive))),
        N_GET_RQ: BySOPClass(((PERFORMED_STEP_RETRIEVE,), mpps.get_service(archive))),
        N_ACTION_RQ: BySOPClass((commitment, RequestService(archive, desk or Desk(archive)))),
        N_EVENT_REPORT_RQ: BySOPClass((commitment, ResultService(archive))),
    }


def main() -> int:
    """Exit code 0 after a stop by signal, 1 when the node cannot start, 2 for settings that cannot be used."""
    try:
        settings = load()
        rules_of(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure(settings.log)
    count = settings.node.process_count
    try:
        front = Front.open(settings.node, count)
    except OSError as error:
        print(f"the DICOM node cannot start: {error}", file=sys.stderr)
        return 1

    def serve(front: Front) -> int:
        return _serve(settings, front)

    return serve(front) if count == 1 else Workers("node", front, count, serve).run()


def _serve(settings: Settings, front: Front) -> int:
    """Serve associations in this process, and in the first one do what a node does beside that."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    name = f"pacs dicom_node {front.number}" if front.number else "pacs dicom_node"
    try:
        with Archive.open(settings, application=name) as archive:
            desk = Desk(archive)
            server = _server(settings, archive, desk, front)
            with ExitStack() as running:
                # Before anything can arrive, so that nothing arrives unnoticed.
                forwarder = None if front.number else Forwarder(archive)
                settle()
                server.start()
                running.enter_context(AuditUpkeep(archive, name))
                running.enter_context(Backgrounds([archive.peers.following(), checking(archive)]))
                for each in [] if front.number else _beside(settings, archive):
                    running.enter_context(each)
                running.enter_context(desk)
                if forwarder is not None:
                    running.enter_context(forwarder)
                stop.wait()
                if forwarder is not None:
                    forwarder.wind_down()
                log.info("DICOM node stops", extra=fields(associations=server.associations))
                server.stop()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (ArchiveError, OSError) as error:
        print(f"the DICOM node cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def _beside(settings: Settings, archive: Archive) -> list[AbstractContextManager[object]]:
    """What one process of a node does for all."""
    watch = Background("certificates", ExpiryWatch(settings.node.tls).look)
    return [Maintenance(archive), WorklistUpkeep(archive.worklist), watch, archive.care().running()]


def _server(settings: Settings, archive: Archive, desk: Desk, front: Front) -> DicomServer:
    """Raises `SettingsError` when a file that the settings name cannot be used."""
    try:
        return DicomServer(
            settings.node, archive.peers, services(archive, desk), desk.greet, Rejections(archive), front
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
