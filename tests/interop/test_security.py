"""TLS and user identity by every client that has them, in both directions."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from tests.certificates import Authority, Pair
from tests.conftest import fresh_database
from tests.factories import ct_image
from tests.interop.matrix import DCMTK, IDENTITY, ORTHANC, PYNETDICOM_API, TLS, case
from tests.interop.orthanc import Orthanc, orthanc
from tests.interop.programs import Done, assert_same, differences, keys, listening, received, run
from tests.interop.site import CALLER, Site, opened, saved
from tests.interop.test_store import stored

PASSCODE = "mật khẩu 1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def device(authority: Authority) -> Pair:
    """What clients prove themselves by, and destinations too."""
    return authority.pair("device", names=("127.0.0.1",))


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Site]:
    """A site with TLS beside the plain port, destinations that are called by TLS, and a peer that must name a user."""
    own = authority.pair("node", names=("127.0.0.1",))
    files = {"certificate_file": str(own.certificate), "private_key_file": str(own.key), "ca_file": str(authority.file)}
    user = {"name": "bs.hoa", "passcode_hash": argon2.PasswordHasher(1, 64, 1).hash(PASSCODE)}
    node = {"tls": {"port": 0, **files}, "users": [user]}
    peers = {"STORESCP": {"tls": True}, "ORTHANC": {"tls": True}, "US2": {"identity": "required"}}
    with fresh_database(postgres) as url, opened(url, tmp_path_factory.mktemp("site"), peers, node=node) as found:
        yield found


def dcmtk(program: str, site: Site, authority: Authority, pair: Pair | None, *options: str, last: str = "") -> Done:
    """A client of DCMTK on the TLS port, with a certificate or without."""
    proof = ["+tls", str(pair.key), str(pair.certificate)] if pair else ["+tla"]
    here = ["127.0.0.1", str(site.tls_port), *([last] if last else [])]
    return run(program, "-v", "-aet", CALLER, "-aec", "PACS", *proof, "+cf", str(authority.file), *options, *here)


@case(
    DCMTK, "echoscu", TLS, "each BCP 195 profile of PS3.15, with a certificate and without; the NULL profile is refused"
)
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_echoscu_by_tls(site: Site, authority: Authority, device: Pair, profile: str) -> None:
    for pair in (device, None):
        done = dcmtk("echoscu", site, authority, pair, profile)
        assert done.code == 0, done.output
    assert dcmtk("echoscu", site, authority, device, "+pn").code != 0


@case(DCMTK, "storescu, findscu", TLS, "what is stored and found by TLS is the same as without")
def test_storescu_and_findscu_by_tls(site: Site, authority: Authority, device: Pair, tmp_path: Path) -> None:
    image = ct_image(PatientID="TLS", rows=200, columns=200)
    path = str(saved(image, tmp_path / "1.dcm"))
    done = dcmtk("storescu", site, authority, device, last=path)
    assert done.code == 0, done.output
    assert differences(image, stored(site, image)) == []
    asked = keys(QueryRetrieveLevel="STUDY", PatientID="TLS", StudyInstanceUID="")
    done = dcmtk("findscu", site, authority, device, "-S", *asked)
    assert image.StudyInstanceUID in done.output


@case(DCMTK, "storescp", TLS, "as the destination of C-MOVE; our certificate is required there (`-rc`)")
def test_storescp_by_tls(site: Site, authority: Authority, device: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "got"
    folder.mkdir()
    port = site.ports["STORESCP"]
    proof = ["+tls", str(device.key), str(device.certificate), "+cf", str(authority.file), "-rc"]
    with listening(port, "storescp", "-aet", "STORESCP", "-od", str(folder), *proof, str(port)):
        assert moved(site, "STORESCP", 0) == 0
    assert_same(site.study(0), received(folder))


def moved(site: Site, destination: str, number: int) -> int:
    """C-MOVE of a study, asked without TLS; the exit code."""
    asked = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=site.study(number)[0].StudyInstanceUID)
    there = ["127.0.0.1", str(site.port)]
    return run("movescu", "-S", "-aet", CALLER, "-aec", "PACS", "-aem", destination, *asked, *there).code


@case(
    PYNETDICOM_API,
    "AE.associate(tls_args=...)",
    TLS,
    "TLS 1.2 and 1.3 of Python's OpenSSL, with a certificate and without",
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom_by_tls(site: Site, authority: Authority, device: Pair, version: ssl.TLSVersion) -> None:
    for pair in (device, None):
        context = ssl.create_default_context(cafile=str(authority.file))
        context.minimum_version = context.maximum_version = version
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        ae = AE(ae_title=CALLER)
        ae.add_requested_context("1.2.840.10008.1.1")
        association = ae.associate("127.0.0.1", site.tls_port, ae_title="PACS", tls_args=(context, "127.0.0.1"))
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()
        ae.shutdown()


@pytest.fixture(scope="module")
def peer(site: Site, tmp_path_factory: pytest.TempPathFactory, authority: Authority, device: Pair) -> Iterator[Orthanc]:
    """Orthanc that speaks nothing but TLS, and wants certificates."""
    modality = {"AET": "PACS", "Host": "127.0.0.1", "Port": site.tls_port, "UseDicomTls": True}
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(device.certificate),
        "DicomTlsPrivateKey": str(device.key),
        "DicomTlsTrustedCertificates": str(authority.file),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {"pacs": modality},
    }
    with orthanc(site, tmp_path_factory.mktemp("orthanc") / "one", **options) as started:
        yield started


@case(
    ORTHANC,
    "DicomTlsEnabled, UseDicomTls",
    TLS,
    "it echoes, stores and queries by TLS, and takes what we move to it by TLS",
)
def test_orthanc_by_tls(site: Site, peer: Orthanc) -> None:
    assert peer.post("/modalities/pacs/echo", {}) == {}
    image: Dataset = ct_image(PatientID="TLSORTHANC")
    image.file_meta = site.images[0].file_meta
    identifier = peer.upload(image)["ID"]
    assert peer.post("/modalities/pacs/store", identifier)["FailedInstancesCount"] == 0
    assert differences(image, stored(site, image)) == []
    peer.clear()
    found = peer.post("/modalities/pacs/query", {"Level": "Study", "Query": {"PatientID": "TLSORTHANC"}})
    assert len(peer.get(f"/queries/{found['ID']}/answers")) == 1
    assert moved(site, "ORTHANC", 1) == 0
    assert_same(site.study(1), peer.holds())


@case(
    DCMTK,
    "storescu -usr -pwd",
    IDENTITY,
    "a right passcode is taken and answered (`-rsp`), a wrong one and none are rejected",
)
def test_storescu_names_a_user(site: Site, tmp_path: Path) -> None:
    image = ct_image(PatientID="USER")
    there = ["-aet", "US2", "-aec", "PACS", "127.0.0.1", str(site.port), str(saved(image, tmp_path / "1.dcm"))]
    done = run("storescu", "-v", "-rsp", "-usr", "bs.hoa", "-pwd", PASSCODE, *there)
    assert done.code == 0, done.output
    assert differences(image, stored(site, image)) == []
    # No more than two: whoever fails more often is not listened to for a while.
    for given in ([], ["-usr", "bs.hoa", "-pwd", "wrong"]):
        done = run("storescu", "-v", *given, *there)
        assert done.code != 0
        assert "Rejected" in done.output, done.output


@case(
    PYNETDICOM_API,
    "UserIdentityNegotiation",
    IDENTITY,
    "user and passcode with a positive response; a wrong one is rejected",
)
def test_pynetdicom_names_a_user(site: Site) -> None:
    for passcode, good in ((PASSCODE, True), ("wrong", False)):
        user = UserIdentityNegotiation()
        user.user_identity_type, user.positive_response_requested = 2, True
        user.primary_field, user.secondary_field = b"bs.hoa", passcode.encode()
        ae = AE(ae_title="US2")
        ae.add_requested_context("1.2.840.10008.1.1")
        association = ae.associate("127.0.0.1", site.port, ae_title="PACS", ext_neg=[user])
        assert association.is_established is good
        if good:
            assert association.send_c_echo().Status == 0
            assert association.acceptor.user_identity is not None
            association.release()
        ae.shutdown()
