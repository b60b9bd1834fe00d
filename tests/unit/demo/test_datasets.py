"""What the demo province is made of: valid, stable, invented."""

from __future__ import annotations

import itertools
import re
from datetime import date
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from archive.demo import SETTINGS, load
from archive.demo.datasets import DemoFile, count, files
from archive.demo.past import FACILITIES
from archive.demo.province import FACILITY_NAMES, STUDIES, Person
from archive.standard.file_format import read_file_meta
from config.settings import load as load_settings

PEOPLE = {study.person for study in STUDIES}


@pytest.fixture(scope="module")
def demo() -> list[DemoFile]:
    return list(files())


@pytest.fixture(scope="module")
def datasets(demo: list[DemoFile]) -> list[Dataset]:
    return [dcmread(BytesIO(file.file_meta + file.dataset)) for file in demo]


def test_the_announced_number_of_objects_is_made(demo: list[DemoFile]) -> None:
    assert len(demo) == count()


def test_a_second_making_gives_the_same_bytes(demo: list[DemoFile]) -> None:
    assert [file.dataset for file in files()] == [file.dataset for file in demo]


def test_every_sop_instance_uid_is_unique_and_a_uid(demo: list[DemoFile]) -> None:
    uids = [file.sop_instance_uid for file in demo]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid) for uid in uids)


def test_file_meta_names_the_object_it_stands_before(demo: list[DemoFile]) -> None:
    for file in demo:
        meta = read_file_meta(file.file_meta + file.dataset, at_end=True)
        assert meta.sop_instance_uid == file.sop_instance_uid
        assert meta.transfer_syntax_uid == file.transfer_syntax_uid
        assert meta.dataset_offset == len(file.file_meta)


def test_names_survive_in_utf_8(demo: list[DemoFile], datasets: list[Dataset]) -> None:
    for file, dataset in zip(demo, datasets, strict=True):
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert str(dataset.PatientName) == file.study.person.name
        assert file.study.person.name.encode() in file.dataset


def test_all_objects_of_a_series_agree_on_who_and_what(datasets: list[Dataset]) -> None:
    seen: dict[str, set[tuple[str, ...]]] = {}
    for dataset in datasets:
        facts = (dataset.StudyInstanceUID, dataset.PatientID, dataset.Modality, dataset.StudyDate)
        seen.setdefault(dataset.SeriesInstanceUID, set()).add(tuple(map(str, facts)))
    assert all(len(facts) == 1 for facts in seen.values())


def test_the_image_codings_that_hospitals_send_are_all_there(demo: list[DemoFile]) -> None:
    syntaxes = {file.transfer_syntax_uid for file in demo}
    assert {JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, JPEGLosslessSV1, RLELossless} <= syntaxes


def test_nothing_names_where_a_test_file_came_from(demo: list[DemoFile]) -> None:
    for file in demo:
        for origin in (b"CompressedSamples", b"AKH - WIEN", b"Ospedali", b"CQ500", b"Citizen^Jan", b"BAPTIST"):
            assert origin not in file.dataset, file.name


def test_the_thorax_is_a_stack_that_can_be_reformatted(datasets: list[Dataset]) -> None:
    stack = [dataset for dataset in datasets if dataset.get("SeriesDescription") == "Lồng ngực 3 mm"]
    heights = [float(dataset.ImagePositionPatient[2]) for dataset in stack]
    assert len(stack) == 96
    assert len({dataset.FrameOfReferenceUID for dataset in stack}) == 1
    assert {round(above - below, 6) for above, below in itertools.pairwise(heights)} == {3.0}


def test_the_thorax_holds_air_lung_soft_tissue_and_bone(datasets: list[Dataset]) -> None:
    middle = next(d for d in datasets if d.get("SeriesDescription") == "Lồng ngực 3 mm" and d.InstanceNumber == 48)
    units = pixel_array(middle).astype(int) + int(middle.RescaleIntercept)
    assert abs(np.median(units[:8]) + 1000) < 20
    assert abs(np.median(units[120:136, 78:90]) + 860) < 60
    assert abs(np.median(units[100:116, 138:150]) - 50) < 30
    assert units.max() > 250


def test_the_finding_has_grown_since_the_examination_in_the_district(datasets: list[Dataset]) -> None:
    """The right upper lobe, 62 mm above the middle: 18 mm wide now, 10 mm a year ago."""
    width: dict[str, int] = {}
    for dataset in datasets:
        if str(dataset.get("SeriesDescription")).startswith("Lồng ngực") and abs(dataset.SliceLocation - 62) < 1.6:
            row = pixel_array(dataset)[round(24 / 1.5 + 127.5), 60:100].astype(int) - 1024
            width[dataset.StudyDate] = max(width.get(dataset.StudyDate, 0), int((row > -400).sum()))
    assert set(width) == {"20261030", "20251112"}
    assert width["20261030"] > width["20251112"] > 3


def test_the_angiogram_shows_contrast_come_and_go(datasets: list[Dataset]) -> None:
    frames = pixel_array(next(dataset for dataset in datasets if dataset.Modality == "XA")).astype(int)
    darkest = [int(np.percentile(frame, 0.2)) for frame in frames]
    assert min(darkest) < darkest[0] - 20
    assert darkest[-1] > min(darkest) + 10


def test_the_report_names_the_images_that_it_reads(demo: list[DemoFile], datasets: list[Dataset]) -> None:
    report = next(dataset for dataset in datasets if dataset.Modality == "SR")
    references = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert {item.ReferencedSOPInstanceUID for item in references} <= {file.sop_instance_uid for file in demo}
    assert report.StudyInstanceUID == demo[0].study.uid


@pytest.mark.parametrize("person", sorted(PEOPLE, key=lambda person: person.name), ids=lambda person: person.name)
def test_a_citizen_number_agrees_with_its_person_and_can_be_nobodys(person: Person) -> None:
    if not person.issuer:
        assert not re.fullmatch(r"\d{12}", person.patient_id)
        return
    assert re.fullmatch(r"\d{12}", person.patient_id)
    assert person.patient_id.startswith("099"), "provinces of registration are 001 to 096"
    century, female = divmod(int(person.patient_id[3]), 2)
    assert bool(female) == (person.sex == "F")
    assert f"{19 + century}{person.patient_id[4:6]}" == person.birth_date[:4]
    date.fromisoformat(person.birth_date)


def test_one_citizen_was_examined_in_both_hospitals() -> None:
    facilities = {study.facility for study in STUDIES if study.person.name == "NGUYỄN THỊ HOA"}
    assert facilities == set(FACILITY_NAMES)


def test_the_demo_settings_list_the_hospitals_of_the_demo() -> None:
    settings = load_settings(SETTINGS, environ={})
    assert {facility.code: facility.name for facility in settings.facilities} == FACILITIES
    assert settings.unknown_peers == "accept"
    assert settings.node.host == "127.0.0.1", "who accepts anyone listens to this machine only"


def test_written_files_are_the_same_objects(tmp_path, demo: list[DemoFile]) -> None:
    steps: list[tuple[int, int]] = []
    load.write(tmp_path, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (count(), count())
    for file in demo:
        assert (tmp_path / file.name).read_bytes() == file.file_meta + file.dataset
