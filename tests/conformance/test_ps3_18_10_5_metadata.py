"""PS3.18 10.5.1, 8.6.1.2: instances stored as metadata and bulk data."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.corpus import storage_objects
from tests.web_server import shared_web, store_files  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
VIDEO = "1.2.840.10008.5.1.4.1.1.77.1.4.1"
WAVEFORM = "1.2.840.10008.5.1.4.1.1.9.1.1"
Part = tuple[str, str, bytes]


@pytest.fixture(scope="module")
def web(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    return shared_web


def metadata(sop_class: str, **more: Any) -> dict[str, Any]:
    """A dataset in the DICOM JSON model; `more` are elements by their keys, with an underscore before the digits."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientID, ds.PatientName, ds.Modality = "BN1", "Đỗ^Thị Bích", "OT"
    made: dict[str, Any] = ds.to_json_dict()
    return {**made, **{key.removeprefix("_"): element for key, element in more.items()}}


def body(datasets: object, *parts: Part) -> bytes:
    text = datasets if isinstance(datasets, bytes) else json.dumps(datasets).encode()
    pieces = [b"--b\r\nContent-Type: application/dicom+json\r\n\r\n" + text]
    for location, content_type, value in parts:
        head = f"--b\r\nContent-Type: {content_type}\r\nContent-Location: {location}\r\n\r\n"
        pieces.append(head.encode() + value)
    return b"\r\n".join(pieces) + b"\r\n--b--\r\n"


def post(web: httpx.Client, datasets: object, *parts: Part, path: str = "/dicom-web/studies") -> httpx.Response:
    kind = 'multipart/related; type="application/dicom+json"; boundary=b'
    return web.post(path, content=body(datasets, *parts), headers={"content-type": kind})


def bulk(key: str, vr: str, uri: str = "bulk/1") -> dict[str, Any]:
    return {f"_{key}": {"vr": vr, "BulkDataURI": uri}}


def fetched(web: httpx.Client, dataset: dict[str, Any]) -> pydicom.FileDataset:
    """The stored instance as it is stored."""
    study, series, instance = (dataset[key]["Value"][0] for key in ("0020000D", "0020000E", "00080018"))
    response = web.get(
        f"/dicom-web/studies/{study}/series/{series}/instances/{instance}",
        headers={"accept": 'application/dicom; transfer-syntax="*"'},
    )
    assert response.status_code == 200, response.text
    return pydicom.dcmread(io.BytesIO(response.content))


def reason(response: httpx.Response) -> str:
    assert response.status_code == 409, response.text
    return str(response.json()["00081198"]["Value"][0]["00000902"]["Value"][0])


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize("name", ["CT_small.dcm", "SC_rgb_16bit_2frame.dcm", "test-SR.dcm", "waveform_ecg.dcm"])
def test_what_was_retrieved_as_metadata_and_bulk_data_can_be_stored_so(web: httpx.Client, name: str) -> None:
    path = next(each for each in storage_objects() if each.name == name)
    store_files(web, path)
    ds = pydicom.dcmread(path)
    address = f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    (described,) = web.get(f"{address}/metadata").json()
    parts = [
        (uri, "application/octet-stream", web.get(uri, headers={"accept": "application/octet-stream"}).content)
        for uri in uris(described)
    ]
    described["00080018"]["Value"] = [generate_uid()]
    response = post(web, [described], *parts)
    assert response.status_code == 200, response.text
    stored = fetched(web, described)
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    ds.decode()
    stored.decode()
    ds.SOPInstanceUID, ds.SpecificCharacterSet = described["00080018"]["Value"][0], "ISO_IR 192"
    ds.remove_private_tags(), stored.remove_private_tags()
    assert stored.to_json_dict() == {
        key: each for key, each in ds.to_json_dict().items() if key[4:] not in ("0000", "FFFC")
    }


def uris(dataset: dict[str, Any]) -> list[str]:
    found = []
    for element in dataset.values():
        if "BulkDataURI" in element:
            found.append(element["BulkDataURI"])
        elif element["vr"] == "SQ":
            found += [uri for item in element.get("Value", ()) for uri in uris(item)]
    return found


@pytest.mark.parametrize(("mode", "samples", "photometric"), [("RGB", 3, "YBR_FULL_422"), ("L", 1, "MONOCHROME2")])
def test_a_picture_of_a_camera_describes_itself(
    web: httpx.Client,
    mode: str,
    samples: int,
    photometric: str,
) -> None:
    described = metadata(SECONDARY_CAPTURE, **bulk("7FE00010", "OB"))
    picture = jpeg(mode)
    assert post(web, described, ("bulk/1", "image/jpeg", picture)).status_code == 200
    stored = fetched(web, described)
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert (stored.Rows, stored.Columns, stored.SamplesPerPixel) == (24, 40, samples)
    assert stored.PhotometricInterpretation == photometric
    assert stored.PatientName == "Đỗ^Thị Bích"
    with Image.open(io.BytesIO(picture)) as image:
        expected = np.asarray(image).astype(int)
    assert np.abs(stored.pixel_array.astype(int) - expected).max() <= (255 if samples == 3 else 1)
    study, series, instance = (described[key]["Value"][0] for key in ("0020000D", "0020000E", "00080018"))
    shown = web.get(
        f"/dicom-web/studies/{study}/series/{series}/instances/{instance}/rendered", headers={"accept": "image/png"}
    )
    with Image.open(io.BytesIO(shown.content)) as image:
        shades = np.asarray(image.convert(mode)).astype(int)
    # Grey values without a window are stretched over the whole scale.
    assert np.corrcoef(shades.ravel(), expected.ravel())[0, 1] > 0.999


