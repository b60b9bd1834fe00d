"""Four storescu at once, each with the first object of the same new patient, study and series (dcm4chee-arc #42 ...).

``PACS_TEST_RACES`` changes the number of repetitions.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.e2e.test_dimse_corpus import save
from tests.factories import ct_image
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.running import Node

__all__ = ["node"]

RACES = int(os.environ.get("PACS_TEST_RACES", "10"))
WAYS = 4


def same_series(race: int) -> list[Dataset]:
    study, series = generate_uid(), generate_uid()
    return [
        ct_image(seed=n, InstanceNumber=n, StudyInstanceUID=study, SeriesInstanceUID=series, PatientID=f"RACE{race}")
        for n in range(WAYS)
    ]


def same_study(race: int) -> list[Dataset]:
    study = generate_uid()
    return [
        ct_image(seed=n, StudyInstanceUID=study, PatientID=f"RACE{race}", Modality=["CT", "MR", "CT", "US"][n])
        for n in range(WAYS)
    ]


def same_patient(race: int) -> list[Dataset]:
    return [ct_image(seed=n, PatientID=f"RACE{race}") for n in range(WAYS)]


def same_object(race: int) -> list[Dataset]:
    return [ct_image(PatientID=f"RACE{race}")] * WAYS


def same_instance_other_bytes(race: int) -> list[Dataset]:
    first = ct_image(PatientID=f"RACE{race}")
    images = [ct_image(seed=n, PatientID=f"RACE{race}") for n in range(WAYS)]
    for image in images:
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(image, keyword, getattr(first, keyword))
    return images


def send_at_once(port: int, images: list[Dataset], folder: Path) -> None:
    folder.mkdir()
    paths = [folder / f"{n}.dcm" for n in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        save(image, path)
    processes = [
        subprocess.Popen(
            ["storescu", "-aet", "CT1", "-aec", "PACS", "127.0.0.1", str(port), str(path)], stderr=subprocess.PIPE
        )
        for path in paths
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert errors == b""


@pytest.mark.parametrize(
    ("make", "patients", "studies", "series", "instances", "versions"),
    [
        (same_series, 1, 1, 1, WAYS, WAYS),
        (same_study, 1, 1, WAYS, WAYS, WAYS),
        (same_patient, 1, WAYS, WAYS, WAYS, WAYS),
        (same_object, 1, 1, 1, 1, 1),
        (same_instance_other_bytes, 1, 1, 1, 1, WAYS),
    ],
)
def test_first_objects_at_once_make_one_row_each(
    node: Node, tmp_path: Path, make: object, patients: int, studies: int, series: int, instances: int, versions: int
) -> None:
    # The full number for the case of the issue, fewer for its variants.
    races = RACES if make is same_series else max(RACES // 3, 1)
    for race in range(races):
        send_at_once(node.port, make(race), tmp_path / str(race))  # type: ignore[operator]
    node.wait_until_idle()
    (counted,) = node.sql(
        "SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM study), (SELECT count(*) FROM series), "
        "(SELECT count(*) FROM instance), (SELECT count(*) FROM stored_object)"
    )
    assert counted == tuple(races * each for each in (patients, studies, series, instances, versions))
    assert_counters_are_right(node)
    assert len(node.digests()) == races * versions
    assert node.leftovers() == []
    print(f"\n{make.__name__}: {races} races of {WAYS}: rows {counted}")  # type: ignore[attr-defined]


def assert_counters_are_right(node: Node) -> None:
    """What the rows say of their children is what there is."""
    wrong = node.sql(
        """
        SELECT study_instance_uid, instance_count, series_count, byte_count, modalities_in_study, n, s, b, m
          FROM study JOIN LATERAL (
            SELECT count(*) AS n, count(DISTINCT series.id) AS s, sum(size) AS b,
                   array_agg(DISTINCT modality ORDER BY modality) AS m
              FROM series JOIN instance ON instance.series_id = series.id
              JOIN stored_object ON stored_object.instance_id = instance.id AND current
             WHERE series.study_id = study.id
          ) AS found ON true
         WHERE (instance_count, series_count, byte_count, modalities_in_study) IS DISTINCT FROM (n, s, b, m)
        """
    )
    assert wrong == []
    assert (
        node.sql(
            "SELECT 1 FROM series WHERE instance_count <> (SELECT count(*) FROM instance WHERE series_id = series.id)"
        )
        == []
    )
