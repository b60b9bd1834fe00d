"""Storage commitment by node processes that are killed: a request that was acknowledged is answered (PS3.4 J.3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE

from archive.core import Archive
from config.peers import Peer
from config.settings import Settings
from tests.conformance.test_ps3_4_j_storage_commitment import stored
from tests.integration.dicom_node.committing import COMMITMENT, Gate, Reports, about, ask, listening, undecided
from tests.integration.dicom_node.peer import EXPLICIT
from tests.integration.dicom_node.process import NodeProcess, node_process
from tests.integration.dicom_node.running import sql, wait_until


def request(node: NodeProcess, images: list[Dataset]) -> str:
    """Ask and hang up; give the Transaction UID."""
    asked = about(images, generate_uid())
    ae = AE(ae_title="ASKER")
    ae.add_requested_context(COMMITMENT, EXPLICIT)
    association = ae.associate("127.0.0.1", node.port, ae_title="PACS")
    with undecided(node.settings):
        assert ask(association, asked) == 0
        association.release()
    ae.shutdown()
    return str(asked.TransactionUID)


def hurry(settings: Settings) -> None:
    """Let the next process take over at once what is left to the dead one for some seconds."""
    sql(
        settings,
        "UPDATE commitment_request SET received_at = received_at - interval '1 minute', "
        "ready_at = ready_at - interval '1 minute', leased_until = NULL, due_at = now()",
    )


def states(settings: Settings) -> list[str]:
    return [state for (state,) in sql(settings, "SELECT state FROM commitment_request ORDER BY id")]


def with_asker(settings: Settings, port: int) -> Settings:
    asker = Peer(ae_title="ASKER", facility="86001", host="127.0.0.1", port=port)
    return settings.model_copy(update={"peers": (*settings.peers, asker)})


@pytest.fixture
def images(settings: Settings) -> list[Dataset]:
    with Archive.open(settings) as archive:
        return stored(archive, 3)


def test_a_node_killed_after_its_response(settings: Settings, tmp_path: Path, images: list[Dataset]) -> None:
    """Whatever it had done by then: the next node finishes it."""
    reports = Reports()
    with listening(reports, "ASKER") as port:
        changed = with_asker(settings, port)
        transactions = []
        for _ in range(3):
            with node_process(changed, tmp_path) as node:
                transactions.append(request(node, images))
                node.kill()
            hurry(settings)
        with node_process(changed, tmp_path) as node:
            wait_until(lambda: states(settings) == ["delivered"] * 3, "all are delivered", 60)
            assert node.terminate() == 0
    assert {report.transaction for report in reports.got} == set(transactions)
    assert all(report.committed == [image.SOPInstanceUID for image in images] for report in reports.got)


def test_a_node_killed_while_its_report_is_out_reports_again(
    settings: Settings, tmp_path: Path, images: list[Dataset]
) -> None:
    gate = Gate()
    reports = Reports(before=gate)
    with listening(reports, "ASKER") as port:
        changed = with_asker(settings, port)
        with node_process(changed, tmp_path) as node:
            transaction = request(node, images)
            assert gate.reached.wait(120)
            node.kill()
        gate.opened.set()
        assert states(settings) == ["ready"]
        hurry(settings)
        with node_process(changed, tmp_path) as node:
            wait_until(lambda: states(settings) == ["delivered"], "it is delivered", 60)
            assert node.terminate() == 0
    assert [report.transaction for report in reports.got] == [transaction] * 2


def test_a_node_that_stops_leaves_its_work_to_the_next(
    settings: Settings, tmp_path: Path, images: list[Dataset]
) -> None:
    with node_process(settings, tmp_path) as node:
        ae = AE(ae_title="CT1")
        ae.add_requested_context(COMMITMENT, EXPLICIT)
        association = ae.associate("127.0.0.1", node.port, ae_title="PACS")
        sql(settings, "ALTER TABLE stored_object RENAME TO away")
        assert ask(association, about(images)) == 0
        association.release()
        ae.shutdown()
        wait_until(lambda: "work in the background failed" in node.log(), "the check fails")
        sql(settings, "ALTER TABLE away RENAME TO stored_object")
        assert node.terminate() == 0
    reports = Reports()
    hurry(settings)
    with node_process(settings, tmp_path) as node:
        wait_until(lambda: states(settings) == ["ready"], "it is decided", 60)
        ae = AE(ae_title="CT1")
        ae.add_requested_context(COMMITMENT, EXPLICIT)
        association = ae.associate("127.0.0.1", node.port, ae_title="PACS", evt_handlers=reports.handlers)
        (report,) = reports.wait()
        wait_until(lambda: states(settings) == ["delivered"], "it is delivered")
        association.release()
        ae.shutdown()
        assert node.terminate() == 0
    assert report.committed == [image.SOPInstanceUID for image in images]
