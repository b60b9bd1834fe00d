"""Peers that are dead, slow or silent on purpose: none keeps a thread or a place, and honest ones do not notice."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from pydicom.dataset import Dataset

from archive.core import Archive
from config.settings import Settings
from tests.factories import ct_image, encode, store
from tests.integration.dicom_node.peer import (
    COMMAND,
    CT_IMAGE_STORAGE,
    DATA,
    EXPLICIT,
    LAST,
    Closed,
    RawPeer,
    associate_rq,
    command_set,
    echo_rq,
    message,
    p_data,
    pdv,
    role_item,
    store_rq,
)
from tests.integration.dicom_node.running import Node, running, wait_until, with_node

ECHO = p_data(pdv(3, COMMAND | LAST, echo_rq()))
BEGUN = p_data(pdv(1, COMMAND | LAST, store_rq("1.2.3")))
PROVIDER = 2


def trickle(peer: RawPeer, data: bytes) -> bool:
    """Send byte by byte, far more often than the idle timeout; False as soon as the node answers or closes."""
    peer.socket.settimeout(0.02)
    for each in data:
        try:
            peer.send(bytes([each]))
            peer.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        except ConnectionError:
            pass
        return False
    peer.socket.settimeout(20)
    return True


def settings_with(settings: Settings, **changes: Any) -> Settings:
    return with_node(settings, **{"idle_timeout": 0.3, "minimum_rate": 1 << 20, **changes})


IN_THE_MIDDLE = {
    "of the header of a PDU": ECHO[:1],
    "of a command": ECHO[:20],
    "of a PDU of the dataset": BEGUN + p_data(pdv(1, DATA, bytes(4000)))[:100],
    "of a dataset": BEGUN + p_data(pdv(1, DATA, bytes(100))),
}
REST = {
    "of the header of a PDU": b"\0\0\0\x10\0",
    "of a command": ECHO[20:-1],
    "of a PDU of the dataset": bytes(1000),
    "of a dataset": p_data(pdv(1, DATA, bytes(1))) * 200,
}


@pytest.mark.parametrize("where", IN_THE_MIDDLE)
def test_who_trickles_in_the_middle_is_aborted(settings: Settings, archive: Archive, where: str) -> None:
    with running(settings_with(settings), archive) as node:
        honest = node.peer().associate()
        with node.peer().associate() as peer:
            peer.send(IN_THE_MIDDLE[where])
            assert not trickle(peer, REST[where] * 20)
            peer.socket.settimeout(20)
            assert peer.aborted() == (PROVIDER, 0)
        honest.close()
        node.wait_until_idle()
        assert node.leftovers() == []


def test_who_trickles_its_answer_to_a_sub_operation_is_aborted(settings: Settings, archive: Archive) -> None:
    """C-GET: the node waits for the response to its C-STORE."""
    image = ct_image()
    store(archive, image)
    get = "1.2.840.10008.5.1.4.1.2.2.3"
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", image.StudyInstanceUID
    request = command_set({2: get.encode(), 0x100: 0x10, 0x110: 1, 0x700: 0, 0x800: 0})
    answer = command_set({2: CT_IMAGE_STORAGE.encode(), 0x100: 0x8001, 0x120: 1, 0x800: 0x101, 0x900: 0})
    contexts = [(get, [EXPLICIT]), (CT_IMAGE_STORAGE, [EXPLICIT])]
    with running(settings_with(settings), archive) as node:
        with node.peer().associate(contexts, items=role_item(CT_IMAGE_STORAGE, 0, 1)) as peer:
            peer.send(message(1, request, encode(asked)))
            while peer.receive()[1][5] != DATA | LAST:
                pass  # the C-STORE, to the end of its dataset
            assert not trickle(peer, p_data(pdv(3, COMMAND | LAST, answer))[:-1])
            peer.socket.settimeout(20)
            assert peer.aborted() == (PROVIDER, 0)
        node.wait_until_idle()


def test_without_a_minimum_rate_the_idle_timeout_is_all(settings: Settings, archive: Archive) -> None:
    """The same trickle: it is the rate that ends it, and nothing else."""
    with running(settings_with(settings, minimum_rate=0), archive) as node, node.peer().associate() as peer:
        assert trickle(peer, ECHO[:-1])
        peer.send(ECHO[-1:])
        assert peer.status() == 0


def test_a_rate_that_is_kept_is_enough(settings: Settings, archive: Archive) -> None:
    with running(settings_with(settings, minimum_rate=1), archive) as node, node.peer().associate() as peer:
        assert trickle(peer, ECHO[:-1])
        peer.send(ECHO[-1:])
        assert peer.status() == 0


def test_time_between_messages_does_not_count(settings: Settings, archive: Archive) -> None:
    """Ten echoes with pauses: together the node waits longer than the window, but in no message."""
    with running(settings_with(settings, idle_timeout=0.5), archive) as node, node.peer().associate() as peer:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                peer.socket.settimeout(0.1)
                peer.receive()
            peer.socket.settimeout(20)
            assert peer.echo() == 0
        image = ct_image()
        assert peer.store(image.SOPInstanceUID, encode(image)) == 0
        peer.release()


def test_a_peer_that_takes_our_bytes_too_slowly_is_dropped(settings: Settings, archive: Archive) -> None:
    """It reads a little all the time, so that no single write ever times out."""
    changes = {"write_timeout": 0.3, "idle_timeout": 60}
    with running(settings_with(settings, **changes), archive) as node:
        peer = node.peer(receive_buffer=2048).associate()
        sending = threading.Thread(target=_send_echoes, args=(peer,))
        sending.start()
        peer.socket.settimeout(1)
        wait_until(lambda: _took_until_closed(peer), "the node has dropped it")
        peer.close()
        sending.join()
        node.wait_until_idle()


def _send_echoes(peer: RawPeer) -> None:
    try:
        while True:
            peer.socket.sendall(ECHO * 500)
    except OSError:
        return


def _took_until_closed(peer: RawPeer) -> bool:
    try:
        return not peer.socket.recv(64)
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_zero_window_in_the_middle_of_an_answer_frees_the_place(settings: Settings, archive: Archive) -> None:
    limited = with_node(settings, write_timeout=0.3, maximum_associations=1)
    with running(limited, archive) as node:
        with node.peer(timeout=1, receive_buffer=2048).associate() as peer:
            with pytest.raises((TimeoutError, ConnectionError)):
                while True:
                    peer.send(ECHO * 500)
            wait_until(lambda: _accepted(node), "the place is free")
        node.wait_until_idle()


def _accepted(node: Node) -> bool:
    with node.peer() as peer:
        peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])]))
        return peer.receive()[0] == 2


def test_a_half_open_connection_is_found_out_by_the_kernel(settings: Settings, archive: Archive) -> None:
    """Nothing arrives from a machine without power: the kernel asks, whatever the idle timeout is."""
    with running(with_node(settings, idle_timeout=100_000), archive) as node, node.peer().associate() as peer:
        [(_, wire)] = node.server._running.values()
        options = {
            name: wire.socket.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        }
        assert wire.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert options == {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 60_000}
        peer.release()


def test_who_floods_with_connections_takes_places_from_himself(settings: Settings, archive: Archive) -> None:
    """300 silent connections from one address; others associate all the while."""
    with running(with_node(settings, artim_timeout=60, maximum_associations=5), archive) as node:
        honest = node.peer(source="127.0.0.2")
        flood = []
        for number in range(300):
            flood.append(node.peer(source="127.0.0.3"))
            if number % 50 == 0:
                with node.peer(source="127.0.0.4").associate() as other:
                    assert other.echo() == 0
                    other.release()
        assert node.server.associations <= 64 + 2
        # It had not asked yet, and is older than all of the flood.
        honest.associate()
        assert honest.echo() == 0
        honest.release()
        for peer in flood:
            peer.close()
        node.wait_until_idle()


def test_a_flood_from_everywhere_costs_the_oldest_that_ask_for_nothing(settings: Settings, archive: Archive) -> None:
    with running(with_node(settings, artim_timeout=60, maximum_associations=5), archive) as node:
        flood = [node.peer(source=f"127.0.1.{number}") for number in range(1, 200)]
        with node.peer().associate() as peer:
            assert peer.echo() == 0
            peer.release()
        assert node.server.associations <= 64 + 2
        assert flood[0].is_closed()
        for peer in flood:
            peer.close()
        node.wait_until_idle()


def test_a_connection_during_the_stop_is_closed_or_rejected_for_now(settings: Settings, archive: Archive) -> None:
    image = ct_image(rows=300, columns=300)
    whole = message(1, store_rq(image.SOPInstanceUID), encode(image), size=5000)
    with running(with_node(settings, shutdown_grace=60), archive) as node:
        busy = node.peer().associate()
        busy.send(whole[:20_000])
        wait_until(lambda: any(each.busy for each, _ in node.server._running.values()), "the object is on its way")
        silent = [node.peer() for _ in range(5)]
        stopping = threading.Thread(target=node.server.stop)
        stopping.start()
        wait_until(lambda: node.server._stopping, "the stop has begun")
        for peer in silent:
            assert _turned_away(peer)
            peer.close()
        busy.send(whole[20_000:])
        assert busy.status() == 0
        stopping.join()
        busy.close()
        assert node.server.associations == 0


def _turned_away(peer: RawPeer) -> bool:
    """It asks while the node stops: it is rejected for now, or cut off."""
    try:
        peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])]))
        kind, body = peer.receive()
    except (Closed, ConnectionError):
        return True
    return (kind, body[1:4]) == (3, bytes([2, 3, 1]))
