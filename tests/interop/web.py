"""The DICOMweb service that the clients meet, and what it holds beside the holdings of the site."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.corpus import storage_objects
from tests.factories import ct_image
from tests.interop.programs import assert_same
from tests.interop.site import Site
from tests.web_server import serving, store
from viewer_api.app import create_app

STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"
MULTI_FRAME = "emri_small_jpeg_ls_lossless.dcm"


@dataclass
class Web:
    """The site by HTTP."""

    site: Site
    http: httpx.Client
    multi: Dataset
    """An object of ten frames in JPEG-LS."""
    told: Dataset
    """An image that says more of itself than the others."""

    @property
    def url(self) -> str:
        """Root of the DICOMweb services."""
        return f"{str(self.http.base_url).rstrip('/')}/dicom-web"

    @property
    def studies(self) -> dict[str, list[Dataset]]:
        """The holdings of the site by study."""
        found: dict[str, list[Dataset]] = {}
        for image in self.site.images:
            found.setdefault(str(image.StudyInstanceUID), []).append(image)
        return found

    def address(self, image: Dataset) -> str:
        return f"{self.url}{path(image)}"

    def stored(self, image: Dataset) -> Dataset:
        """What the archive gives of it, as stored."""
        answer = self.http.get(self.address(image), headers={"Accept": 'application/dicom; transfer-syntax="*"'})
        assert answer.status_code == 200, answer.text
        return dcmread(BytesIO(answer.content))

    def assert_stored(self, images: Sequence[Dataset]) -> None:
        """The archive has these as they are."""
        assert_same(images, {str(image.SOPInstanceUID): self.stored(image) for image in images})


@contextmanager
def web_of(site: Site) -> Iterator[Web]:
    """Serve a site by HTTP."""
    (file,) = (each for each in storage_objects() if each.name == MULTI_FRAME)
    told = plain(
        PatientID="WEB1",
        PatientName="Lê^Thị Cúc",
        InstitutionName="Bệnh viện Đa khoa tỉnh",
        Manufacturer="Hãng ảnh",
        AccessionNumber="W1",
    )
    with serving(create_app(site.archive)) as root, httpx.Client(base_url=root, timeout=60) as http:
        answer = store(http, file.read_bytes(), part10_of(told))
        assert answer.status_code == 200, answer.text
        yield Web(site, http, dcmread(file), told)


def plain(**attributes: Any) -> Dataset:
    """An image that can be written as a file."""
    image = ct_image(**attributes)
    image.preamble = bytes(128)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def part10_of(image: Dataset) -> bytes:
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def path(image: Dataset) -> str:
    series = f"/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
    return f"{series}/instances/{image.SOPInstanceUID}"


def named(image: Dataset) -> tuple[str, str, str]:
    return str(image.StudyInstanceUID), str(image.SeriesInstanceUID), str(image.SOPInstanceUID)


def values(matches: Any, tag: str) -> list[Any]:
    """The first value of an attribute of each match."""
    return [match[tag]["Value"][0] for match in matches]


def by_uid(objects: Sequence[Dataset]) -> dict[str, Dataset]:
    return {str(each.SOPInstanceUID): each for each in objects}


def assert_described(image: Dataset, metadata: dict[str, Any], *, bulk: str = "7FE00010") -> None:
    """Metadata say all that the object says, and where its pixel data are."""
    assert metadata[bulk].keys() >= {"BulkDataURI"}
    said = Dataset.from_json({tag: each for tag, each in metadata.items() if tag != bulk})
    for element in image:
        if element.keyword != "PixelData" and element.tag.group != 2:
            assert said[element.tag].value == element.value, element.keyword


def assert_picture(content: bytes, image: Dataset, form: str = "PNG") -> None:
    """An encoded picture shows the pixels of an image, in grey from its lowest to its highest value."""
    picture = Image.open(BytesIO(content))
    assert picture.format == form
    pixels = image.pixel_array.astype(float)
    shown = np.asarray(picture.convert("L").resize(pixels.shape[::-1], Image.Resampling.BOX), dtype=float)
    assert np.corrcoef(shown.ravel(), pixels.ravel())[0, 1] > 0.97
