"""Reports and what became of orders are sent, in their order, until they are taken (HL7 v2.5.1 chapters 4 and 7)."""

from __future__ import annotations

import time
from queue import SimpleQueue
from typing import Any

import pytest

from archive.core import Archive
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reports.records import Author, Written
from config.hl7 import HL7Settings
from config.settings import Settings
from tests.factories import ct_image, store
from tests.hl7 import items, listening, log, order, send, with_hl7
from tests.integration.hl7.receiver import acknowledged, answering, hl7apy_server
from tests.ports import free_port

RIS = Caller(Kind.SERVICE, "ris", {Right.VIEW: None, Right.REPORT: None})


def telling(settings: Settings, port: int, **changes: Any) -> Settings:
    """These settings with a receiver at this port of loopback."""
    receiver = {"name": "HIS1", "host": "127.0.0.1", "port": port, "application": "HIS", "timeout": 20, **changes}
    hl7 = settings.hl7.model_dump()
    hl7 |= {"receivers": [receiver], "first_wait": 0.05, "longest_wait": 0.1}
    return settings.model_copy(update={"hl7": HL7Settings.model_validate(hl7)})


def sign(archive: Archive, study: str, conclusion: str) -> str:
    """Write and sign a report; gives its number."""
    author = Author("BS. Lê Thị Hoa", "003539/HCM-CCHN")
    written = Written(conclusion=conclusion, text="Không thấy tổn thương | nhu mô phổi")
    made = archive.reports.create(RIS, study, written, author=author)
    return archive.reports.sign(RIS, made.number, made.revision, author=author).number


def test_a_signed_report_reaches_the_receiver(settings: Settings) -> None:
    with hl7apy_server() as (port, taken):
        with_public = settings.model_copy(
            update={"web": settings.web.model_copy(update={"public_url": "https://pacs.example.vn/"})}
        )
        with Archive.open(telling(with_public, port)) as archive, listening(archive) as listener:
            send(listener.port, order("1", accession="ACC1"))
            [item] = items(archive)
            image = ct_image(
                StudyInstanceUID=item.study_instance_uid, AccessionNumber="ACC1", PatientID="BN0001",
                PatientName="NGUYỄN^ĐỨC^VĂN", SpecificCharacterSet="ISO_IR 192",
            )  # fmt: skip
            store(archive, image)
            with archive.messages.senders(0.05):
                sign(archive, item.study_instance_uid, "Không có gì bất thường\nHẹn 6 tháng")
                message = taken.get(timeout=60)
            [line] = log(archive, direction="out", states=("sent",))
            assert line.message_type == "ORU^R01"
    assert message.msh.msh_9.to_er7() == "ORU^R01^ORU_R01"
    assert message.pid.pid_5.to_er7() == "NGUYỄN^ĐỨC^VĂN"
    assert message.pid.pid_3.pid_3_1.value == "BN0001"
    assert (message.orc.orc_2.value, message.orc.orc_3.value) == ("PLACC1", "FLACC1")
    assert message.obr.obr_18.value == "ACC1"
    assert message.obr.obr_25.value == "F"
    values = {each.obx_3.obx_3_1.value: each for each in message.obx}
    assert values["59776-5"].obx_5.to_er7() == "Không thấy tổn thương \\F\\ nhu mô phổi"
    assert values["19005-8"].obx_5.to_er7().replace("\\E\\", "\\") == "Không có gì bất thường\\.br\\Hẹn 6 tháng"
    assert values["19005-8"].obx_16.to_er7() == "003539/HCM-CCHN^BS. Lê Thị Hoa"
    assert values["113014"].obx_5.to_er7() == item.study_instance_uid
    link = f"https://pacs.example.vn/viewer/viewer?StudyInstanceUIDs={item.study_instance_uid}"
    assert values["IMAGES"].obx_5.to_er7().split("^")[0] == link


def test_what_became_of_an_order_is_told_once(settings: Settings) -> None:
    with (
        answering(acknowledged) as (port, taken),
        Archive.open(telling(with_hl7(settings), port, messages=["orders"])) as archive,
    ):
        with listening(archive) as listener:
            send(listener.port, order("1"), order("2", accession="A2"), order("3", what="CA", accession="A2"))
        first = items(archive)[0]
        with archive.messages.senders(0.05):
            archive.worklist.change(first.id, {"ScheduledProcedureStepStatus": "STARTED"}, partly=True)
            begun = taken.get(timeout=60)
            archive.worklist.change(first.id, {"ScheduledProcedureStepStatus": "COMPLETED"}, partly=True)
            ended = taken.get(timeout=60)
        with archive.messages.senders(0.05):
            pass
        assert archive.messages.outbox.tell_orders() == 0
    assert b"ORC|SC|PLA100|FLA100||IP|" in begun
    assert b"ORC|SC|PLA100|FLA100||CM|" in ended
    assert taken.empty(), "its sender knows itself that it has cancelled the other"


