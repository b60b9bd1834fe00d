"""Orders over MLLP end on the worklist (HL7 v2.5.1 chapter 4)."""

from __future__ import annotations

from archive.core import Archive
from archive.hl7.listener import Listener
from tests.hl7 import PID, PV1, adt, client, field_of, header, items, log, order, said, send


def test_a_new_order_is_on_the_worklist(archive: Archive, listener: Listener) -> None:
    assert send(listener.port, order("M1")) == [["MSA", "AA", "M1"]]
    found = said(archive)
    assert found["PatientName"] == "NGUYỄN^ĐỨC^VĂN"
    assert found["PatientID"] == "BN0001"
    assert found["PatientBirthDate"] == "19620512"
    assert found["OtherPatientIDsSequence"] == [
        {"PatientID": "079062000001", "IssuerOfPatientID": "CCCD", "TypeOfPatientID": "TEXT"}
    ]
    assert found["AccessionNumber"] == "A100"
    assert found["Modality"] == "CT"
    assert found["RequestedProcedureDescription"] == "Chụp CLVT sọ não"
    assert found["RequestedProcedureCodeSequence"][0]["CodeValue"] == "CT01"
    assert found["ReferringPhysicianName"] == "TRẦN^BÌNH"
    assert found["CurrentPatientLocation"] == "KHOANOI P2 G5"
    assert (found["ScheduledProcedureStepStartDate"], found["ScheduledProcedureStepStartTime"]) == (
        "20261122",
        "083000",
    )
    assert found["PlacerOrderNumberImagingServiceRequest"] == "PLA100"
    [line] = log(archive)
    assert (line.state, line.peer, line.message_type) == ("done", "HIS1", "ORM^O01")
    assert line.links == {"items": [items(archive)[0].id]}


def test_what_is_kept_says_nothing_of_the_patient(archive: Archive, listener: Listener, database_url: str) -> None:
    import psycopg

    send(listener.port, order("M1"))
    with psycopg.connect(database_url) as connection:
        [row] = connection.execute("SELECT hl7_message::text FROM hl7_message").fetchall()
    for word in ("NGUY", "BN0001", "079062000001", "A100"):
        assert word not in row[0]
        assert word.encode().hex() not in row[0]


def test_change_cancel_and_order_again(archive: Archive, listener: Listener) -> None:
    port = listener.port
    send(port, order("1"), order("2", what="XO", service="CT02^CLVT ngực^BYT", start="20261123"))
    assert said(archive)["RequestedProcedureDescription"] == "CLVT ngực"
    assert said(archive)["ScheduledProcedureStepStartDate"] == "20261123"
    assert send(port, order("3", what="CA"))[0][1] == "AA"
    assert items(archive)[0].status == "CANCELLED"
    assert send(port, order("4", what="CA"))[0][1] == "AA", "cancelled already: that is what was asked for"
    send(port, order("5", what="NW"))
    assert items(archive)[0].status == "SCHEDULED"


def test_an_order_on_hold_is_off_the_list_until_it_is_released(archive: Archive, listener: Listener) -> None:
    send(listener.port, order("1"), order("2", what="HD"))
    assert items(archive)[0].status == "CANCELLED"
    send(listener.port, order("3", what="RL"))
    assert items(archive)[0].status == "SCHEDULED"


def test_the_status_is_taken_over(archive: Archive, listener: Listener) -> None:
    send(listener.port, order("1"), order("2", what="SC", status="IP"))
    assert items(archive)[0].status == "ARRIVED"
    send(listener.port, order("3", what="SC", status="CM"), order("4", what="SC", status="SC"))
    assert items(archive)[0].status == "COMPLETED", "what is done is not scheduled again"


def test_an_order_that_was_begun_cannot_be_cancelled(archive: Archive, listener: Listener) -> None:
    send(listener.port, order("1"), order("2", what="SC", status="A"))
    [answer] = send(listener.port, order("3", what="CA"))
    assert answer[1:3] == ["AE", "3"]
    assert "STARTED" in answer[3]
    send(listener.port, order("4", what="DC"))
    assert items(archive)[0].status == "DISCONTINUED"


def test_cancelling_what_nobody_ordered_is_told(archive: Archive, listener: Listener) -> None:
    with client(listener.port) as peer:
        answer = peer.send_message(order("3", what="CA").encode()).decode()
    assert field_of(answer, "MSA")[1] == "AE"
    assert field_of(answer, "ERR")[2:4] == ["OBR^1^18^1^1", "204^Unknown key identifier^HL70357"]
    assert items(archive) == []


def test_what_is_wrong_is_told_by_segment_and_field(archive: Archive, listener: Listener) -> None:
    wrong = order("1").replace("BN0001^^^BVDK^MR~", "")
    with client(listener.port) as peer:
        answer = peer.send_message(wrong.encode()).decode()
        assert field_of(answer, "MSA")[:3] == ["MSA", "AE", "1"]
        assert field_of(answer, "ERR")[2:5] == ["PID^1^3", "101^Required field missing^HL70357", "E"]
        answer = peer.send_message(
            order("2").replace("|CT\r", "|").replace("|CT|", "|ZZ|").replace("CT01", "Q1").encode()
        )
        assert field_of(answer.decode(), "ERR")[2:4] == ["OBR^1^24^1^1", "103^Table value not found^HL70357"]
        old = order("3", f12="2.3").replace("BN0001^^^BVDK^MR~", "")
        answer = peer.send_message(old.encode()).decode()
        assert field_of(answer, "ERR")[1] == "PID^1^3^101&Required field missing&HL70357"
    assert items(archive) == []
    assert [line.state for line in log(archive)] == ["refused"] * 3


