"""PS3.15 Annex E: what leaves the archive for research tells of nobody.

The whole corpus is exported. Then every byte of every file is searched for every name, number, date and UID that stood
anywhere in its original.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from archive.deidentify.dataset import Deidentifier
from archive.deidentify.export import Exporter
from archive.deidentify.pixels import refusal
from archive.deidentify.project import Project
from archive.deidentify.table import Action, Option, action_of, rows
from archive.deidentify.words import cleaned
from archive.records import StoredInstance
from storage.filesystem import FilesystemStore
from tests.corpus import storage_objects
from tests.factories import ct_image
from tests.unit.imaging.stored import store_file

ALL = frozenset(Option)
PROJECT = Project("LUNG", bytes(range(32)))
OUR_WORDS = {"patient"}
"""A name in the corpus that our own De-identification Method Code Sequence has, too."""
SHORTEST = 5
"""Letters of a word that is searched for: shorter ones are found in pixels by chance."""


def identifying(dataset: Dataset) -> Iterator[str]:
    """Names, numbers, dates and UIDs of an original, wherever they stand."""
    for element in dataset.iterall():
        try:
            values = element.value if element.VM > 1 else [element.value]
        except Exception:
            continue
        for value in values:
            text = str(value).strip(" \0") if value is not None else ""
            if element.VR == "PN":
                yield from (word for word in re.split(r"[\^=\s,]+", text) if len(word) >= SHORTEST)
            elif element.VR in ("DA", "DT") and re.match(r"[12]\d{7}", text):
                yield text[:8]
            elif element.VR == "UI":
                yield from ([text] if len(text) >= SHORTEST and not text.startswith("1.2.840.10008.") else [])
            elif element.keyword in ("PatientID", "AccessionNumber", "OtherPatientIDs", "PatientAddress"):
                yield from ([text] if len(text) >= SHORTEST else [])


def told(content: bytes, words: set[str]) -> set[str]:
    """Which of the words stand in the bytes, in small letters or large."""
    small = content.lower()
    forms = {(word, form) for word in words for form in (word.lower().encode(), word.encode().lower())}
    return {word for word, form in forms if form in small}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[FilesystemStore, dict[Path, StoredInstance]]:
    """The corpus in a store."""
    held = FilesystemStore(tmp_path_factory.mktemp("objects"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return held, {path: store_file(held, path) for path in storage_objects()}


@pytest.mark.parametrize("options", [ALL, frozenset()], ids=["all options", "basic"])
def test_e_1_1_no_byte_of_the_corpus_tells_of_anybody(
    originals: tuple[FilesystemStore, dict[Path, StoredInstance]], tmp_path: Path, options: frozenset[Option]
) -> None:
    held, found = originals
    exporter = Exporter(held, PROJECT, options, tmp_path, checked_by="the test")
    leaks, searched, done = {}, 0, []
    for path, inst in found.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            words = set(identifying(pydicom.dcmread(path, force=True, stop_before_pixels=True)))
        words = {word for word in words if word.lower() not in OUR_WORDS}
        done.append(exporter.study([inst]))
        searched += len(words)
        for written in done[-1].instances:
            content = (tmp_path / written.file).read_bytes()
            if found_words := told(content + written.file.encode(), words):
                leaks[path.name] = found_words
    assert not leaks
    assert searched > 1000
    assert sum(len(study.instances) for study in done) > 200
    assert not told(exporter.manifest(done).read_bytes(), {inst.sop_instance_uid for inst in found.values()})


def test_e_3_1_pixels_are_those_of_the_original(
    originals: tuple[FilesystemStore, dict[Path, StoredInstance]], tmp_path: Path
) -> None:
    """Also of deflated, big endian and encapsulated objects, and of those that announce another encoding."""
    held, found = originals
    exporter = Exporter(held, PROJECT, ALL, tmp_path, checked_by="the test")
    compared, syntaxes = 0, set()
    for path, inst in found.items():
        [written] = exporter.study([inst]).instances
        assert hashlib.sha256((tmp_path / written.file).read_bytes()).hexdigest() == written.sha256
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = pydicom.dcmread(path, force=True)
            after = pydicom.dcmread(tmp_path / written.file)
            assert after.get("PixelData") == before.get("PixelData"), path.name
            assert after.get("Rows") == before.get("Rows"), path.name
        syntaxes.add(inst.object.transfer_syntax_uid)
        compared += "PixelData" in before
    assert compared > 100
    assert {"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"} <= syntaxes


# Single datasets


def applied(dataset: Dataset, options: frozenset[Option] = ALL, project: Project = PROJECT) -> Dataset:
    """The dataset after de-identification, written and read again as an exported one is."""
    Deidentifier(project, project.patient("86001", "BN0001"), options).apply(dataset)
    return pydicom.dcmread(io.BytesIO(written(dataset)), force=True)


def written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(buffer, dataset)
    return buffer.getvalue()


TELLTALES: dict[str, Any] = {
    "PN": "Telltale^Person",
    "LO": "Telltale text",
    "SH": "Telltale",
    "ST": "Telltale text",
    "LT": "Telltale text",
    "UT": "Telltale text",
    "UC": "Telltale text",
    "UR": "http://telltale.example",
    "AE": "TELLTALE",
    "UI": "1.2.826.0.1.999.1",
    "DA": "20250607",
    "DT": "20250607101112",
}


@pytest.mark.parametrize("options", [ALL, frozenset()], ids=["all options", "basic"])
def test_e_1_1_no_name_uid_date_or_free_text_of_the_dictionary_passes_as_it_is(options: frozenset[Option]) -> None:
    """Every attribute of PS3.6, those too that Table E.1-1 does not have."""
    looked, passed = 0, set()
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr not in ("PN", "UI", "DA", "DT", "ST", "LT", "UT", "UR") or tag >> 16 < 0x0008 or not keyword:
            continue
        looked += 1
        dataset = Dataset()
        dataset.add_new(tag, vr, TELLTALES[vr])
        Deidentifier(PROJECT, PROJECT.patient("", "1"), options).apply(dataset)
        if tag in dataset and str(dataset[tag].value) == TELLTALES[vr]:
            passed.add(keyword)
    assert looked > 450
    # What the Retain Device Identity Option keeps.
    assert passed == {row.keyword for row in rows().values() if kept_of_devices(row.tag) and row.keyword in passed}
    assert options or not passed


def kept_of_devices(tag: int) -> bool:
    return action_of(tag, frozenset((Option.DEVICE,))) is Action.KEEP


def test_table_e_1_1_each_row_is_obeyed() -> None:
    assert len(rows()) > 640
    for row in rows().values():
        if row.tag >> 16 < 0x0008 or row.keyword == "?":
            continue
        vr = dictionary_VR(row.tag).split(" or ")[0]
        dataset = Dataset()
        dataset.add_new(row.tag, vr, Sequence([Dataset()]) if vr == "SQ" else TELLTALES.get(vr, _value(vr)))
        Deidentifier(PROJECT, PROJECT.patient("", "1"), frozenset()).apply(dataset)
        if row.keyword in ("PatientID", "PatientName", "PatientIdentityRemoved"):
            continue
        action = action_of(row.tag, frozenset())
        if action is Action.REMOVE:
            assert row.tag not in dataset, row.keyword
        elif action is Action.EMPTY:
            assert dataset[row.tag].is_empty, row.keyword
        elif action is Action.DUMMY:
            assert not dataset[row.tag].is_empty, row.keyword
            assert str(dataset[row.tag].value) != TELLTALES.get(vr)
        elif action is Action.UID and vr == "UI":
            assert dataset[row.tag].value == PROJECT.uid(TELLTALES["UI"]), row.keyword
    assert action_of(0x60003000, ALL) is action_of(0x60024000, ALL) is action_of(0x50003000, ALL) is Action.REMOVE


def _value(vr: str) -> Any:
    if vr in ("OB", "OW", "UN", "OD", "OF", "OL", "OV"):
        return b"ab"
    return {"CS": "A", "AS": "050Y", "DS": "1", "IS": "1", "TM": "101112", "AT": 0x00100010}.get(vr, 1)


def test_e_1_1_what_hides_in_corners_is_found() -> None:
    dataset = ct_image(PatientName="Nguyễn^Thị Telltale", PatientID="079162007788", StudyDate="20250607")
    dataset.OtherPatientNames = "Telltale"
    dataset.StudyDescription = "CT sọ não Telltale 079162007788"
    dataset.ManufacturerModelName = "Scanner of Telltale"
    dataset.SoftwareVersions = ["1.0", "made 20250607"]
    dataset.add_new(0x60000010, "US", 16)
    dataset.add_new(0x60003000, "OW", b"telltale")
    dataset.add_new(0x60004000, "LT", "Telltale")
    dataset.add_new(0x00091010, "LO", "Telltale")
    dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x27, "SH", "Telltale")
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    dataset.private_block(0x0019, "SIEMENS MR HEADER").add_new(0x10, "LO", "Telltale")
    dataset.add_new(0x00080FFF, "LO", "Telltale")
    dataset.add_new(0x00189999, "UN", b"Telltale")
    inner = Dataset()
    inner.PersonName = "Telltale"
    inner.TextValue = "Telltale"
    inner.ReferencedSOPInstanceUID = "1.2.826.0.1.999.5"
    inner.add_new(0x00091010, "LO", "Telltale")
    outer = Dataset()
    outer.ReferencedImageSequence = Sequence([inner])
    outer.CodeValue, outer.CodingSchemeDesignator, outer.CodeMeaning = "1", "99LOCAL", "Telltale chest"
    dataset.SourceImageSequence = Sequence([outer])
    dataset.ContentSequence = Sequence([inner])
    dataset.OriginalAttributesSequence = Sequence([inner])
    result = applied(dataset)
    words = {"telltale", "079162007788", "20250607", "1.2.826.0.1.999.5", "Nguyễn", "Thị"}
    assert told(written(result), words) == set()
    assert result.StudyDescription == "CT nao"
    assert result.PatientIdentityRemoved == "YES"
    codes = [item.CodeValue for item in result.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113109", "113108", "113107", "113105", "113111"]
    assert [element.tag for element in result if element.tag.is_private] == [0x00190010, 0x0019100C]
    assert result[0x0019100C].value == 1000
    [source] = result.SourceImageSequence
    assert source.ReferencedImageSequence[0].ReferencedSOPInstanceUID == PROJECT.uid("1.2.826.0.1.999.5")
    assert source.CodeMeaning == "chest"
    assert result.ContentSequence[0].TextValue == "REMOVED"


def test_e_3_6_dates_move_together_and_by_a_patient() -> None:
    moved = [applied(ct_image(StudyDate=day, PatientBirthDate="19620512")) for day in ("20250607", "20250617")]
    days = [datetime.strptime(each.StudyDate, "%Y%m%d") for each in moved]
    assert (days[1] - days[0]).days == 10
    assert days[0].year < 2025
    assert moved[0].PatientBirthDate == ""
    assert moved[0].LongitudinalTemporalInformationModified == "MODIFIED"
    basic = applied(ct_image(StudyDate="20250607"), frozenset())
    assert (basic.StudyDate, basic.LongitudinalTemporalInformationModified) == ("", "REMOVED")
    shifts = {PROJECT.patient("", str(number)).shift for number in range(200)}
    assert len(shifts) > 150
    assert -3653 <= min(shifts) <= max(shifts) <= -366
    patient = PROJECT.patient("", "1")
    for odd in ("", "2025", "20251332", "00010101", "abc", "2025-06-07"):
        assert patient.moved(odd) == ""
    assert patient.moved("20250607101112.123+0700").endswith("101112.123+0700")
    assert len(patient.moved("2025.06.07")) == 8


def test_e_3_7_characteristics_stay_if_so_asked_and_great_age_is_not_told() -> None:
    old, young = (ct_image(PatientAge=age, PatientWeight="61.5") for age in ("097Y", "034Y"))
    assert applied(old).PatientAge == "090Y"
    kept = applied(young)
    assert (kept.PatientAge, kept.PatientSex, kept.PatientWeight) == ("034Y", "M", 61.5)
    basic = applied(ct_image(PatientAge="034Y"), frozenset())
    assert "PatientAge" not in basic
    assert basic.PatientSex == ""


def test_one_project_joins_and_another_does_not() -> None:
    projects = (PROJECT, PROJECT, Project("LIVER", bytes(32)))
    first, again, elsewhere = (applied(ct_image(SOPInstanceUID="1.2.3.4"), project=each) for each in projects)
    assert first.SOPInstanceUID == again.SOPInstanceUID != elsewhere.SOPInstanceUID
    assert first.PatientID == again.PatientID != elsewhere.PatientID
    assert first.PatientID.startswith("LUNG-")
    assert len(first.SOPInstanceUID) <= 64
    assert PROJECT.patient("86001", "1") != PROJECT.patient("86002", "1")
    assert PROJECT.patient("a", "bc") != PROJECT.patient("ab", "c")
    assert PROJECT.uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize(
    ("changes", "sop_class", "checked", "why"),
    [
        ({}, "1.2.840.10008.5.1.4.1.1.2", False, ""),
        ({"BurnedInAnnotation": "YES"}, "1.2.840.10008.5.1.4.1.1.2", True, "Burned In"),
        ({"RecognizableVisualFeatures": "YES"}, "1.2.840.10008.5.1.4.1.1.2", True, "Recognizable"),
        ({"Modality": "US"}, "1.2.840.10008.5.1.4.1.1.6.1", False, "modality US"),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, "1.2.840.10008.5.1.4.1.1.6.1", False, ""),
        ({"Modality": "US"}, "1.2.840.10008.5.1.4.1.1.6.1", True, ""),
        ({"Modality": "XA"}, "1.2.840.10008.5.1.4.1.1.12.1", False, "modality XA"),
        ({}, "1.2.840.10008.5.1.4.1.1.7", False, "secondary capture"),
        ({}, "1.2.840.10008.5.1.4.1.1.7.4", False, "secondary capture"),
        ({}, "1.2.840.10008.5.1.4.1.1.104.1", True, "encapsulated document"),
    ],
)
def test_e_3_1_what_may_show_a_name_in_its_pixels_is_refused(
    changes: dict[str, str], sop_class: str, checked: bool, why: str
) -> None:
    found = refusal(ct_image(**changes), sop_class, has_pixels=True, checked=checked)
    assert bool(found) == bool(why)
    assert why in found


def test_e_3_5_descriptions_keep_what_is_known_to_be_harmless() -> None:
    assert cleaned("CT Sọ não không tiêm thuốc 5mm BS Quang") == "CT nao khong tiem thuoc"
    assert cleaned("T2 FLAIR axial Nguyễn Văn A 1962") == "T2 FLAIR axial"
    assert cleaned("HEAD", {"head"}) == ""
    assert cleaned("") == ""