def test_a_report_in_pdf_is_encapsulated(web: httpx.Client) -> None:
    described = metadata(PDF, **bulk("00420011", "OB"))
    assert post(web, [described], ("bulk/1", "application/pdf", b"%PDF-1.7 odd length")).status_code == 200
    stored = fetched(web, described)
    assert stored.EncapsulatedDocument == b"%PDF-1.7 odd length\0"
    assert stored.EncapsulatedDocumentLength == 19
    assert stored.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_a_video_is_one_fragment(web: httpx.Client) -> None:
    shape = {"_00280010": {"vr": "US", "Value": [1080]}, "_00280011": {"vr": "US", "Value": [1920]}}
    described = metadata(VIDEO, **bulk("7FE00010", "OB"), **shape)
    stream = bytes(range(256)) * 9000 + b"x"
    assert post(web, described, ("bulk/1", "video/mp4", stream)).status_code == 200
    stored = fetched(web, described)
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.102"
    assert list(pydicom.encaps.generate_fragments(stored.PixelData)) == [b"", stream + b"\0"]


def test_bulk_data_within_sequences(web: httpx.Client) -> None:
    item = {"5400100A": {"vr": "OB", "InlineBinary": "AAA="}, "54001010": {"vr": "OW", "BulkDataURI": "wave"}}
    described = metadata(WAVEFORM, _54000100={"vr": "SQ", "Value": [item, {}]})
    assert post(web, described, ("wave", "application/octet-stream", b"\1\2\3\4")).status_code == 200
    assert fetched(web, described).WaveformSequence[0].WaveformData == b"\1\2\3\4"


def test_each_dataset_has_its_own_outcome(web: httpx.Client) -> None:
    good, lost = metadata(SECONDARY_CAPTURE), metadata(SECONDARY_CAPTURE, **bulk("7FE00010", "OB", "nowhere"))
    response = post(web, [lost, good])
    assert response.status_code == 202
    report = response.json()
    (stored,), (failed,) = report["00081199"]["Value"], report["00081198"]["Value"]
    assert stored["00081155"]["Value"] == good["00080018"]["Value"]
    assert failed["00081155"]["Value"] == lost["00080018"]["Value"]
    assert "Content-Location" in failed["00000902"]["Value"][0]
    assert fetched(web, good).PatientID == "BN1"


@pytest.mark.parametrize(
    ("changes", "part", "named"),
    [
        (bulk("7FE00010", "OB"), ("bulk/1", "image/jpeg", jpeg(progressive=True)), "compressed"),
        (bulk("7FE00010", "OB"), ("bulk/1", "image/jpeg", b"no picture"), "picture cannot be read"),
        (bulk("7FE00010", "OB"), ("bulk/1", "image/jpeg", jpeg("CMYK")), "grey and RGB"),
        (bulk("7FE00010", "OB"), ("bulk/1", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.1", jpeg()), "compressed"),
        ({"_0010zz10": {"vr": "LO", "Value": ["x"]}}, None, "encoded"),
        ({"_00100020": {"Value": ["no VR"]}}, None, "encoded"),
        ({"_00100020": "nothing"}, None, "encoded"),
        ({"_00080018": {"vr": "UI", "Value": ["x"]}}, None, "UID"),
    ],
)
def test_what_cannot_be_put_together_is_said(
    web: httpx.Client,
    changes: dict[str, Any],
    part: Part | None,
    named: str,
) -> None:
    response = post(web, metadata(SECONDARY_CAPTURE, **changes), *([part] if part else []))
    assert response.status_code == 409
    failures = response.json()
    sequence = failures.get("00081198") or failures["0008119A"]
    assert named in sequence["Value"][0]["00000902"]["Value"][0]


@pytest.mark.parametrize("text", [b"{", b"[]", b"3", b"[1]", b"", b'"x"'])
def test_metadata_that_are_none_are_400(web: httpx.Client, text: bytes) -> None:
    assert post(web, text).status_code == 400


def test_a_part_without_an_address_is_400(web: httpx.Client) -> None:
    made = body(metadata(SECONDARY_CAPTURE), ("x", "image/jpeg", b"")).replace(b"Content-Location: x\r\n", b"")
    kind = 'multipart/related; type="application/dicom+json"; boundary=b'
    response = web.post("/dicom-web/studies", content=made, headers={"content-type": kind})
    assert response.status_code == 400
    assert "Content-Location" in response.json()["detail"]


def test_a_cut_request_stores_nothing(web: httpx.Client) -> None:
    described = metadata(SECONDARY_CAPTURE, **bulk("7FE00010", "OB"))
    made = body([described], ("bulk/1", "application/octet-stream", bytes(5000)))[:-100]
    kind = 'multipart/related; type="application/dicom+json"; boundary=b'
    assert web.post("/dicom-web/studies", content=made, headers={"content-type": kind}).status_code == 400
    study = described["0020000D"]["Value"][0]
    assert web.get(f"/dicom-web/studies?StudyInstanceUID={study}").json() == []


def test_another_study_than_that_of_the_path_is_refused(web: httpx.Client) -> None:
    described = metadata(SECONDARY_CAPTURE)
    assert "StudyInstanceUID" in reason(post(web, described, path="/dicom-web/studies/1.2.3"))
    study = described["0020000D"]["Value"][0]
    assert post(web, described, path=f"/dicom-web/studies/{study}").status_code == 200
