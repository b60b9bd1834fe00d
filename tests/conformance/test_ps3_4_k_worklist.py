"""The Modality Worklist (PS3.4 Annex K): keys, answers, character sets, scope."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from archive.core import Archive
from config import clock
from config.peers import Peer
from config.services import IngestSettings
from config.settings import Settings
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.peer import COMMAND, DATA, LAST, cancel_rq, command_set, p_data, pdv
from tests.integration.dicom_node.running import Node, running
from tests.integration.dicom_node.scu import BIG_ENDIAN, EXPLICIT, IMPLICIT, associated, findscu
from tests.worklist import NAME, WORKLIST_FIND, order, put, question, scheduled

__all__ = ["node"]

SUCCESS, CANCEL, OUT_OF_RESOURCES, NOT_AUTHORIZED = 0x0000, 0xFE00, 0xA700, 0x0124
NO_MATCH_OF_CLASS, PENDING, WARNING = 0xA900, 0xFF00, 0xFF01
TODAY = f"{clock.today():%Y%m%d}"
TOMORROW = f"{clock.today() + timedelta(days=1):%Y%m%d}"
YESTERDAY = f"{clock.today() - timedelta(days=1):%Y%m%d}"


def ask(
    node: Node, asked: Dataset, *, calling: str = "CT1", syntax: str = EXPLICIT
) -> tuple[list[Dataset], int, set[int]]:
    """Matches, final status, and the statuses of the pending responses."""
    with associated(node, [(WORKLIST_FIND, syntax)], calling=calling) as association:
        matches, pending, final = [], set(), -1
        for status, match in association.send_c_find(asked, WORKLIST_FIND):
            final = status.Status
            if final in (PENDING, WARNING):
                pending.add(final)
                matches.append(match)
    return matches, final, pending


def accessions(node: Node, asked: Dataset, **options: Any) -> list[str]:
    matches, status, pending = ask(node, asked, **options)
    assert status == SUCCESS
    assert pending <= {PENDING}
    return [match.AccessionNumber for match in matches]


@pytest.fixture
def orders(archive: Archive) -> None:
    """Five orders of the first facility, one of the second."""
    put(archive)
    put(archive, AccessionNumber="A101", Modality="MR", ScheduledStationAETitle=["MR1", "MR2"], PatientID="BN0002",
        PatientName="Trần^Thị Bình", ScheduledProcedureStepStartTime="1000", ScheduledPerformingPhysicianName=None)  # fmt: skip
    put(archive, AccessionNumber="A102", ScheduledProcedureStepStartDate=TOMORROW, PatientName="Nguyễn^Văn Đức Anh",
        PatientID="BN0003", ScheduledProcedureStepStartTime="0700")  # fmt: skip
    put(archive, AccessionNumber="A103", ScheduledProcedureStepStartDate=YESTERDAY, ScheduledProcedureStepStartTime="1500",
        PatientName="Đỗ^Ánh", PatientID="BN0004")  # fmt: skip
    put(archive, AccessionNumber="A104", ScheduledStationAETitle=None, Modality="DX", PatientID="BN0005",
        ScheduledProcedureStepStartTime="0600")  # fmt: skip
    put(archive, AccessionNumber="B200", Facility="86002", PatientID="H2", ScheduledStationAETitle="US2", Modality="US")


@pytest.fixture
def own(settings: Settings) -> Iterator[Node]:
    """A node whose CT1 sees its own facility."""
    peers = [
        Peer(ae_title="CT1", facility="86001", rights=frozenset({"worklist"})),
        Peer(ae_title="MR2", facility="86001", rights=frozenset({"worklist"}), worklist="station"),
        Peer(ae_title="OLD", facility="86001", rights=frozenset({"worklist"}), character_sets=("ISO_IR 100",)),
        Peer(ae_title="ASCII", facility="86001", rights=frozenset({"worklist"}), character_sets=("ISO_IR 6",)),
        Peer(ae_title="GATEWAY", facility="86001", rights=frozenset({"worklist"}), sees="province"),
        Peer(ae_title="US2", facility="86002", rights=frozenset({"store", "find"})),
    ]
    changed = settings.model_copy(update={"peers": tuple(peers)})
    with Archive.open(changed) as archive, running(changed, archive) as started:
        yield started
        started.wait_until_idle()


# -- what is given ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_k_4_1_all_items_of_the_facility_in_order_of_start(own: Node, orders: None, syntax: str) -> None:
    found = accessions(own, question(), syntax=syntax)
    assert found == ["A103", "A104", "A100", "A101", "A102"]


def test_scope_a_gateway_sees_the_province_and_a_station_its_own(own: Node, orders: None) -> None:
    assert set(accessions(own, question(), calling="GATEWAY")) == {"A100", "A101", "A102", "A103", "A104", "B200"}
    assert accessions(own, question(), calling="MR2") == ["A104", "A101"]
    assert ask(own, question(), calling="US2")[1] == NOT_AUTHORIZED


def test_table_k_6_1_every_attribute_of_an_order_is_returned(own: Node, orders: None) -> None:
    asked = question({"Modality": "CT", "ScheduledProcedureStepStartDate": TODAY})
    [step] = asked.ScheduledProcedureStepSequence
    step.ScheduledProtocolCodeSequence = [Dataset()]
    step.ScheduledProcedureStepDescription = step.ScheduledStationName = step.ScheduledProcedureStepStatus = ""
    for keyword in ("PatientBirthDate", "PatientSex", "PatientWeight", "PregnancyStatus", "Allergies", "MedicalAlerts",
                    "RequestedProcedureDescription", "RequestedProcedurePriority", "ReferringPhysicianName",
                    "CurrentPatientLocation", "IssuerOfPatientID", "AdmissionID", "RequestingPhysician"):  # fmt: skip
        setattr(asked, keyword, None if keyword in ("PregnancyStatus", "PatientWeight") else "")
    asked.ReferencedStudySequence = asked.ReferencedPatientSequence = []
    asked.RequestedProcedureCodeSequence = []
    [match], status, pending = ask(own, asked)
    assert (status, pending) == (SUCCESS, {PENDING})
    assert match.SpecificCharacterSet == "ISO_IR 192"
    assert (match.PatientName, match.PatientID, match.PatientBirthDate, match.PatientSex) == (
        NAME,
        "BN0001",
        "19620512",
        "M",
    )
    assert (match.PatientWeight, match.PregnancyStatus, match.Allergies) == (62.5, 4, "Thuốc cản quang")
    assert (match.RequestedProcedureID, match.RequestedProcedureDescription) == ("P100", "Chụp CLVT sọ não")
    assert (match.RequestedProcedurePriority, match.ReferringPhysicianName) == ("ROUTINE", "TRẦN^BÌNH")
    assert (match.CurrentPatientLocation, match.IssuerOfPatientID) == ("Khoa Nội", "86001")
    # Asked for, and the order says nothing: there, and empty (type 2).
    assert match.MedicalAlerts is None or match.MedicalAlerts == ""
    assert (match.AdmissionID, str(match.RequestingPhysician)) == ("", "")
    assert len(match.ReferencedStudySequence) == len(match.ReferencedPatientSequence) == 0
    assert str(match.StudyInstanceUID).startswith("2.25.")
    [found] = match.ScheduledProcedureStepSequence
    assert (found.ScheduledStationAETitle, found.Modality, found.ScheduledProcedureStepID) == ("CT1", "CT", "S100")
    assert (found.ScheduledProcedureStepStartDate, found.ScheduledProcedureStepStartTime) == (TODAY, "083000")
    assert (found.ScheduledPerformingPhysicianName, found.ScheduledProcedureStepDescription) == (
        "LÊ^THỊ HOA",
        "CT sọ não",
    )
    assert (found.ScheduledStationName, found.ScheduledProcedureStepStatus) == ("", "SCHEDULED")
    [code] = found.ScheduledProtocolCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("SN01", "99BV", "Sọ não không cản quang")
    assert "PatientComments" not in match


def test_c_2_2_2_6_a_sequence_without_keys_asks_for_all_of_it(own: Node, orders: None) -> None:
    asked = Dataset()
    asked.AccessionNumber, asked.ScheduledProcedureStepSequence = "A101", []
    [match], _, pending = ask(own, asked)
    assert pending == {PENDING}
    [step] = match.ScheduledProcedureStepSequence
    assert list(step.ScheduledStationAETitle) == ["MR1", "MR2"]
    assert step.ScheduledPerformingPhysicianName == ""
    assert len(step.ScheduledProtocolCodeSequence) == 1
    assert "PatientName" not in match


def test_an_item_for_any_station_is_given_the_one_that_asks(own: Node, orders: None) -> None:
    """Its return key is of type 1, and most devices ask for what is scheduled on themselves."""
    asked = question({"ScheduledStationAETitle": "CT1", "Modality": "DX"})
    [match], _, _ = ask(own, asked)
    assert match.ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "CT1"


def test_keys_that_an_item_cannot_have_are_told(own: Node, orders: None) -> None:
    asked = question(AccessionNumber="A100", BodyPartExamined="HEAD")
    matches, status, pending = ask(own, asked)
    assert (len(matches), status, pending) == (1, SUCCESS, {WARNING})
    assert "BodyPartExamined" not in matches[0]


# -- matching ---------------------------------------------------------------------------------------------------------


MATCHING: list[tuple[dict[str, Any], dict[str, str], set[str]]] = [
        # C.2.2.2.1, C.2.2.2.4: single value and wildcard; names without accents and case.
        ({"PatientID": "BN0002"}, {}, {"A101"}),
        ({"PatientID": "BN000?"}, {}, {"A100", "A101", "A102", "A103", "A104"}),
        ({"PatientID": "bn0002"}, {}, set()),
        ({"PatientName": "NGUYEN^VAN DUC"}, {}, {"A100", "A104"}),
        ({"PatientName": "nguyễn^văn đức*"}, {}, {"A100", "A102", "A104"}),
        ({"PatientName": "DO^*"}, {}, {"A103"}),
        ({"PatientName": "*BINH*"}, {}, {"A101"}),
        ({"PatientName": "DO"}, {}, set()),
        ({"AccessionNumber": "A10*"}, {}, {"A100", "A101", "A102", "A103", "A104"}),
        ({"AccessionNumber": "A100", "PatientID": "BN0002"}, {}, set()),
        ({"RequestedProcedureID": "P100", "AccessionNumber": "A102"}, {}, {"A102"}),
        ({"PatientSex": "F"}, {}, set()),
        ({"PatientBirthDate": "19620101-19621231", "AccessionNumber": "A100"}, {}, {"A100"}),
        ({"PregnancyStatus": 4, "AccessionNumber": "A100"}, {}, {"A100"}),
        ({"PregnancyStatus": 2}, {}, set()),
        # C.2.2.2.3: universal matching.
        ({"PatientName": "*"}, {"ScheduledProcedureStepID": "*"}, {"A100", "A101", "A102", "A103", "A104"}),
        # Table K.6-1: the required keys of the step.
        ({}, {"Modality": "CT"}, {"A100", "A102", "A103"}),
        ({}, {"ScheduledStationAETitle": "MR2"}, {"A101", "A104"}),
        ({}, {"ScheduledStationAETitle": "MR2", "Modality": "MR"}, {"A101"}),
        ({}, {"ScheduledStationAETitle": "XA1"}, {"A104"}),
        ({}, {"ScheduledPerformingPhysicianName": "LE^THI*", "Modality": "CT"}, {"A100", "A102", "A103"}),
        ({}, {"ScheduledPerformingPhysicianName": "LE^THI*", "Modality": "MR"}, set()),
        ({}, {"ScheduledProcedureStepID": "S100", "Modality": "MR"}, {"A101"}),
        # C.2.2.2.5: ranges.
        ({}, {"ScheduledProcedureStepStartDate": TODAY}, {"A100", "A101", "A104"}),
        ({}, {"ScheduledProcedureStepStartDate": f"{TODAY}-{TOMORROW}"}, {"A100", "A101", "A102", "A104"}),
        ({}, {"ScheduledProcedureStepStartDate": f"{TODAY}-"}, {"A100", "A101", "A102", "A104"}),
        ({}, {"ScheduledProcedureStepStartDate": f"-{TODAY}"}, {"A100", "A101", "A103", "A104"}),
        ({}, {"ScheduledProcedureStepStartTime": "0600-0830"}, {"A100", "A102", "A104"}),
        ({}, {"ScheduledProcedureStepStartTime": "08"}, {"A100"}),
        ({}, {"ScheduledProcedureStepStartDate": TODAY, "ScheduledProcedureStepStartTime": "0700-"}, {"A100", "A101"}),
]  # fmt: skip


def test_c_2_2_2_matching(own: Node, orders: None) -> None:
    for keys, step, expected in MATCHING:
        assert set(accessions(own, question(step, **keys))) == expected, (keys, step)


def test_table_k_6_1_date_and_time_ranges_have_one_meaning(own: Node, orders: None) -> None:
    """Yesterday 4 p.m. to tomorrow 7:30 a.m. is one period: not each day from 4 p.m. to 7:30."""
    step = {
        "ScheduledProcedureStepStartDate": f"{YESTERDAY}-{TOMORROW}",
        "ScheduledProcedureStepStartTime": "1600-0730",
    }
    assert accessions(own, question(step)) == ["A104", "A100", "A101", "A102"]
    step["ScheduledProcedureStepStartTime"] = "1500-0659"
    assert accessions(own, question(step)) == ["A103", "A104", "A100", "A101"]
    step["ScheduledProcedureStepStartDate"] = f"{TODAY}-"
    step["ScheduledProcedureStepStartTime"] = "0900-"
    assert accessions(own, question(step)) == ["A101", "A102"]


def test_c_2_2_2_2_and_6_lists_of_uid_and_codes_within_the_step(own: Node, orders: None) -> None:
    studies = [match.StudyInstanceUID for match in ask(own, question({"Modality": "CT"}))[0]]
    assert len(accessions(own, question(StudyInstanceUID=studies))) == 3
    asked = question()
    code = scheduled(CodeValue="SN01", CodeMeaning="")
    asked.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence = [code]
    assert len(accessions(own, asked)) == 5
    code.CodeValue = "SN02"
    assert accessions(own, asked) == []


@pytest.mark.parametrize(
    "step",
    [
        {"ScheduledProcedureStepStartDate": "2026-11-22"},
        {"ScheduledProcedureStepStartDate": "TODAY"},
        {"ScheduledProcedureStepStartTime": "25"},
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_values_that_cannot_be_understood(own: Node, orders: None, step: dict[str, str]) -> None:
    assert ask(own, question(step))[1] == NO_MATCH_OF_CLASS


def test_c_2_2_2_6_two_items_in_a_key(own: Node, orders: None) -> None:
    asked = question()
    asked.ScheduledProcedureStepSequence.append(scheduled(Modality="MR"))
    assert ask(own, asked)[1] == NO_MATCH_OF_CLASS


# -- which items are listed -------------------------------------------------------------------------------------------


def test_what_is_done_or_cancelled_or_long_ago_is_not_listed_unless_asked_for(own: Node) -> None:
    for number, status in enumerate(
        ("SCHEDULED", "ARRIVED", "READY", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELLED")
    ):
        put(own.archive, AccessionNumber=f"A{number}", ScheduledProcedureStepStatus=status)
    put(
        own.archive,
        AccessionNumber="OLD",
        ScheduledProcedureStepStartDate=f"{clock.today() - timedelta(days=31):%Y%m%d}",
    )
    assert accessions(own, question()) == ["A0", "A1", "A2"]
    assert accessions(own, question({"ScheduledProcedureStepStatus": "COMPLETED"})) == ["A4"]
    assert accessions(own, question({"ScheduledProcedureStepStatus": r"STARTED\DISCONTINUED"})) == ["A3", "A5"]
    assert accessions(own, question({"ScheduledProcedureStepStartDate": "20200101-"})) == ["OLD", "A0", "A1", "A2"]


def test_a_cap_with_a_warning(settings: Settings, archive: Archive) -> None:
    changed = settings.model_copy(update={"ingest": IngestSettings(query_limit=3)})
    with Archive.open(changed) as limited, running(changed, limited) as node:
        for number in range(4):
            put(limited, AccessionNumber=f"A{number}")
        matches, status, _ = ask(node, question())
        assert (len(matches), status) == (3, OUT_OF_RESOURCES)
        matches, status, _ = ask(node, question(AccessionNumber="A3"))
        assert (len(matches), status) == (1, SUCCESS)
        node.wait_until_idle()


def test_c_4_1_2_cancelled_by_the_modality(own: Node) -> None:
    for number in range(900):
        own.archive.worklist.put(order(AccessionNumber=f"A{number}"), source="api")
    command = command_set({2: WORKLIST_FIND.encode(), 0x100: 0x20, 0x110: 7, 0x700: 0, 0x800: 1})
    asked = bytes.fromhex("08005000 5348 0000".replace(" ", ""))
    peer = own.peer(receive_buffer=4096).associate([(WORKLIST_FIND, [EXPLICIT])])
    peer.send(p_data(pdv(1, COMMAND | LAST, command)) + p_data(pdv(1, DATA | LAST, asked)))
    peer.send(p_data(pdv(1, COMMAND | LAST, cancel_rq(7))))
    status, count = WARNING, -1
    while status in (PENDING, WARNING):
        found = peer.response()
        status = int.from_bytes(found[0x900], "little")
        count += 1
    assert status == CANCEL
    assert count < 900
    peer.release()


# -- character sets ---------------------------------------------------------------------------------------------------


def raw(own: Node, calling: str) -> tuple[str, str]:
    """The character set of the answer, and the patient's name as the device decodes it."""
    [match], status, _ = ask(own, question(AccessionNumber="A100"), calling=calling)
    assert status == SUCCESS
    return match.get("SpecificCharacterSet", ""), str(match.PatientName)