def test_a_long_accession_number_is_refused_and_a_long_text_is_shortened(archive: Archive, listener: Listener) -> None:
    [answer] = send(listener.port, order("1", accession="A" * 17))
    assert answer[1] == "AE"
    assert "OBR-18" in answer[3]
    name = "Chụp cắt lớp vi tính lồng ngực có tiêm thuốc cản quang từ 1 đến 32 dãy"
    with client(listener.port) as peer:
        reply = peer.send_message(order("2", service=f"CT9^{name}").encode()).decode()
    assert field_of(reply, "MSA")[1] == "AA"
    assert field_of(reply, "ERR")[4] == "W"
    assert said(archive)["RequestedProcedureDescription"] == name[:64].strip()
    assert "shortened" in log(archive)[1].note


def test_several_orders_of_one_message_are_taken_together_or_not_at_all(archive: Archive, listener: Listener) -> None:
    first, second = order("1", accession="A1"), order("1", accession="A2")
    both = first + second[second.index("ORC|") :]
    assert send(listener.port, both)[0][1] == "AA"
    assert {item.order()["AccessionNumber"] for item in items(archive)} == {"A1", "A2"}
    bad = order("2", accession="A3") + order("2", accession="A" * 20)[second.index("ORC|") :]
    assert send(listener.port, bad)[0][1] == "AE"
    assert len(items(archive)) == 2


def test_two_services_under_one_number_are_two_steps(archive: Archive, listener: Listener) -> None:
    one = order("1")
    two = order("1", service="CT02^CLVT ngực^BYT")
    assert send(listener.port, one + two[two.index("OBR|") :])[0][1] == "AA"
    assert {item.order()["ScheduledProcedureStepID"] for item in items(archive)} == {"CT01", "CT02"}
    assert len({item.study_instance_uid for item in items(archive)}) == 1
    send(listener.port, order("2", what="CA", service="CT02"))
    assert {item.order()["ScheduledProcedureStepID"]: item.status for item in items(archive)} == {
        "CT01": "SCHEDULED",
        "CT02": "CANCELLED",
    }


def test_omi_with_steps(archive: Archive, listener: Listener) -> None:
    lines = [
        header("OMI^O23^OMI_O23", "1"), PID, PV1, "ORC|NW|P1", "TQ1|1||||||20261124101500||S", "OBR|1|P1||SN1^Sọ não^BYT",
        "IPC|ACC7|RP7|1.2.840.7|SP1|CT|PRT1^Sọ không thuốc^BYT|MAY1|PHONG1|CT1",
        "IPC|ACC7|RP7|1.2.840.7|SP2|CT|PRT2^Sọ có thuốc^BYT||",
    ]  # fmt: skip
    assert send(listener.port, "\r".join(lines) + "\r")[0][1] == "AA"
    found = {item.order()["ScheduledProcedureStepID"]: item.order() for item in items(archive)}
    assert found["SP1"]["ScheduledStationAETitle"] == ["CT1"]
    assert found["SP1"]["StudyInstanceUID"] == "1.2.840.7"
    assert found["SP1"]["RequestedProcedurePriority"] == "STAT"
    assert found["SP2"]["ScheduledProtocolCodeSequence"][0]["CodeMeaning"] == "Sọ có thuốc"
    assert found["SP2"]["ScheduledProcedureStepStartTime"] == "101500"


def test_appointments(archive: Archive, listener: Listener) -> None:
    def siu(event: str, control: str, start: str) -> str:
        schedule = f"SCH|AP1|AP2|||||CT^CLVT||||^^^{start}|||||||||||||||A100"
        lines = [header(f"SIU^{event}", control), schedule, PID, "RGS|1", f"AIS|1||CT01^CLVT sọ^BYT|{start}"]
        return "\r".join(lines) + "\r"

    assert send(listener.port, siu("S12", "1", "20261125080000"))[0][1] == "AA"
    assert said(archive)["ScheduledProcedureStepStartDate"] == "20261125"
    assert said(archive)["AccessionNumber"] == "A100"
    # The order itself has more to say, and the appointment does not take it away.
    send(listener.port, order("2"), siu("S13", "3", "20261126090000"))
    assert said(archive)["ScheduledProcedureStepStartDate"] == "20261126"
    assert said(archive)["ReferringPhysicianName"] == "TRẦN^BÌNH"
    send(listener.port, siu("S15", "4", "20261126090000"))
    assert items(archive)[0].status == "CANCELLED"


def test_demographics_reach_open_items(archive: Archive, listener: Listener) -> None:
    send(listener.port, order("1"), order("2", accession="A2"), order("3", what="CA", accession="A2"))
    assert (
        send(listener.port, adt("A08", "4", PID.replace("VĂN", "VIỆT").replace("19620512", "19620521")))[0][1] == "AA"
    )
    names = {item.order()["AccessionNumber"]: item.order()["PatientName"] for item in items(archive)}
    assert names == {"A100": "NGUYỄN^ĐỨC^VIỆT", "A2": "NGUYỄN^ĐỨC^VĂN"}
    send(listener.port, adt("A08", "5", PID.replace("12 Lê Lợi^^TP. Sông Xanh", '""')))
    assert "PatientAddress" not in items(archive)[0].order()


def test_merging_moves_open_items(archive: Archive, listener: Listener) -> None:
    temporary = PID.replace("BN0001", "TAM77").replace("~079062000001^^^BCA^NI", "")
    send(listener.port, order("1", pid=temporary))
    assert send(listener.port, adt("A40", "2", PID, "MRG|TAM77^^^BVDK^MR"))[0][1] == "AA"
    assert said(archive)["PatientID"] == "BN0001"
    [answer] = send(listener.port, adt("A40", "3", PID, "MRG|BN0001^^^BVDK^MR"))
    assert answer[1] == "AE"
