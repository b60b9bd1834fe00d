"""Storage commitment with Orthanc both ways, and with pynetdicom's API as SCU and SCP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.commitment.records import Reference
from tests.factories import store
from tests.integration.dicom_node.committing import CT, Reports, about, action, ask, asking, listening, undecided
from tests.integration.dicom_node.keeper import Keeper, keeping, kept_but
from tests.integration.dicom_node.running import wait_until
from tests.interop.matrix import COMMITMENT, ORTHANC, PYNETDICOM_API, case
from tests.interop.orthanc import Orthanc, orthanc
from tests.interop.site import Site
from tests.interop.test_orthanc import image


@pytest.fixture(scope="module")
def peer(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(site, tmp_path_factory.mktemp("orthanc") / "one") as started:
        yield started


def committed(peer: Orthanc, transaction: str) -> dict[str, Any]:
    """Orthanc's report of a transaction, once it has one."""
    found: dict[str, Any] = {}

    def has_it() -> bool:
        found.update(peer.get(f"/storage-commitment/{transaction}"))
        return bool(found["Status"] != "Pending")

    wait_until(has_it, "Orthanc has the report", 60)
    return found


@case(ORTHANC, "/modalities/{id}/storage-commitment", COMMITMENT, "a study that it sent: the report is a success")
def test_orthanc_asks_for_what_it_sent(site: Site, peer: Orthanc) -> None:
    images = [image(PatientID="COMMIT", InstanceNumber=1), image(PatientID="COMMIT", InstanceNumber=2, seed=1)]
    for each in images:
        peer.upload(each)
        peer.post("/modalities/pacs/store", {"Resources": [peer.upload(each)["ID"]], "Synchronous": True})
    asked = {"DicomInstances": [[each.SOPClassUID, each.SOPInstanceUID] for each in images]}
    report = committed(peer, peer.post("/modalities/pacs/storage-commitment", asked)["ID"])
    assert report["Status"] == "Success"
    assert sorted(each["SOPInstanceUID"] for each in report["Success"]) == sorted(
        str(each.SOPInstanceUID) for each in images
    )
    assert report["RemoteAET"] == "PACS"


@case(
    ORTHANC,
    "`StorageCommitment` of /modalities/{id}/store",
    COMMITMENT,
    "it asks by itself for what it has just sent",
)
def test_orthanc_stores_and_asks(site: Site, peer: Orthanc) -> None:
    sent = peer.upload(image(PatientID="COMMIT2"))["ID"]
    options = {"Resources": [sent], "Synchronous": True, "StorageCommitment": True}
    answer = peer.post("/modalities/pacs/store", options)
    assert committed(peer, answer["StorageCommitmentTransactionUID"])["Status"] == "Success"


@case(ORTHANC, "/modalities/{id}/storage-commitment", COMMITMENT, "unknown and of another class: the reasons arrive")
def test_orthanc_asks_for_what_is_not_there(site: Site, peer: Orthanc) -> None:
    known, mr = site.images[0], "1.2.840.10008.5.1.4.1.1.4"
    never = generate_uid()
    asked = {"DicomInstances": [[CT, never], [mr, known.SOPInstanceUID]]}
    report = committed(peer, peer.post("/modalities/pacs/storage-commitment", asked)["ID"])
    assert report["Status"] == "Failure"
    assert {each["SOPInstanceUID"]: each["FailureReason"] for each in report["Failures"]} == {
        never: 0x0112,
        str(known.SOPInstanceUID): 0x0119,
    }


@case(
    ORTHANC,
    "as SCP, asked by us",
    COMMITMENT,
    "what it keeps is committed, what it does not is not; it reports on a new association",
)
def test_orthanc_is_asked(site: Site, peer: Orthanc) -> None:
    kept, never = image(PatientID="COMMIT3"), image(PatientID="COMMIT3", seed=1)
    for each in (kept, never):
        store(site.archive, each)
    peer.upload(kept)
    orders = site.archive.commitments.orders
    numbers = orders.place("ORTHANC", [Reference(each.SOPClassUID, each.SOPInstanceUID) for each in (kept, never)])
    wait_until(lambda: orders.outcomes(numbers)[0].is_over, "Orthanc has answered", 60)
    (outcome,) = orders.outcomes(numbers)
    assert outcome.state == "answered"
    assert outcome.results == {kept.SOPInstanceUID: 0, never.SOPInstanceUID: 0x0112}


def pairs(images: list[Dataset]) -> list[str]:
    return [str(each.SOPInstanceUID) for each in images]


@case(PYNETDICOM_API, "send_n_action", COMMITMENT, "the report comes on the association that asked")
def test_pynetdicom_waits_for_the_report(site: Site) -> None:
    reports = Reports()
    images = site.study(0)
    with asking(site.node, reports) as association:
        assert ask(association, about(images)) == 0
        (report,) = reports.wait()
    assert (report.kind, report.committed) == (1, pairs(images))


@case(PYNETDICOM_API, "AE.start_server", COMMITMENT, "the report comes on an association of ours, in our role of SCP")
def test_pynetdicom_releases_and_is_called(site: Site) -> None:
    reports = Reports()
    never = generate_uid()
    with listening(reports, "PYNETSCP", port=site.ports["PYNETSCP"]):
        with undecided(site.archive.settings), asking(site.node, Reports(), calling="PYNETSCP") as association:
            assert ask(association, action([(CT, never)])) == 0
        (report,) = reports.wait()
        wait_until(lambda: delivered(site, report.transaction), "the report is confirmed")
    assert (report.kind, report.failed) == (2, {never: 0x0112})


def delivered(site: Site, transaction: str) -> bool:
    rows = site.archive.commitments.listing.requests(state="delivered")
    return transaction in [row.transaction_uid for row in rows]


@case(PYNETDICOM_API, "as SCP, asked by us", COMMITMENT, "its report is taken on the same association, and on another")
def test_pynetdicom_is_asked(site: Site, tmp_path: Path) -> None:
    images = site.study(0)
    orders = site.archive.commitments.orders
    references = [Reference(each.SOPClassUID, each.SOPInstanceUID) for each in images]
    for here in (True, False):
        keeper = Keeper(answer=kept_but(str(images[0].SOPInstanceUID)), here=here)
        with keeping(keeper, ae_title="PYNETSCP", port=site.ports["PYNETSCP"]):
            numbers = orders.place("PYNETSCP", references)
            assert keeper.came.acquire(timeout=60)
            if not here:
                assert keeper.report_to(site.port, calling="PYNETSCP") == 0
            wait_until(lambda numbers=numbers: orders.outcomes(numbers)[0].is_over, "it has answered", 60)  # type: ignore[misc]
        (outcome,) = orders.outcomes(numbers)
        assert sorted(outcome.results.values()) == [0] * (len(images) - 1) + [0x0112]
