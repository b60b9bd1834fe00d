"""TLS as initiator: destinations of C-MOVE prove who they are, and we prove who we are (PS3.15 B.12)."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from archive.core import Archive
from archive.standard.uids import IMPLEMENTATION_CLASS_UID
from config.peers import Peer
from config.settings import Settings
from dicom_node.contexts import VERIFICATION
from dicom_node.requestor import Outgoing, Refused
from tests.certificates import Authority, Pair, self_signed
from tests.factories import ct_image, store
from tests.integration.dicom_node.peer import EXPLICIT
from tests.integration.dicom_node.running import open_files, running, wait_until, with_node
from tests.integration.dicom_node.scu import MOVE, STUDY_ROOT, associated, identifier

PROPOSALS = [(VERIFICATION, [EXPLICIT])]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def own(authority: Authority) -> Pair:
    return authority.pair("node", names=("127.0.0.1",))


def knowing(settings: Settings, authority: Authority, own: Pair | None, **changes: Any) -> Settings:
    tls: dict[str, Any] = {"port": 0, "ca_file": authority.file}
    if own is not None:
        tls |= {"certificate_file": own.certificate, "private_key_file": own.key}
    return with_node(settings, tls=tls, **changes)


def destination(port: int, **changes: Any) -> Peer:
    peer = {"ae_title": "SCP1", "facility": "86001", "host": "127.0.0.1", "port": port, "tls": True}
    return Peer(**{**peer, **changes})


@contextmanager
def storescp(authority: Authority, pair: Pair, folder: Path, *options: str) -> Iterator[int]:
    """DCMTK's storescp, with TLS; it wants a certificate of `authority`. Gives its port."""
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    secure = ["--enable-tls", str(pair.key), str(pair.certificate), "--add-cert-file", str(authority.file)]
    process = subprocess.Popen(
        ["storescp", "-od", str(folder), *secure, *options, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, "storescp listens")
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def refusal(settings: Settings, peer: Peer) -> str:
    files = open_files()
    with pytest.raises(Refused) as caught:
        Outgoing.open(peer, settings.node, PROPOSALS)
    # A listener of this process may still be closing its own end.
    wait_until(lambda: open_files() <= files, "the socket is closed")
    return str(caught.value)


def test_a_c_move_to_a_destination_by_tls(settings: Settings, authority: Authority, own: Pair, tmp_path: Path) -> None:
    workstation = authority.pair("scp1", names=("127.0.0.1",))
    with storescp(authority, workstation, tmp_path / "got") as port:
        peer = destination(port, certificates=(workstation.fingerprint,))
        chosen = knowing(settings, authority, own).model_copy(update={"peers": (*settings.peers, peer)})
        with Archive.open(chosen) as archive, running(chosen, archive) as node:
            images = [ct_image(seed=n, rows=200, columns=200) for n in range(3)]
            for image in images:
                store(archive, image)
                asked = identifier("STUDY", StudyInstanceUID=image.StudyInstanceUID)
                with associated(node, [(STUDY_ROOT + MOVE, EXPLICIT)]) as association:
                    *_, (last, _) = association.send_c_move(asked, "SCP1", STUDY_ROOT + MOVE)
                assert (last.Status, last.NumberOfCompletedSuboperations) == (0, 1)
            node.wait_until_idle()
        names = {path.name for path in (tmp_path / "got").iterdir()}
    assert all(any(image.SOPInstanceUID in name for name in names) for image in images)


def test_we_show_our_certificate_where_it_is_wanted(
    settings: Settings, authority: Authority, own: Pair, tmp_path: Path
) -> None:
    workstation = authority.pair("scp1", names=("127.0.0.1",))
    with storescp(authority, workstation, tmp_path / "got") as port:
        Outgoing.open(destination(port), knowing(settings, authority, own).node, PROPOSALS).release(5)
        refusal(knowing(settings, authority, None), destination(port))


@pytest.mark.parametrize(
    ("names", "changes", "good"),
    [
        (("127.0.0.1",), {}, True),
        (("scp1.example",), {}, False),
        (("scp1.example",), {"tls_name": "scp1.example"}, True),
        (("*.bvdk.example",), {"tls_name": "scp1.bvdk.example"}, True),
        (("scp2.example",), {"tls_name": "scp1.example"}, False),
        ((), {}, False),
    ],
)
def test_the_name_in_its_certificate_must_be_its_own(
    settings: Settings,
    authority: Authority,
    own: Pair,
    tmp_path: Path,
    names: tuple[str, ...],
    changes: dict[str, str],
    good: bool,
) -> None:
    chosen = knowing(settings, authority, own)
    with storescp(authority, authority.pair("scp1", names=names), tmp_path / "got") as port:
        if good:
            Outgoing.open(destination(port, **changes), chosen.node, PROPOSALS).release(5)
        else:
            assert "certificate not accepted" in refusal(chosen, destination(port, **changes))


@pytest.mark.parametrize("kind", ["expired", "of another authority", "self-signed", "not the one that is known"])
def test_a_destination_that_is_not_who_it_should_be_gets_nothing(
    settings: Settings, authority: Authority, own: Pair, tmp_path: Path, kind: str
) -> None:
    changes = {}
    if kind == "expired":
        pair = authority.pair("scp1", names=("127.0.0.1",), days=-1)
    elif kind == "of another authority":
        pair = Authority(tmp_path / "other", "other").pair("scp1", names=("127.0.0.1",))
    elif kind == "self-signed":
        pair = self_signed(tmp_path / "self", "scp1")
    else:
        pair = authority.pair("scp1", names=("127.0.0.1",))
        changes = {"certificates": (own.fingerprint,)}
    chosen = knowing(settings, authority, own)
    with storescp(authority, pair, tmp_path / "got") as port:
        assert "certificate" in refusal(chosen, destination(port, **changes))


def test_a_destination_without_tls_gets_nothing_in_the_clear(
    settings: Settings, authority: Authority, own: Pair
) -> None:
    """A listener in its place sees a client hello and no AE title."""
    chosen = knowing(settings, authority, own, artim_timeout=5)
    seen = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hearing = threading.Thread(target=_hear, args=(listener, seen))
        hearing.start()
        refusal(chosen, destination(listener.getsockname()[1]))
        hearing.join()
    assert seen[:1] == b"\x16"
    assert b"SCP1" not in seen
    assert IMPLEMENTATION_CLASS_UID.encode() not in seen


def _hear(listener: socket.socket, seen: bytearray) -> None:
    connection, _ = listener.accept()
    with connection:
        seen += connection.recv(4096)
        # What a DICOM node without TLS says to that: A-ABORT.
        connection.sendall(bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0]))


def test_a_destination_that_does_not_shake_hands_is_given_up(
    settings: Settings, authority: Authority, own: Pair
) -> None:
    chosen = knowing(settings, authority, own, artim_timeout=0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert "no TLS handshake in time" in refusal(chosen, destination(listener.getsockname()[1]))


def test_files_that_cannot_be_used_refuse_the_destination(settings: Settings, tmp_path: Path) -> None:
    chosen = with_node(settings, tls={"ca_file": tmp_path / "none.crt"})
    assert "none.crt" in refusal(chosen, destination(1))
