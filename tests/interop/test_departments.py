"""What modalities ask beside images: the worklist and performed procedure steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.association import Association

from archive.worklist.rows import WorklistEntry
from tests.interop.matrix import (
    DCMTK,
    ORTHANC,
    PYNETDICOM,
    PYNETDICOM_API,
    STEPS,
    WORKLIST,
    case,
)
from tests.interop.orthanc import Orthanc, orthanc
from tests.interop.programs import dcmtk, keys, pynet
from tests.interop.site import CALLER, Site
from tests.worklist import MPPS, NAME, WORKLIST_FIND, begin, end, put, question

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="module")
def orders(site: Site) -> list[WorklistEntry]:
    """Two orders of today, for a CT and an MR."""
    second = {"AccessionNumber": "A101", "Modality": "MR", "PatientID": "BN0002", "PatientName": "Trần^Thị Bình"}
    return [put(site.archive), put(site.archive, **second)]


@case(DCMTK, "findscu -W", WORKLIST, "keys of the scheduled step, nested and as a query file; proposed syntaxes")
@pytest.mark.parametrize("option", ["-xe", "-xb", "-xi"])
def test_findscu_worklist(site: Site, orders: list[WorklistEntry], tmp_path: Path, option: str) -> None:
    step = "(0040,0100)[0]."
    asked = [
        "-k",
        "PatientName",
        "-k",
        "AccessionNumber",
        "-k",
        f"{step}Modality=CT",
        "-k",
        f"{step}ScheduledStationAETitle",
    ]
    asked += keys(SpecificCharacterSet="ISO_IR 192")
    done = dcmtk("findscu", site, "-W", option, "-X", "-od", str(tmp_path), *asked)
    assert done.code == 0, done.output
    (found,) = [dcmread(path, force=True) for path in tmp_path.glob("rsp*.dcm")]
    assert (found.AccessionNumber, str(found.PatientName)) == ("A100", NAME)
    (item,) = found.ScheduledProcedureStepSequence
    assert (item.Modality, item.ScheduledStationAETitle) == ("CT", "CT1")


@case(PYNETDICOM, "findscu -W", WORKLIST, "keys of the scheduled step as a query file; answers as files")
def test_pynetdicom_worklist(site: Site, orders: list[WorklistEntry], tmp_path: Path) -> None:
    asked = question({"Modality": "MR"}, SpecificCharacterSet="ISO_IR 192")
    asked.save_as(tmp_path / "query.dcm", implicit_vr=True, little_endian=True)
    done = pynet("findscu", site, "-W", "-w", "-f", str(tmp_path / "query.dcm"), cwd=tmp_path)
    assert done.code == 0, done.output
    (found,) = [dcmread(path, force=True) for path in tmp_path.glob("rsp*.dcm")]
    assert (found.AccessionNumber, str(found.PatientName)) == ("A101", "Trần^Thị Bình")


@case(
    PYNETDICOM_API,
    "send_c_find",
    WORKLIST,
    "matching by station, modality and date; every attribute of an order comes back",
)
def test_pynetdicom_api_worklist(site: Site, orders: list[WorklistEntry]) -> None:
    with _Modality(site, WORKLIST_FIND) as association:
        asked = question({"ScheduledStationAETitle": "CT1", "Modality": "CT"}, PregnancyStatus=None)
        answers = [match for _, match in association.send_c_find(asked, WORKLIST_FIND) if match is not None]
    assert [(match.AccessionNumber, match.PregnancyStatus) for match in answers] == [("A100", 4)]


@pytest.fixture(scope="module")
def peer(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(site, tmp_path_factory.mktemp("orthanc") / "one") as started:
        yield started


@case(ORTHANC, "/modalities/{id}/find-worklist", WORKLIST, "keys of the scheduled step; names in Vietnamese")
def test_orthanc_worklist(site: Site, peer: Orthanc, orders: list[WorklistEntry]) -> None:
    asked = {
        "PatientName": "",
        "AccessionNumber": "",
        "ScheduledProcedureStepSequence": [{"Modality": "MR", "ScheduledStationAETitle": ""}],
    }
    (found,) = peer.post("/modalities/pacs/find-worklist", asked)
    assert (found["AccessionNumber"], found["PatientName"]) == ("A101", "Trần^Thị Bình")


class _Modality:
    """pynetdicom as a modality with one SOP class."""

    def __init__(self, site: Site, sop_class: str, *handlers: object) -> None:
        self.ae = AE(ae_title=CALLER)
        self.ae.add_requested_context(sop_class, EXPLICIT)
        self.association = self.ae.associate(
            "127.0.0.1",
            site.port,
            ae_title="PACS",
            evt_handlers=list(handlers),  # type: ignore[arg-type]
        )

    def __enter__(self) -> Association:
        assert self.association.is_established
        return self.association

    def __exit__(self, *_: object) -> None:
        self.association.release()
        self.ae.shutdown()


@case(
    PYNETDICOM_API,
    "send_n_create, send_n_set",
    STEPS,
    "a step is begun and completed, its order is then off the worklist",
)
def test_pynetdicom_performs_a_step(site: Site) -> None:
    entry = put(site.archive, AccessionNumber="A300", PatientID="BN0300", ScheduledProcedureStepID="S300")
    uid = generate_uid()
    with _Modality(site, MPPS) as association:
        status, _ = association.send_n_create(begin(entry), MPPS, uid)
        assert status.Status == 0
        assert site.archive.worklist.get(entry.id).status == "STARTED"
        status, _ = association.send_n_set(end(), MPPS, uid)
        assert status.Status == 0
        assert site.archive.worklist.get(entry.id).status == "COMPLETED"
        status, _ = association.send_n_set(end(), MPPS, uid)
        assert status.Status in (0, 0x0110)
    with _Modality(site, WORKLIST_FIND) as association:
        asked = question(AccessionNumber="A300")
        assert [match for _, match in association.send_c_find(asked, WORKLIST_FIND) if match is not None] == []
