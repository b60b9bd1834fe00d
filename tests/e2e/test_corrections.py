"""Old devices sent by storescu, and what findscu, getscu, movescu, dcmdump, dcm2json, pydicom and browsers read of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from archive.core import Archive
from archive.standard.file_format import encode_file_meta
from config.peers import Peer
from config.settings import Settings
from tests.e2e.test_dimse_query_retrieve import dcmtk, storescp
from tests.integration.archive.test_corrections import PIXELS, image
from tests.integration.dicom_node.running import Node, running
from tests.integration.dicom_node.scu import findscu
from tests.web_server import serving
from viewer_api.app import create_app

CR = "1.2.840.10008.5.1.4.1.1.1"
NAME = "Nguyễn^Văn Đức"
WRITTEN = {
    "TCVN3": "NguyÔn^V¨n §øc".encode("cp1252"),
    "VNI": "Nguyeãn^Vaên Ñöùc".encode("cp1252"),
    "windows-1258": "Nguyê\u0303n^Văn Đư\u0301c".encode("cp1258"),
    "UTF-8": NAME.encode(),
}
HOSPITALS = {
    "TCVN3": "BÖnh viÖn C¸i BÌ".encode("cp1252"),
    "VNI": "Beänh vieän Caùi Beø".encode("cp1252"),
    "windows-1258": "Bê\u0323nh viê\u0323n Ca\u0301i Be\u0300".encode("cp1258"),
    "UTF-8": "Bệnh viện Cái Bè".encode(),
}


@contextmanager
def node_with(
    settings: Settings, viewer: Peer | None = None, **peer: object
) -> Iterator[tuple[Node, httpx.Client, str]]:
    """A node that takes from OLD, who has these settings, and a web service on the same archive."""
    values = settings.model_dump()
    values["database"]["url"] = settings.database.url.get_secret_value()
    values["peers"] = [
        {"ae_title": "OLD", "facility": "86001", **peer},
        {"ae_title": "CT1", "facility": "86001", "rights": ["find", "move"]},
        *([viewer.model_dump()] if viewer else []),
    ]
    changed = Settings(**values)
    with (
        Archive.open(changed) as archive,
        running(changed, archive) as node,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as web,
    ):
        yield node, web, url
        node.wait_until_idle()


def send(node: Node, folder: Path, syntax: str = ExplicitVRLittleEndian, **values: bytes) -> tuple[Path, str, str]:
    """Send an object by storescu as OLD; gives the file, its study and instance."""
    data, study, instance = image(syntax, **values)
    path = folder / "sent.dcm"
    path.write_bytes(encode_file_meta(CR, instance, syntax, "OLD") + data)
    option = "-xi" if syntax == ImplicitVRLittleEndian else "-xe"
    command = ["storescu", option, "-aet", "OLD", "-aec", "PACS", "127.0.0.1", str(node.port), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return path, study, instance


def read_by_dcmtk(path: Path) -> dict[str, dict[str, object]]:
    """The file as dcm2json sees it, after dcmdump has found nothing wrong with it."""
    dumped = subprocess.run(["dcmdump", "-q", "+U8", str(path)], capture_output=True, check=False)
    assert dumped.returncode == 0, dumped.stderr
    assert NAME in dumped.stdout.decode()
    converted = subprocess.run(["dcm2json", str(path)], capture_output=True, check=True)
    found: dict[str, dict[str, object]] = json.loads(converted.stdout)
    return found


def assert_right(path: Path) -> None:
    """Every reader sees the name that was meant, and the pixels as they were sent."""
    ds = dcmread(path)
    assert (str(ds.PatientName), ds.InstitutionName) == (NAME, "Bệnh viện Cái Bè")
    assert ds.PixelData == PIXELS
    found = read_by_dcmtk(path)
    assert found["00100010"]["Value"] == [{"Alphabetic": NAME}]
    assert found["00080080"]["Value"] == ["Bệnh viện Cái Bè"]
    assert found["00080005"]["Value"] == ["ISO_IR 192"]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("name", WRITTEN)
def test_what_clients_read_of_an_old_device(settings: Settings, tmp_path: Path, name: str, syntax: str) -> None:
    written = {"x00100010": WRITTEN[name], "x00080080": HOSPITALS[name], "x00081030": b"CR"}
    with (
        storescp(tmp_path / "moved", "+xa") as viewer,
        node_with(settings, viewer, default_character_set=name) as (node, web, url),
    ):
        _, study, instance = send(node, tmp_path, syntax, **written)

        found = findscu(
            node, tmp_path / "found", "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}", "PatientName"
        )
        assert [str(each.PatientName) for each in found.responses] == [NAME]
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        (tmp_path / "got").mkdir()
        code, output = dcmtk("getscu", node, "-S", "-od", str(tmp_path / "got"), *keys)
        assert code == 0, output
        code, output = dcmtk("movescu", node, "-S", "-aem", "VIEWER", *keys)
        assert code == 0, output
        for folder in ("got", "moved"):
            (path,) = (tmp_path / folder).iterdir()
            assert_right(path)

        client = DICOMwebClient(f"{url}/dicom-web")
        (listed,) = client.search_for_studies(search_filters={"PatientName": "nguyen*"}, fuzzymatching=True)
        assert listed["00100010"]["Value"] == [{"Alphabetic": NAME}]
        (metadata,) = client.retrieve_study_metadata(study)
        assert metadata["00080080"]["Value"] == ["Bệnh viện Cái Bè"]
        for number, accept in enumerate(("*", "1.2.840.10008.1.2.1")):
            (given,) = client.retrieve_study(study, media_types=(("application/dicom", accept),))
            path = tmp_path / f"wado{number}.dcm"
            given.save_as(path, enforce_file_format=True)
            assert_right(path)
        zipped = web.get(f"/dicom-web/studies/{study}", headers={"Accept": "application/zip"})
        assert NAME.encode() in zipped.content
        assert NAME.replace("^", " ") in web.get("/").text or "Đức" in web.get("/").text
        assert instance in web.get(f"/dicom-web/studies/{study}/instances").text


def test_a_device_without_settings_gets_back_what_it_sent(settings: Settings, tmp_path: Path) -> None:
    with node_with(settings) as (node, web, _):
        sent, study, _ = send(node, tmp_path)
        given = web.get(
            f"/dicom-web/studies/{study}", headers={"Accept": 'multipart/related; type="application/dicom"'}
        )
        assert dcmread(sent).PatientID.encode() in given.content
        assert WRITTEN["TCVN3"] in given.content


def test_rules_of_a_commune_station(settings: Settings, tmp_path: Path) -> None:
    coerce = {
        "issuer_of_patient_id": "facility",
        "institution_name": "Trạm Y tế xã Tân Phú",
        "prefix": {"PatientID": "TYT05-"},
        "remove": ["OtherPatientIDs"],
    }
    with node_with(settings, default_character_set="TCVN3", coerce=coerce) as (node, web, _):
        _, study, _ = send(node, tmp_path)
        found = findscu(node, tmp_path / "f", "QueryRetrieveLevel=STUDY", "PatientID=TYT05-77", "StudyInstanceUID")
        assert [each.StudyInstanceUID for each in found.responses] == [study]
        (tmp_path / "got").mkdir()
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        code, output = dcmtk("getscu", node, "-S", "-od", str(tmp_path / "got"), *keys)
        assert code == 0, output
        (path,) = (tmp_path / "got").iterdir()
        found_by_dcmtk = read_by_dcmtk(path)
        assert found_by_dcmtk["00100020"]["Value"] == ["TYT05-77"]
        assert found_by_dcmtk["00080080"]["Value"] == ["Trạm Y tế xã Tân Phú"]
        assert "00101000" not in found_by_dcmtk
        reasons = [item["04000565"]["Value"] for item in found_by_dcmtk["04000561"]["Value"]]
        assert reasons == [["CORRECT"], ["COERCE"]]
        (metadata,) = web.get(f"/dicom-web/studies/{study}/metadata").json()
        assert metadata["00100020"]["Value"] == ["TYT05-77"]
        assert metadata["04000561"] == found_by_dcmtk["04000561"]
