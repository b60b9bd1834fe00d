"""``python -m archive deidentify`` as whoever prepares data for research calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom

from archive.core import Archive
from config.settings import Settings
from tests.factories import ct_image, store
from tests.integration.archive.support import sql
from tests.integration.archive.test_cli import run


def test_studies_of_one_patient_are_written_and_join(settings: Settings, archive: Archive, tmp_path: Path) -> None:
    first, second = ct_image(StudyDate="20250607"), ct_image(StudyDate="20250617")
    hidden = ct_image(StudyInstanceUID=first.StudyInstanceUID, BurnedInAnnotation="YES")
    for image in (first, second, hidden):
        store(archive, image)
    out = tmp_path / "out"
    call = ("deidentify", "--project", "LUNG", "--out", str(out), "--study")
    done = run(settings, *call, first.StudyInstanceUID)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no project LUNG" in done.stderr
    assert not out.exists()

    done = run(settings, *call, first.StudyInstanceUID, "--new")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("written: 1; refused: 1; see ")
    [manifest] = out.glob("manifest-*.json")
    said = json.loads(manifest.read_text())
    assert "Burned In Annotation is YES" in said["studies"][0]["refused"][0]["reason"]
    assert [line.split()[0] for line in said["profile"]] == ["113100", "113109", "113108", "113107", "113105", "113111"]
    again = run(settings, *call, second.StudyInstanceUID, "--new")
    assert (again.returncode, "has a key already" in again.stderr) == (1, True)
    done = run(settings, *call, second.StudyInstanceUID)
    assert (done.returncode, done.stderr) == (0, "")

    files = [pydicom.dcmread(path) for path in sorted(out.rglob("*.dcm"))]
    assert len(files) == 2
    assert len({file.PatientID for file in files}) == 1
    assert len({file.StudyInstanceUID for file in files}) == 2
    for path in [*out.rglob("*.dcm"), *out.glob("*.json")]:
        content = path.read_bytes() + str(path.relative_to(out)).encode()
        for word in ("BN0001", "Nguy", first.StudyInstanceUID, second.StudyInstanceUID, "20250607", "19620512"):
            assert word.encode() not in content
        assert path.stat().st_mode & 0o777 == 0o600
    key = settings.data_dir / "keys" / "projects" / "LUNG.key"
    assert key.stat().st_mode & 0o777 == 0o600
    exports = sql(archive, "SELECT count(*) FROM audit_record WHERE action = 'export'")
    assert exports == [2]


def test_mistakes_are_one_sentence(settings: Settings, archive: Archive, tmp_path: Path) -> None:
    call = ["deidentify", "--out", str(tmp_path / "out"), "--new", "--project"]
    for arguments, said in (
        ([*call, "lung", "--study", "1.2.3"], "no name of a project"),
        ([*call, "LUNG", "--study", "1.2.3", "--options", "dates,names"], "there is no option names"),
        ([*call, "LUNG", "--study", "1.2.3"], "no such study"),
    ):
        done = run(settings, *arguments)
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