def test_k_4_1_1_3_vietnamese_names_as_each_device_can_show_them(own: Node, orders: None) -> None:
    assert raw(own, "CT1") == ("ISO_IR 192", NAME)
    assert raw(own, "OLD") == ("", "NGUYEN^VAN DUC")
    assert raw(own, "ASCII") == ("", "NGUYEN^VAN DUC")


@pytest.mark.parametrize("term", ["ISO_IR 192", "ISO_IR 100", ""])
def test_names_in_the_character_set_of_the_request(own: Node, orders: None, term: str) -> None:
    asked = question(PatientName="TRẦN^*" if term == "ISO_IR 192" else "TRAN^*")
    if term:
        asked.SpecificCharacterSet = term
    [match], status, _ = ask(own, asked)
    assert (status, str(match.PatientName), match.SpecificCharacterSet) == (SUCCESS, "Trần^Thị Bình", "ISO_IR 192")


# -- DCMTK ------------------------------------------------------------------------------------------------------------

QUERY_FILE = """
# as the worklist query files of DCMTK
(0008,0005) CS  [ISO_IR 192]
(0008,0050) SH  []
(0010,0010) PN  [{name}]
(0010,0020) LO  []
(0010,21c0) US
(0020,000d) UI  []
(0032,1060) LO  []
(0032,1064) SQ (Sequence with undefined length)
(fffe,e0dd) -
(0040,0100) SQ (Sequence with undefined length)
(fffe,e000) -
(0008,0060) CS  [CT]
(0040,0001) AE  [{station}]
(0040,0002) DA  [{date}]
(0040,0003) TM  []
(0040,0006) PN  []
(0040,0007) LO  []
(0040,0008) SQ (Sequence with undefined length)
(fffe,e000) -
(0008,0100) SH  []
(0008,0104) LO  []
(fffe,e00d) -
(fffe,e0dd) -
(0040,0009) SH  []
(fffe,e00d) -
(fffe,e0dd) -
(0040,1001) SH  []
"""


