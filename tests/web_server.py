"""Runs the web application on a free port of loopback, and makes what is sent to it."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from archive.core import Archive
from config.settings import load
from tests.conftest import TEMPLATE
from viewer_api.app import create_app

BOUNDARY = "part-boundary"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


class _Server(uvicorn.Server):
    """Tells when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve the application in a thread; gives its address."""
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="websockets-sansio", timeout_graceful_shutdown=5)
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web server")
        thread.start()
        try:
            assert server.ready.wait(120)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def fresh_archive(postgres: str, folder: Path, **overrides: Any) -> Iterator[Archive]:
    """An archive for several tests that do not get into each other's way, where one for each would take too long."""
    name = f"shared_{uuid.uuid4().hex}"
    head, _, query = postgres.partition("?")
    url = f"{head.rsplit('/', 1)[0]}/{name}?{query}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log")
    overrides = {"storage": {"minimum_free_bytes": 0}, "access": {"sign_in": "off"}, **overrides}
    settings = load(environ={}, data_dir=folder, database={"url": url}, **overrides)
    with Archive.open(settings) as archive:
        yield archive
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def shared_web(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of an application that all tests of a module share."""
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("shared")) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def web(archive: Archive) -> Iterator[httpx.Client]:
    """A client of the application over a fresh archive."""
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def dataset(**attributes: object) -> Dataset:
    """A small valid object; attributes replace or (None) remove what it has."""
    made = Dataset()
    defaults: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CT_IMAGE,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientName": "NGUYỄN^VĂN AN",
        "PatientID": "BN0001",
        "PatientBirthDate": "19800203",
        "PatientSex": "M",
        "StudyDate": "20250301",
        "StudyTime": "083000",
        "AccessionNumber": "A1",
        "StudyDescription": "CT ngực",
        "Modality": "CT",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
    }
    for keyword, value in {**defaults, **attributes}.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def part10(made: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The dataset as a DICOM file; file meta information says what the dataset says."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.get("SOPClassUID", "")
    meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "")
    meta.TransferSyntaxUID = transfer_syntax
    buffer = BytesIO()
    buffer.write(bytes(128) + b"DICM")
    write_file_meta_info(buffer, meta, enforce_standard=False)
    body = DicomBytesIO()
    body.is_little_endian, body.is_implicit_VR = True, False
    write_dataset(body, made)
    return buffer.getvalue() + body.getvalue()


def multipart(*parts: bytes, content_type: str = "application/dicom", boundary: str = BOUNDARY) -> bytes:
    """A multipart/related body."""
    head = f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(head + part for part in parts)[2:] + f"\r\n--{boundary}--\r\n".encode()


def multipart_headers(boundary: str = BOUNDARY) -> dict[str, str]:
    """What goes with it."""
    return {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}


def store(web: httpx.Client, *parts: bytes, path: str = "/dicom-web/studies") -> httpx.Response:
    """STOW-RS of some parts."""
    return web.post(path, content=multipart(*parts), headers=multipart_headers())


def store_files(web: httpx.Client, *paths: Path) -> None:
    """STOW-RS of files that must all be taken."""
    response = store(web, *(path.read_bytes() for path in paths))
    assert response.status_code in (200, 202), response.text
    assert "00081198" not in response.json()
