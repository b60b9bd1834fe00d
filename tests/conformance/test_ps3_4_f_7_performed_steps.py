"""Modality Performed Procedure Step (PS3.4 F.7, F.8; PS3.7 10.1.2, 10.1.3, 10.1.5)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.association import Association

from archive.core import Archive
from archive.errors import InvalidUID, NotFound
from archive.records import EVERYTHING, Scope
from archive.worklist.steps import StepSource
from config.peers import Peer
from config.settings import Settings
from dicom_node.mpps_status import n_status
from tests.factories import ct_image, encode, store
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.peer import command_set, elements_of, message
from tests.integration.dicom_node.running import Node, running
from tests.integration.dicom_node.scu import BIG_ENDIAN, EXPLICIT, IMPLICIT, associated
from tests.worklist import MPPS, MPPS_RETRIEVE, NAME, begin, end, put

__all__ = ["node"]

SUCCESS, ATTRIBUTE_LIST_ERROR, PROCESSING_FAILURE, NOT_AUTHORIZED = 0x0000, 0x0107, 0x0110, 0x0124
INVALID_VALUE, DUPLICATE, NO_SUCH_INSTANCE, MISSING_ATTRIBUTE, MISSING_VALUE = 0x0106, 0x0111, 0x0112, 0x0120, 0x0121
INVALID_INSTANCE, NO_SUCH_CLASS, OPTIONAL_NOT_SUPPORTED = 0x0117, 0x0118, 0x0001


TCVN3 = str.maketrans({"ọ": "\xe4", "ã": "\xb7"})


@contextmanager
def modality(node: Node, *, calling: str = "CT1", syntax: str = EXPLICIT) -> Iterator[Association]:
    with associated(node, [(MPPS, syntax), (MPPS_RETRIEVE, syntax)], calling=calling) as association:
        yield association


def create(node: Node, attributes: Dataset, uid: str = "", **options: Any) -> tuple[Dataset, str]:
    """Status and SOP Instance UID."""
    uid = uid or generate_uid()
    with modality(node, **options) as association:
        status, _ = association.send_n_create(attributes, MPPS, uid)
    return status, uid


def change(node: Node, attributes: Dataset, uid: str, **options: Any) -> Dataset:
    with modality(node, **options) as association:
        status, _ = association.send_n_set(attributes, MPPS, uid)
    return status


def status_of(node: Node, item: int) -> tuple[str, str | None]:
    entry = node.archive.worklist.get(item)
    return entry.status, entry.closed_by


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_f_7_2_1_a_step_is_created_and_its_worklist_item_begun(node: Node, syntax: str) -> None:
    entry = put(node.archive)
    uid = generate_uid()
    status, _ = create(node, begin(entry), uid, syntax=syntax)
    assert status.Status == SUCCESS
    assert status_of(node, entry.id) == ("STARTED", None)
    step = node.archive.performed.get(uid)
    assert (step.state, step.items, step.study_instance_uids) == ("IN PROGRESS", [entry.id], [entry.study_instance_uid])
    assert step.attributes["00100010"]["Value"] == [{"Alphabetic": NAME}]


def test_f_7_2_2_a_completed_step_completes_its_item(node: Node) -> None:
    entry = put(node.archive)
    _, uid = create(node, begin(entry))
    midway = Dataset()
    midway.PerformedProcedureStepDescription = "CT sọ não + cổ"
    midway.SpecificCharacterSet = "ISO_IR 192"
    assert change(node, midway, uid).Status == SUCCESS
    assert status_of(node, entry.id) == ("STARTED", None)
    assert change(node, end(), uid).Status == SUCCESS
    assert status_of(node, entry.id) == ("COMPLETED", "mpps")
    step = node.archive.performed.get(uid)
    assert (step.state, step.version) == ("COMPLETED", 3)
    assert step.attributes["00400254"]["Value"] == ["CT sọ não + cổ"]
    trace = node.sql("SELECT version, calling_ae_title FROM performed_step_change ORDER BY version")
    assert trace == [(1, "CT1"), (2, "CT1"), (3, "CT1")]


def test_f_7_2_2_a_discontinued_item_can_be_scheduled_again(node: Node) -> None:
    entry = put(node.archive)
    _, uid = create(node, begin(entry))
    assert change(node, end("DISCONTINUED", PerformedSeriesSequence=[]), uid).Status == SUCCESS
    assert status_of(node, entry.id) == ("DISCONTINUED", "mpps")
    again = node.archive.worklist.change(entry.id, {"ScheduledProcedureStepStatus": "SCHEDULED"}, partly=True)
    assert (again.status, again.closed_by) == ("SCHEDULED", None)
    _, second = create(node, begin(entry))
    assert status_of(node, entry.id) == ("STARTED", None)
    assert change(node, end(), second).Status == SUCCESS
    assert status_of(node, entry.id) == ("COMPLETED", "mpps")


@pytest.mark.parametrize("final", ["COMPLETED", "DISCONTINUED"])
def test_f_7_2_2_2_a_final_step_may_no_longer_be_updated(node: Node, final: str) -> None:
    _, uid = create(node, begin())
    assert change(node, end(final), uid).Status == SUCCESS
    status = change(node, end("COMPLETED", {"1.2.9": []}), uid)
    assert (status.Status, status.ErrorID) == (PROCESSING_FAILURE, 0xA710)
    assert status.ErrorComment == "Performed Procedure Step Object may no longer be updated"
    assert node.archive.performed.get(uid).state == final


def test_the_last_request_sent_again_is_a_success_without_effect(node: Node) -> None:
    """A modality that got no answer sends it again; PS3.4 leaves open what it is told then."""
    first = begin()
    _, uid = create(node, first)
    assert create(node, first, uid)[0].Status == SUCCESS
    assert node.archive.performed.get(uid).version == 1
    assert change(node, end(), uid).Status == SUCCESS
    assert change(node, end(), uid).Status == SUCCESS
    assert node.archive.performed.get(uid).version == 2
    # Once something was set it is no retry any more.
    assert create(node, first, uid)[0].Status == DUPLICATE


def test_f_7_2_1_another_step_with_the_same_uid(node: Node) -> None:
    _, uid = create(node, begin())
    assert create(node, begin(PerformedProcedureStepID="OTHER"), uid)[0].Status == DUPLICATE
    assert node.archive.performed.get(uid).attributes["00400253"]["Value"] == ["PPS1"]


def test_ps3_7_10_1_5_1_4_the_archive_names_a_step_that_has_no_uid(node: Node) -> None:
    told: list[str] = []
    hear = (evt.EVT_DIMSE_RECV, lambda event: told.append(event.message.command_set.AffectedSOPInstanceUID))
    with associated(node, [(MPPS, EXPLICIT)], handlers=[hear]) as association:
        status, _ = association.send_n_create(begin(), MPPS, None)
    assert status.Status == SUCCESS
    [uid] = told
    assert uid.startswith("2.25.")
    assert node.archive.performed.get(uid).state == "IN PROGRESS"
    assert change(node, end(), uid).Status == SUCCESS


@pytest.mark.parametrize(
    "keyword",
    [
        "ScheduledStepAttributesSequence",
        "PerformedProcedureStepID",
        "PerformedStationAETitle",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "PerformedProcedureStepStatus",
        "Modality",
    ],
)
def test_table_f_7_2_1_type_1_at_creation(node: Node, keyword: str) -> None:
    status, _ = create(node, begin(**{keyword: None}))
    assert (status.Status, status.ErrorComment) == (MISSING_ATTRIBUTE, f"{keyword} is missing")
    empty: Any = [] if keyword.endswith("Sequence") else ""
    status, _ = create(node, begin(**{keyword: empty}))
    assert (status.Status, status.ErrorComment) == (MISSING_VALUE, f"{keyword} has no value")
    assert node.sql("SELECT count(*) FROM performed_step") == [(0,)]


def test_table_f_7_2_1_the_study_of_each_scheduled_step(node: Node) -> None:
    for change_, expected in (
        (lambda item: delattr(item, "StudyInstanceUID"), MISSING_ATTRIBUTE),
        (lambda item: setattr(item, "StudyInstanceUID", ""), MISSING_VALUE),
    ):
        attributes = begin()
        change_(attributes.ScheduledStepAttributesSequence[0])
        assert create(node, attributes)[0].Status == expected


def test_table_f_7_2_1_type_2_may_be_left_out(node: Node) -> None:
    attributes = begin(PatientSex=None, StudyID=None, PerformedSeriesSequence=None, ProcedureCodeSequence=None)
    assert create(node, attributes)[0].Status == SUCCESS


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED", "SCHEDULED"])
def test_f_7_2_1_2_a_step_is_created_in_progress(node: Node, status: str) -> None:
    assert create(node, begin(PerformedProcedureStepStatus=status))[0].Status == INVALID_VALUE


def test_invalid_values(node: Node) -> None:
    with pytest.raises(InvalidUID) as refused:
        node.archive.performed.create("1.2..3", {}, StepSource("86001", "CT1", "", EVERYTHING))
    assert n_status(refused.value)[0] == INVALID_INSTANCE
    _, uid = create(node, begin())
    wrong = Dataset()
    wrong.PerformedProcedureStepStatus = "DONE"
    assert change(node, wrong, uid).Status == INVALID_VALUE
    assert node.archive.performed.get(uid).version == 1


@pytest.mark.parametrize("keyword", ["PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime"])
def test_f_7_2_2_2_what_a_final_step_needs(node: Node, keyword: str) -> None:
    _, uid = create(node, begin())
    assert change(node, end(**{keyword: None}), uid).Status == MISSING_VALUE
    assert change(node, end(**{keyword: ""}), uid).Status == MISSING_VALUE
    assert change(node, end(PerformedSeriesSequence=[]), uid).Status == MISSING_VALUE
    assert node.archive.performed.get(uid).state == "IN PROGRESS"
    assert change(node, end(), uid).Status == SUCCESS


def test_table_f_7_2_1_what_an_n_set_may_not_change(node: Node) -> None:
    _, uid = create(node, begin())
    same = end(PatientID="BN0001", Modality="CT")
    same.PerformedProcedureStepStatus = "IN PROGRESS"
    assert change(node, same, uid).Status == SUCCESS
    status = change(node, end(PatientID="BN9999", Modality="MR"), uid)
    assert (status.Status, status.ErrorComment) == (ATTRIBUTE_LIST_ERROR, "not changed: Modality, PatientID")
    step = node.archive.performed.get(uid)
    assert (step.state, step.attributes["00100020"]["Value"]) == ("COMPLETED", ["BN0001"])


def test_no_such_step(node: Node) -> None:
    assert change(node, end(), generate_uid()).Status == NO_SUCH_INSTANCE


def test_steps_of_another_facility_are_not_there(node: Node) -> None:
    """US2 is of another facility than CT1; it may report, but neither see nor change what CT1 reported."""
    _, uid = create(node, begin())
    others = "86002"
    with pytest.raises(NotFound):
        node.archive.performed.get(uid, Scope(frozenset({others})))


def test_without_the_right(node: Node) -> None:
    assert create(node, begin(), calling="US2")[0].Status == NOT_AUTHORIZED
    assert node.sql("SELECT count(*) FROM performed_step") == [(0,)]


def test_ps3_7_10_1_another_sop_class_than_that_of_the_context(node: Node) -> None:
    with associated(node, [(MPPS, EXPLICIT)]) as association:
        status, _ = association.send_n_create(begin(), "1.2.840.10008.1.1", generate_uid(), meta_uid=MPPS)
    assert status.Status == NO_SUCH_CLASS


def test_f_8_a_step_is_retrieved(node: Node) -> None:
    _, uid = create(node, begin())
    with modality(node) as association:
        status, found = association.send_n_get([0x00400252, 0x00100010, 0x00400270], MPPS_RETRIEVE, uid)
        assert status.Status == SUCCESS
        assert (found.PerformedProcedureStepStatus, found.PatientName) == ("IN PROGRESS", NAME)
        assert len(found.ScheduledStepAttributesSequence) == 1
        assert "Modality" not in found
        status, found = association.send_n_get([], MPPS_RETRIEVE, uid)
        assert (status.Status, found.Modality) == (SUCCESS, "CT")
        status, found = association.send_n_get([0x00400252, 0x00180015], MPPS_RETRIEVE, uid)
        assert (status.Status, found.PerformedProcedureStepStatus) == (OPTIONAL_NOT_SUPPORTED, "IN PROGRESS")
        status, _ = association.send_n_get([0x00400252], MPPS_RETRIEVE, generate_uid())
        assert status.Status == NO_SUCH_INSTANCE


# -- links ------------------------------------------------------------------------------------------------------------


def test_an_unscheduled_step_is_kept(node: Node) -> None:
    entry = put(node.archive)
    _, uid = create(node, begin(PatientID="BN2"))
    assert node.archive.performed.get(uid).items == []
    assert status_of(node, entry.id)[0] == "SCHEDULED"


def test_an_order_that_comes_after_the_step_is_linked(node: Node) -> None:
    attributes = begin()
    _, uid = create(node, attributes)
    study = str(attributes.ScheduledStepAttributesSequence[0].StudyInstanceUID)
    entry = put(node.archive, StudyInstanceUID=study)
    assert status_of(node, entry.id) == ("STARTED", None)
    assert node.archive.performed.get(uid).items == [entry.id]


@pytest.mark.parametrize(
    ("kept", "linked"),
    [
        ({"StudyInstanceUID", "ScheduledProcedureStepID"}, True),
        ({"StudyInstanceUID"}, True),
        ({"AccessionNumber", "ScheduledProcedureStepID"}, True),
        ({"AccessionNumber"}, True),
        ({"ScheduledProcedureStepID"}, False),
        (set(), False),
    ],
)
def test_what_links_a_step_to_its_item(node: Node, kept: set[str], linked: bool) -> None:
    """Modalities differ in what of the worklist they give back."""
    entry = put(node.archive)
    attributes = begin(entry)
    [link] = attributes.ScheduledStepAttributesSequence
    for keyword in {"AccessionNumber", "ScheduledProcedureStepID", "RequestedProcedureID"} - kept:
        setattr(link, keyword, "")
    if "StudyInstanceUID" not in kept:
        link.StudyInstanceUID = generate_uid()
    create(node, attributes)
    assert (status_of(node, entry.id)[0] == "STARTED") is linked


def test_one_step_for_two_scheduled_ones_and_two_steps_for_one(node: Node) -> None:
    """PS3.3 7.3.1.9: chest and abdomen done in one go; a second try."""
    chest, abdomen = put(node.archive), put(node.archive, ScheduledProcedureStepID="S101")
    assert chest.study_instance_uid == abdomen.study_instance_uid
    attributes = begin(chest)
    attributes.ScheduledStepAttributesSequence.append(begin(abdomen).ScheduledStepAttributesSequence[0])
    _, first = create(node, attributes)
    _, second = create(node, begin(chest))
    assert change(node, end("DISCONTINUED"), first).Status == SUCCESS
    assert status_of(node, chest.id) == ("STARTED", None)
    assert status_of(node, abdomen.id) == ("DISCONTINUED", "mpps")
    assert change(node, end(), second).Status == SUCCESS
    assert status_of(node, chest.id) == ("COMPLETED", "mpps")


@pytest.mark.parametrize("images_first", [True, False])
def test_which_of_the_announced_instances_have_arrived(node: Node, images_first: bool) -> None:
    images = [ct_image(SeriesInstanceUID="1.2.3.1", StudyInstanceUID="1.2.3") for _ in range(2)]
    lost = generate_uid()
    if images_first:
        for image in images:
            store(node.archive, image)
    _, uid = create(node, begin())
    announced = {"1.2.3.1": [*(str(image.SOPInstanceUID) for image in images), lost], "1.2.3.2": []}
    assert change(node, end("COMPLETED", announced), uid).Status == SUCCESS
    if not images_first:
        assert node.archive.performed.get(uid).missing == 3
        for image in images:
            store(node.archive, image)
    step = node.archive.performed.get(uid)
    assert (step.announced, step.missing) == (3, 1)
    assert [(each.series_instance_uid, each.announced, each.missing) for each in step.series] == [
        ("1.2.3.1", 3, [lost]),
        ("1.2.3.2", 0, []),
    ]


# -- hard cases -------------------------------------------------------------------------------------------------------


def test_a_name_without_a_character_set(node: Node) -> None:
    attributes = begin(SpecificCharacterSet=None, PatientName="NGUYEN^VAN DUC", PerformedProcedureStepDescription="")
    _, uid = create(node, attributes)
    assert node.archive.performed.get(uid).attributes["00100010"]["Value"] == [{"Alphabetic": "NGUYEN^VAN DUC"}]


@pytest.mark.parametrize("how", ["default_character_set", "actual_character_set"])
def test_names_in_the_character_set_that_the_device_really_writes(settings: Settings, how: str) -> None:
    """Old devices write TCVN3, under no name or a wrong one."""
    peer = Peer.model_validate({"ae_title": "OLD", "facility": "86001", "rights": ["worklist"], how: "TCVN3"})
    changed = settings.model_copy(update={"peers": (peer,)})
    declared = "ISO_IR 100" if how == "actual_character_set" else None
    sent = begin(SpecificCharacterSet=None, PatientName="NGUYEN^VAN DUC", PerformedProcedureStepDescription="So nao")
    data = elements_of((8, 5, "CS", declared)) if declared else b""
    data += encode(sent).replace(b"So nao", "Sọ não".translate(TCVN3).encode("latin-1"))
    with Archive.open(changed) as archive, running(changed, archive) as node:
        command = command_set({2: MPPS.encode(), 0x100: 0x140, 0x110: 1, 0x800: 1, 0x1000: b"1.2.3"})
        device = node.peer().associate([(MPPS, [EXPLICIT])], calling="OLD")
        device.send(message(1, command, data))
        assert device.status() == SUCCESS
        device.release()
        assert archive.performed.get("1.2.3").attributes["00400254"]["Value"] == ["Sọ não"]
        node.wait_until_idle()


def test_thousands_of_instances(node: Node) -> None:
    _, uid = create(node, begin())
    instances = [f"1.2.826.0.1.3680043.8.498.1{number:019d}" for number in range(20_000)]
    assert change(node, end("COMPLETED", {"1.2.3": instances}), uid).Status == SUCCESS
    step = node.archive.performed.get(uid)
    assert (step.announced, step.missing) == (20_000, 20_000)


def test_many_set_the_same_step_at_once(node: Node) -> None:
    """One of them ends it; the others are told that it is final, and the trace is whole."""
    entry = put(node.archive)
    _, uid = create(node, begin(entry))
    ready, found = threading.Barrier(8), []

    def finish(number: int) -> None:
        with modality(node) as association:
            ready.wait()
            attributes = end("COMPLETED", {f"1.2.{number + 1}": []})
            found.append(association.send_n_set(attributes, MPPS, uid)[0].Status)

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [SUCCESS] + [PROCESSING_FAILURE] * 7
    assert node.sql("SELECT count(*), max(version) FROM performed_step_change") == [(2, 2)]
    assert status_of(node, entry.id) == ("COMPLETED", "mpps")


def test_many_create_the_same_step_at_once(node: Node) -> None:
    uid, ready, found = generate_uid(), threading.Barrier(6), []
    same = begin()

    def start(number: int) -> None:
        with modality(node) as association:
            attributes = same if number % 2 else begin(PerformedProcedureStepID=f"X{number}")
            ready.wait()
            found.append((number % 2, association.send_n_create(attributes, MPPS, uid)[0].Status))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert node.sql("SELECT count(*) FROM performed_step") == [(1,)]
    statuses = sorted(status for _, status in found)
    # All of the same content succeed if one of them was first; else exactly one of the others.
    assert statuses in ([SUCCESS] * 3 + [DUPLICATE] * 3, [SUCCESS] + [DUPLICATE] * 5)
