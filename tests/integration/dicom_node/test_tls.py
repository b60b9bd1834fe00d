"""TLS as acceptor (PS3.15 B.12), with DCMTK, pynetdicom and OpenSSL as peers, and files that are exchanged."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.dataset import FileMetaDataset
from pynetdicom import AE, build_role, evt

from archive.core import Archive
from config.certificate import fingerprint
from config.peers import Limits, Peer
from config.settings import Settings
from dicom_node.echo import main as echo_command
from tests.certificates import Authority, Pair, self_signed
from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT,
    RawPeer,
    associate_rq,
    message,
    store_rq,
)
from tests.integration.dicom_node.process import ROOT, NodeProcess, environment
from tests.integration.dicom_node.running import Node, live_threads, open_files, running, wait_until, with_node
from tests.integration.dicom_node.scu import GET, STUDY_ROOT, identifier


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def own(authority: Authority) -> Pair:
    """The certificate of the node."""
    return authority.pair("node", names=("127.0.0.1", "localhost"))


@pytest.fixture
def ct1(authority: Authority) -> Pair:
    return authority.pair("ct1", names=("ct1.example",))


def with_tls(settings: Settings, authority: Authority, own: Pair, **changes: Any) -> Settings:
    tls = {"port": 0, "certificate_file": own.certificate, "private_key_file": own.key, "ca_file": authority.file}
    return with_node(settings, tls=tls | changes)


@contextmanager
def serving(settings: Settings) -> Iterator[Node]:
    with Archive.open(settings) as archive, running(settings, archive) as node:
        yield node
        node.wait_until_idle()


@pytest.fixture
def node(settings: Settings, authority: Authority, own: Pair) -> Iterator[Node]:
    with serving(with_tls(settings, authority, own)) as started:
        yield started


def dcmtk(program: str, node: Node, *arguments: object, calling: str = "CT1") -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's clients against the TLS port."""
    command = [program, "-v", "-aet", calling, "-aec", "PACS", "127.0.0.1", str(node.server.tls_port)]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120, errors="replace"
    )


def proved_by(pair: Pair, authority: Authority) -> list[object]:
    return ["--enable-tls", pair.key, pair.certificate, "--add-cert-file", authority.file]


class SecurePeer(RawPeer):
    """A peer that misbehaves inside of TLS."""

    def __init__(self, node: Node, authority: Authority, pair: Pair | None = None, **options: Any) -> None:
        super().__init__(node.server.tls_port, **options)
        context = ssl.create_default_context(cafile=str(authority.file))
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")


# --- who speaks what


@pytest.mark.parametrize("profile", ["--profile-bcp195-nd", "--profile-bcp195", "--profile-bcp195-ex"])
def test_echoscu_in_every_profile_of_today(node: Node, authority: Authority, ct1: Pair, profile: str) -> None:
    done = dcmtk("echoscu", node, profile, *proved_by(ct1, authority))
    assert done.returncode == 0, done.stderr
    assert "Success" in done.stderr + done.stdout


def test_echoscu_without_certificate_is_let_in_where_none_is_required(node: Node, authority: Authority) -> None:
    assert dcmtk("echoscu", node, "--anonymous-tls", "--add-cert-file", authority.file).returncode == 0


