"""C-FIND by every client: the answers are those that the holdings of the site have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from tests.integration.dicom_node.scu import FIND as FIND_MODEL
from tests.integration.dicom_node.scu import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT, identifier
from tests.interop.matrix import DCMTK, FIND, GDCM, PYNETDICOM, PYNETDICOM_API, case
from tests.interop.programs import Done, dcmtk, gdcm, keys, pynet
from tests.interop.site import CALLER, Site

QUERIES = [
    ("-P", "PATIENT", {"PatientID": "BN*", "PatientName": ""}, "PatientID"),
    ("-P", "STUDY", {"PatientID": "BN0001", "StudyInstanceUID": ""}, "StudyInstanceUID"),
    ("-S", "STUDY", {"StudyDate": "20261110-20261130", "StudyInstanceUID": ""}, "StudyInstanceUID"),
    ("-S", "STUDY", {"ModalitiesInStudy": "MR", "PatientName": "nguyen*", "StudyInstanceUID": ""}, "StudyInstanceUID"),
    ("-S", "SERIES", {"StudyInstanceUID": "{study}", "SeriesInstanceUID": ""}, "SeriesInstanceUID"),
    (
        "-S",
        "IMAGE",
        {"StudyInstanceUID": "{study}", "SeriesInstanceUID": "{series}", "SOPInstanceUID": ""},
        "SOPInstanceUID",
    ),
    ("-O", "STUDY", {"PatientID": "BN0002", "StudyInstanceUID": ""}, "StudyInstanceUID"),
]


def expected(site: Site, level: str, asked: dict[str, str], wanted: str) -> set[str]:
    """What the holdings say, worked out from the images themselves."""
    found = set()
    for image in site.images:
        matches = [
            asked.get("PatientID", "*") in ("BN*", "*", image.PatientID),
            "StudyDate" not in asked or image.StudyDate > "20261110",
            asked.get("ModalitiesInStudy", image.Modality) == image.Modality,
            asked.get("StudyInstanceUID") in (None, "", image.StudyInstanceUID),
            asked.get("SeriesInstanceUID") in (None, "", image.SeriesInstanceUID),
        ]
        if all(matches):
            found.add(str(image.get(wanted)))
    assert found
    return found


def filled(site: Site, asked: dict[str, str]) -> dict[str, str]:
    first = site.images[0]
    return {
        name: value.format(study=first.StudyInstanceUID, series=first.SeriesInstanceUID)
        for name, value in asked.items()
    }


def findscu(site: Site, folder: Path, *options: str) -> tuple[Done, list[Dataset]]:
    folder.mkdir(exist_ok=True)
    done = dcmtk("findscu", site, "-X", "-od", str(folder), *options)
    return done, [dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))]


@case(
    DCMTK, "findscu", FIND, "Patient Root, Study Root and Patient/Study Only at all levels; ranges, wildcards, counts"
)
@pytest.mark.parametrize(("root", "level", "asked", "wanted"), QUERIES)
def test_findscu(site: Site, tmp_path: Path, root: str, level: str, asked: dict[str, str], wanted: str) -> None:
    asked = filled(site, asked)
    done, found = findscu(site, tmp_path, root, *keys(QueryRetrieveLevel=level, **asked))
    assert "Received Final Find Response (Success)" in done.output, done.output
    assert {str(each.get(wanted)) for each in found} == expected(site, level, asked, wanted)


@case(DCMTK, "findscu", FIND, "proposed transfer syntaxes; PDU sizes 4096 to 131072; Vietnamese names arrive whole")
@pytest.mark.parametrize(
    "options", [["-xe"], ["-xb"], ["-xi"], ["-xd"], ["-pdu", "4096"], ["-pdu", "131072"], ["--repeat", "2"]]
)
def test_findscu_in_each_syntax(site: Site, tmp_path: Path, options: list[str]) -> None:
    asked = keys(QueryRetrieveLevel="PATIENT", PatientID="BN0002", PatientName="", SpecificCharacterSet="ISO_IR 192")
    done, found = findscu(site, tmp_path, "-P", *options, *asked)
    assert done.code == 0, done.output
    assert {str(each.PatientName) for each in found} == {"Trần^Thị B"}


@case(
    DCMTK, "findscu", FIND, "`--cancel`: the matching stops, the association lives on; `--abort` in place of a release"
)
def test_findscu_cancels(site: Site, tmp_path: Path) -> None:
    asked = keys(QueryRetrieveLevel="STUDY", StudyDate="20260101-20261231", StudyInstanceUID="")
    done, _ = findscu(site, tmp_path, "-S", "--cancel", "1", *asked)
    assert "Sending Cancel Request" in done.output, done.output
    assert findscu(site, tmp_path, "-S", "--abort", *asked)[0].code == 0
    assert dcmtk("echoscu", site).code == 0


@case(
    DCMTK,
    "findscu",
    FIND,
    "a query without level, and one without the key of the level above, are refused with a reason",
)
def test_findscu_is_refused(site: Site, tmp_path: Path) -> None:
    for asked in ({"PatientName": "*"}, {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": ""}):
        done, found = findscu(site, tmp_path, "-S", *keys(**asked))
        assert found == []
        assert "IdentifierDoesNotMatchSOPClass" in done.output.replace("DataSet", "Identifier"), done.output


@case(PYNETDICOM, "findscu", FIND, "all levels, answers as files; relational queries and fuzzy names negotiated")
@pytest.mark.parametrize(("root", "level", "asked", "wanted"), QUERIES[1:5])
def test_pynetdicom_findscu(
    site: Site, tmp_path: Path, root: str, level: str, asked: dict[str, str], wanted: str
) -> None:
    asked = filled(site, asked)
    options = [root, *keys(QueryRetrieveLevel=level, **asked), "-w", "--fuzzy-names"]
    done = pynet("findscu", site, *options, cwd=tmp_path)
    assert done.code == 0, done.output
    found = [dcmread(path, force=True) for path in sorted(tmp_path.glob("rsp*.dcm"))]
    assert {str(each.get(wanted)) for each in found} == expected(site, level, asked, wanted)


@case(PYNETDICOM_API, "send_c_find", FIND, "relational query below the levels above it, and only when it was agreed on")
def test_pynetdicom_relational_query(site: Site) -> None:
    model = STUDY_ROOT + FIND_MODEL
    asked = identifier("IMAGE", PatientID="BN0001", SOPInstanceUID="", PatientName="")
    assert find(site, model, asked, b"\1\0\0") == (
        [0xFF00] * 4 + [0],
        {image.SOPInstanceUID for image in site.images if image.PatientID == "BN0001"},
    )
    assert find(site, model, asked, b"") == ([0xA900], set())


@case(PYNETDICOM_API, "send_c_find", FIND, "keys that are not supported are said so (FF01), in each information model")
@pytest.mark.parametrize("root", [PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY])
def test_pynetdicom_unsupported_keys(site: Site, root: str) -> None:
    asked = identifier("STUDY", PatientID="BN0002", StudyInstanceUID="", RequestedContrastAgent="X")
    statuses, _ = find(site, root + FIND_MODEL, asked, b"")
    assert statuses == [0xFF01, 0]


def find(site: Site, model: str, asked: Dataset, extended: bytes) -> tuple[list[int], set[str]]:
    """Statuses, and the UIDs of the matches."""
    ae = AE(ae_title=CALLER)
    ae.add_requested_context(model)
    items: Sequence[SOPClassExtendedNegotiation] = ()
    if extended:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = model, extended
        items = [item]
    association = ae.associate("127.0.0.1", site.port, ae_title="PACS", ext_neg=list(items))
    statuses, found = [], set()
    for status, match in association.send_c_find(asked, model):
        statuses.append(status.Status)
        if match is not None and "SOPInstanceUID" in match:
            found.add(str(match.SOPInstanceUID))
    association.release()
    ae.shutdown()
    return statuses, found


@case(GDCM, "gdcmscu --find", FIND, "patients and studies by wildcard: as many responses as matches")
@pytest.mark.parametrize(
    ("options", "matches"),
    [(["--patientroot", "--patient", "--key", "10,20=BN*"], 2), (["--studyroot", "--study", "--key", "8,50=A2"], 1)],
)
def test_gdcm_find(site: Site, options: list[str], matches: int) -> None:
    # It crashes when it is released, by every server, and before it shows the matches.
    done = gdcm("--find", site, *options, "-D")
    assert "C-Find was successful." in done.output
    assert len(re.findall(r"PDU code: 4\n(?:(?!PDU code).*\n)*?.*\(0000,0900\) .* 65280 ", done.output)) == matches
