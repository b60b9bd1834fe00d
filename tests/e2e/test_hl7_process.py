"""``python -m archive.hl7`` as a process: killed at any point, nothing acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archive.core import Archive
from config.hl7 import HL7Settings
from config.settings import Settings
from tests.hl7 import PID, SENDER, adt, field_of, items, log, order, read_frame, with_hl7
from tests.ports import free_port
from tests.web_server import part10

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PACS_TEST_HL7_KILLS", "4"))
PATIENCE = 120


@contextmanager
def running(settings: Settings, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The service on this port; killed at the end if it still lives."""
    hl7 = {"port": port, "enabled": True, "senders": [SENDER], "first_wait": 0.1, "longest_wait": 0.2}
    hl7["receivers"] = [each.model_dump(mode="json") for each in settings.hl7.receivers]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PACS_")}
    environment = {
        **clean,
        "PYTHONPATH": str(ROOT),
        "PACS_DATABASE__URL": settings.database.url.get_secret_value(),
        "PACS_DATA_DIR": str(settings.data_dir),
        "PACS_STORAGE__MINIMUM_FREE_BYTES": "0",
        "PACS_ACCESS__SIGN_IN": "off",
        "PACS_FACILITIES": json.dumps([each.model_dump() for each in settings.facilities]),
        **{f"PACS_HL7__{name.upper()}": value if isinstance(value, str) else json.dumps(value) for name, value in hl7.items()},
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "archive.hl7"], cwd=settings.data_dir, env=environment, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    lines: list[bytes] = []
    ready = threading.Event()

    def read(stream: object) -> None:
        for line in process.stderr or ():
            lines.append(line)
            if b"HL7 service listens" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, args=(process.stderr,))
    reader.start()
    try:
        assert ready.wait(PATIENCE)
        assert process.poll() is None, b"".join(lines)
        yield process
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def test_it_serves_and_stops_when_asked(settings: Settings) -> None:
    port = free_port()
    with running(settings, port) as process:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.sendall(b"\x0b" + order("1").encode() + b"\x1c\r")
            assert field_of(read_frame(sock).decode(), "MSA")[1] == "AA"
            process.terminate()
            assert sock.recv(10) == b""
        assert process.wait(PATIENCE) == 0