@pytest.mark.parametrize("option", [[], ["-xi"], ["-xb"]])
def test_dcmtk_with_a_query_file(own: Node, orders: None, tmp_path: Path, option: list[str]) -> None:
    text = tmp_path / "query.txt"
    text.write_text(QUERY_FILE.format(name="nguyễn*", station="CT1", date=f"{TODAY}-{TOMORROW}"), encoding="utf-8")
    query = tmp_path / "query.dcm"
    subprocess.run(["dump2dcm", str(text), str(query)], check=True)
    found = findscu(own, tmp_path / "out", root="-W", options=option, query=query)
    assert found.code == 0, found.output
    assert [response.AccessionNumber for response in found.responses] == ["A100", "A102"]
    first = found.responses[0]
    assert (first.PatientName, first.PregnancyStatus) == (NAME, 4)
    [step] = first.ScheduledProcedureStepSequence
    assert step.ScheduledProtocolCodeSequence[0].CodeMeaning == "Sọ não không cản quang"


def test_dcmtk_with_keys(own: Node, orders: None, tmp_path: Path) -> None:
    step = "(0040,0100)[0]."
    found = findscu(
        own, tmp_path / "out", "AccessionNumber", "PatientName=TRAN*", f"{step}Modality=MR", f"{step}ScheduledStationAETitle",
        root="-W",
    )  # fmt: skip
    assert found.code == 0, found.output
    assert [response.PatientName for response in found.responses] == ["Trần^Thị Bình"]
    dumped = subprocess.run(
        ["dcmdump", str(next((tmp_path / "out").glob("*.dcm")))], capture_output=True, text=True, check=True
    )
    assert r"MR1\MR2" in dumped.stdout
    assert dcmread(next((tmp_path / "out").glob("*.dcm")), force=True).AccessionNumber == "A101"