@pytest.mark.parametrize("profile", ["--profile-aes", "--profile-null"])
def test_retired_profiles_are_refused(node: Node, authority: Authority, ct1: Pair, profile: str) -> None:
    done = dcmtk("echoscu", node, profile, *proved_by(ct1, authority))
    assert done.returncode != 0
    assert "TLS error" in done.stderr + done.stdout


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(node: Node, version: str) -> None:
    said = _s_client(node, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "Cipher is (NONE)" in said
    assert "alert protocol version" in said


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256"])
def test_old_ciphers_are_refused(node: Node, cipher: str) -> None:
    assert "Cipher is (NONE)" in _s_client(node, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")


@pytest.mark.parametrize(
    "chosen", [("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"), ("-tls1_3",)], ids=lambda each: each[0]
)
def test_the_versions_and_ciphers_of_today_are_taken(node: Node, chosen: tuple[str, ...]) -> None:
    said = _s_client(node, *chosen)
    assert "Cipher is (NONE)" not in said
    assert "Cipher is " in said


def _s_client(node: Node, *arguments: str) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{node.server.tls_port}", *arguments],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_plain_client_on_the_tls_port_is_told_nothing_and_costs_nothing(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        with RawPeer(node.server.tls_port) as peer:
            peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])]))
            received = b""
            while chunk := _received(peer):
                received += chunk
            # At most an alert.
            assert len(received) < 10
    node.wait_until_idle()
    assert "TLS handshake failed" in caplog.messages
    with node.peer().associate() as peer:
        assert peer.echo() == 0
        peer.release()


def _received(peer: RawPeer) -> bytes:
    try:
        return peer.socket.recv(100)
    except ConnectionError:
        return b""


def test_a_tls_client_on_the_plain_port_is_cut_off_and_the_log_says_why(
    node: Node, authority: Authority, ct1: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    command = ["echoscu", "-aec", "PACS", "127.0.0.1", str(node.port), *map(str, proved_by(ct1, authority))]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0
    node.wait_until_idle()
    [ended] = [record for record in caplog.records if record.message == "connection ended without association"]
    assert "it speaks TLS" in ended.pacs_fields["how"]  # type: ignore[attr-defined]


def test_a_handshake_that_does_not_end_is_cut_off_by_artim(settings: Settings, authority: Authority, own: Pair) -> None:
    with serving(with_node(with_tls(settings, authority, own), artim_timeout=0.3)) as node:
        for opening in (b"", bytes.fromhex("1603010200010001fc0303"), b"\x16"):
            with RawPeer(node.server.tls_port) as peer:
                peer.send(opening)
                assert peer.is_closed()


def test_the_time_limit_is_for_handshake_and_request_together(
    settings: Settings, authority: Authority, own: Pair
) -> None:
    hurried = with_node(with_tls(settings, authority, own), artim_timeout=0.5)
    with serving(hurried) as node, SecurePeer(node, authority) as peer:
        peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])])[:50])
        assert peer.is_closed()


def test_handshakes_that_hang_do_not_hold_up_others(
    settings: Settings, authority: Authority, own: Pair, ct1: Pair
) -> None:
    with serving(with_node(with_tls(settings, authority, own), artim_timeout=60, maximum_associations=5)) as node:
        silent = [RawPeer(node.server.tls_port, source="127.0.0.9") for _ in range(150)]
        assert dcmtk("echoscu", node, *proved_by(ct1, authority)).returncode == 0
        assert node.server.associations <= 66
        for peer in silent:
            peer.close()


def test_without_the_plain_port_only_tls_is_left(settings: Settings, authority: Authority, own: Pair) -> None:
    chosen = with_node(with_tls(settings, authority, own), plain=False)
    with serving(chosen) as node:
        with pytest.raises(AssertionError):
            _ = node.port
        assert dcmtk("echoscu", node, "--anonymous-tls", "--add-cert-file", authority.file).returncode == 0


def test_an_encrypted_key_and_its_password(settings: Settings, authority: Authority) -> None:
    pair = authority.pair("node", names=("127.0.0.1",), password="geheim-0123")
    with serving(with_tls(settings, authority, pair, private_key_password="geheim-0123")) as node:
        assert dcmtk("echoscu", node, "--anonymous-tls", "--add-cert-file", authority.file).returncode == 0


# --- who is who


def listed(settings: Settings, *peers: Peer) -> Settings:
    return settings.model_copy(update={"peers": peers, "unknown_peers": "reject"})


