"""Corrections from the settings of a peer to the index, the way out and back: one archive, several settings of it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from archive.core import Archive
from archive.correction.outgoing import given_dataset, given_object
from archive.imaging.deliver import dataset_chunks
from archive.imaging.encode import LOSSLESS
from archive.imaging.transcode import transcode
from archive.metadata import instance_metadata
from archive.records import StoredInstance
from archive.retrieve import read_frames, read_header, read_object
from archive.sender import source_of
from archive.standard.rewrite import outline, with_changes
from config.settings import Settings
from tests.integration.archive.support import assert_sound, sql, studies, together, value
from tests.integration.archive.test_cli import run
from tests.unit.correction.encoded import coding_of_syntax, encoded, sequence, tcvn3
from tests.worklist import put

NAME = "NguyÔn^V¨n §øc"
MEANT = {"Alphabetic": "Nguyễn^Văn Đức"}
PIXELS = bytes(range(256)) * 2
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
"""The object's pixel data are OB, the same in each."""

Open = Callable[..., Archive]


@pytest.fixture
def opened(settings: Settings) -> Iterator[Open]:
    """Opens the same archive with other settings of the peer XQ1 of facility 86001."""
    open_now: list[Archive] = []

    def close() -> None:
        while open_now:
            open_now.pop().close()

    def reopen(**peer: Any) -> Archive:
        close()
        values = settings.model_dump()
        values["peers"] = [{"ae_title": "XQ1", "facility": "86001", **peer}]
        values["database"]["url"] = settings.database.url.get_secret_value()
        open_now.append(Archive.open(Settings(**values)))
        return open_now[-1]

    yield reopen
    close()


def image(syntax: str = ExplicitVRLittleEndian, **values: bytes) -> tuple[bytes, str, str]:
    """A CR image as an old device writes it; gives the dataset, its study and instance UID."""
    study, series, instance = (generate_uid() for _ in range(3))
    code = coding_of_syntax(syntax)

    def uid(text: str) -> bytes:
        return text.encode() + b"\0" * (len(text) % 2)

    number = "little" if code.little else "big"
    elements: dict[int, Any] = {
        0x00080016: ("UI", uid("1.2.840.10008.5.1.4.1.1.1")),
        0x00080018: ("UI", uid(instance)),
        0x00080020: ("DA", b"20261122"),
        0x00080060: ("CS", b"CR"),
        0x00080080: ("LO", tcvn3("BÖnh viÖn C¸i BÌ")),
        0x00081030: ("LO", tcvn3("Chôp phæi th¼ng")),
        0x00081090: ("LO", b"OLDCR"),
        0x00100010: ("PN", tcvn3(NAME)),
        0x00100020: ("LO", b"77"),
        0x00101000: ("LO", b"X-1"),
        0x0020000D: ("UI", uid(study)),
        0x0020000E: ("UI", uid(series)),
        0x00280002: ("US", (1).to_bytes(2, number)),
        0x00280004: ("CS", b"MONOCHROME2"),
        0x00280010: ("US", (16).to_bytes(2, number)),
        0x00280011: ("US", (32).to_bytes(2, number)),
        0x00280100: ("US", (8).to_bytes(2, number)),
        0x00280101: ("US", (8).to_bytes(2, number)),
        0x00280102: ("US", (7).to_bytes(2, number)),
        0x00280103: ("US", (0).to_bytes(2, number)),
        0x00400275: sequence({0x00321060: ("LO", tcvn3("Néi soi"))}),
        0x7FE00010: ("OB", PIXELS),
    }
    vrs = {tag: vr for tag, (vr, _) in elements.items()} | {0x00080005: "CS", 0x00080050: "SH"}
    for key, raw in values.items():
        tag = int(key.removeprefix("x"), 16)
        elements[tag] = (vrs[tag], raw)
    data = encoded(elements, code)
    if syntax == DeflatedExplicitVRLittleEndian:
        import zlib

        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(data) + deflater.flush()
        data += b"\0" * (len(data) % 2)
    return data, study, instance


