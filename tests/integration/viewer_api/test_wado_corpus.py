"""Every storage object of the corpus, stored by STOW-RS and retrieved in every way (PS3.18 10.4)."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array

from archive.standard.file_format import read_file_meta
from archive.standard.uids import is_uid, transfer_syntax
from tests.corpus import corpus, storage_objects
from tests.unit.imaging.test_transcode import ONLY_WE, UNDECODABLE
from tests.web_server import shared_web, store_files  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

AS_STORED = "application/dicom; transfer-syntax=*"
# What the image loader of OHIF sends.
VIEWER = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}


def retrievable() -> list[Path]:
    """The storage objects that name a study and a series, one of each kind of the CT series without pixels."""
    paths = []
    for path in storage_objects():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
        placed = all(is_uid(str(ds.get(name, ""))) for name in ("StudyInstanceUID", "SeriesInstanceUID"))
        if placed and (not path.name.startswith("IM0000") or path.name == "IM000000"):
            paths.append(path)
    return paths


def parts(response: httpx.Response) -> list[tuple[str, bytes]]:
    """Content type and content of the parts of a response."""
    assert response.status_code == 200, response.text
    found = re.fullmatch(r'multipart/related; type="(.+)"; boundary=(\w+)(; .*)?', response.headers["content-type"])
    assert found is not None
    first, *pieces, last = response.content.split(f"--{found[2]}".encode())
    assert (first, last) == (b"", b"--\r\n")
    given = []
    for piece in pieces:
        head, content = piece.split(b"\r\n\r\n", 1)
        assert content.endswith(b"\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().strip().splitlines())
        assert headers["Content-Type"].startswith(found[1])
        assert int(headers["Content-Length"]) == len(content) - 2
        given.append((headers["Content-Type"], content[:-2]))
    return given


class Stored:
    """A file of the corpus, stored."""

    def __init__(self, client: httpx.Client, path: Path) -> None:
        self.client, self.path = client, path
        store_files(client, path)
        self.file = path.read_bytes()
        self.source = pydicom.dcmread(path)
        self.meta = read_file_meta(self.file, at_end=True)
        study, series = str(self.source.StudyInstanceUID), str(self.source.SeriesInstanceUID)
        self.study = f"/dicom-web/studies/{study}"
        self.url = f"{self.study}/series/{series}/instances/{self.source.SOPInstanceUID}"

    def get(self, path: str = "", accept: str = "*/*") -> httpx.Response:
        return self.client.get(self.url + path, headers={"Accept": accept})

    @property
    def frames(self) -> int:
        if not any(name in self.source for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            return 0
        return 1 if self.path.name == "badVR.dcm" else int(self.source.get("NumberOfFrames") or 1)


@pytest.fixture(params=retrievable(), ids=lambda path: path.name)
def stored(request: pytest.FixtureRequest, shared_web: httpx.Client) -> Iterator[Stored]:  # noqa: F811
    yield Stored(shared_web, request.param)


def test_a_stored_object_is_given_in_every_form(stored: Stored) -> None:
    _as_stored(stored)
    if stored.frames <= 30:  # tests/unit/imaging decodes all frames of all
        _by_default(stored)
    metadata = stored.get("/metadata")
    assert metadata.headers["content-type"] == "application/dicom+json"
    (attributes,) = metadata.json()
    assert attributes["00080018"]["Value"] == [stored.source.SOPInstanceUID]
    _bulk_data(stored, attributes)
    if stored.frames:
        _frames(stored)
        _pictures(stored)
    else:
        assert stored.get("/frames/1").status_code == 404
        refused = stored.get("/rendered")
        assert refused.status_code == 406 and "no image" in refused.json()["detail"]
        thumbnail = stored.get("/thumbnail")
        assert thumbnail.headers["content-type"] == "image/png"


def _as_stored(stored: Stored) -> None:
    """The dataset comes back byte for byte, alone, in parts and in a ZIP."""
    dataset = stored.file[stored.meta.dataset_offset :]
    alone = stored.get("", AS_STORED)
    assert alone.status_code == 200
    assert len(alone.content) == int(alone.headers["content-length"])
    meta = read_file_meta(alone.content, at_end=True)
    assert meta.transfer_syntax_uid == stored.meta.transfer_syntax_uid
    assert alone.headers["content-type"] == f"application/dicom; transfer-syntax={meta.transfer_syntax_uid}"
    assert alone.content[meta.dataset_offset :] == dataset
    ((kind, part),) = parts(stored.get("", f'multipart/related; type="application/dicom"; {AS_STORED.split("; ")[1]}'))
    assert (kind, part) == (alone.headers["content-type"], alone.content)
    with zipfile.ZipFile(io.BytesIO(stored.get("", "application/zip;transfer-syntax=*").content)) as packed:
        (name,) = packed.namelist()
        assert packed.read(name) == alone.content


def _by_default(stored: Stored) -> None:
    """Explicit VR Little Endian, unless no library can decode the source."""
    response = stored.get("", "application/dicom")
    if stored.path.name in UNDECODABLE:
        assert response.status_code == 406
        return
    assert response.headers["content-type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    given = pydicom.dcmread(io.BytesIO(response.content))
    assert given.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert given.SOPInstanceUID == stored.source.SOPInstanceUID


def _frames(stored: Stored) -> None:
    """The first and the last frame, as the viewer asks for them and decoded."""
    numbers = sorted({1, stored.frames})
    listed = ",".join(map(str, numbers))
    syntax = transfer_syntax(stored.meta.transfer_syntax_uid)
    assert syntax is not None
    given = parts(stored.client.get(f"{stored.url}/frames/{listed}", headers=VIEWER))
    label = stored.meta.transfer_syntax_uid if syntax.encapsulated else "1.2.840.10008.1.2.1"
    assert {kind for kind, _ in given} == {f"application/octet-stream; transfer-syntax={label}"}
    if syntax.encapsulated:
        source = list(generate_frames(stored.source.PixelData, number_of_frames=stored.frames))
        assert [frame for _, frame in given] == [source[number - 1] for number in numbers]
    if stored.path.name in UNDECODABLE | ONLY_WE or stored.source.get("BitsAllocated") == 1:
        return
    decoded = parts(stored.get(f"/frames/{listed}", 'multipart/related; type="application/octet-stream"'))
    for number, (_, frame) in zip(numbers, decoded, strict=True):
        if str(stored.source.PhotometricInterpretation).startswith("YBR_FULL") and not syntax.encapsulated:
            continue  # as stored: pydicom turns it into RGB
        if stored.source.get("PlanarConfiguration") == 1 and not syntax.encapsulated:
            continue  # as stored: colour by plane
        unused = stored.source.BitsStored < stored.source.BitsAllocated and not syntax.encapsulated
        if not unused:  # pydicom removes overlays from the unused bits of stored frames
            expected = pixel_array(stored.source, index=number - 1)
            assert frame == expected.astype(expected.dtype.newbyteorder("<")).tobytes()


def _pictures(stored: Stored) -> None:
    rendered, thumbnail = stored.get("/rendered"), stored.get("/thumbnail", "image/jpeg")
    assert thumbnail.status_code == 200
    with Image.open(io.BytesIO(thumbnail.content)) as image:
        assert image.format == "JPEG" and max(image.size) == 256
    if stored.path.name in UNDECODABLE:
        assert rendered.status_code == 406
        return
    with Image.open(io.BytesIO(rendered.content)) as image:
        assert (image.format, image.size) == ("JPEG", (stored.source.Columns, stored.source.Rows))


def _bulk_data(stored: Stored, attributes: dict[str, Any]) -> None:
    """Each URI of the metadata leads to the value."""
    for path, uri in _uris(attributes):
        if path == ("7FE00010",) and len(stored.file) > 500_000:
            continue  # decoding once is enough
        response = stored.client.get(uri, headers={"Accept": "application/octet-stream"})
        if stored.path.name in UNDECODABLE:
            continue
        assert response.status_code == 200, (path, response.text)
        element: Any = stored.source
        for step in path:
            element = element[int(step, 16)] if isinstance(step, str) else element.value[step]
        swapped = not stored.source.original_encoding[1]
        if path[-1] != "7FE00010" and not swapped:
            assert response.content == element.value
        assert len(response.content) == int(response.headers["content-length"])


def _uris(attributes: dict[str, Any], above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    for tag, attribute in attributes.items():
        if "BulkDataURI" in attribute:
            yield (*above, tag), attribute["BulkDataURI"]
        for index, item in enumerate(attribute.get("Value", ()) if attribute["vr"] == "SQ" else ()):
            yield from _uris(item, (*above, tag, index))


def test_the_corpus_is_what_it_was() -> None:
    """So that none of this passes for want of files."""
    assert len(retrievable()) >= 140
    assert len({file.transfer_syntax_uid for file in corpus() if file.is_storage_object}) >= 12
