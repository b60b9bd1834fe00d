"""Reports that a RIS has made become reports of the archive (HL7 v2.5.1 7.3.1)."""

from __future__ import annotations

import pytest
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.hl7.listener import Listener
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reports.records import Entry
from tests.factories import ct_image, store
from tests.hl7 import PID, header, log, send

READER = Caller(Kind.SERVICE, "reader", {Right.VIEW: None})
AUTHOR = "003539&Lê&Hoa&Thị"


def oru(
    control: str, status: str = "F", *, conclusion: str = "Bình thường", accession: str = "ACC1", pid: str = PID
) -> str:
    request = [""] * 32
    request[0], request[3], request[17], request[24], request[31] = "1", "CT01^CLVT sọ^BYT", accession, status, AUTHOR
    lines = [
        header("ORU^R01", control), pid, "ORC|RE|P1|F1", "OBR|" + "|".join(request),
        "OBX|1|TX|59776-5^Mô tả^LN||Không thấy xuất huyết~Hệ thống não thất cân đối|||||||" + status,
        f"OBX|2|FT|19005-8^Kết luận^LN||{conclusion}||||||{status}",
        "OBX|3|ED|PDF^^L||x^AP^PDF^Base64^AAAA",
    ]  # fmt: skip
    return "".join(f"{line}\r" for line in lines)


@pytest.fixture
def study(archive: Archive) -> str:
    image = ct_image(
        StudyInstanceUID=generate_uid(), AccessionNumber="ACC1", PatientID="BN0001", PatientName="NGUYỄN^ĐỨC^VĂN",
        SpecificCharacterSet="ISO_IR 192",
    )  # fmt: skip
    store(archive, image)
    return str(image.StudyInstanceUID)


def only(archive: Archive, study: str) -> Entry:
    [found] = archive.reports.of_study(READER, study)
    return found


def test_a_report_is_filed_signed_and_amended(archive: Archive, listener: Listener, study: str) -> None:
    assert send(listener.port, oru("1"))[0][1] == "AA"
    entry = only(archive, study)
    assert (entry.status, entry.source, entry.facility) == ("final", "hl7", "86001")
    assert entry.version is not None
    assert entry.version.conclusion == "Bình thường"
    assert "Không thấy xuất huyết" in entry.version.description
    assert (entry.version.author_name, entry.version.author_licence) == ("Lê Hoa Thị", "003539")
    assert "OBX[3]-5" in log(archive)[0].note
    # Done again, or sent again under another number, it says the same and is no other version.
    archive.messages.replay(log(archive)[0].id)
    assert send(listener.port, oru("2"))[0][1] == "AA"
    assert only(archive, study).version == entry.version
    assert send(listener.port, oru("3", "C", conclusion="Xuất huyết nhỏ thùy trán"))[0][1] == "AA"
    assert only(archive, study).status == "amended"
    assert [each.number for each in archive.reports.history(READER, entry.number)] == [1, 2]


def test_a_preliminary_report_is_signed_later_and_cancelled(archive: Archive, listener: Listener, study: str) -> None:
    send(listener.port, oru("1", "P"))
    assert only(archive, study).status == "preliminary"
    send(listener.port, oru("2", "F"))
    assert only(archive, study).status == "final"
    assert send(listener.port, oru("3", "P"))[0][1] == "AE"
    assert send(listener.port, oru("4", "X"))[0][1] == "AA"
    assert only(archive, study).status == "cancelled"


def test_a_report_is_filed_with_the_right_patient_or_not_at_all(
    archive: Archive, listener: Listener, study: str
) -> None:
    answers = send(
        listener.port, oru("1", accession="NONE"), oru("2", pid=PID.replace("BN0001", "BN9")), oru("3", "Q"),
        oru("4").replace(AUTHOR, ""),
    )  # fmt: skip
    assert [answer[1] for answer in answers] == ["AE"] * 4
    assert "PID-3" in answers[1][3]
    assert archive.reports.of_study(READER, study) == []
