"""Everything that is done by DIMSE is on record before its result is given out."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE

from archive.core import Archive
from config.peers import Peer
from config.settings import Settings
from tests.conformance.test_ps3_4_c_4_2_retrieve import Got, get, move, node_with, stored, viewer
from tests.factories import ct_image
from tests.integration.archive.support import sql
from tests.integration.audit.records import records
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.running import Node, wait_until
from tests.integration.dicom_node.scu import EXPLICIT, STUDY_ROOT, associated, find, identifier
from tests.web_server import part10

__all__ = ["node"]
CT = "1.2.840.10008.5.1.4.1.1.2"


def sendable(**options: Any) -> Dataset:
    return dcmread(BytesIO(part10(ct_image(**options))))


def test_a_query_is_on_record_with_what_it_asked_for(node: Node) -> None:
    find(node, identifier("STUDY", PatientID="BN0001", PatientName="NGUY*", StudyDate=""))
    (query,) = records(node.archive)
    assert (query.action, query.kind, query.name, query.address) == ("search", "peer", "CT1", "127.0.0.1")
    assert (query.patient_id, query.home) == ("BN0001", ["86001"])
    assert query.detail["keys"] == ["QueryRetrieveLevel=STUDY", "PatientName=NGUY*", "PatientID=BN0001"]
    assert query.detail["what"].startswith("C-FIND Study Root")


def test_copies_are_on_record_before_the_first_object_and_counted_at_the_end(node: Node) -> None:
    images = stored(node.archive)
    study = images[0].StudyInstanceUID
    get(node, identifier("STUDY", StudyInstanceUID=study))
    begin, end = records(node.archive, "copy")
    assert begin.studies == end.studies == [study]
    assert begin.detail == {"what": "C-GET", "instances": 3}
    assert end.detail == {"what": "C-GET", "instances": 3, "phase": "end", "completed": 3, "failed": 0}
    assert (end.outcome, end.patient_id) == ("success", "BN0001")


def test_a_move_names_where_to(archive: Archive, settings: Settings) -> None:
    images = stored(archive)
    with viewer(got := Got()) as destination, node_with(settings, destination) as node:
        move(node, identifier("STUDY", StudyInstanceUID=images[0].StudyInstanceUID), got=got)
        begin, end = records(node.archive, "copy")
    assert (begin.detail["what"], begin.detail["destination"]) == ("C-MOVE", "VIEWER")
    assert end.detail["completed"] == 3


def test_a_copy_that_breaks_off_says_how_much_was_left(node: Node) -> None:
    images = stored(node.archive)
    model = STUDY_ROOT + "3"
    with associated(node, [(model, EXPLICIT)]) as association:
        # Not one context for the objects: none of them can be sent.
        list(association.send_c_get(identifier("STUDY", StudyInstanceUID=images[0].StudyInstanceUID), model))
    _, end = records(node.archive, "copy")
    assert (end.outcome, end.detail["failed"], end.detail["completed"]) == ("failed", 3, 0)


def test_what_a_peer_may_not_is_on_record(settings: Settings) -> None:
    with node_with(settings, Peer(ae_title="XQ", facility="86002", rights=())) as node:
        find(node, identifier("STUDY", PatientID="BN0001"), calling="XQ")
        get(node, identifier("STUDY", StudyInstanceUID="1.2.3"), calling="XQ")
        with associated(node, [(CT, EXPLICIT)], calling="XQ") as association:
            association.send_c_store(sendable())
            association.send_c_store(sendable())
        found = records(node.archive)
    assert [(each.action, each.outcome, each.name) for each in found] == [
        ("search", "denied", "XQ"),
        ("copy", "denied", "XQ"),
        ("store", "denied", "XQ"),
    ]


def test_who_is_not_let_in_is_on_record(settings: Settings) -> None:
    strict = settings.model_copy(update={"unknown_peers": "reject"})
    with node_with(strict) as node:
        for _ in range(2):
            ae = AE(ae_title="STRANGER")
            ae.add_requested_context("1.2.840.10008.1.1")
            assert ae.associate("127.0.0.1", node.port, ae_title="PACS").is_rejected
            ae.shutdown()
        (rejected,) = records(node.archive)
    assert (rejected.action, rejected.outcome, rejected.name) == ("sign_in", "denied", "STRANGER")
    assert rejected.detail["why"] == "CALLING_AE_TITLE"


def test_what_cannot_be_recorded_is_not_done_but_objects_are_taken(node: Node) -> None:
    images = stored(node.archive)
    sql(node.archive, "ALTER TABLE audit_record RENAME TO audit_gone")
    matches, status, _ = find(node, identifier("STUDY", PatientID="BN0001"))
    assert (matches, status) == ([], 0xA700)
    got = get(node, identifier("STUDY", StudyInstanceUID=images[0].StudyInstanceUID))
    assert got.received == {}
    with associated(node, [(CT, EXPLICIT)]) as association:
        answer: Dataset = association.send_c_store(sendable(seed=77))
    assert answer.Status == 0
    sql(node.archive, "ALTER TABLE audit_gone RENAME TO audit_record")
    wait_until(lambda: len(node.keys()) == 6, "the object is stored")
