"""Storage Commitment Push Model as SCP (PS3.4 J.3; PS3.3 C.14)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.records import Source
from config.settings import Settings
from tests.factories import ct_image, encode, store
from tests.integration.dicom_node.committing import (
    COMMITMENT,
    CT,
    WELL_KNOWN,
    Reports,
    about,
    action,
    ask,
    asking,
    committing,
    listening,
    undecided,
    with_peer,
)
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.peer import EXPLICIT, command_set, message
from tests.integration.dicom_node.running import Node, running, wait_until

__all__ = ["node"]
MR = "1.2.840.10008.5.1.4.1.1.4"
OTHER = Source(facility="86002", issuer_of_patient_id="86002", transport="import", calling_ae_title="US2")


def stored(archive: Archive, count: int, source: Source | None = None) -> list[Dataset]:
    first = ct_image()
    images = [
        ct_image(seed=n, StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID)
        for n in range(count)
    ]
    for image in images:
        store(archive, image, source) if source else store(archive, image)
    return images


def file_of(node: Node, image: Dataset) -> Path:
    (key,) = node.sql(
        "SELECT key FROM stored_object JOIN instance ON instance.id = instance_id WHERE sop_instance_uid = %s",
        str(image.SOPInstanceUID),
    )[0]
    return node.settings.objects_dir / key


def states(node: Node) -> list[str]:
    return [state for (state,) in node.sql("SELECT state FROM commitment_request ORDER BY id")]


def test_all_committed_is_reported_on_the_association_that_asked(settings: Settings) -> None:
    """J.3.3: event type 1, with the Transaction UID and every instance."""
    reports = Reports()
    with committing(settings) as node:
        images = stored(node.archive, 3)
        with asking(node, reports) as association:
            asked = about(images)
            assert ask(association, asked) == 0
            (report,) = reports.wait()
            association.release()
        wait_until(lambda: states(node) == ["delivered"], "the result is delivered")
    assert report.kind == 1
    assert report.transaction == asked.TransactionUID
    assert report.committed == [image.SOPInstanceUID for image in images]
    assert "FailedSOPSequence" not in report.information
    assert report.information.RetrieveAETitle == "PACS"


def test_all_committed_is_reported_on_an_association_to_the_peer(settings: Settings) -> None:
    """J.3.3: the SCU released the association at once; the SCP proposes its role (PS3.7 D.3.3.4)."""
    reports = Reports()
    with listening(reports) as port, committing(with_peer(settings, host="127.0.0.1", port=port)) as node:
        images = stored(node.archive, 2)
        with undecided(settings), asking(node, Reports()) as association:
            asked = about(images)
            assert ask(association, asked) == 0
        (report,) = reports.wait()
        wait_until(lambda: states(node) == ["delivered"], "the result is delivered")
    assert (report.kind, report.transaction) == (1, asked.TransactionUID)
    assert report.committed == [image.SOPInstanceUID for image in images]


def test_failures_are_reported_with_their_reasons(settings: Settings) -> None:
    """PS3.3 C.14.1.1, one reason for each way to fail; what did not fail is committed (J.3.3)."""
    reports = Reports()
    narrow = with_peer(settings, sees="own")
    with committing(narrow) as node:
        whole, lost, changed, cut, longer, other_class = stored(node.archive, 6)
        (foreign,) = stored(node.archive, 1, OTHER)
        file_of(node, lost).unlink()
        data = bytearray(file_of(node, changed).read_bytes())
        data[-1] ^= 1
        file_of(node, changed).write_bytes(data)
        file_of(node, cut).write_bytes(file_of(node, cut).read_bytes()[:-10])
        file_of(node, longer).write_bytes(file_of(node, longer).read_bytes() + b"\0\0")
        never = generate_uid()
        pairs = [(CT, image.SOPInstanceUID) for image in (whole, lost, changed, cut, longer, foreign)]
        pairs += [(MR, other_class.SOPInstanceUID), (CT, never), ("1.2.840.10008.1.1", whole.SOPInstanceUID)]
        with asking(node, reports) as association:
            assert ask(association, action(pairs)) == 0
            (report,) = reports.wait()
        states_of = dict(
            node.sql("SELECT sop_instance_uid, state FROM stored_object JOIN instance ON instance.id = instance_id")
        )
    assert report.kind == 2
    assert report.committed == [whole.SOPInstanceUID]
    assert report.failed == {
        lost.SOPInstanceUID: 0x0112,
        changed.SOPInstanceUID: 0x0110,
        cut.SOPInstanceUID: 0x0110,
        longer.SOPInstanceUID: 0x0110,
        foreign.SOPInstanceUID: 0x0112,
        other_class.SOPInstanceUID: 0x0119,
        never: 0x0112,
        whole.SOPInstanceUID: 0x0122,
    }
    assert states_of[lost.SOPInstanceUID] == "missing"
    assert {states_of[image.SOPInstanceUID] for image in (changed, cut, longer)} == {"corrupt"}
    assert states_of[whole.SOPInstanceUID] == "available"


def test_duplicate_items_are_answered_once(settings: Settings) -> None:
    reports = Reports()
    with committing(settings) as node:
        images = stored(node.archive, 2)
        with asking(node, reports) as association:
            assert ask(association, about([*images, *images, images[0]])) == 0
            (report,) = reports.wait()
    assert (report.kind, report.committed) == (1, [image.SOPInstanceUID for image in images])


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"action": 2}, 0x0123),
        ({"instance": "1.2.840.10008.1.20.2.1"}, 0x0119),
        ({"instance": "1.2.3"}, 0x0112),
    ],
)
def test_requests_about_anything_else_are_refused(node: Node, options: dict[str, object], status: int) -> None:
    """PS3.7 10.1.4.1.10."""
    with asking(node, Reports()) as association:
        assert ask(association, action([(CT, "1.2.3")]), **options) == status
    assert states(node) == []


def broken(**changes: object) -> Dataset:
    ds = action([(CT, "1.2.3")])
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "information",
    [
        broken(TransactionUID=None),
        broken(TransactionUID=""),
        broken(ReferencedSOPSequence=None),
        broken(ReferencedSOPSequence=[]),
        broken(ReferencedSOPSequence=[Dataset()]),
        action([(CT, "")]),
        action([("", "1.2.3")]),
    ],
    ids=["no transaction", "empty transaction", "no sequence", "no items", "empty item", "no instance", "no class"],
)
def test_invalid_action_information_is_refused(node: Node, information: Dataset) -> None:
    """PS3.4 Table J.3-1: Transaction UID and Referenced SOP Sequence with its UIDs are of type 1."""
    with asking(node, Reports()) as association:
        assert ask(association, information) == 0x0115
        assert ask(association, information) == 0x0115
    assert states(node) == []


def test_a_peer_without_the_right_is_refused(settings: Settings) -> None:
    with committing(with_peer(settings, rights=["store"])) as node, asking(node, Reports()) as association:
        assert ask(association, action([(CT, "1.2.3")])) == 0x0124


def test_without_the_index_the_peer_is_told_to_come_again(node: Node) -> None:
    with asking(node, Reports()) as association:
        node.sql("ALTER TABLE commitment_request RENAME TO away")
        assert ask(association, action([(CT, "1.2.3")])) == 0x0110
        node.sql("ALTER TABLE away RENAME TO commitment_request")
        assert ask(association, action([(CT, "1.2.3")])) == 0


def test_a_transaction_uid_in_use_is_a_failure_of_the_second_request(settings: Settings) -> None:
    """PS3.3 C.14.1.1: 0131H. The same request made again is no second one."""
    reports = Reports()
    transaction = generate_uid()
    with Archive.open(settings) as archive:
        first, second = stored(archive, 2)
        # Taken in by a node that looks at nothing yet.
        with (
            running(settings, archive) as node,
            asking(node, reports) as association,
        ):
            assert ask(association, about([first], transaction)) == 0
            assert ask(association, about([first], transaction)) == 0
            assert ask(association, about([second], transaction)) == 0
            assert ask(association, about([second], transaction)) == 0
        assert len(states(node)) == 2
    with committing(settings) as node:
        # Another process: it leaves them alone for a moment, then takes them over.
        node.sql("UPDATE commitment_request SET received_at = received_at - interval '1 hour'")
        wait_until(lambda: states(node) == ["ready", "ready"], "both are decided", 30)
        node.sql("UPDATE commitment_request SET ready_at = now() - interval '1 hour'")
        with asking(node, reports):
            got = reports.wait(2)
    by_kind = {report.kind: report for report in got}
    assert by_kind[1].committed == [first.SOPInstanceUID]
    assert by_kind[2].failed == {second.SOPInstanceUID: 0x0131}
    assert {report.transaction for report in got} == {transaction}


def test_a_transaction_uid_may_be_used_again_after_its_result(settings: Settings) -> None:
    reports = Reports()
    transaction = generate_uid()
    with committing(settings) as node:
        first, second = stored(node.archive, 2)
        with asking(node, reports) as association:
            for number, image in enumerate((first, second, second), 1):
                assert ask(association, about([image], transaction)) == 0
                reports.wait(number)
                wait_until(lambda: set(states(node)) == {"delivered"}, "delivered")
    assert [report.committed[0] for report in reports.got] == [
        first.SOPInstanceUID,
        second.SOPInstanceUID,
        second.SOPInstanceUID,
    ]


def test_the_class_of_the_service_is_checked(node: Node) -> None:
    """PS3.7 C.5.24: Requested SOP Class UID is another than that of the presentation context."""
    asked = action([(CT, "1.2.3")])
    with node.peer().associate([(COMMITMENT, [EXPLICIT])]) as peer:
        for sop_class, instance, status in (
            ("1.2.840.10008.1.20.2", WELL_KNOWN, 0x0118),
            (COMMITMENT, "not a uid", 0x0117),
            (COMMITMENT, "", 0x0117),
            (COMMITMENT, WELL_KNOWN, 0),
        ):
            command = command_set(
                {3: sop_class.encode(), 0x100: 0x130, 0x110: 7, 0x800: 1, 0x1001: instance.encode(), 0x1008: 1}
            )
            peer.send(message(1, command, encode(asked)))
            assert peer.status() == status
            assert peer.last[0x1008] == b"\1\0"
        peer.release()