def send(
    archive: Archive, sent: tuple[bytes, str, str], syntax: str = ExplicitVRLittleEndian, *, single: bool = True
) -> StoredInstance:
    """Store as the node does for the peer XQ1; the bytes in the store are the bytes sent."""
    data, study, instance = sent
    source = source_of(archive.peers, archive.peers.named("XQ1"), "dimse", facility="86001", calling_ae_title="XQ1")
    with archive.begin(
        source,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        sop_instance_uid=instance,
        transfer_syntax_uid=syntax,
    ) as receiving:
        receiving.write(data)
        receiving.finish()
    stored = next(each for each in archive.locate(study) if each.sop_instance_uid == instance)
    assert not single or len(archive.locate(study)) == 1
    raw = b"".join(read_object(archive.store, stored))
    assert raw[stored.object.dataset_offset :] == data
    assert hashlib.sha256(data).digest() == stored.object.digest
    return stored


def given(archive: Archive, inst: StoredInstance) -> Dataset:
    """What a client reads from the object as it is given, checked against its announced length."""
    size, chunks = given_object(archive.store, inst)
    data = b"".join(chunks)
    assert size in (None, len(data))
    found = pydicom.dcmread(BytesIO(data))
    found.walk(lambda _, element: element.value)
    return found


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("peer", "declared"),
    [
        ({"default_character_set": "TCVN3"}, None),
        ({"default_character_set": "ABC"}, b""),
        ({"actual_character_set": "TCVN3"}, b"ISO_IR 100"),
        ({"actual_character_set": "TCVN3"}, b"ISO_IR 192"),
        ({"actual_character_set": "TCVN3", "default_character_set": "UTF-8"}, b"ISO_IR 6"),
    ],
)
def test_old_text_is_right_everywhere_and_the_bytes_stay(
    opened: Open, syntax: str, peer: dict[str, str], declared: bytes | None
) -> None:
    archive = opened(**peer)
    sent = image(syntax, **({} if declared is None else {"x00080005": declared}))
    inst = send(archive, sent, syntax)
    (match,) = studies(archive, {0x0020000D: sent[1], 0x00100010: "nguyen van duc"})
    assert value(match, 0x00100010) == MEANT
    assert value(match, 0x00081030) == "Chụp phổi thẳng"
    ds = given(archive, inst)
    assert (str(ds.PatientName), ds.InstitutionName) == ("Nguyễn^Văn Đức", "Bệnh viện Cái Bè")
    assert ds.RequestAttributesSequence[0].RequestedProcedureDescription == "Nội soi"
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.PixelData == PIXELS
    assert read_header(archive.store, inst).InstitutionName == "Bệnh viện Cái Bè"
    metadata = instance_metadata(archive.store, inst, lambda path: "/".join(map(str, path)))
    assert metadata["00100010"]["Value"] == [MEANT]
    assert metadata["00080005"]["Value"] == ["ISO_IR 192"]
    assert metadata["7FE00010"]["BulkDataURI"] == "7FE00010"
    assert b"".join(read_frames(archive.store, inst, [1])) == PIXELS
    # C-GET and C-MOVE: as stored, and in the transfer syntaxes that every receiver takes.
    whole = b"".join(given_object(archive.store, inst).chunks)
    assert whole.endswith(b"".join(given_dataset(archive.store, inst)))
    for target in (syntax, ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        data = b"".join(dataset_chunks(archive.store, inst, target, 1 << 30))
        if target != DeflatedExplicitVRLittleEndian:
            code = coding_of_syntax(target)
            sent_out = pydicom.filereader.read_dataset(BytesIO(data), code.implicit, code.little)
            assert (str(sent_out.PatientName), sent_out.PixelData) == ("Nguyễn^Văn Đức", PIXELS)
    for target in LOSSLESS:
        compressed = pydicom.dcmread(BytesIO(b"".join(transcode(archive.store, inst, target, 1 << 30).chunks)))
        assert str(compressed.PatientName) == "Nguyễn^Văn Đức"
        assert compressed.pixel_array.tobytes() == PIXELS


def test_a_device_that_was_replaced_by_one_that_says_what_it_means_is_believed(opened: Open) -> None:
    archive = opened(actual_character_set="TCVN3")
    sent = image(x00080005=b"ISO_IR 192", x00100010="Trần^Bình".encode(), x00081030=b"X", x00080080="Viện".encode())
    inst = send(archive, sent)
    assert inst.corrections is None
    assert value(studies(archive, {0x0020000D: sent[1]})[0], 0x00100010) == {"Alphabetic": "Trần^Bình"}


def test_an_object_without_corrections_is_copied_as_it_is(opened: Open) -> None:
    archive = opened()
    inst = send(archive, image())
    assert inst.corrections is None
    assert b"".join(given_object(archive.store, inst).chunks) == b"".join(read_object(archive.store, inst))
    assert sql(archive, "SELECT count(*) FROM stored_object WHERE corrections IS NOT NULL") == [0]


@pytest.mark.parametrize(
    ("peer", "values", "warnings"),
    [
        ({}, {}, ["the default repertoire, for the object names no character set; it was read as a guess"]),
        ({}, {"x00080005": b"ISO_IR 192"}, ["is not in ISO_IR 192; it was read as a guess"]),
        ({}, {"x00080005": b"ISO_IR 100", "x00100010": "Đức".encode()}, ["is not in ISO_IR 100; it was read as UTF-8"]),
        ({}, {"x00080005": b"ISO_IR 100", "x00081030": b"x"}, ["it may be in TCVN3 or VNI"]),
        ({"default_character_set": "TCVN3"}, {}, []),
        ({"default_character_set": "TCVN3"}, {"x00100010": "Đức".encode()}, ["is not in TCVN3; it was read as UTF-8"]),
    ],
)
def test_text_that_is_not_what_it_is_declared_to_be_is_noted(
    opened: Open, peer: dict[str, str], values: dict[str, bytes], warnings: list[str]
) -> None:
    archive = opened(**peer)
    send(archive, image(**values))
    (noted,) = sql(archive, "SELECT warnings FROM stored_object")
    assert bool(noted) == bool(warnings)
    for warning in warnings:
        assert any(warning in each for each in noted), noted
    assert not any("§" in each or "Đức" in each for each in noted or ())


COERCE = {
    "issuer_of_patient_id": "facility",
    "institution_name": "Trạm Y tế xã Tân Phú",
    "institution_code": {"value": "87105", "scheme": "99BYT", "meaning": "Trạm Y tế xã Tân Phú"},
    "set": {"StationName": "XQ1"},
    "set_if_empty": {"AccessionNumber": "NONE", "StudyDescription": "unused"},
    "prefix": {"PatientID": "TYT05-"},
    "remove": ["OtherPatientIDs"],
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_attributes_are_corrected_in_the_index_and_on_the_way_out_and_the_originals_told(
    opened: Open, syntax: str
) -> None:
    archive = opened(default_character_set="TCVN3", coerce=COERCE)
    inst = send(archive, image(syntax), syntax)
    (match,) = studies(archive, {0x00100020: "TYT05-77", 0x00100021: "86001", 0x00080050: "NONE"}, include="all")
    assert value(match, 0x00080080) == "Trạm Y tế xã Tân Phú"
    assert "00101000" not in match or value(match, 0x00101000) is None
    assert sql(archive, "SELECT issuer, identity FROM patient") == [("86001", "TYT05-77")]
    ds = given(archive, inst)
    assert (ds.PatientID, ds.IssuerOfPatientID, ds.AccessionNumber) == ("TYT05-77", "86001", "NONE")
    assert (ds.InstitutionName, ds.StationName) == ("Trạm Y tế xã Tân Phú", "XQ1")
    assert ds.StudyDescription == "Chụp phổi thẳng"
    assert ds.InstitutionCodeSequence[0].CodeValue == "87105"
    assert "OtherPatientIDs" not in ds
    charset, values = ds.OriginalAttributesSequence
    assert (charset.ReasonForTheAttributeModification, values.ReasonForTheAttributeModification) == (
        "CORRECT",
        "COERCE",
    )
    before = values.ModifiedAttributesSequence[0]
    assert (before.PatientID, before.InstitutionName, before.OtherPatientIDs) == ("77", "Bệnh viện Cái Bè", "X-1")
    assert (before.AccessionNumber, before.IssuerOfPatientID) == ("", "")
    assert values.SourceOfPreviousValues == "XQ1"
    assert ds.PixelData == PIXELS


def test_two_stations_with_the_same_numbers_have_different_patients(opened: Open) -> None:
    archive = opened(coerce={"prefix": {"PatientID": "TYT05-"}})
    send(archive, image())
    send(archive, image(x00100020=b"TYT05-77"))
    assert sql(archive, "SELECT identity FROM patient") == ["TYT05-77"]
    send(opened(coerce={"prefix": {"PatientID": "TYT06-"}}), image())
    assert sorted(sql(opened(), "SELECT identity FROM patient")) == ["TYT05-77", "TYT06-77"]


def test_a_prefix_that_makes_a_value_too_long_is_applied_and_noted(opened: Open) -> None:
    archive = opened(coerce={"prefix": {"PatientID": "TYT05-"}})
    send(archive, image(x00100020=b"9" * 64))
    assert sql(archive, "SELECT identity FROM patient") == ["TYT05-" + "9" * 64]
    (warnings,) = sql(archive, "SELECT warnings FROM stored_object")
    assert "the corrected value of PatientID does not fit its VR LO" in warnings


def test_adopted_objects_have_the_corrections_that_they_would_have_had(opened: Open) -> None:
    archive = opened(default_character_set="TCVN3", coerce=COERCE)
    inst = send(archive, image())
    (before,) = sql(archive, "SELECT corrections FROM stored_object")
    # The node that took it is gone, and so are the rows.
    archive = opened(default_character_set="TCVN3", coerce=COERCE)
    sql(archive, "TRUNCATE patient, study, series, instance, stored_object CASCADE")
    done = archive.reindex()
    assert done.indexed == 1
    (after,) = sql(archive, "SELECT corrections FROM stored_object")
    assert {**after, "at": ""} == {**before, "at": ""}
    (again,) = archive.locate(inst.study_instance_uid)
    assert given(archive, again).PatientID == "TYT05-77"
    assert_sound(archive)


# -- the worklist --------------------------------------------------------------------------------------------------


def an_order(archive: Archive, accession: str, study: str, **changes: str) -> None:
    put(
        archive,
        **{
            "Facility": "86001",
            "AccessionNumber": accession,
            "RequestedProcedureID": f"RP{accession}",
            "RequestedProcedureDescription": "Chụp phổi",
            "StudyInstanceUID": study,
            "PatientID": "77",
            "Modality": "CR",
            "ScheduledProcedureStepStartDate": "20261122",
            "ScheduledStationAETitle": "",
            **changes,
        },
    )


FROM_WORKLIST = {"from_worklist": ["AccessionNumber", "StudyID", "RequestedProcedureID", "StudyDescription"]}


def test_what_the_object_lacks_comes_from_the_item_of_its_study(opened: Open) -> None:
    archive = opened(coerce=FROM_WORKLIST)
    sent = image(x00081030=b"")
    an_order(archive, "ACC7", sent[1])
    inst = send(archive, sent)
    ds = given(archive, inst)
    assert (ds.AccessionNumber, ds.StudyID, ds.StudyDescription) == ("ACC7", "RPACC7", "Chụp phổi")
    assert len(studies(archive, {0x00080050: "ACC7"})) == 1
    assert inst.corrections is not None
    assert all(change.why.startswith("worklist ") for change in inst.corrections.changes)
    # What the object says itself stays.
    own = image(x00080050=b"OWN1")
    an_order(archive, "ACC8", own[1])
    assert given(archive, send(archive, own)).AccessionNumber == "OWN1"


def test_the_only_order_of_the_patient_that_day_is_taken_and_none_of_two(opened: Open) -> None:
    archive = opened(coerce=FROM_WORKLIST)
    an_order(archive, "ACC1", generate_uid())
    assert given(archive, send(archive, image())).AccessionNumber == "ACC1"
    an_order(archive, "ACC2", generate_uid())
    assert "AccessionNumber" not in given(archive, send(archive, image()))


def test_orders_of_other_facilities_and_cancelled_ones_are_not_taken(opened: Open) -> None:
    archive = opened(coerce=FROM_WORKLIST)
    sent = image()
    an_order(archive, "ACC1", sent[1], Facility="86002")
    assert send(archive, sent).corrections is None
    an_order(archive, "ACC2", generate_uid())
    sql(archive, "UPDATE worklist_item SET status = 'CANCELLED'")
    assert send(archive, image()).corrections is None


# -- settings that change ------------------------------------------------------------------------------------------


def test_stored_objects_are_corrected_anew_when_settings_change(opened: Open) -> None:
    archive = opened()
    first, other = image(), image(x00100020=b"78", x00080005=b"ISO_IR 192", x00100010="Trần^B".encode())
    for sent in (first, other):
        send(archive, sent)
    assert value(studies(archive, {0x0020000D: first[1]})[0], 0x00100010) != MEANT
    archive = opened(actual_character_set="TCVN3", coerce={"prefix": {"PatientID": "T-"}})
    done = archive.corrections.reapply(peer="XQ1")
    assert (done.studies, done.objects, done.changed, done.failed) == (2, 2, 2, 0)
    (match,) = studies(archive, {0x0020000D: first[1], 0x00100010: "NGUYEN*"})
    assert value(match, 0x00100010) == MEANT
    assert value(match, 0x00100020) == "T-77"
    assert value(match, 0x00081030) == "Chụp phổi thẳng"
    assert given(archive, archive.locate(first[1])[0]).PatientID == "T-77"
    (untouched,) = studies(archive, {0x0020000D: other[1]})
    assert value(untouched, 0x00100010) == {"Alphabetic": "Trần^B"}
    # Once more changes nothing.
    assert archive.corrections.reapply(peer="XQ1").changed == 0
    # And back.
    archive = opened()
    assert archive.corrections.reapply().changed == 2
    assert archive.locate(first[1])[0].corrections is None
    assert value(studies(archive, {0x0020000D: first[1]})[0], 0x00100020) == "77"
    former = archive.corrections.former(first[1])
    assert [found and found.character_set for _, _, found in former] == [None, "TCVN3"]
    archive.reconcile(empty_parents=True)
    assert_sound(archive)


def test_a_run_that_is_broken_off_goes_on_where_it_was(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archive.correction.reapply.PAGE", 1)
    archive = opened()
    sent = [image(x00100020=str(n).encode()) for n in range(4)]
    for each in sent:
        send(archive, each)
    archive = opened(default_character_set="TCVN3")

    class Killed(BaseException):
        pass

    def die(now: Any) -> None:
        if now.studies == 2:
            raise Killed

    with pytest.raises(Killed):
        archive.corrections.reapply(peer="XQ1", progress=die)
    corrected = "SELECT count(*) FROM stored_object WHERE corrections IS NOT NULL"
    assert sql(archive, corrected) == [2]
    archive = opened(default_character_set="TCVN3")
    done = archive.corrections.reapply(peer="XQ1")
    assert (done.resumed, done.studies, done.changed) == (True, 2, 2)
    assert sql(archive, corrected) == [4]
    assert not archive.corrections.reapply(peer="XQ1").resumed


def test_what_a_person_or_another_object_put_into_the_index_stays(opened: Open) -> None:
    archive = opened()
    sent = image()
    send(archive, sent)
    sql(archive, "UPDATE study SET study_description = 'by hand', accession_number = 'BY HAND'")
    archive = opened(coerce={"set": {"StudyDescription": "rule", "AccessionNumber": "RULE"}})
    archive.corrections.reapply()
    assert sql(archive, "SELECT study_description, accession_number FROM study") == [("by hand", "BY HAND")]


def test_what_came_of_a_worklist_item_that_is_gone_is_kept(opened: Open) -> None:
    archive = opened(coerce=FROM_WORKLIST)
    sent = image()
    an_order(archive, "ACC7", sent[1])
    send(archive, sent)
    sql(archive, "DELETE FROM worklist_item")
    archive = opened(coerce=FROM_WORKLIST, default_character_set="TCVN3")
    archive.corrections.reapply()
    ds = given(archive, archive.locate(sent[1])[0])
    assert (ds.AccessionNumber, str(ds.PatientName)) == ("ACC7", "Nguyễn^Văn Đức")


def test_an_object_that_cannot_be_read_does_not_stop_the_others(opened: Open) -> None:
    archive = opened()
    lost, whole = image(), image()
    send(archive, lost)
    send(archive, whole)
    archive.store.delete(archive.locate(lost[1])[0].object.key)
    archive = opened(default_character_set="TCVN3")
    complaints: list[str] = []
    done = archive.corrections.reapply(complain=complaints.append)
    assert (done.changed, done.failed, len(complaints)) == (1, 1, 1)
    assert lost[2] in complaints[0]
    # The run is not over, but every study has been seen.
    assert archive.corrections.reapply().resumed


# -- by hand -------------------------------------------------------------------------------------------------------


def by_hand(archive: Archive, *arguments: str, peers: str) -> subprocess.CompletedProcess[str]:
    return run(archive.settings, *arguments, PACS_FACILITIES='[{"code": "86001", "name": "A"}]', PACS_PEERS=peers)


def test_an_operator_sees_corrections_makes_them_anew_and_gets_what_was_received(opened: Open, tmp_path: Path) -> None:
    archive = opened()
    sent = image()
    stored = send(archive, sent)
    peers = '[{"ae_title": "XQ1", "facility": "86001", "default_character_set": "TCVN3", "coerce": {"remove": ["PatientID"]}}]'
    done = by_hand(archive, "corrections", sent[1], peers=peers)
    assert (done.returncode, done.stdout) == (
        0,
        f"series {stored.series_instance_uid}: 1 instances\n  given as received\n",
    )
    done = by_hand(archive, "corrections", "--reapply", "--peer", "XQ1", peers=peers)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("studies: 1; objects: 1; corrected anew: 1; failed: 0\n")
    done = by_hand(archive, "corrections", sent[1], "--former", peers=peers)
    assert "  text is in TCVN3\n  PatientID: '77' -> removed (remove)\n" in done.stdout
    assert done.stdout.endswith(f"instance {sent[2]}\n  given as received\n")

    output = tmp_path / "original.dcm"
    done = by_hand(archive, "original", sent[2], "--output", str(output), peers=peers)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes().endswith(sent[0])
    assert hashlib.sha256(sent[0]).hexdigest() in done.stdout
    # Nothing is overwritten, and what there is not is said.
    assert by_hand(archive, "original", sent[2], "--output", str(output), peers=peers).returncode == 1
    done = by_hand(archive, "original", sent[2], "--version", "7", peers=peers)
    assert (done.returncode, done.stderr) == (1, "the instance has no version 7\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["corrections"], "name a study, or give --reapply"),
        (["corrections", "1.2", "--peer", "XQ1"], "--peer goes with --reapply"),
        (["corrections", "--reapply", "--peer", "NOBODY"], "no peer has the AE title 'NOBODY'"),
    ],
)
def test_calls_that_make_no_sense(opened: Open, arguments: list[str], said: str) -> None:
    done = by_hand(opened(), *arguments, peers='[{"ae_title": "XQ1", "facility": "86001"}]')
    assert (done.returncode, done.stderr) == (2, f"{said}\n")


def test_a_study_that_there_is_not(opened: Open) -> None:
    done = by_hand(opened(), "corrections", "--reapply", "1.2.3", peers="[]")
    assert (done.returncode, done.stderr) == (1, "no such study\n")


def test_what_a_report_says_of_itself_is_corrected_anew_with_it(opened: Open) -> None:
    archive = opened()
    sent = image()
    send(archive, sent)
    before = sql(archive, "SELECT attributes FROM instance")
    archive = opened(default_character_set="TCVN3")
    archive.corrections.reapply()
    assert sql(archive, "SELECT attributes FROM instance") == before
    (match,) = studies(archive, {0x0020000D: sent[1]})
    assert value(match, 0x00100010) == MEANT


def test_objects_may_arrive_in_a_study_while_it_is_corrected_anew(opened: Open) -> None:
    """Every object is corrected once, whoever was first; nothing waits for ever and the counters are right."""
    archive = opened()
    study, series = generate_uid(), generate_uid()
    for _ in range(10):
        send(archive, _of(study, series, image()), single=False)
    archive = opened(default_character_set="TCVN3", coerce={"prefix": {"PatientID": "T-"}})

    def work(n: int) -> None:
        if n == 0:
            for _ in range(5):
                archive.corrections.reapply(study=study)
        else:
            for _ in range(10):
                send(archive, _of(study, generate_uid() if n == 2 else series, image()), single=False)

    assert together(work, 3) == []
    archive.corrections.reapply(study=study)
    assert sql(archive, "SELECT DISTINCT corrections ->> 'character_set' FROM stored_object") == ["TCVN3"]
    (match,) = studies(archive, {0x0020000D: study})
    assert (value(match, 0x00100010), value(match, 0x00100020)) == (MEANT, "T-77")
    assert {str(given(archive, inst).PatientID) for inst in archive.locate(study)} == {"T-77"}
    archive.reconcile(empty_parents=True)
    assert_sound(archive)


def _of(study: str, series: str, sent: tuple[bytes, str, str]) -> tuple[bytes, str, str]:
    """The object in this study and series. All are in Explicit VR Little Endian, and UIDs of any length fit."""
    data, own, instance = sent
    spans = {span.tag: span for span in outline(data, coding_of_syntax(ExplicitVRLittleEndian))}
    code = coding_of_syntax(ExplicitVRLittleEndian)
    changes = {tag: code.element(tag, "UI", uid.encode()) for tag, uid in ((0x0020000D, study), (0x0020000E, series))}
    assert own in data.decode("latin-1") and set(changes) <= set(spans)
    return with_changes(data, code, changes), study, instance