def test_it_does_not_start_where_it_is_not_enabled(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "archive.hl7"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "hl7.enabled" in done.stderr


class Talker(threading.Thread):
    """A sender that sends each message until it is acknowledged; `stop` lets it end behind a whole order."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.stop = threading.Event()
        self.acknowledged: list[str] = []
        self.failed: list[BaseException] = []
        self.sock: socket.socket | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set() or len(self.acknowledged) % 4:
                self.turn(len(self.acknowledged))
        except BaseException as error:
            self.failed.append(error)
        finally:
            self.close()

    def turn(self, number: int) -> None:
        accession, control = f"K{number // 4}", f"M{number}"
        message = (
            order(control, accession=accession),
            order(control, what="XO", accession=accession, service=f"CT9^Lần hai {number}^BYT"),
            adt("A08", control, PID.replace("VĂN", f"VĂN {number}")),
            order(control, what="CA", accession=accession),
        )[number % 4]
        try:
            if self.sock is None:
                self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
            self.sock.sendall(b"\x0b" + message.encode() + b"\x1c\r")
            answer = field_of(read_frame(self.sock).decode(), "MSA")
        except (OSError, EOFError):
            self.close()
            time.sleep(0.01)
            return
        if answer[1] != "AR":
            assert answer[1:3] == ["AA", control], answer
            self.acknowledged.append(control)

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def test_killed_at_any_point_nothing_is_lost_or_done_twice(settings: Settings) -> None:
    """The service is killed again and again while it takes messages, at any point of the one that is going on."""
    dice = random.Random(6)
    sender = Talker(free_port())
    sender.start()
    for turn in range(KILLS + 1):
        with running(settings, sender.port) as process:
            wanted = len(sender.acknowledged) + dice.randint(3, 8)
            while len(sender.acknowledged) < wanted and sender.is_alive():
                time.sleep(dice.random() / 100)
            if turn == KILLS:
                sender.stop.set()
                sender.join(PATIENCE)
            process.kill()
    assert not sender.failed, sender.failed
    assert not sender.is_alive()
    with Archive.open(with_hl7(settings)) as archive:
        lines, found = log(archive), items(archive)
    assert [line.control_id for line in lines] == sender.acknowledged, "all of them, each once, in their order"
    assert {line.state for line in lines} == {"done"}
    assert len(found) == len(sender.acknowledged) // 4
    assert {item.status for item in found} == {"CANCELLED"}
    # New, changed, told who the patient is, cancelled: a version for each, none for what came again.
    assert {item.version for item in found} == {4}


@pytest.mark.skipif(shutil.which("findscu") is None, reason="DCMTK is not installed")
def test_an_order_reaches_a_modality_and_its_report_comes_back(settings: Settings, tmp_path: Path) -> None:
    """HIS -> HL7 -> worklist (findscu) -> images (storescu) -> report -> HL7 -> HIS, each a process of its own."""
    from pydicom import dcmread

    from dicom_node.__main__ import services
    from dicom_node.server import DicomServer
    from tests.factories import ct_image
    from tests.integration.hl7.receiver import hl7apy_server
    from tests.integration.hl7.test_sending import sign

    port = free_port()
    with hl7apy_server() as (his, taken):
        receiver = {"name": "HIS1", "host": "127.0.0.1", "port": his, "messages": ["reports"], "pdf": True}
        hl7 = HL7Settings.model_validate({"receivers": [receiver]})
        settings = settings.model_copy(update={"hl7": hl7})
        with running(settings, port), Archive.open(settings) as archive:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
                sock.sendall(b"\x0b" + order("1", accession="E2E1").encode() + b"\x1c\r")
                assert field_of(read_frame(sock).decode(), "MSA")[1] == "AA"
            server = DicomServer(archive.settings.node, archive.peers, services(archive))
            server.start()
            try:
                here = ("-aet", "CT1", "-aec", "PACS", "127.0.0.1", str(server.port))
                keys = ("AccessionNumber=E2E1", "PatientName", "PatientID", "StudyInstanceUID")
                subprocess.run(
                    ["findscu", "-W", "-X", "-od", str(tmp_path), *(part for key in keys for part in ("-k", key)),
                     "-k", "ScheduledProcedureStepSequence[0].Modality=CT", *here],
                    check=True, capture_output=True, timeout=PATIENCE,
                )  # fmt: skip
                [answer] = [dcmread(path, force=True) for path in tmp_path.glob("rsp*.dcm")]
                assert answer.PatientID == "BN0001"
                image = ct_image(
                    StudyInstanceUID=answer.StudyInstanceUID, AccessionNumber="E2E1", PatientID=answer.PatientID,
                    PatientName=str(answer.PatientName), SpecificCharacterSet="ISO_IR 192",
                )  # fmt: skip
                (tmp_path / "image.dcm").write_bytes(part10(image))
                subprocess.run(["storescu", *here, str(tmp_path / "image.dcm")], check=True, timeout=PATIENCE)
            finally:
                server.stop()
            sign(archive, str(answer.StudyInstanceUID), "Bình thường")
            message = taken.get(timeout=PATIENCE)
    assert message.obr.obr_18.value == "E2E1"
    assert message.orc.orc_2.value == "PLE2E1"
    values = {each.obx_3.obx_3_1.value: each for each in message.obx}
    assert values["19005-8"].obx_5.to_er7() == "Bình thường"
    assert values["PDF"].obx_5.to_er7().split("^")[4].startswith("JVBERi"), "%PDF- in Base64"
