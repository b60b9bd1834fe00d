"""Rejection notes and quarantine with clients of other makers: DCMTK and pynetdicom."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from archive.core import Archive
from archive.rejection.quarantine import Decision
from config.peers import Peer
from config.settings import Settings
from tests.e2e.test_dimse_query_retrieve import dcmtk, storescp
from tests.integration.archive.test_rejection import study_of
from tests.integration.dicom_node.running import Node, running
from tests.integration.dicom_node.scu import associated
from tests.rejection_notes import QUALITY, SAFETY, note

VIEWS = {"CLINIC": "clinical", "QC": "quality", "ADMIN": "everything"}
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def of_views() -> list[Peer]:
    rights = frozenset({"find", "move", "store"})
    return [
        Peer(ae_title=title, facility="86001", rights=rights, view=view, destinations="province")  # type: ignore[arg-type]
        for title, view in VIEWS.items()
    ]


def write(folder: Path, *documents: Dataset) -> list[str]:
    paths = []
    for document in documents:
        path = folder / f"{document.SOPInstanceUID}.dcm"
        saved = Dataset(document)
        saved.ensure_file_meta()
        saved.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        saved.save_as(path, enforce_file_format=True)
        paths.append(str(path))
    return paths


def storescu(node: Node, calling: str, *paths: str) -> tuple[int, str]:
    done = subprocess.run(
        ["storescu", "-v", "-aet", calling, "-aec", "PACS", "127.0.0.1", str(node.port), *paths],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def counted(node: Node, calling: str, study: str) -> list[int]:
    """Related instances of the study as findscu finds it; nothing if it is not found."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}", "-k", "NumberOfStudyRelatedInstances"]
    done = subprocess.run(
        ["findscu", "-v", "-S", "-aet", calling, "-aec", "PACS", *keys, "127.0.0.1", str(node.port)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "(0020,1208)" in line and "[" in line]
    return [int(line.split("[")[1].split("]")[0]) for line in lines]


def got(node: Node, calling: str, study: str, folder: Path) -> set[str]:
    """What getscu and movescu bring of the study; both must bring the same."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    found = []
    for program, more in (("getscu", ["-od", str(folder / calling)]), ("movescu", ["-aem", "VIEWER"])):
        target = folder / calling if program == "getscu" else folder / "viewer"
        target.mkdir(exist_ok=True)
        for old in target.iterdir():
            old.unlink()
        done = subprocess.run(
            [program, "-v", "-S", "-aet", calling, "-aec", "PACS", *more, *keys, "127.0.0.1", str(node.port)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found.append({str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in target.iterdir()})
    assert found[0] == found[1]
    return found[0]


def test_storescu_rejects_and_every_view_agrees(settings: Settings, tmp_path: Path) -> None:
    images = study_of(5, series=2)
    study = images[0].StudyInstanceUID
    quality, safety = note(images[:2], QUALITY), note(images[2:3], SAFETY)
    with storescp(tmp_path / "viewer") as viewer:
        changed = settings.model_copy(update={"peers": (*settings.peers, *of_views(), viewer)})
        with Archive.open(changed) as archive, running(changed, archive) as node:
            code, output = storescu(node, "CT1", *write(tmp_path, *images, quality, safety))
            assert code == 0, output
            expected = {
                "CLINIC": {each.SOPInstanceUID for each in images[3:]},
                "QC": {each.SOPInstanceUID for each in (*images[:2], *images[3:], quality)},
                "ADMIN": {each.SOPInstanceUID for each in (*images, quality, safety)},
            }
            for calling, instances in expected.items():
                assert counted(node, calling, study) == [len(instances)], calling
                assert got(node, calling, study, tmp_path) == instances
            # All of it, and the study is gone; the note rejected, and it is back.
            whole = note(images, SAFETY)
            assert storescu(node, "CT1", *write(tmp_path, whole))[0] == 0
            assert counted(node, "CLINIC", study) == []
            assert storescu(node, "CT1", *write(tmp_path, note([whole, safety, quality])))[0] == 0
            assert counted(node, "CLINIC", study) == [5]
            node.wait_until_idle()


def test_a_note_of_another_facility_is_stored_with_a_warning(settings: Settings, archive: Archive) -> None:
    images = study_of(1)
    document = note(images, SAFETY)
    with running(settings, archive) as node:
        with associated(node, [(images[0].SOPClassUID, ExplicitVRLittleEndian)]) as association:
            assert association.send_c_store(_with_meta(images[0])).Status == 0
        with associated(node, [(document.SOPClassUID, ExplicitVRLittleEndian)], calling="US2") as association:
            status = association.send_c_store(_with_meta(document))
            assert status.Status == 0xB007
            assert status.ErrorComment == "stored; 1 of 1 instances belong to another facility"
        assert len(archive.locate(images[0].StudyInstanceUID)) == 1
        node.wait_until_idle()


def test_what_an_unlisted_modality_sends_waits_for_its_release(settings: Settings, tmp_path: Path) -> None:
    images = study_of(2)
    study = images[0].StudyInstanceUID
    changed = settings.model_copy(update={"peers": (*settings.peers, *of_views()), "unknown_peers": "quarantine"})
    with Archive.open(changed) as archive, running(changed, archive) as node:
        code, output = storescu(node, "RENTED", *write(tmp_path, *images))
        assert code == 0, output
        assert [counted(node, calling, study) for calling in ("CT1", "CLINIC", "QC")] == [[], [], []]
        (waiting,) = archive.quarantine.studies()
        assert waiting.sender == "RENTED@127.0.0.1"
        assert dcmtk("echoscu", node)[0] == 0
        archive.quarantine.release(Decision(waiting.sender, None, "admin"), "86001")
        assert [counted(node, calling, study) for calling in ("CT1", "CLINIC", "QC")] == [[2], [2], [2]]
        node.wait_until_idle()


def test_an_unlisted_modality_finds_nothing(settings: Settings) -> None:
    changed = settings.model_copy(update={"unknown_peers": "quarantine"})
    with Archive.open(changed) as archive, running(changed, archive) as node:
        with associated(node, [(STUDY_ROOT_FIND, ExplicitVRLittleEndian)], calling="RENTED") as association:
            query = Dataset()
            query.QueryRetrieveLevel = "STUDY"
            ((status, _),) = list(association.send_c_find(query, STUDY_ROOT_FIND))
            assert status.Status == 0x0124
        node.wait_until_idle()


def _with_meta(document: Dataset) -> Dataset:
    document.ensure_file_meta()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return document