def test_a_receiver_that_is_away_gets_everything_later_and_in_order(settings: Settings) -> None:
    port = free_port()
    with Archive.open(telling(with_hl7(settings), port, messages=["orders"])) as archive:
        with listening(archive) as listener:
            send(listener.port, order("1"))
        [item] = items(archive)
        with archive.messages.senders(0.05):
            for status in ("ARRIVED", "STARTED", "COMPLETED"):
                archive.worklist.change(item.id, {"ScheduledProcedureStepStatus": status}, partly=True)
                archive.messages.outbox.tell_orders()
            failing(archive)
        said: list[bytes] = []
        answers: SimpleQueue[None] = SimpleQueue()

        def reply(message: bytes) -> bytes | None:
            said.append(message)
            answers.put(None)
            # The first is taken, and the answer is lost: it comes again.
            return None if len(said) == 1 else acknowledged(message)

        with answering(reply) as (other, _):
            settings = telling(archive.settings, other, messages=["orders"])
            with Archive.open(settings) as again, again.messages.senders(0.05):
                for _ in range(4):
                    answers.get(timeout=60)
        statuses = [line.split(b"|")[5] for each in said for line in each.split(b"\r") if line.startswith(b"ORC")]
        assert statuses == [b"IP", b"IP", b"IP", b"CM"]
        assert said[0] == said[1], "the same message, by which the receiver knows it"


def failing(archive: Archive) -> None:
    """Wait until the receiver is known to be away."""
    deadline = time.monotonic() + 60
    while archive.messages.peers()[-1].state != "failing":
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("code", ["AE", "CE", "XX"])
def test_what_a_receiver_cannot_use_is_set_aside_and_the_next_goes_on(settings: Settings, code: str) -> None:
    codes = iter([code, "AA"])
    with (
        answering(lambda message: acknowledged(message, next(codes))) as (port, taken),
        Archive.open(telling(with_hl7(settings), port, messages=["orders"])) as archive,
    ):
        with listening(archive) as listener:
            send(listener.port, order("1"))
        [item] = items(archive)
        with archive.messages.senders(0.05):
            for status in ("STARTED", "COMPLETED"):
                archive.worklist.change(item.id, {"ScheduledProcedureStepStatus": status}, partly=True)
                archive.messages.outbox.tell_orders()
            taken.get(timeout=60)
            taken.get(timeout=60)
        states = [line.state for line in log(archive, direction="out")]
        assert states == ["set_aside", "sent"]
        # Mended over there, it is sent again.
        codes = iter(["AA"])
        archive.messages.replay(log(archive, direction="out")[0].id)
        with archive.messages.senders(0.05):
            taken.get(timeout=60)
        assert [line.state for line in log(archive, direction="out")] == ["sent", "sent"]


def test_a_message_that_is_refused_for_now_is_tried_again(settings: Settings) -> None:
    codes = iter(["AR", "AR", "AA"])
    with (
        answering(lambda message: acknowledged(message, next(codes))) as (port, taken),
        Archive.open(telling(with_hl7(settings), port, messages=["orders"])) as archive,
    ):
        with listening(archive) as listener:
            send(listener.port, order("1"))
        [item] = items(archive)
        archive.worklist.change(item.id, {"ScheduledProcedureStepStatus": "COMPLETED"}, partly=True)
        with archive.messages.senders(0.05):
            same = {taken.get(timeout=60) for _ in range(3)}
        assert len(same) == 1
        [line] = log(archive, direction="out")
        assert (line.state, line.tries) == ("sent", 3)


def test_a_paused_receiver_gets_nothing_until_it_is_resumed(settings: Settings) -> None:
    with (
        answering(acknowledged) as (port, taken),
        Archive.open(telling(with_hl7(settings), port, messages=["orders"])) as archive,
    ):
        with listening(archive) as listener:
            send(listener.port, order("1"))
        [item] = items(archive)
        archive.messages.pause("out", "HIS1", paused=True)
        archive.worklist.change(item.id, {"ScheduledProcedureStepStatus": "COMPLETED"}, partly=True)
        with archive.messages.senders(0.01):
            archive.messages.outbox.tell_orders()
            assert archive.messages.peers()[-1].state == "paused"
            assert archive.messages.peers()[-1].open == 1
            archive.messages.pause("out", "HIS1", paused=False)
            taken.get(timeout=60)
