"""C-STORE by every client: what is stored is what was sent."""

from __future__ import annotations

import warnings
from copy import deepcopy
from functools import cache
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import generate_uid
from pynetdicom import AE

from tests.corpus import storage_objects
from tests.factories import ct_image
from tests.integration.dicom_node.peer import sha256
from tests.integration.dicom_node.running import stored_digests
from tests.integration.dicom_node.tee import Tee
from tests.interop.matrix import DCMTK, GDCM, PYNETDICOM, PYNETDICOM_API, STORE, case
from tests.interop.programs import dcmtk, differences, gdcm, pynet, run
from tests.interop.site import CALLER, Site, saved

DEFLATED, BIG_ENDIAN, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
SYNTAXES = {
    "-xs": "1.2.840.10008.1.2.4.70",
    "-xy": "1.2.840.10008.1.2.4.50",
    "-xx": "1.2.840.10008.1.2.4.51",
    "-xv": "1.2.840.10008.1.2.4.90",
    "-xw": "1.2.840.10008.1.2.4.91",
    "-xt": "1.2.840.10008.1.2.4.80",
    "-xu": "1.2.840.10008.1.2.4.81",
    "-xr": RLE,
    "-xd": DEFLATED,
}
"""Options of storescu, and the transfer syntax that each proposes first."""


@cache
def sample(syntax: str) -> FileDataset:
    """The smallest image of the corpus in this transfer syntax."""
    for path in sorted(storage_objects(), key=lambda each: each.stat().st_size):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pydicom.dcmread(path)
            if str(found.file_meta.TransferSyntaxUID) == syntax and "Rows" in found:
                return found
    raise LookupError(syntax)


def written(syntax: str, path: Path) -> FileDataset:
    """A sample as a file, encoded as it was, under UIDs of its own: some have the same, some have none."""
    image = deepcopy(sample(syntax))
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(image, keyword, generate_uid())
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path)
    return image


