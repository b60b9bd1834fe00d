"""A wire over TLS keeps what a wire promises, where TLS differs from a plain socket."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.node import TLSSettings
from config.tls import Credentials
from dicom_node.secure_wire import HandshakeFailed, SecureWire
from dicom_node.wire import PeerGone, PeerSilent
from tests.certificates import Authority

Pair = tuple[SecureWire, ssl.SSLSocket]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _pair(authority: Authority, capacity: int, timeout: float, version: ssl.TLSVersion) -> Pair:
    own = authority.pair("node", names=("node.example",))
    context = Credentials(TLSSettings(certificate_file=own.certificate, private_key_file=own.key)).server()
    context.maximum_version = version
    near, far = _connected()
    wire = SecureWire(
        context.wrap_socket(near, server_side=True, do_handshake_on_connect=False),
        capacity,
        read_timeout=timeout,
        write_timeout=timeout,
    )
    shaking = threading.Thread(target=wire.secure, args=(time.monotonic() + 20,))
    shaking.start()
    peer = ssl.create_default_context(cafile=str(authority.file)).wrap_socket(far, server_hostname="node.example")
    shaking.join()
    return wire, peer


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    return near, far


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def pair(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Pair]:
    wire, peer = _pair(authority, 100_000, 0.2, request.param)
    yield wire, peer
    wire.close()
    peer.close()


def test_several_records_are_taken_at_once_and_none_is_lost(pair: Pair) -> None:
    wire, peer = pair
    sent = os.urandom(400_000)
    sending = threading.Thread(target=peer.sendall, args=(sent,))
    sending.start()
    found = b""
    while len(found) < len(sent):
        wire.fill()
        found += wire.view[wire.start : wire.end]
        wire.start = wire.end
    sending.join()
    assert found == sent


def test_what_does_not_fit_the_buffer_waits_in_the_record(pair: Pair) -> None:
    wire, peer = pair
    sent = os.urandom(16_000)
    peer.sendall(sent)
    wire.start = wire.end = len(wire.buffer) - 10
    wire.start -= 1  # something not consumed, so that the end of the buffer is where it is
    wire.fill()
    first = bytes(wire.view[-10:])
    assert first == sent[:10]
    wire.start = wire.end
    # Nothing more comes over the connection: the rest is in the library alone.
    assert wire.fill_if_ready()
    assert first + bytes(wire.view[wire.start : wire.end]) == sent


def test_silence_and_close_are_told_apart(pair: Pair) -> None:
    wire, peer = pair
    with pytest.raises(PeerSilent):
        wire.fill()
    assert not wire.fill_if_ready()
    peer.close()
    with pytest.raises(PeerGone):
        wire.fill()
    with pytest.raises(PeerGone):
        wire.fill_if_ready()


def test_what_came_before_the_close_is_not_lost(pair: Pair) -> None:
    wire, peer = pair
    peer.sendall(b"last words")
    peer.close()
    wire.fill()
    assert bytes(wire.view[: wire.end]) == b"last words"
    with pytest.raises(PeerGone):
        wire.fill()


def test_a_peer_that_takes_nothing_is_gone(pair: Pair) -> None:
    wire, _ = pair
    with pytest.raises(PeerGone, match="not taken"):
        wire.send(bytes(50_000_000))


def test_a_large_answer_arrives_whole(pair: Pair) -> None:
    wire, peer = pair
    sent = os.urandom(3_000_001)
    wire.set_write_timeout(20)
    sending = threading.Thread(target=wire.send, args=(sent,))
    sending.start()
    found = b""
    while len(found) < len(sent):
        found += peer.recv(1 << 20)
    sending.join()
    assert found == sent


def test_await_either_sees_the_descriptor(pair: Pair) -> None:
    wire, _ = pair
    wakeup = os.eventfd(1)
    assert wire.await_either(wakeup)
    os.close(wakeup)


def test_await_either_sees_bytes_and_the_next_fill_gives_them(pair: Pair) -> None:
    wire, peer = pair
    wakeup = os.eventfd(0)
    peer.sendall(b"message")
    assert not wire.await_either(wakeup)
    # Asked again, it still knows; and `fill` must not wait for more.
    assert not wire.await_either(wakeup)
    wire.fill()
    assert bytes(wire.view[wire.start : wire.end]) == b"message"
    os.close(wakeup)


def test_await_either_sees_bytes_that_the_library_holds_already(pair: Pair) -> None:
    wire, peer = pair
    wakeup = os.eventfd(0)
    peer.sendall(bytes(1000))
    wire.start = wire.end = len(wire.buffer) - 10
    wire.start -= 1
    wire.fill()
    wire.start = wire.end
    # The socket has nothing to read: `poll` alone would not notice.
    assert not wire.await_either(wakeup)
    os.close(wakeup)


def test_await_either_is_not_deceived_by_messages_of_tls_itself(authority: Authority) -> None:
    """Such as the session tickets of TLS 1.3: bytes on the connection, and nothing to receive."""
    own = authority.pair("node", names=("node.example",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    near, far = _connected()
    trusting = ssl.create_default_context(cafile=str(authority.file))
    wire = SecureWire(
        trusting.wrap_socket(far, server_hostname="node.example", do_handshake_on_connect=False),
        1000,
        read_timeout=0.2,
        write_timeout=0.2,
    )
    shaking = threading.Thread(target=wire.secure, args=(time.monotonic() + 20,))
    shaking.start()
    # A server of this kind sends tickets behind its handshake.
    peer = context.wrap_socket(near, server_side=True)
    shaking.join()
    wakeup = os.eventfd(0)
    with pytest.raises(PeerSilent):
        wire.await_either(wakeup)
    os.eventfd_write(wakeup, 1)
    assert wire.await_either(wakeup)
    os.close(wakeup)
    wire.close()
    peer.close()


def test_an_interrupt_ends_the_wait_and_an_abort_still_goes_out_encrypted(authority: Authority) -> None:
    wire, peer = _pair(authority, 1000, 60, ssl.TLSVersion.TLSv1_3)
    threading.Timer(0.05, wire.interrupt, (socket.SHUT_RD,)).start()
    with pytest.raises(PeerGone):
        wire.fill()
    wire.send(b"abort")
    assert peer.recv(10) == b"abort"
    wire.close()
    assert peer.recv(10) == b""
    peer.close()


def test_a_handshake_with_somebody_who_speaks_no_tls(authority: Authority) -> None:
    own = authority.pair("node")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    for said, expected in ((b"GET / HTTP/1.1\r\n\r\n", HandshakeFailed), (b"", PeerGone)):
        near, far = _connected()
        wire = SecureWire(
            context.wrap_socket(near, server_side=True, do_handshake_on_connect=False),
            1000,
            read_timeout=1,
            write_timeout=1,
        )
        far.sendall(said)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(expected):
            wire.secure(time.monotonic() + 20)
        assert not wire.secured
        wire.close()
        far.close()
