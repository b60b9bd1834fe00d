"""Orthanc as a peer both ways: it echoes, stores, forwards, queries and retrieves, and takes what is moved to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.factories import ct_image
from tests.interop.matrix import DESTINATION, FIND, MOVE, ORTHANC, STORE, VERIFICATION, case
from tests.interop.orthanc import Orthanc, orthanc
from tests.interop.programs import assert_same, dcmtk, keys, received, run
from tests.interop.site import Site

FORWARD_INSTANCES = """
function OnStoredInstance(instanceId, tags, metadata, origin)
  if tags['PatientID'] == 'FORWARD' then SendToModality(instanceId, 'pacs') end
end
function OnStableStudy(studyId, tags, metadata)
  if tags['StudyID'] == 'STABLE' then RestApiPost('/modalities/pacs/store', studyId) end
end
"""


@pytest.fixture(scope="module")
def running_peer(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(site, tmp_path_factory.mktemp("orthanc") / "one", FORWARD_INSTANCES) as started:
        yield started


@pytest.fixture
def peer(running_peer: Orthanc) -> Orthanc:
    """Orthanc, empty."""
    running_peer.clear()
    return running_peer


def image(**attributes: Any) -> Dataset:
    made = ct_image(**attributes)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def has(site: Site, images: list[Dataset], tmp_path: Any) -> None:
    """The archive gives these back as they were."""
    site.wait_for([str(each.SOPInstanceUID) for each in images])
    (tmp_path / "got").mkdir()
    asked = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=images[0].StudyInstanceUID)
    assert dcmtk("getscu", site, "-S", "-od", str(tmp_path / "got"), *asked).code == 0
    assert_same(images, received(tmp_path / "got"))


@case(ORTHANC, "/modalities/{id}/echo", VERIFICATION, "C-ECHO")
def test_orthanc_echoes(peer: Orthanc) -> None:
    assert peer.post("/modalities/pacs/echo", {}) == {}


@case(
    ORTHANC,
    "echo of Orthanc by DCMTK under our AE title",
    DESTINATION,
    "the peer that we send to is the one that answers",
)
def test_orthanc_is_there(site: Site, peer: Orthanc) -> None:
    assert run("echoscu", "-aec", "ORTHANC", "127.0.0.1", str(site.ports["ORTHANC"])).code == 0


@case(ORTHANC, "/modalities/{id}/store", STORE, "a study of two objects; stored as Orthanc holds them")
def test_orthanc_stores(site: Site, peer: Orthanc, tmp_path: Any) -> None:
    first = image(PatientID="ORTHANC", InstanceNumber=1)
    second = image(PatientID="ORTHANC", InstanceNumber=2, seed=1, StudyInstanceUID=first.StudyInstanceUID)
    study = peer.upload(first)["ParentStudy"]
    peer.upload(second)
    answer = peer.post("/modalities/pacs/store", {"Resources": [study], "Synchronous": True})
    assert answer["InstancesCount"] == 2
    assert answer["FailedInstancesCount"] == 0
    has(site, [first, second], tmp_path)


@case(ORTHANC, "Lua `OnStoredInstance`", STORE, "auto-forward of each object as it arrives")
def test_orthanc_forwards_instances(site: Site, peer: Orthanc, tmp_path: Any) -> None:
    images = [image(PatientID="FORWARD", InstanceNumber=1)]
    images.append(image(PatientID="FORWARD", InstanceNumber=2, StudyInstanceUID=images[0].StudyInstanceUID))
    for each in images:
        peer.upload(each)
    has(site, images, tmp_path)


@case(ORTHANC, "Lua `OnStableStudy`", STORE, "auto-forward of a study when it is complete")
def test_orthanc_forwards_stable_studies(site: Site, peer: Orthanc, tmp_path: Any) -> None:
    images = [image(PatientID="STABLE", StudyID="STABLE", InstanceNumber=1)]
    images.append(image(PatientID="STABLE", StudyID="STABLE", StudyInstanceUID=images[0].StudyInstanceUID, seed=1))
    for each in images:
        peer.upload(each)
    has(site, images, tmp_path)


@case(ORTHANC, "movescu asks Orthanc to move to us", STORE, "Orthanc as an archive of another maker that sends")
def test_orthanc_moves_to_us(site: Site, peer: Orthanc, tmp_path: Any) -> None:
    one = image(PatientID="MOVED")
    peer.upload(one)
    asked = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=one.StudyInstanceUID)
    there = ["-aec", "ORTHANC", "-aem", "PACS", *asked, "127.0.0.1", str(site.ports["ORTHANC"])]
    # Orthanc moves only for those that it knows, by address.
    done = run("movescu", "-v", "-S", "-aet", "PACS", *there)
    assert done.code == 0, done.output
    has(site, [one], tmp_path)


@case(ORTHANC, "/modalities/{id}/query", FIND, "patients, studies, series and instances; names in Vietnamese")
def test_orthanc_queries(site: Site, peer: Orthanc) -> None:
    first = site.images[0]
    for level, query, wanted in (
        ("Patient", {"PatientID": "BN000*"}, {"BN0001", "BN0002"}),
        ("Study", {"PatientName": "TRAN*", "StudyDate": "20261101-20261130"}, {site.study(2)[0].StudyInstanceUID}),
        ("Series", {"StudyInstanceUID": first.StudyInstanceUID}, {each.SeriesInstanceUID for each in site.study(0)}),
        (
            "Instance",
            {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID},
            {each.SOPInstanceUID for each in site.images if each.SeriesInstanceUID == first.SeriesInstanceUID},
        ),
    ):
        keyword = {
            "Patient": "PatientID",
            "Study": "StudyInstanceUID",
            "Series": "SeriesInstanceUID",
            "Instance": "SOPInstanceUID",
        }[level]
        found = peer.post("/modalities/pacs/query", {"Level": level, "Query": {keyword: "", **query}})
        answers = peer.get(f"/queries/{found['ID']}/answers?expand&simplify")
        assert {each[keyword] for each in answers} == wanted
    (answer,) = [each for each in _studies(peer) if each["PatientID"] == "BN0002"]
    assert answer["PatientName"] == "Trần^Thị B"


def _studies(peer: Orthanc) -> list[dict[str, str]]:
    query = {"PatientID": "BN*", "PatientName": "", "StudyInstanceUID": ""}
    found = peer.post("/modalities/pacs/query", {"Level": "Study", "Query": query})
    answers: list[dict[str, str]] = peer.get(f"/queries/{found['ID']}/answers?expand&simplify")
    return answers


@case(
    ORTHANC,
    "/queries/{id}/answers/{n}/retrieve",
    MOVE,
    "one answer of a query is moved to Orthanc; every object as it is held",
)
def test_orthanc_retrieves_an_answer(site: Site, peer: Orthanc) -> None:
    query = {"Level": "Study", "Query": {"PatientID": "BN0001", "StudyDescription": "CT*"}}
    found = peer.post("/modalities/pacs/query", query)
    assert peer.get(f"/queries/{found['ID']}/answers") == ["0"]
    peer.post(f"/queries/{found['ID']}/answers/0/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    assert_same(site.study(0), peer.holds())


@case(ORTHANC, "/queries/{id}/retrieve", MOVE, "all answers of a query at once, one of them held in RLE")
def test_orthanc_retrieves_all_answers(site: Site, peer: Orthanc) -> None:
    found = peer.post("/modalities/pacs/query", {"Level": "Study", "Query": {"PatientID": "BN000*"}})
    peer.post(f"/queries/{found['ID']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    assert_same(site.images, peer.holds())


@case(ORTHANC, "/modalities/{id}/move", MOVE, "a series by its UIDs")
def test_orthanc_moves(site: Site, peer: Orthanc) -> None:
    first = site.images[0]
    uids = {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID}
    peer.post("/modalities/pacs/move", {"Level": "Series", "Resources": [uids], "TargetAet": "ORTHANC"})
    assert_same([each for each in site.images if each.SeriesInstanceUID == first.SeriesInstanceUID], peer.holds())


@case(ORTHANC, "its storage", DESTINATION, "told by movescu: a study that is held in RLE arrives")
def test_orthanc_as_destination(site: Site, peer: Orthanc) -> None:
    asked = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=site.study(2)[0].StudyInstanceUID)
    done = dcmtk("movescu", site, "-S", "-aem", "ORTHANC", *asked)
    assert done.code == 0, done.output
    assert_same(site.study(2), peer.holds())
