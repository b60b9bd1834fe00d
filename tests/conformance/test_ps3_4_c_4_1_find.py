"""C-FIND (PS3.4 C.4.1, C.5, C.6): levels, keys, transfer syntaxes, character sets, statuses."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from archive.core import Archive
from config.peers import Peer, PersonNames
from config.services import IngestSettings
from config.settings import Settings
from tests.factories import ct_image, store
from tests.integration.archive.support import unchecked
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.peer import ABORT, COMMAND, DATA, LAST, RawPeer, cancel_rq, command_set, p_data, pdv
from tests.integration.dicom_node.running import Node, running, wait_until
from tests.integration.dicom_node.scu import (
    BIG_ENDIAN,
    EXPLICIT,
    FIND,
    IMPLICIT,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    find,
    findscu,
    identifier,
)

__all__ = ["node"]

SUCCESS, CANCEL, OUT_OF_RESOURCES, NOT_AUTHORIZED = 0x0000, 0xFE00, 0xA700, 0x0124
NO_MATCH_OF_CLASS, CANNOT_READ, PENDING, WARNING = 0xA900, 0xC000, 0xFF00, 0xFF01
ALL = {"StudyInstanceUID": "", "PatientName": "", "StudyDescription": ""}


def with_private_key() -> Dataset:
    item = Dataset()
    item.add_new(0x00090010, "LO", "VENDOR")
    return item


@pytest.fixture
def images(node: Node) -> list[Dataset]:
    """Two patients, three studies, four series, five images."""
    first = ct_image(StudyDate="20260301")
    same_series = ct_image(StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID)
    same_series.StudyDate, same_series.InstanceNumber = "20260301", 2
    other_series = ct_image(
        StudyInstanceUID=first.StudyInstanceUID, StudyDate="20260301", SeriesNumber=2, Modality="SR"
    )
    second = ct_image(StudyDate="20260401", StudyDescription="X-quang ngực", Modality="DX")
    other = ct_image(PatientName="Tran^Thi B", PatientID="BN0002", PatientSex="F", StudyDate="20260501")
    other.StudyDescription = "CT"
    made = [first, same_series, other_series, second, other]
    for image in made:
        store(node.archive, image)
    return made


@pytest.mark.parametrize("root", [PATIENT_ROOT, PATIENT_STUDY_ONLY])
def test_c_6_1_1_2_patients(node: Node, images: list[Dataset], root: str) -> None:
    asked = identifier("PATIENT", PatientID="", PatientName="", NumberOfPatientRelatedStudies="")
    matches, status, pending = find(node, asked, root=root)
    assert (status, pending) == (SUCCESS, {PENDING})
    found = {match.PatientID: (str(match.PatientName), match.NumberOfPatientRelatedStudies) for match in matches}
    assert found == {"BN0001": ("Nguyễn^Văn Đức", 2), "BN0002": ("Tran^Thi B", 1)}
    assert all(match.QueryRetrieveLevel == "PATIENT" and match.RetrieveAETitle == "PACS" for match in matches)


@pytest.mark.parametrize("root", [PATIENT_ROOT, PATIENT_STUDY_ONLY])
def test_c_6_1_1_3_studies_of_a_patient(node: Node, images: list[Dataset], root: str) -> None:
    matches, status, _ = find(node, identifier("STUDY", PatientID="BN0001", StudyInstanceUID=""), root=root)
    assert status == SUCCESS
    assert {match.StudyInstanceUID for match in matches} == {images[0].StudyInstanceUID, images[3].StudyInstanceUID}


def test_c_6_2_1_studies_newest_first(node: Node, images: list[Dataset]) -> None:
    asked = identifier("STUDY", **ALL, ModalitiesInStudy="", NumberOfStudyRelatedInstances="", StudyDate="")
    matches, status, pending = find(node, asked)
    assert (status, pending) == (SUCCESS, {PENDING})
    assert [match.StudyDate for match in matches] == ["20260501", "20260401", "20260301"]
    last = matches[-1]
    assert sorted(last.ModalitiesInStudy) == ["CT", "SR"]
    assert last.NumberOfStudyRelatedInstances == 3
    assert (last.QueryRetrieveLevel, last.RetrieveAETitle, last.InstanceAvailability) == ("STUDY", "PACS", "ONLINE")
    assert "AccessionNumber" not in last  # not asked for


def test_c_6_2_1_series_and_images_of_a_study(node: Node, images: list[Dataset]) -> None:
    study, series = images[0].StudyInstanceUID, images[0].SeriesInstanceUID
    matches, status, _ = find(node, identifier("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality=""))
    assert status == SUCCESS
    assert [match.Modality for match in matches] == ["CT", "SR"]
    asked = identifier("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="", Rows=None)
    matches, status, _ = find(node, asked)
    assert status == SUCCESS
    assert {match.SOPInstanceUID for match in matches} == {images[0].SOPInstanceUID, images[1].SOPInstanceUID}
    assert {match.Rows for match in matches} == {16}


@pytest.mark.parametrize(
    ("root", "level", "keys"),
    [
        (STUDY_ROOT, "PATIENT", {}),
        (STUDY_ROOT, "", {}),
        (STUDY_ROOT, "STUDIES", {}),
        (PATIENT_STUDY_ONLY, "SERIES", {"PatientID": "1", "StudyInstanceUID": "1.2"}),
        (STUDY_ROOT, "SERIES", {}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": ["1.2", "1.3"]}),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2"}),
        (PATIENT_ROOT, "STUDY", {}),
        (PATIENT_ROOT, "STUDY", {"PatientID": "BN*"}),
        (PATIENT_ROOT, "SERIES", {"PatientID": "BN1"}),
    ],
)
def test_c_4_1_2_1_levels_and_the_unique_keys_above_them(
    node: Node, root: str, level: str, keys: dict[str, str]
) -> None:
    assert find(node, identifier(level, **keys), root=root)[1:] == (NO_MATCH_OF_CLASS, set())


def test_c_4_1_2_2_relational_queries_where_negotiated(node: Node, images: list[Dataset]) -> None:
    asked = identifier("SERIES", SeriesInstanceUID="", Modality="CT", PatientName="*duc*")
    assert find(node, asked)[1] == NO_MATCH_OF_CLASS
    for root in (STUDY_ROOT, PATIENT_ROOT):
        matches, status, _ = find(node, asked, root=root, extended=b"\1")
        assert status == SUCCESS
        assert {match.SeriesInstanceUID for match in matches} == {images[0].SeriesInstanceUID}


def test_c_5_1_1_fuzzy_names_where_negotiated(node: Node, images: list[Dataset]) -> None:
    asked = identifier("STUDY", PatientName="duc nguyen", StudyInstanceUID="")
    assert find(node, asked)[0] == []
    assert len(find(node, asked, extended=b"\0\0\1")[0]) == 2


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_c_4_1_1_3_every_transfer_syntax(node: Node, images: list[Dataset], syntax: str) -> None:
    asked = identifier("STUDY", **ALL, StudyDate="20260401-20260430")
    asked.SpecificCharacterSet = "ISO_IR 192"
    matches, status, _ = find(node, asked, syntax=syntax)
    assert status == SUCCESS
    assert [(str(match.PatientName), match.StudyDescription) for match in matches] == [
        ("Nguyễn^Văn Đức", "X-quang ngực")
    ]
    study, series = images[0].StudyInstanceUID, images[0].SeriesInstanceUID
    asked = identifier("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, Rows=16, InstanceNumber="2")
    assert [match.Rows for match in find(node, asked, syntax=syntax)[0]] == [16]


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"StudyDate": "20260301"}, 1),
        ({"StudyDate": "-20260401"}, 2),
        ({"StudyDate": "20260401-"}, 2),
        ({"PatientName": "NGUYEN*"}, 2),
        ({"PatientName": "Nguyễn^Văn Đức"}, 2),
        ({"PatientName": "tran^thi ?"}, 1),
        ({"PatientID": "BN000?"}, 3),
        ({"PatientID": ""}, 3),
        ({"PatientID": "*"}, 3),
        ({"ModalitiesInStudy": "SR"}, 1),
        ({"Modality": "SR"}, 1),
        ({"ModalitiesInStudy": ["SR", "DX"]}, 2),
        ({"StudyInstanceUID": ["1.2.3", "1.2.4"]}, 0),
        ({"PatientSex": "F"}, 1),
        ({"StudyDescription": "X-quang*"}, 1),
    ],
)
def test_c_2_2_2_matching(node: Node, images: list[Dataset], keys: dict[str, str], count: int) -> None:
    asked = identifier("STUDY", **{"StudyInstanceUID": "", **keys})
    asked.SpecificCharacterSet = "ISO_IR 192"
    matches, status, pending = find(node, asked)
    assert (len(matches), status) == (count, SUCCESS)
    assert pending <= {PENDING}


@pytest.mark.parametrize(
    "keys", [{"StudyDate": "yesterday"}, {"StudyTime": "25"}, {"StudyInstanceUID": "1.2.*"}], ids=["DA", "TM", "UI"]
)
def test_c_4_1_1_4_a_value_that_cannot_be_understood(node: Node, keys: dict[str, str]) -> None:
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    from pydicom.dataelem import DataElement

    for keyword, value in keys.items():
        vr = {"StudyDate": "DA", "StudyTime": "TM", "StudyInstanceUID": "UI"}[keyword]
        asked[keyword] = DataElement(keyword, vr, value, validation_mode=0)
    assert find(node, asked)[1] == NO_MATCH_OF_CLASS


@pytest.mark.parametrize(
    "keys",
    [
        {"RequestAttributesSequence": Items([identifier("", ScheduledProcedureStepID="7")])},
        {"RequestAttributesSequence": Items()},
        {"ProcedureCodeSequence": Items([with_private_key()])},
        {"InstanceAvailability": "ONLINE", "StorageMediaFileSetID": "DISK1"},
        {"NumberOfStudyRelatedInstances": "5"},
        {"Modality": ""},
        {"SeriesDescription": "x"},
        {"DetectorID": "D1"},
        {"NumberOfPatientRelatedStudies": ""},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_c_4_1_1_4_unsupported_optional_keys_are_ignored_with_a_warning(
    node: Node, images: list[Dataset], keys: dict[str, object]
) -> None:
    matches, status, pending = find(node, identifier("STUDY", StudyInstanceUID="", **keys))
    assert (status, pending) == (SUCCESS, {WARNING})
    assert len(matches) == 3
    assert "RequestAttributesSequence" not in matches[0]


def code(value: str, meaning: str = "", scheme: str = "99VN") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def keys_of(**keys: Any) -> Dataset:
    item = Dataset()
    for keyword, value in keys.items():
        setattr(item, keyword, value)
    return item


@pytest.fixture
def requested(node: Node) -> list[Dataset]:
    """Two series of one study for two requested procedures, and a study without any."""
    first = ct_image(ProcedureCodeSequence=Items([code("CT01", "Chụp CLVT sọ não"), code("CT02")]))
    step = keys_of(RequestedProcedureID="RP1", ScheduledProcedureStepID="S1")
    step.ScheduledProtocolCodeSequence = Items([code("P1", "Sọ não")])
    first.RequestAttributesSequence = Items([step, keys_of(RequestedProcedureID="RP9")])
    first.OtherPatientIDsSequence = Items([keys_of(PatientID="BHYT-77", IssuerOfPatientID="BHXH")])
    second = ct_image(StudyInstanceUID=first.StudyInstanceUID, SeriesNumber=2)
    second.RequestAttributesSequence = Items([keys_of(RequestedProcedureID="RP2", ScheduledProcedureStepID="S1")])
    other = ct_image(PatientID="BN0002", ProcedureCodeSequence=Items([code("CT01", scheme="L")]))
    for image in (first, second, other):
        store(node.archive, image)
    return [first, second, other]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_c_2_2_2_6_sequence_matching(node: Node, requested: list[Dataset], syntax: str) -> None:
    first, _, other = requested

    def studies(**keys: Any) -> set[str]:
        question = identifier("STUDY", StudyInstanceUID="", SpecificCharacterSet="ISO_IR 192", **keys)
        matches, status, pending = find(node, question, syntax=syntax)
        assert status == SUCCESS
        assert pending <= {PENDING}
        return {match.StudyInstanceUID for match in matches}

    both, one = {first.StudyInstanceUID, other.StudyInstanceUID}, {first.StudyInstanceUID}
    asked = [
        (Items(), both),
        (Items([Dataset()]), both),
        (Items([keys_of(CodeValue="", CodingSchemeDesignator="")]), both),
        (Items([keys_of(CodeValue="CT01")]), both),
        (Items([keys_of(CodeValue="CT02")]), one),
        (Items([keys_of(CodeValue="CT0?", CodingSchemeDesignator="99VN")]), one),
        (Items([keys_of(CodeValue="CT02", CodeMeaning="Chụp*")]), set()),  # of another item
        (Items([keys_of(CodeValue=["CT07", "CT02"])]), one),
        (Items([keys_of(CodeMeaning='""', CodeValue="CT01")]), {other.StudyInstanceUID}),
        (Items([keys_of(CodeValue="CT03")]), set()),
    ]
    for key, expected in asked:
        assert studies(ProcedureCodeSequence=key) == expected, key
    assert studies(OtherPatientIDsSequence=Items([keys_of(PatientID="BHYT*")])) == one


def test_c_2_2_2_6_sequences_at_series_level_and_in_sequences(node: Node, requested: list[Dataset]) -> None:
    first, second, _ = requested
    protocol = keys_of(ScheduledProtocolCodeSequence=Items([keys_of(CodeValue="P1")]))
    for key, expected in (
        (keys_of(RequestedProcedureID="RP2"), {second.SeriesInstanceUID}),
        (keys_of(ScheduledProcedureStepID="S1"), {first.SeriesInstanceUID, second.SeriesInstanceUID}),
        (keys_of(RequestedProcedureID="RP9", ScheduledProcedureStepID="S1"), set()),
        (protocol, {first.SeriesInstanceUID}),
    ):
        asked = identifier("SERIES", StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID="")
        asked.RequestAttributesSequence = Items([key])
        matches, _, pending = find(node, asked)
        assert {match.SeriesInstanceUID for match in matches} == expected
        assert pending <= {PENDING}


def test_c_4_1_1_3_2_items_of_responses_have_what_was_asked_for(node: Node, requested: list[Dataset]) -> None:
    item = keys_of(RequestedProcedureID="", RequestedProcedureDescription="", ScheduledProcedureStepID="")
    item.ScheduledProtocolCodeSequence = Items([keys_of(CodeMeaning="")])
    asked = identifier("SERIES", StudyInstanceUID=requested[0].StudyInstanceUID, SeriesNumber="1")
    asked.RequestAttributesSequence = Items([item])
    ((match,), _, pending) = find(node, asked)
    assert pending == {PENDING}
    assert match.SpecificCharacterSet == "ISO_IR 192"
    step, other = match.RequestAttributesSequence
    assert (step.RequestedProcedureID, step.ScheduledProcedureStepID) == ("RP1", "S1")
    assert step.RequestedProcedureDescription == ""
    assert [dict(code) for code in step.ScheduledProtocolCodeSequence] == [dict(keys_of(CodeMeaning="Sọ não"))]
    assert (other.RequestedProcedureID, len(other.ScheduledProtocolCodeSequence)) == ("RP9", 0)
    asked.RequestAttributesSequence = Items()
    ((match,), _, _) = find(node, asked)
    assert match.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeValue == "P1"


def test_c_2_2_2_6_a_key_of_several_items_is_refused(node: Node, requested: list[Dataset]) -> None:
    key = Items([keys_of(CodeValue="CT01"), keys_of(CodeValue="CT02")])
    assert find(node, identifier("STUDY", ProcedureCodeSequence=key))[1] == NO_MATCH_OF_CLASS


def test_c_6_2_1_reports_and_presentation_states_by_what_they_say_of_themselves(node: Node) -> None:
    report = ct_image(VerificationFlag="VERIFIED", CompletionFlag="COMPLETE", SOPInstanceUID="1.2.7.1")
    report.ConceptNameCodeSequence = Items([code("18748-4", "Kết quả", "LN")])
    state = ct_image(ContentLabel="KEY", PresentationCreationDate="20260105", SOPInstanceUID="1.2.7.2")
    for each in (report, state):
        each.StudyInstanceUID, each.SeriesInstanceUID = "1.2.7", "1.2.7.0"
        store(node.archive, each)
    store(node.archive, ct_image(StudyInstanceUID="1.2.7", SeriesInstanceUID="1.2.7.0", SOPInstanceUID="1.2.7.3"))
    asked: list[tuple[dict[str, Any], set[str]]] = [
        ({"VerificationFlag": "VERIFIED"}, {"1.2.7.1"}),
        ({"VerificationFlag": '""'}, {"1.2.7.2", "1.2.7.3"}),
        ({"ConceptNameCodeSequence": Items([keys_of(CodeValue="18748-4")])}, {"1.2.7.1"}),
        ({"ContentLabel": "K*"}, {"1.2.7.2"}),
        ({"PresentationCreationDate": "20260101-"}, {"1.2.7.2"}),
        ({"ContentLabel": "", "CompletionFlag": ""}, {"1.2.7.1", "1.2.7.2", "1.2.7.3"}),
    ]
    for keys, expected in asked:
        with unchecked():
            question = identifier(
                "IMAGE", StudyInstanceUID="1.2.7", SeriesInstanceUID="1.2.7.0", SOPInstanceUID="", **keys
            )
            matches, _, pending = find(node, question)
        assert {match.SOPInstanceUID for match in matches} == expected, keys
        assert pending == {PENDING}
        assert all(keyword in match for match in matches for keyword in keys)


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"InstanceAvailability": "ONLINE"}, 3),
        ({"InstanceAvailability": "NEARLINE"}, 0),
        ({"InstanceAvailability": "*LINE", "StorageMediaFileSetID": ""}, 3),
        ({"StudyDescription": '""'}, 0),
        ({"OtherPatientIDs": '""'}, 3),
    ],
)
def test_c_6_2_1_2_optional_keys_of_a_study(
    node: Node, images: list[Dataset], keys: dict[str, str], count: int
) -> None:
    with unchecked():
        matches, status, pending = find(node, identifier("STUDY", **keys))
    assert (len(matches), status) == (count, SUCCESS)
    assert pending <= {PENDING}
    if "StorageMediaFileSetID" in keys:
        assert {match.StorageMediaFileSetID for match in matches} == {""}


def test_c_5_1_1_combined_dates_and_times_where_negotiated(node: Node) -> None:
    for day, time in (("1", "0930"), ("2", "0500"), ("3", "2300")):
        store(node.archive, ct_image(StudyDate=f"2026050{day}", StudyTime=time))
    asked = identifier("STUDY", StudyDate="20260501-20260503", StudyTime="0900-1800")
    assert [match.StudyDate[-1] for match in find(node, asked)[0]] == ["1"]
    assert [match.StudyDate[-1] for match in find(node, asked, extended=b"\0\1")[0]] == ["2", "1"]


@pytest.mark.parametrize(
    ("matching", "found"),
    [("folded", (3, 3, 0)), ("exact", (3, 0, 0)), ("words", (3, 3, 3))],
    ids=lambda each: str(each),
)
def test_c_2_2_2_1_names_match_as_the_peer_wants(
    settings: Settings, matching: PersonNames, found: tuple[int, ...]
) -> None:
    peer = Peer(ae_title="A", facility="86001", rights=frozenset(["find"]), person_names=matching)
    changed = settings.model_copy(update={"peers": (peer,)})
    with Archive.open(changed) as archive, running(changed, archive) as node:
        for _ in range(3):
            store(archive, ct_image(PatientName="Nguyễn^Văn Đức"))
        for name, count in zip(("Nguyễn^Văn Đức", "nguyen van duc", "duc ngu"), found, strict=True):
            asked = identifier("STUDY", PatientName=name)
            asked.SpecificCharacterSet = "ISO_IR 192"
            assert len(find(node, asked, calling="A")[0]) == count, name
        # What is negotiated goes before what is set.
        assert len(find(node, identifier("STUDY", PatientName="duc ngu"), calling="A", extended=b"\0\0\1")[0]) == 3


def test_c_4_1_1_3_1_the_time_zone_of_the_request_is_no_key(node: Node, images: list[Dataset]) -> None:
    asked = identifier("STUDY", StudyInstanceUID="", TimezoneOffsetFromUTC="+0700", RetrieveAETitle="OTHER")
    matches, _, pending = find(node, asked)
    assert (len(matches), pending) == (3, {PENDING})


@pytest.mark.parametrize(
    ("asked_in", "name", "given_in"),
    [
        ("", "Nguyễn^Văn Đức", "ISO_IR 192"),
        ("ISO_IR 100", "Nguyễn^Văn Đức", "ISO_IR 192"),
        ("ISO_IR 192", "Nguyễn^Văn Đức", "ISO_IR 192"),
        ("ISO_IR 100", "Buc^Jérôme", "ISO_IR 100"),
        ("ISO_IR 144", "Люкceмбypг", "ISO_IR 144"),
        ("GB18030", "Wang^XiaoDong=王^小东", "GB18030"),
        ("ISO 2022 IR 100", "Buc^Jérôme", "ISO_IR 100"),
        ("ISO_IR 192", "Tran^Thi B", None),
        ("", "Tran^Thi B", None),
    ],
)
def test_c_4_1_1_3_2_the_character_set_of_the_request_where_it_can_express_the_answer(
    node: Node, asked_in: str, name: str, given_in: str | None
) -> None:
    store(node.archive, ct_image(PatientName=name, StudyDescription="x"))
    asked = identifier("STUDY", PatientName="")
    if asked_in:
        asked.SpecificCharacterSet = asked_in
    ((match,), status, _) = find(node, asked)
    assert status == SUCCESS
    assert str(match.PatientName) == name
    assert match.get("SpecificCharacterSet") == given_in


@pytest.mark.parametrize("asked_in", ["", "ISO_IR 100", "ISO_IR 192"])
def test_c_4_1_1_3_2_a_device_gets_what_it_can_show(settings: Settings, asked_in: str) -> None:
    """Never a character set that its settings do not list, and never another letter."""
    old = Peer(ae_title="OLD", facility="86001", rights=frozenset(["find"]), character_sets=("ISO_IR 100",))
    strict = settings.model_copy(update={"peers": (old,)})
    with Archive.open(strict) as archive, running(strict, archive) as node:
        store(archive, ct_image(PatientName="Nguyễn^Văn Đức", StudyDate="20260102"))
        store(archive, ct_image(PatientName="Buc^Jérôme", PatientID="2", StudyDate="20260101"))
        asked = identifier("STUDY", PatientName="")
        if asked_in:
            asked.SpecificCharacterSet = asked_in
        first, second = find(node, asked, calling="OLD")[0]
    assert (str(first.PatientName), first.get("SpecificCharacterSet")) == ("Nguyen^Van Duc", None)
    assert (str(second.PatientName), second.get("SpecificCharacterSet")) == ("Buc^Jérôme", "ISO_IR 100")


def test_c_4_1_1_3_2_a_key_in_the_character_set_of_the_request(node: Node) -> None:
    store(node.archive, ct_image(StudyDescription="Crâne"))
    asked = identifier("STUDY", StudyDescription="Crâne")
    asked.SpecificCharacterSet = "ISO_IR 100"
    assert len(find(node, asked)[0]) == 1


@pytest.mark.parametrize(
    ("term", "name", "codec"),
    [
        ("ISO_IR 192", "Nguye\u0302\u0303n^Va\u0306n \u0110u\u031b\u0301c", "utf-8"),
        ("ISO_IR 192", "Nguyễn^Văn Đức", "utf-8"),
        ("GB18030", "Nguyễn^Văn Đức", "gb18030"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=\x1b$)C洪^\x1b$)C吉洞=\x1b$)C홍^\x1b$)C길동", "euc_kr"),
        ("ISO 2022 IR 6\\ISO 2022 IR 100", "Buc^J\x1b-Aérôme", "latin-1"),
        ("ISO_IR 100", "Buc^Jérôme", "latin-1"),
    ],
)
def test_c_4_1_1_3_1_names_in_any_character_set(node: Node, term: str, name: str, codec: str) -> None:
    stored = ("Nguyễn^Văn Đức", "Hong^Gildong=洪^吉洞=홍^길동", "Buc^Jérôme")
    for number, each in enumerate(stored):
        store(node.archive, ct_image(PatientName=each, PatientID=str(number)))
    value, charset = name.encode(codec), term.encode()
    with node.peer().associate([(STUDY_ROOT + FIND, [EXPLICIT])]) as peer:
        data = element(0x00080005, b"CS", charset) + element(0x00080052, b"CS", b"STUDY")
        peer.send(find_rq(data + element(0x00100010, b"PN", value)))
        assert len(list(responses(peer))) == 1


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def responses(peer: RawPeer) -> Iterator[bytes]:
    """The pending responses up to the final one, which must be Success; as bytes."""
    while True:
        _, body = peer.receive()
        if body[5] & COMMAND and b"\0\0\0\x09\2\0\0\0\0\0" in body:
            return
        if not body[5] & COMMAND:
            yield body


@pytest.mark.parametrize("how", ["default_character_set", "actual_character_set"])
def test_c_4_1_1_3_1_a_device_that_speaks_tcvn3(settings: Settings, how: str) -> None:
    """Its keys are read as its objects are; it is answered in letters that it has."""
    old = Peer.model_validate(
        {"ae_title": "OLD", "facility": "86001", "rights": ["find"], "character_sets": ["ISO_IR 6"], how: "TCVN3"}
    )
    changed = settings.model_copy(update={"peers": (old,)})
    with Archive.open(changed) as archive, running(changed, archive) as node:
        store(archive, ct_image(PatientName="Nguyễn^Văn Đức", StudyDescription="Sọ não"))
        with node.peer().associate([(STUDY_ROOT + FIND, [EXPLICIT])], calling="OLD") as peer:
            data = element(0x00080052, b"CS", b"STUDY")
            if how == "actual_character_set":
                data = element(0x00080005, b"CS", b"ISO_IR 100") + data
            data += element(0x00081030, b"LO", "Sọ não".translate(TCVN3).encode("latin-1"))
            peer.send(find_rq(data + element(0x00100010, b"PN", b"NGUYEN*")))
            (answer,) = responses(peer)
        assert b"Nguyen^Van Duc" in answer
        assert b"So nao" in answer
        assert b"ISO_IR" not in answer


TCVN3 = str.maketrans({"ọ": "\xe4", "ã": "\xb7"})


@pytest.mark.parametrize(
    ("root", "level", "count"),
    [
        (PATIENT_ROOT, "STUDY", 3),
        (PATIENT_ROOT, "SERIES", 4),
        (PATIENT_ROOT, "IMAGE", 5),
        (STUDY_ROOT, "SERIES", 4),
        (STUDY_ROOT, "IMAGE", 5),
        (PATIENT_STUDY_ONLY, "STUDY", 3),
    ],
)
def test_c_4_1_2_2_relational_queries_at_every_level(
    node: Node, images: list[Dataset], root: str, level: str, count: int
) -> None:
    asked = identifier(level, PatientName="", PatientID="")
    assert find(node, asked, root=root)[1] == NO_MATCH_OF_CLASS
    matches, status, pending = find(node, asked, root=root, extended=b"\1")
    assert (len(matches), status, pending) == (count, SUCCESS, {PENDING})
    assert {match.PatientID for match in matches} == {"BN0001", "BN0002"}
    with_name = identifier(level, PatientName="*thi*")
    assert len(find(node, with_name, root=root, extended=b"\1")[0]) == 1


def test_c_4_1_1_4_more_matches_than_may_be_given(settings: Settings) -> None:
    few = settings.model_copy(update={"ingest": IngestSettings(query_limit=3)})
    series = ct_image()
    with Archive.open(few) as archive, running(few, archive) as node:
        for number in range(5):
            store(archive, ct_image(StudyDate=f"2026010{number + 1}"))
            image = ct_image(StudyInstanceUID=series.StudyInstanceUID, SeriesInstanceUID=series.SeriesInstanceUID)
            image.StudyDate = "20200101"
            store(archive, image)
        matches, status, _ = find(node, identifier("STUDY", StudyInstanceUID="", StudyDate=""))
        assert (len(matches), status) == (3, OUT_OF_RESOURCES)
        assert [match.StudyDate[-1] for match in matches] == ["5", "4", "3"]
        assert find(node, identifier("STUDY", StudyInstanceUID="", StudyDate="20260101-20260103"))[1] == SUCCESS
        # What is in one study is listed whole.
        asked = identifier("IMAGE", SOPInstanceUID="")
        asked.StudyInstanceUID, asked.SeriesInstanceUID = series.StudyInstanceUID, series.SeriesInstanceUID
        matches, status, _ = find(node, asked)
        assert (len({match.SOPInstanceUID for match in matches}), len(matches), status) == (5, 5, SUCCESS)


def test_c_4_1_1_4_who_may_not_query(settings: Settings) -> None:
    peers = (Peer(ae_title="CT1", facility="86001"), Peer(ae_title="US2", facility="86002", rights=frozenset(["find"])))
    strict = settings.model_copy(update={"peers": peers})
    with Archive.open(strict) as archive, running(strict, archive) as node:
        store(archive, ct_image())
        for calling, expected in (("CT1", NOT_AUTHORIZED), ("STRANGER", NOT_AUTHORIZED), ("US2", SUCCESS)):
            assert find(node, identifier("STUDY", StudyInstanceUID=""), calling=calling)[1] == expected


def test_c_4_1_1_4_the_log_tells_the_status_of_a_refusal(
    node: Node, images: list[Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    find(node, identifier("SERIES", SeriesInstanceUID=""))
    (record,) = [record for record in caplog.records if record.message == "query refused"]
    assert vars(record)["pacs_fields"] == {"status": "A900", "error": "InvalidQuery", "calling": "CT1"}


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_c_4_1_1_4_a_peer_finds_what_its_facility_sent(settings: Settings, level: str) -> None:
    """Unless it is told to see the province; whichever level and key it asks by."""
    peers = tuple(
        Peer(ae_title=title, facility=facility, rights=frozenset(["find"]), sees=sees)
        for title, facility, sees in (("A", "86001", "own"), ("B", "86002", "own"), ("ALL", "86002", "province"))
    )
    shared = settings.model_copy(update={"peers": peers})
    image = ct_image()
    above = {"PATIENT": {}, "STUDY": {}}
    above["SERIES"] = {"StudyInstanceUID": image.StudyInstanceUID}
    above["IMAGE"] = above["SERIES"] | {"SeriesInstanceUID": image.SeriesInstanceUID}
    root = PATIENT_ROOT if level == "PATIENT" else STUDY_ROOT
    with Archive.open(shared) as archive, running(shared, archive) as node:
        store(archive, image)
        for calling, count in (("A", 1), ("B", 0), ("ALL", 1)):
            matches, status, _ = find(node, identifier(level, **above[level]), root=root, calling=calling)
            assert (len(matches), status) == (count, SUCCESS)


def test_c_4_1_1_4_an_index_that_cannot_serve(node: Node, images: list[Dataset]) -> None:
    with psycopg.connect(node.settings.database.url.get_secret_value(), autocommit=True) as connection:
        connection.execute("ALTER TABLE study RENAME COLUMN study_id TO lost")
        connection.execute(
            "CREATE FUNCTION too_slow() RETURNS text LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION USING ERRCODE = '57014'; END $$"
        )
        connection.execute("ALTER TABLE study RENAME TO hidden")
        connection.execute("CREATE VIEW study AS SELECT *, too_slow() AS study_id FROM hidden")
    asked = identifier("STUDY", StudyID="1", StudyInstanceUID="")
    matches, status, _ = find(node, asked)
    assert (matches, status) == ([], OUT_OF_RESOURCES)


def find_rq(data: bytes, message: int = 1) -> bytes:
    command = {2: (STUDY_ROOT + FIND).encode(), 0x100: 0x20, 0x110: message, 0x700: 0, 0x800: 0 if data else 0x101}
    return p_data(pdv(1, COMMAND | LAST, command_set(command))) + (p_data(pdv(1, DATA | LAST, data)) if data else b"")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", NO_MATCH_OF_CLASS),
        (b"\x08\0\x52\0CS\x06", CANNOT_READ),
        (b"\x08\0\x52\0CS\xff\0STUDY ", CANNOT_READ),
        (b"\x08\0\x52\0CS\x06\0STUDY " + b"\x10\0\x10\0PN" + (250).to_bytes(2, "little"), CANNOT_READ),
    ],
)
def test_c_4_1_1_4_an_identifier_that_cannot_be_read(node: Node, data: bytes, status: int) -> None:
    with node.peer().associate([(STUDY_ROOT + FIND, [EXPLICIT])]) as peer:
        peer.send(find_rq(data))
        assert peer.status() == status
        peer.release()


def test_9_3_2_3_cancel(node: Node, images: list[Dataset]) -> None:
    data = b"\x08\0\x52\0CS\x06\0STUDY "
    with node.peer().associate([(STUDY_ROOT + FIND, [EXPLICIT])]) as peer:
        peer.send(find_rq(data, 9) + p_data(pdv(1, COMMAND | LAST, cancel_rq(9))))
        assert peer.status() == CANCEL
        peer.release()


def slow(node: Node) -> None:
    """Make the index take a quarter of an hour for a query of studies by StudyID."""
    node.sql(
        "CREATE FUNCTION slow() RETURNS text STABLE LANGUAGE plpgsql "
        "AS $$ BEGIN PERFORM pg_sleep(900); RETURN 1; END $$"
    )
    node.sql("ALTER TABLE study RENAME COLUMN study_id TO lost")
    node.sql("ALTER TABLE study RENAME TO hidden")
    node.sql("CREATE VIEW study AS SELECT *, slow() AS study_id FROM hidden")


def slow_queries(node: Node) -> int:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    return int(node.sql(statement)[0][0])


BY_STUDY_ID = b"\x08\0\x52\0CS\x06\0STUDY " + b"\x20\0\x10\0SH\2\0007 "


def test_9_3_2_3_cancel_while_the_index_works(node: Node, images: list[Dataset]) -> None:
    slow(node)
    with node.peer().associate([(STUDY_ROOT + FIND, [EXPLICIT])]) as peer:
        peer.send(find_rq(BY_STUDY_ID, 9))
        wait_until(lambda: slow_queries(node) == 1, "the index works")
        peer.send(p_data(pdv(1, COMMAND | LAST, cancel_rq(9))))
        assert peer.status() == CANCEL
        assert slow_queries(node) == 0
        peer.release()
    # The connection to the index is as good as before.
    assert len(find(node, identifier("STUDY", StudyInstanceUID=""))[0]) == 3


@pytest.mark.parametrize("goodbye", [ABORT, b""], ids=["abort", "close"])
def test_c_4_1_3_a_peer_that_goes_away_leaves_no_query_behind(
    node: Node, images: list[Dataset], goodbye: bytes
) -> None:
    slow(node)
    with node.peer().associate([(STUDY_ROOT + FIND, [EXPLICIT])]) as peer:
        peer.send(find_rq(BY_STUDY_ID))
        wait_until(lambda: slow_queries(node) == 1, "the index works")
        peer.send(goodbye)
    node.wait_until_idle()
    assert slow_queries(node) == 0
    assert len(find(node, identifier("STUDY", StudyInstanceUID=""))[0]) == 3


def test_findscu_at_all_levels(node: Node, images: list[Dataset], tmp_path: Path) -> None:
    """DCMTK's findscu, also in the other transfer syntaxes it can propose."""
    study, series = images[0].StudyInstanceUID, images[0].SeriesInstanceUID
    asked = [
        ("-P", ("PATIENT", "PatientID", "PatientName=*n*"), 2),
        ("-P", ("STUDY", "PatientID=BN0001", "StudyInstanceUID"), 2),
        ("-O", ("PATIENT", "PatientID=BN0002"), 1),
        ("-S", ("STUDY", "StudyInstanceUID", "StudyDate=20260301-20260401"), 2),
        ("-S", ("STUDY", "PatientName=TRAN*", "StudyInstanceUID"), 1),
        ("-S", ("SERIES", f"StudyInstanceUID={study}", "SeriesInstanceUID", "Modality=SR"), 1),
        ("-S", ("IMAGE", f"StudyInstanceUID={study}", f"SeriesInstanceUID={series}", "SOPInstanceUID"), 2),
    ]
    number = 0
    for root, (level, *keys), count in asked:
        for option in ("-x=", "-xi", "-xb"):
            number += 1
            options = [] if option == "-x=" else [option]
            found = findscu(
                node, tmp_path / str(number), f"QueryRetrieveLevel={level}", *keys, root=root, options=options
            )
            assert (found.code, len(found.responses)) == (0, count), (root, level, keys, found.output)


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100", ""])
def test_findscu_shows_vietnamese_names(node: Node, images: list[Dataset], tmp_path: Path, charset: str) -> None:
    keys = ["QueryRetrieveLevel=STUDY", "PatientName=NGUYEN*", "StudyDescription", "StudyDate=20260401"]
    if charset:
        keys.append(f"SpecificCharacterSet={charset}")
    found = findscu(node, tmp_path / "found", *keys, options=["+sr"])
    (match,) = found.responses
    assert (str(match.PatientName), match.StudyDescription) == ("Nguyễn^Văn Đức", "X-quang ngực")
    assert "[Nguyễn^Văn Đức" in found.output


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        (["ProcedureCodeSequence[0].CodeValue=CT02"], 1),
        (["ProcedureCodeSequence[0].CodeValue=CT0*", "ProcedureCodeSequence[0].CodingSchemeDesignator"], 2),
        (["ProcedureCodeSequence"], 2),
        (["(0008,1032)[0].(0008,0100)=CT03"], 0),
        (['StudyDescription=""'], 0),
        (['OtherPatientNames=""'], 2),
        (["ModalitiesInStudy=MR\\CT", "StudyDate=20261101-", "StudyTime=-0900"], 2),
    ],
)
@pytest.mark.parametrize("option", ["-x=", "-xi", "-xb"])
def test_findscu_asks_by_sequences_and_for_what_is_empty(
    node: Node, requested: list[Dataset], tmp_path: Path, keys: list[str], count: int, option: str
) -> None:
    found = findscu(node, tmp_path / "found", "QueryRetrieveLevel=STUDY", "StudyInstanceUID", *keys, options=[option])
    assert (found.code, len(found.responses)) == (0, count), found.output


def test_findscu_cancels(node: Node, images: list[Dataset], tmp_path: Path) -> None:
    found = findscu(node, tmp_path / "found", "QueryRetrieveLevel=STUDY", "StudyInstanceUID", options=["--cancel", "1"])
    assert found.code == 0
    assert 1 <= len(found.responses) <= 3
