"""Performed procedure steps on a node that is killed: what was acknowledged is there, and the rest can be sent again."""

from __future__ import annotations

import random
import subprocess
import threading
from pathlib import Path

from pydicom.uid import generate_uid
from pynetdicom import AE

from archive.core import Archive
from config.settings import Settings
from tests.integration.dicom_node.process import NodeProcess, node_process
from tests.integration.dicom_node.scu import EXPLICIT
from tests.worklist import MPPS, begin, end, put

SUCCESS = 0x0000


class Modality:
    """Reports steps one after another, until told to stop or the node is gone."""

    def __init__(self, port: int, steps: list[str], items: dict[str, int], archive: Archive) -> None:
        self.created: set[str] = set()
        self.ended: set[str] = set()
        self._items = items
        self._port = port
        self._steps = steps
        self._attributes = {uid: begin(archive.worklist.get(item)) for uid, item in items.items()}

    def run(self) -> None:
        ae = AE(ae_title="CT1")
        ae.add_requested_context(MPPS, EXPLICIT)
        association = ae.associate("127.0.0.1", self._port, ae_title="PACS")
        try:
            for uid in self._steps:
                if not association.is_established:
                    return
                if association.send_n_create(self._attributes[uid], MPPS, uid)[0].get("Status") == SUCCESS:
                    self.created.add(uid)
                if not association.is_established:
                    return
                if (
                    association.send_n_set(end("COMPLETED", {f"2.25.{self._items[uid]}": []}), MPPS, uid)[0].get(
                        "Status"
                    )
                    == SUCCESS
                ):
                    self.ended.add(uid)
        except (RuntimeError, ValueError):
            pass  # pynetdicom says so when the node vanishes between two messages
        finally:
            if association.is_established:
                association.release()
            ae.shutdown()


def reported(node: NodeProcess, steps: list[str], items: dict[str, int], archive: Archive, kill_after: int) -> Modality:
    """What a modality was told by a node that is killed once so many steps were begun; 0: never."""
    modality = Modality(node.port, steps, items, archive)
    thread = threading.Thread(target=modality.run)
    thread.start()
    while kill_after and thread.is_alive():
        if len(modality.created) >= kill_after:
            # Somewhere within the messages of the next step.
            threading.Event().wait(random.random() * 0.02)
            node.kill()
            break
    thread.join()
    return modality


def test_what_was_acknowledged_survives_the_death_of_the_node(
    settings: Settings, archive: Archive, tmp_path: Path
) -> None:
    steps = [generate_uid() for _ in range(12)]
    items = {uid: put(archive, AccessionNumber=f"A{number}").id for number, uid in enumerate(steps)}
    left = list(steps)
    for kill_after in (2, 3, 4, 0):
        with node_process(settings, tmp_path) as node:
            told = reported(node, left, items, archive, kill_after)
            for uid in told.created:
                assert archive.performed.get(uid).items == [items[uid]]
            for uid in told.ended:
                assert archive.performed.get(uid).state == "COMPLETED"
                assert archive.worklist.get(items[uid]).status == "COMPLETED"
        # What had no answer is sent again with the same content, as modalities do.
        left = [uid for uid in left if uid not in told.ended]
        states = {uid: archive.worklist.get(items[uid]).status for uid in left}
        assert set(states.values()) <= {"SCHEDULED", "STARTED", "COMPLETED"}
    assert [uid for uid in left if archive.performed.get(uid).state != "COMPLETED"] == []
    assert {archive.worklist.get(item).status for item in items.values()} == {"COMPLETED"}


def test_an_order_put_in_by_one_process_is_seen_by_a_modality_of_another(
    settings: Settings, archive: Archive, tmp_path: Path
) -> None:
    put(archive)
    with node_process(settings, tmp_path) as node:
        command = ["findscu", "-W", "-aet", "CT1", "-aec", "PACS", "-k", "AccessionNumber", "-k", "PatientName=nguyen*"]
        found = subprocess.run([*command, "127.0.0.1", str(node.port)], capture_output=True, text=True, check=True)
        assert "A100" in found.stdout + found.stderr