def outcome(node: Node, authority: Authority, pair: Pair | None, calling: str = "CT1") -> tuple[int, ...] | None:
    """Result, source and reason of the rejection; None when accepted."""
    with SecurePeer(node, authority, pair) as peer:
        peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])], calling=calling))
        kind, body = peer.receive()
        return tuple(body[1:4]) if kind == 3 else None


NOT_RECOGNIZED = (1, 1, 3)


def test_a_peer_must_call_by_tls_and_with_its_own_certificate(
    settings: Settings, authority: Authority, own: Pair, ct1: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    other = authority.pair("other", names=("other.example",))
    peers = (
        Peer(ae_title="CT1", facility="86001", tls=True, certificates=(ct1.fingerprint.upper(),)),
        Peer(ae_title="MR1", facility="86001", tls=True, certificates=("CT1.example", "another.example")),
        Peer(ae_title="XA1", facility="86001", tls=True, certificates=("ct1",)),
        Peer(ae_title="US1", facility="86001", tls=True, certificates=("CN=ct1,O=Sở Y tế",)),
        Peer(ae_title="ANY", facility="86001", tls=True),
        Peer(ae_title="OLD", facility="86001"),
    )
    with serving(listed(with_tls(settings, authority, own), *peers)) as node:
        for title in ("CT1", "MR1", "XA1", "US1"):
            assert outcome(node, authority, ct1, title) is None, title
            assert outcome(node, authority, other, title) == NOT_RECOGNIZED, title
            assert outcome(node, authority, None, title) == NOT_RECOGNIZED, title
        assert outcome(node, authority, None, "ANY") is None
        assert outcome(node, authority, None, "OLD") is None
        for title, answer in (("CT1", 3), ("ANY", 3), ("OLD", 2)):
            with node.peer() as peer:
                peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])], calling=title))
                assert peer.receive()[0] == answer, title
    reasons = {record.pacs_fields["reason"] for record in caplog.records if record.message == "association rejected"}
    assert reasons == {"CERTIFICATE", "NOT_BY_TLS"}


def test_while_a_certificate_is_being_replaced_both_are_good(
    settings: Settings, authority: Authority, own: Pair, ct1: Pair
) -> None:
    successor = authority.pair("ct1", file="ct1-next")
    both = Peer(ae_title="CT1", facility="86001", tls=True, certificates=(ct1.fingerprint, successor.fingerprint))
    with serving(listed(with_tls(settings, authority, own), both)) as node:
        assert outcome(node, authority, ct1) is None
        assert outcome(node, authority, successor) is None


