"""C-GET and C-MOVE by every client: what arrives is what is held."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, RLELossless
from pynetdicom import AE, build_role, evt

from tests.factories import ct_image, store
from tests.integration.dicom_node.scu import GET as GET_MODEL
from tests.integration.dicom_node.scu import MOVE as MOVE_MODEL
from tests.integration.dicom_node.scu import STUDY_ROOT, identifier
from tests.interop.matrix import DCMTK, DESTINATION, GDCM, GET, MOVE, PYNETDICOM, PYNETDICOM_API, STORE, case
from tests.interop.programs import (
    assert_same,
    dcmqrscp,
    dcmtk,
    gdcm,
    keys,
    pynet,
    qrscp,
    received,
    run,
    storescp,
)
from tests.interop.site import CALLER, Site, saved

LEVELS = [
    ("-P", "PATIENT", ("PatientID",)),
    ("-P", "STUDY", ("PatientID", "StudyInstanceUID")),
    ("-S", "STUDY", ("StudyInstanceUID",)),
    ("-S", "SERIES", ("StudyInstanceUID", "SeriesInstanceUID")),
    ("-S", "IMAGE", ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")),
    ("-O", "PATIENT", ("PatientID",)),
]


def chosen(site: Site, level: str, names: tuple[str, ...]) -> tuple[list[str], list[Dataset]]:
    """An identifier as options, and the images that it asks for."""
    first = site.images[0]
    values = {name: str(first.get(name)) for name in names}
    wanted = [each for each in site.images if all(str(each.get(name)) == value for name, value in values.items())]
    return keys(QueryRetrieveLevel=level, **values), wanted


def of_study(site: Site, number: int) -> list[str]:
    return keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=site.study(number)[0].StudyInstanceUID)


@case(DCMTK, "getscu", GET, "Patient Root, Study Root and Patient/Study Only at all levels; every object as it is held")
@pytest.mark.parametrize(("root", "level", "names"), LEVELS)
def test_getscu(site: Site, tmp_path: Path, root: str, level: str, names: tuple[str, ...]) -> None:
    asked, wanted = chosen(site, level, names)
    done = dcmtk("getscu", site, root, "-od", str(tmp_path), *asked)
    assert done.code == 0, done.output
    assert_same(wanted, received(tmp_path))


@case(
    DCMTK,
    "getscu",
    GET,
    "an object held in RLE is decoded for who prefers uncompressed syntaxes; PDU sizes 4096 to 131072",
)
@pytest.mark.parametrize("options", [["+xe"], ["+xi"], ["+xb"], ["+xr"], ["-pdu", "4096"], ["-pdu", "131072"]])
def test_getscu_takes_other_syntaxes(site: Site, tmp_path: Path, options: list[str]) -> None:
    done = dcmtk("getscu", site, "-S", "-od", str(tmp_path), *options, *of_study(site, 2))
    assert done.code == 0, done.output
    got = received(tmp_path)
    assert_same(site.study(2), got)


@case(DCMTK, "getscu", GET, "`--abort` in place of a release; what does not exist is Success with nothing")
def test_getscu_of_nothing(site: Site, tmp_path: Path) -> None:
    asked = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3.4.5")
    done = dcmtk("getscu", site, "-S", "-od", str(tmp_path), *asked)
    assert done.code == 0, done.output
    assert received(tmp_path) == {}
    assert dcmtk("getscu", site, "-S", "--abort", "-od", str(tmp_path), *of_study(site, 1)).code == 0
    assert_same(site.study(1), received(tmp_path))


@case(DCMTK, "movescu", MOVE, "all levels of three information models, with its own port as the destination (`+P`)")
@pytest.mark.parametrize(("root", "level", "names"), LEVELS)
def test_movescu_to_itself(site: Site, tmp_path: Path, root: str, level: str, names: tuple[str, ...]) -> None:
    asked, wanted = chosen(site, level, names)
    port = str(site.ports["MOVESCU"])
    done = dcmtk("movescu", site, root, "-aem", "MOVESCU", "+P", port, "-od", str(tmp_path), *asked)
    assert "Received Final Move Response (Success)" in done.output, done.output
    assert_same(wanted, received(tmp_path))


@case(DCMTK, "movescu", MOVE, "`--cancel`; a destination that is not known is refused (A801)")
def test_movescu_cancels_and_is_refused(site: Site, tmp_path: Path) -> None:
    asked, _ = chosen(site, "PATIENT", ("PatientID",))
    with storescp(site, tmp_path / "got"):
        done = dcmtk("movescu", site, "-P", "-aem", "STORESCP", "--cancel", "1", *asked)
    assert "Sending Cancel" in done.output, done.output
    done = dcmtk("movescu", site, "-P", "-aem", "NOBODY", *asked)
    assert done.code != 0
    assert "MoveDestinationUnknown" in done.output
    assert dcmtk("echoscu", site).code == 0


@case(DCMTK, "storescp", DESTINATION, "each transfer syntax that it prefers: as held, or decoded to what it takes")
@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("+xa", RLELossless),
        ("+xr", RLELossless),
        ("+x=", "1.2.840.10008.1.2.1"),
        ("+xb", "1.2.840.10008.1.2.1"),
        ("+xi", "1.2.840.10008.1.2"),
    ],
)
def test_storescp_as_destination(site: Site, tmp_path: Path, option: str, syntax: str) -> None:
    with storescp(site, tmp_path / "got", option, "-pdu", "4096") as folder:
        done = dcmtk("movescu", site, "-S", "-aem", "STORESCP", *of_study(site, 2))
        assert done.code == 0, done.output
        got = received(folder)
    assert_same(site.study(2), got)
    assert {str(each.file_meta.TransferSyntaxUID) for each in got.values()} == {syntax}


@case(
    DCMTK, "storescp", DESTINATION, "one that refuses, aborts after or while it receives, costs no more than its move"
)
@pytest.mark.parametrize("option", ["--refuse", "--abort-after", "--abort-during"])
def test_storescp_that_misbehaves(site: Site, tmp_path: Path, option: str) -> None:
    with storescp(site, tmp_path / "got", option):
        done = dcmtk("movescu", site, "-S", "-aem", "STORESCP", *of_study(site, 0))
    assert done.code != 0
    assert "Failed" in done.output or "Refused" in done.output, done.output
    assert dcmtk("echoscu", site).code == 0


@case(
    DCMTK, "dcmqrscp", DESTINATION, "an archive of another maker takes a study, finds it, and gives it again as it was"
)
def test_dcmqrscp_as_destination(site: Site, tmp_path: Path) -> None:
    with dcmqrscp(site, tmp_path / "qr") as area:
        for number in (0, 1):
            done = dcmtk("movescu", site, "-S", "-aem", "DCMQRSCP", *of_study(site, number))
            assert done.code == 0, done.output
        assert_same([*site.study(0), *site.study(1)], received(area))
        (tmp_path / "got").mkdir()
        there = ["getscu", "-aec", "DCMQRSCP", "-S", "-od", str(tmp_path / "got"), *of_study(site, 0)]
        done = run(*there, "127.0.0.1", str(site.ports["DCMQRSCP"]))
        assert done.code == 0, done.output
    assert_same(site.study(0), received(tmp_path / "got"))


@case(DCMTK, "dcmqrscp", STORE, "an archive of another maker is told to move a study to us")
def test_dcmqrscp_moves_to_us(site: Site, tmp_path: Path) -> None:
    images = [ct_image(seed=n, PatientID="QR", StudyInstanceUID="1.2.3.77", InstanceNumber=n) for n in range(2)]
    paths = [str(saved(image, tmp_path / f"{n}.dcm")) for n, image in enumerate(images)]
    with dcmqrscp(site, tmp_path / "qr"):
        there = ["127.0.0.1", str(site.ports["DCMQRSCP"])]
        assert run("storescu", "-aec", "DCMQRSCP", *there, *paths).code == 0
        asked = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3.77")
        done = run("movescu", "-v", "-S", "-aec", "DCMQRSCP", "-aem", "PACS", *asked, *there)
        assert "Received Final Move Response (Success)" in done.output, done.output
    assert {image.SOPInstanceUID for image in images} <= site.digests().keys()
    asked = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3.77")
    (tmp_path / "got").mkdir()
    assert dcmtk("getscu", site, "-S", "-od", str(tmp_path / "got"), *asked).code == 0
    assert_same(images, received(tmp_path / "got"))


@case(PYNETDICOM, "getscu", GET, "all levels; relational retrieval negotiated")
@pytest.mark.parametrize(("root", "level", "names"), [LEVELS[0], LEVELS[2], LEVELS[4]])
def test_pynetdicom_getscu(site: Site, tmp_path: Path, root: str, level: str, names: tuple[str, ...]) -> None:
    asked, wanted = chosen(site, level, names)
    done = pynet("getscu", site, root, "--relational-retrieval", "-od", str(tmp_path), *asked)
    assert done.code == 0, done.output
    assert_same(wanted, received(tmp_path))


@case(PYNETDICOM, "movescu", MOVE, "with its own store as the destination (`--store`)")
def test_pynetdicom_movescu(site: Site, tmp_path: Path) -> None:
    options = ["-S", "-aem", "PYNETSCP", "--store", "--store-port", str(site.ports["PYNETSCP"])]
    done = pynet("movescu", site, *options, "--store-aet", "PYNETSCP", "-od", str(tmp_path), *of_study(site, 0))
    assert done.code == 0, done.output
    assert_same(site.study(0), received(tmp_path))


@case(PYNETDICOM, "qrscp", DESTINATION, "an archive of another maker takes studies, one of them decoded from RLE")
def test_qrscp_as_destination(site: Site, tmp_path: Path) -> None:
    with qrscp(site, tmp_path / "qr") as area:
        for number in (1, 2):
            done = dcmtk("movescu", site, "-S", "-aem", "QRSCP", *of_study(site, number))
            assert done.code == 0, done.output
        got = received(area)
    assert_same([*site.study(1), *site.study(2)], got)


@case(PYNETDICOM, "qrscp", STORE, "an archive of another maker is told to move a study to us")
def test_qrscp_moves_to_us(site: Site, tmp_path: Path) -> None:
    image = ct_image(PatientID="QRSCP", StudyInstanceUID="1.2.3.78")
    path = saved(image, tmp_path / "1.dcm")
    with qrscp(site, tmp_path / "qr"):
        there = ["127.0.0.1", str(site.ports["QRSCP"])]
        assert run("storescu", "-aec", "QRSCP", *there, str(path)).code == 0
        asked = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3.78")
        done = run("movescu", "-v", "-S", "-aec", "QRSCP", "-aem", "PACS", *asked, *there)
        assert done.code == 0, done.output
    site.wait_for([image.SOPInstanceUID])


def got_by(
    site: Site, number: int, takes: list[tuple[str, str]], answer: int = 0
) -> tuple[list[Dataset], dict[str, str], Dataset | None]:
    """C-GET of a study: the responses, the transfer syntax of each object received, and the last identifier."""
    syntaxes: dict[str, str] = {}

    def take(event: evt.Event) -> int:
        syntaxes[str(event.request.AffectedSOPInstanceUID)] = str(event.context.transfer_syntax)
        return answer

    model = STUDY_ROOT + GET_MODEL
    ae = AE(ae_title=CALLER)
    ae.add_requested_context(model)
    for sop_class, syntax in takes:
        ae.add_requested_context(sop_class, syntax)
    roles = [build_role(uid, scp_role=True) for uid in sorted({uid for uid, _ in takes})]
    association = ae.associate(
        "127.0.0.1", site.port, ae_title="PACS", ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, take)]
    )
    asked = identifier("STUDY", StudyInstanceUID=site.study(number)[0].StudyInstanceUID)
    responses, last = [], None
    for status, data in association.send_c_get(asked, model):
        responses.append(status)
        last = data
    association.release()
    ae.shutdown()
    return responses, syntaxes, last


@case(
    PYNETDICOM_API, "send_c_get", GET, "pending counts; the stored syntax where its context was accepted, else decoded"
)
def test_pynetdicom_get(site: Site) -> None:
    responses, syntaxes, _ = got_by(site, 0, [(CTImageStorage, "1.2.840.10008.1.2.1")])
    counts = [(each.get("NumberOfRemainingSuboperations"), each.NumberOfCompletedSuboperations) for each in responses]
    assert counts == [(2, 1), (1, 2), (None, 3)]
    assert len(syntaxes) == 3
    explicit = (CTImageStorage, "1.2.840.10008.1.2.1")
    for takes, expected in (([explicit], explicit[1]), ([explicit, (CTImageStorage, RLELossless)], RLELossless)):
        responses, syntaxes, _ = got_by(site, 2, takes)
        assert responses[-1].Status == 0
        assert set(syntaxes.values()) == {expected}


@case(
    PYNETDICOM_API,
    "send_c_get",
    GET,
    "refused sub-operations and classes without a context are failures, listed by UID",
)
def test_pynetdicom_get_with_failures(site: Site) -> None:
    explicit = [(CTImageStorage, "1.2.840.10008.1.2.1")]
    for takes, answer in ((explicit, 0xA700), ([(MRImageStorage, "1.2.840.10008.1.2.1")], 0)):
        responses, _, last = got_by(site, 0, takes, answer)
        assert responses[-1].Status == 0xA702
        assert responses[-1].NumberOfFailedSuboperations == 3
        assert last is not None
        assert set(last.FailedSOPInstanceUIDList) == {image.SOPInstanceUID for image in site.study(0)}


@case(
    PYNETDICOM_API,
    "start_server",
    DESTINATION,
    "the originator and its message ID are told; warnings are counted (B000)",
)
@pytest.mark.parametrize(("answer", "final"), [(0, 0), (0xB000, 0xB000), (0xC123, 0xA702)])
def test_pynetdicom_as_destination(site: Site, answer: int, final: int) -> None:
    originators = set()

    def take(event: evt.Event) -> int:
        request = event.request
        originators.add((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return answer

    ae = AE(ae_title="PYNETSCP")
    ae.add_supported_context(CTImageStorage)
    ae.require_called_aet = True
    server = ae.start_server(("127.0.0.1", site.ports["PYNETSCP"]), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    try:
        assert moved(site, "PYNETSCP")[-1].Status == final
    finally:
        server.shutdown()
        ae.shutdown()
    assert originators == {(CALLER, 7)}


def moved(site: Site, destination: str) -> list[Dataset]:
    model = STUDY_ROOT + MOVE_MODEL
    ae = AE(ae_title=CALLER)
    ae.add_requested_context(model)
    association = ae.associate("127.0.0.1", site.port, ae_title="PACS")
    asked = identifier("STUDY", StudyInstanceUID=site.study(0)[0].StudyInstanceUID)
    responses = [status for status, _ in association.send_c_move(asked, destination, model, msg_id=7)]
    association.release()
    ae.shutdown()
    return responses


@case(PYNETDICOM_API, "send_c_move", MOVE, "a destination that does not answer: all failed, and the node goes on")
def test_pynetdicom_moves_to_nobody(site: Site) -> None:
    responses = moved(site, "PYNETSCP")
    assert responses[-1].Status == 0xA702
    assert responses[-1].NumberOfFailedSuboperations == 3
    assert moved(site, "NOBODY")[-1].Status == 0xA801


@case(GDCM, "gdcmscu --move", MOVE, "a study to its own port; every object as it is held")
def test_gdcm_move(site: Site, tmp_path: Path) -> None:
    image = ct_image(PatientID="GDCM", seed=9)
    store(site.archive, image)
    options = ["--patientroot", "--patient", "--key", "10,20=GDCM", "--port-scp", str(site.ports["GDCMSCU"])]
    gdcm("--move", site, *options, "-o", str(tmp_path))
    assert_same([image], received(tmp_path))
