"""dicomweb-client, an independent client, against the server; and clients that leave or are cut off."""

from __future__ import annotations

import http.client
import io
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.uid import generate_uid

from archive.core import Archive
from tests.corpus import storage_objects
from tests.factories import ct_image, store
from tests.web_server import serving, shared_web, store_files  # noqa: F401
from viewer_api.app import create_app

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def named(name: str) -> Path:
    return next(path for path in storage_objects() if path.name == name)


@pytest.fixture(scope="module")
def client(shared_web: httpx.Client) -> Iterator[DICOMwebClient]:  # noqa: F811
    names = ("color3d_jpeg_baseline.dcm", "emri_small_jpeg_ls_lossless.dcm", "693_J2KR.dcm", "examples_palette.dcm")
    store_files(shared_web, *map(named, (*names, "MR_small_RLE.dcm", "6293", "6924")))
    opened = DICOMwebClient(str(shared_web.base_url) + "/dicom-web")
    yield opened
    opened._session.close()


def uids(name: str) -> tuple[str, str, str]:
    ds = pydicom.dcmread(named(name), stop_before_pixels=True)
    return ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID


@pytest.mark.parametrize("name", ["emri_small_jpeg_ls_lossless.dcm", "693_J2KR.dcm", "MR_small_RLE.dcm"])
def test_instances_decoded_and_as_stored(client: DICOMwebClient, name: str) -> None:
    source = pydicom.dcmread(named(name))
    given = client.retrieve_instance(*uids(name), media_types=("application/dicom",))
    assert given.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    np.testing.assert_array_equal(given.pixel_array, source.pixel_array)
    stored = client.retrieve_instance(*uids(name), media_types=(("application/dicom", "*"),))
    assert stored.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
    assert stored.PixelData == source.PixelData


def test_series_and_studies(client: DICOMwebClient) -> None:
    study, series, instance = uids("6293")
    names = {ds.SOPInstanceUID for ds in client.retrieve_study(study)}
    assert {instance, uids("6924")[2]} <= names
    assert instance in {ds.SOPInstanceUID for ds in client.retrieve_series(study, series)}
    metadata = client.retrieve_study_metadata(study)
    assert {each["00080018"]["Value"][0] for each in metadata} == names
    assert len(client.retrieve_series_metadata(study, series)) >= 1
    assert client.retrieve_instance_metadata(study, series, instance)["00080018"]["Value"] == [instance]


@pytest.mark.parametrize(
    "media_types",
    [None, ("application/octet-stream",), (("application/octet-stream", "1.2.840.10008.1.2.1"),)],
    ids=["any", "octets", "explicit"],
)
def test_frames_decoded(client: DICOMwebClient, media_types: tuple[object, ...] | None) -> None:
    name = "emri_small_jpeg_ls_lossless.dcm"
    source = pydicom.dcmread(named(name)).pixel_array
    frames = client.retrieve_instance_frames(*uids(name), [10, 1], media_types=media_types)
    assert frames == [source[9].tobytes(), source[0].tobytes()]


@pytest.mark.parametrize(
    ("name", "media_types"),
    [
        ("emri_small_jpeg_ls_lossless.dcm", (("image/jls", "1.2.840.10008.1.2.4.80"),)),
        ("693_J2KR.dcm", ("image/jp2",)),
        ("MR_small_RLE.dcm", ("image/dicom-rle",)),
        ("MR_small_RLE.dcm", ("image/x-dicom-rle",)),
        ("color3d_jpeg_baseline.dcm", (("image/jpeg", "1.2.840.10008.1.2.4.50"),)),
    ],
)
def test_frames_compressed(client: DICOMwebClient, name: str, media_types: tuple[object, ...]) -> None:
    source = pydicom.dcmread(named(name))
    expected = next(pydicom.encaps.generate_frames(source.PixelData, number_of_frames=source.get("NumberOfFrames", 1)))
    assert client.retrieve_instance_frames(*uids(name), [1], media_types=media_types) == [expected]


def test_rendered(client: DICOMwebClient) -> None:
    png = client.retrieve_instance_rendered(*uids("examples_palette.dcm"), media_types=("image/png",))
    assert Image.open(io.BytesIO(png)).size == (800, 350)
    frame = client.retrieve_instance_frames_rendered(
        *uids("color3d_jpeg_baseline.dcm"), [120], media_types=("image/jpeg",), params={"viewport": "64,64"}
    )
    assert Image.open(io.BytesIO(frame)).size == (64, 48)


def test_bulk_data(client: DICOMwebClient) -> None:
    metadata = client.retrieve_instance_metadata(*uids("6293"))
    source = pydicom.dcmread(named("6293"))
    # The client leaves the port out of the Host header, from which the addresses in answers are made.
    uri = metadata["7FE00010"]["BulkDataURI"].replace("127.0.0.1/", urlsplit(client.base_url).netloc + "/")
    assert client.retrieve_bulkdata(uri) == [source.PixelData]


def large(archive: Archive, number: int, **attributes: object) -> str:
    image = ct_image(rows=2048, columns=2048, seed=number, InstanceNumber=number, **attributes)
    store(archive, image)
    return str(image.SOPInstanceUID)


def test_a_response_that_cannot_be_finished_is_never_taken_for_whole(archive: Archive) -> None:
    """The second of two objects is lost: with and without an announced length, the client sees the cut."""
    study, series = generate_uid(), generate_uid()
    for number in (1, 2):
        large(archive, number, StudyInstanceUID=study, SeriesInstanceUID=series)
    archive.store.delete(archive.locate(study)[1].object.key)
    with serving(create_app(archive)) as url:
        for accept in ('multipart/related; type="application/dicom"; transfer-syntax=*', "application/zip"):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
            connection.request("GET", f"/dicom-web/studies/{study}", headers={"Accept": accept})
            response = connection.getresponse()
            assert response.status == 200
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                response.read()
            connection.close()


def test_an_object_that_is_lost_is_known_before_the_response_begins(archive: Archive) -> None:
    study = generate_uid()
    large(archive, 1, StudyInstanceUID=study)
    (inst,) = archive.locate(study)
    archive.store.delete(inst.object.key)
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as web:
        for path in ("", "/metadata", f"/series/{inst.series_instance_uid}/instances/{inst.sop_instance_uid}/frames/1"):
            response = web.get(f"/dicom-web/studies/{study}{path}")
            assert response.status_code == 503 and "retry-after" in response.headers


def open_objects(archive: Archive) -> int:
    """How many objects of the store this process has open."""
    root = str(archive.settings.objects_dir.resolve())
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return sum(link.startswith(root) and not Path(link).is_dir() for link in links)


def test_readers_are_closed_when_the_client_leaves(archive: Archive) -> None:
    study, series = generate_uid(), generate_uid()
    for number in range(1, 9):  # more than the buffers of the sockets hold
        large(archive, number, StudyInstanceUID=study, SeriesInstanceUID=series)
    with serving(create_app(archive)) as url:
        host, port = urlsplit(url).netloc.split(":")
        with socket.create_connection((host, int(port))) as connection:
            accept = "Accept: multipart/related; type=application/dicom; transfer-syntax=*"
            connection.sendall(f"GET /dicom-web/studies/{study} HTTP/1.1\r\nHost: x\r\n{accept}\r\n\r\n".encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            assert open_objects(archive) == 1
        deadline = time.monotonic() + 120
        while open_objects(archive) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert open_objects(archive) == 0
