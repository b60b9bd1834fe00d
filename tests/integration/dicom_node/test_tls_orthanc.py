"""Orthanc as a peer over TLS, both ways, with a certificate of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from archive.core import Archive
from config.peers import Peer
from config.settings import Settings
from tests.certificates import Authority, Pair
from tests.factories import ct_image, store
from tests.integration.dicom_node.peer import EXPLICIT
from tests.integration.dicom_node.running import Node, running, with_node
from tests.integration.dicom_node.scu import MOVE, STUDY_ROOT, associated, identifier
from tests.interop.orthanc import Orthanc, orthanc
from tests.interop.site import Site, reserved_port
from tests.interop.test_orthanc import image


@contextmanager
def both(settings: Settings, folder: Path) -> Iterator[tuple[Node, Orthanc]]:
    """A node that knows ORTHANC by its certificate and by TLS alone, and an Orthanc that speaks nothing else."""
    authority = Authority(folder / "tls")
    own, its = authority.pair("node", names=("127.0.0.1",)), authority.pair("orthanc", names=("127.0.0.1",))
    with reserved_port() as port:
        peer = Peer(
            ae_title="ORTHANC",
            facility="86001",
            rights=frozenset(("store", "find", "move")),
            host="127.0.0.1",
            port=port,
            tls=True,
            certificates=(its.fingerprint,),
        )
        tls = {
            "port": 0,
            "certificate_file": own.certificate,
            "private_key_file": own.key,
            "ca_file": authority.file,
            "client_certificates": "required",
        }
        chosen = with_node(settings, tls=tls).model_copy(
            update={"peers": (*settings.peers, peer), "unknown_peers": "reject"}
        )
        with Archive.open(chosen) as archive, running(chosen, archive) as node:
            site = cast(Site, SimpleNamespace(ports={"ORTHANC": port}, port=node.server.tls_port))
            with orthanc(site, folder / "orthanc", **_tls(node, authority, its)) as started:
                yield node, started
            node.wait_until_idle()


def _tls(node: Node, authority: Authority, its: Pair) -> dict[str, Any]:
    return {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(its.certificate),
        "DicomTlsPrivateKey": str(its.key),
        "DicomTlsTrustedCertificates": str(authority.file),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {
            "pacs": {"AET": "PACS", "Host": "127.0.0.1", "Port": node.server.tls_port, "UseDicomTls": True},
            "plain": {"AET": "PACS", "Host": "127.0.0.1", "Port": node.port},
        },
    }


def test_orthanc_echoes_stores_queries_and_is_a_destination_over_tls(settings: Settings, tmp_path: Path) -> None:
    with both(settings, tmp_path) as (node, peer):
        assert peer.post("/modalities/pacs/echo", {}) == {}
        # It has tls: not under its name without.
        assert peer.http.post("/modalities/plain/echo", content=b"{}").is_error

        sent = image(PatientID="ORTHANC")
        assert peer.post("/modalities/pacs/store", peer.upload(sent)["ID"])["FailedInstancesCount"] == 0
        assert node.sql("SELECT sop_instance_uid FROM instance") == [(str(sent.SOPInstanceUID),)]
        asked = {"Level": "Study", "Query": {"StudyInstanceUID": str(sent.StudyInstanceUID)}}
        found = peer.post("/modalities/pacs/query", asked)
        assert len(peer.get(f"/queries/{found['ID']}/answers")) == 1

        peer.clear()
        kept = ct_image(seed=3)
        store(node.archive, kept)
        with associated(node, [(STUDY_ROOT + MOVE, EXPLICIT)]) as association:
            identify = identifier("STUDY", StudyInstanceUID=kept.StudyInstanceUID)
            *_, (last, _) = association.send_c_move(identify, "ORTHANC", STUDY_ROOT + MOVE)
        assert (last.Status, last.NumberOfCompletedSuboperations) == (0, 1)
        assert list(peer.holds()) == [str(kept.SOPInstanceUID)]
