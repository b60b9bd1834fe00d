"""Verification and what is negotiated, by every client."""

from __future__ import annotations

import re

import pytest
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
)

from tests.interop.matrix import DCMTK, GDCM, NEGOTIATION, PYNETDICOM, PYNETDICOM_API, VERIFICATION, case
from tests.interop.programs import dcmtk, gdcm, pynet
from tests.interop.site import CALLER, Site

CT, STUDY_ROOT_FIND, STUDY_ROOT_GET = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.2.2.1",
    ("1.2.840.10008.5.1.4.1.2.2.3"),
)
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


@case(DCMTK, "echoscu", VERIFICATION, "`--repeat 20` on one association; PDU sizes 4096 to 131072")
@pytest.mark.parametrize("pdu", ["4096", "16384", "131072"])
def test_echoscu(site: Site, pdu: str) -> None:
    done = dcmtk("echoscu", site, "--repeat", "20", "-pdu", pdu)
    assert done.code == 0, done.output
    assert done.output.count("Received Echo Response (Success)") == 20


@case(DCMTK, "echoscu", NEGOTIATION, "128 presentation contexts with 38 transfer syntaxes each")
def test_echoscu_with_all_contexts(site: Site) -> None:
    done = dcmtk("echoscu", site, "-pts", "38", "-ppc", "128")
    assert done.code == 0, done.output


@case(DCMTK, "echoscu", NEGOTIATION, "`--abort` in place of a release; the node serves the next")
def test_echoscu_that_aborts(site: Site) -> None:
    done = dcmtk("echoscu", site, "--abort")
    assert "Aborting Association" in done.output
    assert dcmtk("echoscu", site).code == 0


@case(
    DCMTK, "echoscu", NEGOTIATION, "a calling and a called AE title that are not known are rejected with their reason"
)
def test_echoscu_with_wrong_titles(site: Site) -> None:
    done = dcmtk("echoscu", site, calling="STRANGER")
    assert done.code != 0
    assert "Calling AE Title Not Recognized" in done.output
    done = dcmtk("echoscu", site, "-aec", "OTHER")
    assert done.code != 0
    assert "Called AE Title Not Recognized" in done.output


@case(
    DCMTK,
    "termscu",
    NEGOTIATION,
    "its private SOP class for shutting a server down is not accepted; the node serves on",
)
def test_termscu_cannot_stop_the_node(site: Site) -> None:
    done = dcmtk("termscu", site)
    assert "Releasing Association" in done.output
    assert dcmtk("echoscu", site).code == 0


@case(PYNETDICOM, "echoscu", VERIFICATION, "`--repeat 5`; unlimited PDUs")
def test_pynetdicom_echoscu(site: Site) -> None:
    done = pynet("echoscu", site, "--repeat", "5", "-pdu", "0")
    assert done.code == 0, done.output


@case(
    PYNETDICOM,
    "echoscu",
    NEGOTIATION,
    "`--abort` in place of a release; a called AE title that is not ours is rejected",
)
def test_pynetdicom_echoscu_aborts_and_is_rejected(site: Site) -> None:
    assert pynet("echoscu", site, "--abort").code == 0
    done = pynet("echoscu", site, "-aec", "OTHER")
    assert done.code != 0
    # It does not always tell why: sometimes it finds the connection closed before it looks at the answer.
    assert "Association Accepted" not in done.output


@case(PYNETDICOM_API, "AE.associate", VERIFICATION, "C-ECHO between other messages, on an explicit context as well")
def test_pynetdicom_echo(site: Site) -> None:
    ae = AE(ae_title=CALLER)
    ae.add_requested_context("1.2.840.10008.1.1", [EXPLICIT, IMPLICIT])
    association = ae.associate("127.0.0.1", site.port, ae_title="PACS")
    for number in (1, 65535):
        assert association.send_c_echo(number).Status == 0
    association.release()
    ae.shutdown()


@case(
    PYNETDICOM_API,
    "AE.associate",
    NEGOTIATION,
    "roles are answered, of extended negotiation what is supported; an asynchronous operations window is not granted; "
    "items that are not known do no harm",
)
def test_pynetdicom_negotiates_everything(site: Site) -> None:
    ae = AE(ae_title=CALLER)
    for uid in (CT, STUDY_ROOT_FIND, STUDY_ROOT_GET):
        ae.add_requested_context(uid, EXPLICIT)
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 8, 8
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = STUDY_ROOT_FIND, b"\1\1\1\1\1"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    items = [window, extended, common, build_role(CT, scp_role=True)]
    association = ae.associate("127.0.0.1", site.port, ae_title="PACS", ext_neg=items)
    assert association.is_established
    (accepted,) = [each for each in association.accepted_contexts if each.abstract_syntax == CT]
    assert accepted.as_scp
    # Not answered: the defaults of 1 and 1 hold (PS3.7 D.3.3.3.1).
    assert association.acceptor.asynchronous_operations == (1, 1)
    answer = association.acceptor.sop_class_extended[STUDY_ROOT_FIND]
    assert answer[0] == 1
    assert len(answer) == 5
    association.release()
    ae.shutdown()


@case(GDCM, "gdcmscu --echo", VERIFICATION, "C-ECHO")
def test_gdcm_echo(site: Site) -> None:
    # It crashes when it is released, by every server; what it was answered before counts.
    output = gdcm("--echo", site, "-D").output
    assert re.search(r"\(0000,0100\) \?\? \(US\) 32816 [^(]*(\(0000,.*\n)*\(0000,0900\) \?\? \(US\) 0 ", output), output