def stored(site: Site, image: Dataset) -> Dataset:
    """What the archive has of an image, with its file meta information."""
    site.wait_for([image.SOPInstanceUID])
    (found,) = site.archive.locate(image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
    with site.archive.store.open(found.object.key) as reader:
        return pydicom.dcmread(BytesIO(reader.read()))


@case(DCMTK, "storescu", STORE, "each compressed transfer syntax that it proposes, and deflated; stored as sent")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("option", SYNTAXES)
def test_storescu_in_each_compressed_syntax(site: Site, tmp_path: Path, option: str) -> None:
    path = tmp_path / "1.dcm"
    image = written(SYNTAXES[option], path)
    done = dcmtk("storescu", site, option, last=[str(path)])
    assert done.code == 0, done.output
    kept = stored(site, image)
    assert kept.file_meta.TransferSyntaxUID == SYNTAXES[option]
    assert differences(image, kept) == []


@case(
    DCMTK,
    "storescu",
    STORE,
    "explicit, implicit and big endian VR; PDU sizes 4096 to 131072; `--combine`, `--required`",
)
@pytest.mark.parametrize(
    ("options", "syntax"),
    [
        (["-xe", "-pdu", "4096", "--max-send-pdu", "4096"], "1.2.840.10008.1.2.1"),
        (["-xi", "-pdu", "131072", "--max-send-pdu", "131072"], "1.2.840.10008.1.2"),
        (["-xb", "-R"], "1.2.840.10008.1.2.1"),
        (["+C"], "1.2.840.10008.1.2.1"),
    ],
)
def test_storescu_uncompressed(site: Site, tmp_path: Path, options: list[str], syntax: str) -> None:
    image = ct_image(rows=300, columns=300, PatientID="STORE")
    done = dcmtk("storescu", site, *options, last=[str(saved(image, tmp_path / "1.dcm"))])
    assert done.code == 0, done.output
    kept = stored(site, image)
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert differences(image, kept) == []


@case(DCMTK, "storescu", STORE, "`--repeat`: the same object again and again is Success, and stored once")
def test_storescu_sends_again(site: Site, tmp_path: Path) -> None:
    image = ct_image(PatientID="STORE")
    path = str(saved(image, tmp_path / "1.dcm"))
    assert dcmtk("storescu", site, "--repeat", "5", last=[path]).code == 0
    assert dcmtk("storescu", site, "--abort", last=[path]).code == 0
    digests = [each for each, uid in stored_digests(site.archive.settings, site.archive) if uid == image.SOPInstanceUID]
    assert len(digests) == 1
    assert differences(image, stored(site, image)) == []


@case(
    DCMTK, "storescu", STORE, "a folder with `--scan-directories --no-halt`: the bad file is refused, the others stored"
)
def test_storescu_sends_on_after_a_refusal(site: Site, tmp_path: Path) -> None:
    images = [ct_image(seed=n, PatientID="STORE", InstanceNumber=n) for n in range(3)]
    for number, image in enumerate(images):
        saved(image, tmp_path / f"{number}.dcm")
    saved(ct_image(StudyInstanceUID=None), tmp_path / "1a.dcm")
    done = dcmtk("storescu", site, "-nh", "+sd", last=[str(tmp_path)])
    assert done.output.count("Received Store Response (Success)") == 3, done.output
    assert "Error: CannotUnderstand" in done.output
    for image in images:
        assert differences(image, stored(site, image)) == []


@case(DCMTK, "dcmsend", STORE, "four associations at once, `+ma`; the bytes on the wire are the bytes stored")
def test_dcmsend(site: Site, tmp_path: Path) -> None:
    images = [ct_image(seed=n, rows=64, columns=64, PatientID="SEND", InstanceNumber=n) for n in range(6)]
    for number, image in enumerate(images):
        saved(image, tmp_path / f"{number}.dcm")
    with Tee(site.port) as tee:
        done = run(
            *["dcmsend", "-v", "+ma", "-aet", CALLER, "-aec", "PACS", "+sd", "127.0.0.1", str(tee.port), str(tmp_path)]
        )
        assert done.code == 0, done.output
        sent = {sha256(data) for data in tee.datasets()}
    assert done.output.count("with status SUCCESS") == 1
    digests = site.digests()
    assert {digests[image.SOPInstanceUID] for image in images} == sent


@case(PYNETDICOM, "storescu", STORE, "explicit and implicit VR, unlimited PDUs; stored as sent")
@pytest.mark.parametrize("option", ["-xe", "-xi"])
def test_pynetdicom_storescu(site: Site, tmp_path: Path, option: str) -> None:
    image = ct_image(PatientID="STORE")
    syntax = "1.2.840.10008.1.2" if option == "-xi" else "1.2.840.10008.1.2.1"
    done = pynet("storescu", site, option, "-pdu", "0", last=[str(saved(image, tmp_path / "1.dcm", syntax))])
    assert done.code == 0, done.output
    assert differences(image, stored(site, image)) == []


@case(PYNETDICOM_API, "send_c_store", STORE, "a file in each transfer syntax of the corpus on one association")
@pytest.mark.filterwarnings("ignore")
def test_pynetdicom_stores_every_syntax(site: Site, tmp_path: Path) -> None:
    syntaxes = [*SYNTAXES.values(), BIG_ENDIAN]
    images = [written(syntax, tmp_path / f"{n}.dcm") for n, syntax in enumerate(syntaxes)]
    ae = AE(ae_title=CALLER)
    for image in images:
        ae.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", site.port, ae_title="PACS", max_pdu=0)
    for number, image in enumerate(images):
        assert association.send_c_store(tmp_path / f"{number}.dcm").Status == 0
        kept = stored(site, image)
        assert kept.file_meta.TransferSyntaxUID == image.file_meta.TransferSyntaxUID
        assert differences(image, kept) == []
    association.release()
    ae.shutdown()


@case(GDCM, "gdcmscu --store", STORE, "two files on one association; stored as sent")
def test_gdcm_store(site: Site, tmp_path: Path) -> None:
    images = [ct_image(seed=n, PatientID="STORE") for n in range(2)]
    paths = [str(saved(image, tmp_path / f"{n}.dcm")) for n, image in enumerate(images)]
    gdcm("--store", site, last=paths)
    for image in images:
        assert differences(image, stored(site, image)) == []
