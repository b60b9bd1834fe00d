"""Objects that the archive sends on by rules, to archives of other makers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from tests.conftest import fresh_database
from tests.factories import ct_image
from tests.integration.dicom_node.running import wait_until
from tests.interop.matrix import DCMTK, FORWARDING, ORTHANC, PYNETDICOM, PYNETDICOM_API, case
from tests.interop.orthanc import Orthanc, orthanc
from tests.interop.programs import assert_same, dcmqrscp, dcmtk, listening, received, storescp
from tests.interop.site import Site, opened, saved


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that sends on what names a destination as its study description."""
    routes = [
        {"name": f"to {title}", "destinations": [title], "where": [f"StudyDescription = {title}"]}
        for title in ("STORESCP", "DCMQRSCP", "PYNETSCP", "QRSCP", "ORTHANC")
    ]
    more = {"routes": routes, "forward": {"first_wait": 0.2, "longest_wait": 1.0}}
    with fresh_database(postgres) as url, opened(url, tmp_path_factory.mktemp("site"), **more) as found:
        yield found


def sent_in(site: Site, folder: Path, title: str) -> list[Dataset]:
    """Two objects for this destination, stored by a modality."""
    folder.mkdir()
    images = [ct_image(seed=n, PatientID=title, StudyDescription=title, InstanceNumber=n + 1) for n in range(2)]
    paths = [str(saved(image, folder / f"{n}.dcm")) for n, image in enumerate(images)]
    done = dcmtk("storescu", site, last=paths)
    assert done.code == 0, done.output
    return images


def arrived(folder: Path, count: int) -> dict[str, Dataset]:
    """The files of a folder, when there are so many and nothing is being written."""

    def whole() -> bool:
        found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".dat"]
        return len(found) >= count and all(path.stat().st_size > 500 for path in found)

    wait_until(whole, f"{count} objects have arrived", 60)
    return received(folder)


@case(
    DCMTK,
    "storescp",
    FORWARDING,
    "objects that meet a rule are sent on, the others are not; a listener that comes late gets them",
)
def test_storescp_is_forwarded_to(site: Site, tmp_path: Path) -> None:
    images = sent_in(site, tmp_path / "in", "STORESCP")
    sent_in(site, tmp_path / "other", "NOWHERE")
    with storescp(site, tmp_path / "got") as folder:
        assert_same(images, arrived(folder, 2))
    wait_until(lambda: waiting(site, "STORESCP") == 0, "nothing waits", 60)


def waiting(site: Site, title: str) -> int:
    (state,) = [each for each in site.archive.routing.queues() if each.ae_title == title]
    return state.waiting


@case(DCMTK, "dcmqrscp", FORWARDING, "an archive of another maker has them")
def test_dcmqrscp_is_forwarded_to(site: Site, tmp_path: Path) -> None:
    with dcmqrscp(site, tmp_path / "qr") as area:
        images = sent_in(site, tmp_path / "in", "DCMQRSCP")
        wait_until(lambda: waiting(site, "DCMQRSCP") == 0 and len(list(area.glob("*"))) > 2, "nothing waits", 60)
        assert_same(images, arrived(area, 2))


@case(PYNETDICOM, "storescp", FORWARDING, "objects that meet a rule are sent on")
def test_pynetdicom_is_forwarded_to(site: Site, tmp_path: Path) -> None:
    port = site.ports["PYNETSCP"]
    folder = tmp_path / "got"
    folder.mkdir()
    command = [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-aet", "PYNETSCP", "-od", str(folder)]
    with listening(port, *command):
        images = sent_in(site, tmp_path / "in", "PYNETSCP")
        wait_until(lambda: waiting(site, "PYNETSCP") == 0 and len(list(folder.glob("*"))) == 2, "nothing waits", 60)
    assert_same(images, received(folder))


@case(PYNETDICOM_API, "start_server", FORWARDING, "one that refuses at first (C123) gets them later, each once")
def test_pynetdicom_api_is_forwarded_to(site: Site, tmp_path: Path) -> None:
    tried: list[str] = []
    got: list[str] = []

    def take(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        tried.append(uid)
        if len(tried) == 1:
            return 0xC123
        got.append(uid)
        return 0

    ae = AE(ae_title="QRSCP")
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = ae.start_server(("127.0.0.1", site.ports["QRSCP"]), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    try:
        images = sent_in(site, tmp_path / "in", "QRSCP")
        wait_until(lambda: len(got) == 2, "both were taken", 60)
        wait_until(lambda: waiting(site, "QRSCP") == 0, "nothing waits", 60)
    finally:
        server.shutdown()
        ae.shutdown()
    assert sorted(got) == sorted(image.SOPInstanceUID for image in images)
    assert len(tried) == 3


@pytest.fixture(scope="module")
def peer(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(site, tmp_path_factory.mktemp("orthanc") / "one") as started:
        yield started


@case(ORTHANC, "its storage", FORWARDING, "objects that meet a rule are sent on")
def test_orthanc_is_forwarded_to(site: Site, peer: Orthanc, tmp_path: Path) -> None:
    images = sent_in(site, tmp_path / "in", "ORTHANC")
    wait_until(lambda: len(peer.holds()) == 2, "both have arrived", 60)
    assert_same(images, peer.holds())