@pytest.mark.parametrize("required", ["optional", "required"])
@pytest.mark.parametrize("kind", ["expired", "of another authority", "self-signed"])
def test_a_certificate_that_is_not_good_ends_the_handshake(
    settings: Settings,
    authority: Authority,
    own: Pair,
    tmp_path: Path,
    required: str,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = {
        "expired": lambda: authority.pair("ct1", days=-1),
        "of another authority": lambda: Authority(tmp_path / "other").pair("ct1"),
        "self-signed": lambda: self_signed(tmp_path / "self", "ct1"),
    }[kind]()
    with serving(with_tls(settings, authority, own, client_certificates=required)) as node:
        assert dcmtk("echoscu", node, *proved_by(pair, authority)).returncode != 0
        node.wait_until_idle()
    [failed] = [record for record in caplog.records if record.message == "TLS handshake failed"]
    assert "certificate not accepted" in failed.pacs_fields["error"]


def test_where_certificates_are_required_nobody_comes_in_without(
    settings: Settings, authority: Authority, own: Pair, ct1: Pair
) -> None:
    with serving(with_tls(settings, authority, own, client_certificates="required")) as node:
        assert dcmtk("echoscu", node, "--anonymous-tls", "--add-cert-file", authority.file).returncode != 0
        assert dcmtk("echoscu", node, *proved_by(ct1, authority)).returncode == 0


def test_where_certificates_are_not_asked_for_a_bad_one_does_not_matter(
    settings: Settings, authority: Authority, own: Pair
) -> None:
    expired = authority.pair("ct1", days=-1)
    with serving(with_tls(settings, authority, own, client_certificates="none")) as node:
        assert dcmtk("echoscu", node, *proved_by(expired, authority)).returncode == 0


def test_a_device_that_made_its_own_certificate_is_known_by_it(
    settings: Settings, authority: Authority, own: Pair, tmp_path: Path
) -> None:
    device = self_signed(tmp_path / "self", "old-ct")
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(authority.file.read_bytes() + device.certificate.read_bytes())
    peer = Peer(ae_title="CT1", facility="86001", tls=True, certificates=(device.fingerprint,))
    with serving(listed(with_tls(settings, authority, own, ca_file=bundle), peer)) as node:
        assert dcmtk("echoscu", node, *proved_by(device, authority)).returncode == 0


# --- work over TLS


def test_objects_arrive_as_they_were_sent(node: Node, authority: Authority, ct1: Pair) -> None:
    """In all fragment sizes, beside the edges of TLS records."""
    images = [ct_image(seed=n, rows=300, columns=300) for n in range(6)]
    with SecurePeer(node, authority, ct1).associate() as peer:
        for image, size in zip(images, (100, 4096, 16_372, 16_384, 65_536, 262_138), strict=True):
            assert peer.store(image.SOPInstanceUID, encode(image), size=size) == 0
        assert peer.echo() == 0
        peer.release()
    assert len(node.digests()) == len(images)
    assert node.leftovers() == []


def test_findscu_and_a_retrieving_pynetdicom_over_tls(node: Node, authority: Authority, ct1: Pair) -> None:
    image = ct_image(rows=400, columns=400)
    with node.peer().associate() as peer:
        assert peer.store(image.SOPInstanceUID, encode(image)) == 0
        peer.release()
    study = f"StudyInstanceUID={image.StudyInstanceUID}"
    found = dcmtk("findscu", node, *proved_by(ct1, authority), "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", study)
    assert found.returncode == 0
    assert str(image.StudyInstanceUID) in (found.stdout + found.stderr).split("Received Find Response")[-1]
    assert _retrieved(node, authority, ct1, str(image.StudyInstanceUID)) == [image.PixelData]


def _retrieved(node: Node, authority: Authority, pair: Pair, study: str) -> list[bytes]:
    """The pixels of a study, by C-GET: the node is at once acceptor of TLS and sender of objects."""
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(pair.certificate, pair.key)
    got: list[bytes] = []

    def keep(event: Any) -> int:
        got.append(event.dataset.PixelData)
        return 0

    entity = AE(ae_title="CT1")
    entity.add_requested_context(STUDY_ROOT + GET)
    entity.add_requested_context(CT_IMAGE_STORAGE, EXPLICIT)
    association = entity.associate(
        "127.0.0.1",
        node.server.tls_port,
        ae_title="PACS",
        ext_neg=[build_role(CT_IMAGE_STORAGE, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
        tls_args=(context, "127.0.0.1"),
    )
    assert association.is_established
    asked = identifier("STUDY", StudyInstanceUID=study)
    statuses = [status.Status for status, _ in association.send_c_get(asked, STUDY_ROOT + GET)]
    association.release()
    assert statuses[-1] == 0
    return got


@pytest.mark.slow
def test_four_senders_of_100_mb_over_tls_in_bounded_memory(
    settings: Settings, authority: Authority, own: Pair, ct1: Pair, tmp_path: Path
) -> None:
    """In a process of its own, so that its memory is its own."""
    megabytes = 100
    paths = []
    for number in range(4):
        image = ct_image(seed=number, rows=1024, columns=1024)
        image.NumberOfFrames = megabytes // 2
        image.PixelData = os.urandom(1 << 20) * megabytes
        paths.append(tmp_path / f"{number}.dcm")
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = EXPLICIT
        image.save_as(paths[-1], enforce_file_format=True)
    chosen = with_tls(settings, authority, own).node
    node = NodeProcess(settings, tmp_path, _environment(settings, tmp_path, chosen.tls))
    try:
        tls_port = next(line["tls_port"] for line in node.lines() if line["message"] == "DICOM node listens")
        before = node.peak_memory()
        secure = [str(each) for each in proved_by(ct1, authority)]
        senders = [
            subprocess.Popen(
                ["storescu", "-aet", "CT1", "-aec", "PACS", *secure, "127.0.0.1", str(tls_port), str(path)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for path in paths
        ]
        assert [sender.wait(300) for sender in senders] == [0, 0, 0, 0]
        grown = node.peak_memory() - before
        print(f"\n4 x {megabytes} MB over TLS: peak memory {before >> 20} + {grown >> 20} MB")
        assert grown < 64 << 20
        # The certificate of the test lasts for twenty days.
        wait_until(lambda: "a certificate is about to expire" in node.log(), "the log warns")
        assert node.terminate() == 0
    finally:
        if node.process.poll() is None:
            node.kill()


def _environment(settings: Settings, folder: Path, tls: Any) -> dict[str, str]:
    return environment(settings, folder) | {
        "PACS_NODE__TLS__PORT": "0",
        "PACS_NODE__TLS__CERTIFICATE_FILE": str(tls.certificate_file),
        "PACS_NODE__TLS__PRIVATE_KEY_FILE": str(tls.private_key_file),
        "PACS_NODE__TLS__CA_FILE": str(tls.ca_file),
    }


def test_a_peer_that_dies_inside_of_tls_leaves_nothing(node: Node, authority: Authority) -> None:
    files = open_files()
    image = ct_image(rows=300, columns=300)
    for death in (RawPeer.reset, RawPeer.close):
        peer = SecurePeer(node, authority).associate()
        peer.send(message(1, store_rq(image.SOPInstanceUID), encode(image))[:100_000])
        death(peer)
    node.wait_until_idle()
    assert node.keys() == node.leftovers() == []
    wait_until(lambda: open_files() <= files, "file descriptors are back")


def test_stop_ends_idle_tls_associations_with_an_abort(settings: Settings, authority: Authority, own: Pair) -> None:
    chosen = with_tls(settings, authority, own)
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        idle, shaking = SecurePeer(node, authority).associate(), RawPeer(node.server.tls_port)
        stopping = threading.Thread(target=node.server.stop)
        stopping.start()
        # Encrypted: after the socket was shut down under it, the node must not fall back to plain bytes.
        assert idle.aborted() == (0, 0)
        assert shaking.is_closed()
        stopping.join()
        idle.close()
        shaking.close()


def test_echo_command_over_tls(
    node: Node, authority: Authority, ct1: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["127.0.0.1", str(node.server.tls_port), "--calling", "CT1", "--tls"]
    trusted = [*call, "--ca", str(authority.file)]
    assert echo_command(trusted) == 0
    assert echo_command([*trusted, "--certificate", str(ct1.certificate), "--key", str(ct1.key)]) == 0
    assert echo_command([*trusted, "--tls-name", "localhost"]) == 0
    assert echo_command([*trusted, "--tls-name", "elsewhere.example"]) == 1
    assert echo_command([*call, "--ca", str(Authority(tmp_path / "x").file)]) == 1
    assert echo_command([*call, "--ca", str(tmp_path / "none.crt")]) == 2
    assert str(tmp_path / "none.crt") in capsys.readouterr().err


# --- files that change


def shown_by(node: Node) -> str:
    """The fingerprint of what the node shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", node.server.tls_port)) as raw, context.wrap_socket(raw) as secured:
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    return fingerprint(der)


def test_a_new_certificate_is_used_without_restart_and_running_associations_go_on(
    node: Node, authority: Authority, own: Pair
) -> None:
    assert shown_by(node) == own.fingerprint
    with SecurePeer(node, authority).associate() as running_on:
        new = authority.pair("node", names=("127.0.0.1",))  # over the old files
        assert new.certificate == own.certificate
        assert shown_by(node) == new.fingerprint != own.fingerprint
        assert running_on.echo() == 0
        running_on.release()


def test_files_that_cannot_be_used_leave_the_old_ones_in_force(
    node: Node, authority: Authority, own: Pair, ct1: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    good = own.certificate.read_bytes(), own.key.read_bytes()
    broken = {
        "a key that does not fit": (good[0], ct1.key.read_bytes()),
        "half a certificate": (good[0][:200], good[1]),
        "an empty file": (b"", good[1]),
    }
    for what, (certificate, key) in broken.items():
        caplog.clear()
        own.key.write_bytes(key)
        own.certificate.write_bytes(certificate)
        for _ in range(3):
            assert shown_by(node) == own.fingerprint, what
        assert [record.levelname for record in caplog.records if "changed files" in record.message] == ["ERROR"], what
    own.certificate.unlink()
    assert shown_by(node) == own.fingerprint
    new = authority.pair("node", names=("127.0.0.1",))
    assert shown_by(node) == new.fingerprint


def test_an_authority_that_is_added_or_taken_away_counts_from_the_next_connection(
    node: Node, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "other")
    foreign = other.pair("ct1")
    trusted = authority.file.read_bytes()
    assert dcmtk("echoscu", node, *proved_by(foreign, authority)).returncode != 0
    authority.file.write_bytes(trusted + other.file.read_bytes())
    assert dcmtk("echoscu", node, *proved_by(foreign, authority)).returncode == 0
    authority.file.write_bytes(trusted)
    assert dcmtk("echoscu", node, *proved_by(foreign, authority)).returncode != 0


@pytest.mark.parametrize("what", ["certificate", "key", "ca"])
def test_a_node_with_unusable_files_does_not_start_and_says_which(
    settings: Settings, authority: Authority, own: Pair, ct1: Pair, tmp_path: Path, what: str
) -> None:
    chosen = with_tls(settings, authority, own).node.tls
    spoilt = {"certificate": own.certificate, "key": own.key, "ca": authority.file}[what]
    shutil.copy(ct1.key, spoilt)
    done = subprocess.run(
        [sys.executable, "-m", "dicom_node"],
        cwd=ROOT,
        env=_environment(settings, tmp_path, chosen),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert str(spoilt) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_200_idle_associations_over_tls_and_one_that_stores(
    settings: Settings, authority: Authority, own: Pair, ct1: Pair
) -> None:
    """Also those of a peer with a limit of its own: the 201st of it is rejected, and others are not."""
    peers = (
        Peer(ae_title="CT1", facility="86001", limits=Limits(maximum_associations=200)),
        Peer(ae_title="MR1", facility="86001"),
    )
    process = psutil.Process(os.getpid())
    chosen = listed(with_node(with_tls(settings, authority, own), maximum_associations=202), *peers)
    with serving(chosen) as node:
        threads, files, memory = live_threads(), open_files(), process.memory_info().rss
        with ThreadPoolExecutor(8) as pool:
            idle = list(pool.map(lambda _: SecurePeer(node, authority).associate(), range(200)))
        assert outcome(node, authority, ct1) == (2, 3, 2)
        images = [ct_image(seed=n, rows=200, columns=200) for n in range(10)]
        with SecurePeer(node, authority).associate(calling="MR1") as peer:
            for image in images:
                assert peer.store(image.SOPInstanceUID, encode(image)) == 0
            peer.release()
        grown = process.memory_info().rss - memory
        assert grown < 200 << 20
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(RawPeer.echo, idle)) == {0}
        print(f"\n200 idle associations over TLS: {grown / (1 << 20):.1f} MB more, of both ends")
        for peer in idle:
            peer.close()
        node.wait_until_idle()
        wait_until(lambda: live_threads() <= threads, "threads are back")
        wait_until(lambda: open_files() <= files + 2, "file descriptors are back")
        assert len(node.keys()) == len(images)
