"""Limits of single peers, and addresses of both families."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from archive.core import Archive
from config.peers import Limits, Peer
from config.settings import Settings
from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    COMMAND,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    LAST,
    VERIFICATION,
    RawPeer,
    associate_rq,
    echo_rq,
    message,
    p_data,
    pdv,
    store_rq,
)
from tests.integration.dicom_node.running import Node, running, wait_until, with_node

CONTEXTS = [(CT_IMAGE_STORAGE, [EXPLICIT])]
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


def limited(settings: Settings, **limits: Any) -> Settings:
    """CT1 with these limits, MR1 without."""
    peers = (
        Peer(ae_title="CT1", facility="86001", limits=Limits(**limits)),
        Peer(ae_title="MR1", facility="86001"),
    )
    return settings.model_copy(update={"peers": peers, "unknown_peers": "reject"})


def rejection(node: Node, calling: str) -> tuple[int, int, int] | None:
    with node.peer() as peer:
        peer.send(associate_rq(CONTEXTS, calling=calling))
        kind, body = peer.receive()
        assert kind in (2, 3)
        return (body[1], body[2], body[3]) if kind == 3 else None


def offered(node: Node, calling: str) -> int:
    """The maximum length in the A-ASSOCIATE-AC."""
    with node.peer() as peer:
        peer.send(associate_rq(CONTEXTS, calling=calling))
        kind, body = peer.receive()
        assert kind == 2
        return int.from_bytes(body.split(b"\x51\0\0\x04", 1)[1][:4], "big")


def test_a_peer_over_its_own_limit_is_rejected_for_now_and_others_are_not(settings: Settings) -> None:
    chosen = limited(settings, maximum_associations=2)
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        held = [node.peer().associate(calling="CT1") for _ in range(2)]
        assert rejection(node, "CT1") == LOCAL_LIMIT_EXCEEDED
        others = [node.peer().associate(calling="MR1") for _ in range(5)]
        assert all(peer.echo() == 0 for peer in (*held, *others))
        # The place of a released association is free at once, though its connection may linger.
        held[0].send(b"\x05\0\0\0\0\x04\0\0\0\0")
        assert held[0].receive()[0] == 6
        assert rejection(node, "CT1") is None
        for peer in (*held, *others):
            peer.close()
        node.wait_until_idle()


def test_places_of_peers_that_vanish_are_free_again(settings: Settings) -> None:
    chosen = limited(settings, maximum_associations=1)
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        for _ in range(20):
            wait_until(lambda: rejection(node, "CT1") is None, "the place is free")
            node.wait_until_idle()
            node.peer().associate(calling="CT1").reset()
        node.wait_until_idle()


def test_the_limits_of_the_node_count_for_all_together(settings: Settings) -> None:
    chosen = with_node(limited(settings, maximum_associations=5), maximum_associations=3)
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        held = [node.peer().associate(calling=title) for title in ("CT1", "MR1", "CT1")]
        assert rejection(node, "CT1") == rejection(node, "MR1") == LOCAL_LIMIT_EXCEEDED
        for peer in held:
            peer.close()
        node.wait_until_idle()


@pytest.mark.parametrize("length", [4096, 2 << 20])
def test_a_peer_is_offered_its_own_pdu_length_smaller_or_larger(settings: Settings, length: int) -> None:
    chosen = limited(settings, maximum_pdu_length=length)
    image = ct_image(rows=1100, columns=1000)
    data = encode(image)
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        assert (offered(node, "CT1"), offered(node, "MR1")) == (length, settings.node.maximum_pdu_length)
        with node.peer().associate(calling="CT1") as peer:
            # PDUs of exactly what was offered.
            assert peer.store(image.SOPInstanceUID, data, size=length - 6) == 0
            peer.send(message(1, store_rq("1.2.3"), bytes(length + 2), size=length - 4))
            assert peer.aborted() == (2, 6)
        node.wait_until_idle()
        assert len(node.keys()) == 1
        assert node.leftovers() == []


def test_a_peer_has_its_own_idle_timeout(settings: Settings) -> None:
    chosen = limited(settings, idle_timeout=0.2)
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        patient, hurried = node.peer().associate(calling="MR1"), node.peer().associate(calling="CT1")
        assert hurried.aborted() == (2, 0)
        assert patient.echo() == 0
        for peer in (patient, hurried):
            peer.close()


def test_a_peer_has_its_own_write_timeout(settings: Settings) -> None:
    echoes = p_data(pdv(3, COMMAND | LAST, echo_rq())) * 500
    chosen = limited(settings, write_timeout=0.3)
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        peer = node.peer(timeout=1, receive_buffer=2048).associate(calling="CT1")
        with pytest.raises((TimeoutError, ConnectionError)):
            while True:
                peer.send(echoes)
        node.wait_until_idle()
        peer.close()


# --- addresses


class PeerOverIPv6(RawPeer):
    """It calls ``::1``."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("::1", port), 20)
        self.syntaxes, self.results, self.last = {}, {}, {}


def at(settings: Settings, *addresses: str) -> Settings:
    peers = (Peer(ae_title="CT1", facility="86001", addresses=addresses),)
    return settings.model_copy(update={"peers": peers, "unknown_peers": "reject"})


VERIFY = [(CT_IMAGE_STORAGE, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
@pytest.mark.parametrize("host", ["", "::"])
@pytest.mark.parametrize("own", ["127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:127.0.0.0/104"])
def test_both_families_are_listened_on_and_mapped_addresses_are_those_of_ipv4(
    settings: Settings, host: str, own: str
) -> None:
    chosen = with_node(at(settings, own, "::1"), host=host)
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        for peer in (node.peer(), PeerOverIPv6(node.port)):
            assert peer.associate(VERIFY).echo() == 0
            peer.release()
        node.wait_until_idle()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_an_address_of_the_other_family_is_not_the_peers(settings: Settings) -> None:
    chosen = with_node(at(settings, "127.0.0.1"), host="::")
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        with PeerOverIPv6(node.port) as peer:
            peer.send(associate_rq(CONTEXTS))
            assert peer.receive() == (3, bytes([0, 1, 1, 3]))
        node.wait_until_idle()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_one_address_of_ipv6_is_that_alone(settings: Settings) -> None:
    chosen = with_node(at(settings, "::1"), host="::1")
    with Archive.open(chosen) as archive, running(chosen, archive) as node:
        with PeerOverIPv6(node.port) as peer:
            assert peer.associate(VERIFY).echo() == 0
            peer.release()
        with pytest.raises(ConnectionRefusedError):
            node.peer()
        node.wait_until_idle()
