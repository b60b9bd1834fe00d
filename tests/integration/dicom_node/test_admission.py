"""Who may associate (PS3.8 9.3.4), and how many at once."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from archive.core import Archive
from config.peers import Peer
from config.settings import Settings
from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    COMMAND,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    LAST,
    RawPeer,
    associate_rq,
    echo_rq,
    message,
    p_data,
    pdv,
    store_rq,
)
from tests.integration.dicom_node.running import Node, live_threads, open_files, running, wait_until, with_node

PERMANENT, TRANSIENT = 1, 2
CONTEXTS = [(CT_IMAGE_STORAGE, [EXPLICIT])]


def rejection(node: Node, **request: object) -> tuple[int, int, int] | None:
    """Result, source and reason of the A-ASSOCIATE-RJ; None when accepted."""
    with node.peer() as peer:
        peer.send(associate_rq(CONTEXTS, **request))  # type: ignore[arg-type]
        kind, body = peer.receive()
        assert kind in (2, 3)
        return (body[1], body[2], body[3]) if kind == 3 else None


@pytest.fixture
def strict(settings: Settings) -> Settings:
    """CT1 may call from anywhere, MR1 only from another address; nobody else may."""
    elsewhere = Peer(ae_title="MR1", facility="86001", addresses=("10.1.2.3",))
    return settings.model_copy(update={"unknown_peers": "reject", "peers": (*settings.peers, elsewhere)})


def test_a_request_is_rejected_for_the_first_reason_of_the_standards_order(strict: Settings) -> None:
    with Archive.open(strict) as archive, running(strict, archive) as node:
        assert rejection(node) is None
        assert rejection(node, calling="NOBODY") == (PERMANENT, 1, 3)
        assert rejection(node, calling=" ") == (PERMANENT, 1, 3)
        assert rejection(node, calling="ct1") == (PERMANENT, 1, 3)
        assert rejection(node, calling="MÁY".encode("latin-1")) == (PERMANENT, 1, 3)
        assert rejection(node, calling="MR1") == (PERMANENT, 1, 3)
        assert rejection(node, called="OTHER") == (PERMANENT, 1, 7)
        assert rejection(node, called=bytes(16)) == (PERMANENT, 1, 7)
        assert rejection(node, application_context="1.2.3") == (PERMANENT, 1, 2)
        assert rejection(node, version=2) == (PERMANENT, 2, 2)
        assert rejection(node, version=0) == (PERMANENT, 2, 2)
        # Bit 0 is version 1, whatever else the peer speaks (PS3.8 Table 9-11).
        assert rejection(node, version=0xFFFF) is None
        assert rejection(node, version=2, application_context="1.2.3", called="X", calling="Y") == (PERMANENT, 2, 2)
        assert rejection(node, called="X", calling="Y") == (PERMANENT, 1, 7)
        node.wait_until_idle()


def test_unlisted_peers_belong_to_no_facility(node: Node) -> None:
    image = ct_image()
    with node.peer().associate(calling="NEW") as peer:
        assert peer.store(image.SOPInstanceUID, encode(image)) == 0
        peer.release()
    assert node.sql("SELECT code FROM study JOIN facility ON facility.id = facility_id") == [("UNKNOWN",)]


def test_a_node_that_does_not_mind_how_it_is_called(settings: Settings, archive: Archive) -> None:
    with running(with_node(settings, require_called_ae_title=False), archive) as node:
        assert rejection(node, called="OTHER") is None
        node.wait_until_idle()


def test_a_rejected_peer_may_go_on_talking_to_nobody(node: Node) -> None:
    """Sta13: what comes after the rejection is ignored until the peer closes."""
    with node.peer() as peer:
        peer.send(associate_rq(CONTEXTS, called="OTHER") + p_data(pdv(1, COMMAND | LAST, echo_rq())))
        assert peer.receive()[0] == 3
    node.wait_until_idle()


def test_over_the_limit_associations_are_rejected_for_now_and_later_accepted(
    settings: Settings, archive: Archive
) -> None:
    with running(with_node(settings, maximum_associations=3, artim_timeout=5), archive) as node:
        held = [node.peer().associate() for _ in range(3)]
        # Connections without association take nobody's place.
        silent = [node.peer() for _ in range(10)]
        assert rejection(node) == (TRANSIENT, 3, 2)
        assert all(peer.echo() == 0 for peer in held)
        held.pop().release()
        wait_until(lambda: rejection(node) is None, "a place is free again")
        for peer in held:
            peer.reset()
        wait_until(lambda: node.server.associations <= len(silent), "the dead are gone")
        held = [node.peer().associate() for _ in range(3)]
        assert rejection(node) == (TRANSIENT, 3, 2)
        for peer in (*held, *silent):
            peer.close()
        node.wait_until_idle()


def test_a_flood_of_connections_is_cut_and_the_node_lives(settings: Settings, archive: Archive) -> None:
    with running(with_node(settings, maximum_associations=3, artim_timeout=10), archive) as node:
        established = node.peer().associate()
        flood = [node.peer() for _ in range(150)]
        assert established.echo() == 0
        assert node.server.associations <= 3 + 64
        for peer in flood:
            peer.close()
        wait_until(lambda: node.server.associations == 1, "the flood is gone")
        established.release()
        with node.peer().associate() as peer:
            assert peer.echo() == 0
        node.wait_until_idle()


@pytest.mark.slow
def test_200_idle_associations_and_one_that_stores(settings: Settings, archive: Archive) -> None:
    """They cost little memory, and everything is given back."""
    process = psutil.Process(os.getpid())
    with running(with_node(settings, maximum_associations=201), archive) as node:
        threads, files, memory = live_threads(), open_files(), process.memory_info().rss
        with ThreadPoolExecutor(8) as pool:
            idle = list(pool.map(lambda _: node.peer().associate(), range(200)))
        images = [ct_image(seed=n, rows=200, columns=200) for n in range(20)]
        with node.peer().associate() as peer:
            assert node.server.associations == 201
            assert rejection(node) == (TRANSIENT, 3, 2)
            for image in images:
                assert peer.store(image.SOPInstanceUID, encode(image)) == 0
            peer.release()
        grown = process.memory_info().rss - memory
        assert grown < 100 << 20
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(RawPeer.echo, idle)) == {0}
        print(f"\n200 idle associations: {grown / (1 << 20):.1f} MB more, of both ends")
        for peer in idle:
            peer.close()
        node.wait_until_idle()
        wait_until(lambda: live_threads() <= threads, "threads are back")
        wait_until(lambda: open_files() <= files + 2, "file descriptors are back")
        assert len(node.keys()) == len(images)


def test_stop_ends_idle_associations_with_an_abort_and_lets_transfers_finish(
    settings: Settings, archive: Archive
) -> None:
    image = ct_image(rows=300, columns=300)
    data = encode(image)
    with running(settings, archive) as node:
        whole = message(1, store_rq(image.SOPInstanceUID), data, size=5000)
        idle, asking, busy = node.peer().associate(), node.peer(), node.peer().associate()
        busy.send(whole[:20_000])
        with node.peer().associate() as other:
            assert other.echo() == 0
        port = node.port
        stopping = threading.Thread(target=node.server.stop)
        stopping.start()
        assert idle.aborted() == (0, 0)
        assert asking.is_closed()
        busy.send(whole[20_000:])
        assert busy.status() == 0
        assert busy.aborted() == (0, 0)
        stopping.join()
        assert node.server.associations == 0
        with pytest.raises(ConnectionRefusedError):
            RawPeer(port)
        for peer in (idle, asking, busy):
            peer.close()
        assert len(node.keys()) == 1
        assert node.leftovers() == []


def test_stop_cuts_a_transfer_that_outlasts_the_grace_time(settings: Settings, archive: Archive) -> None:
    with running(with_node(settings, shutdown_grace=0.2), archive) as node:
        peer = node.peer().associate()
        peer.send(p_data(pdv(1, COMMAND | LAST, store_rq("1.2.3")), pdv(1, 0, b"\x08\0\x05\0")))
        with node.peer().associate() as other:
            assert other.echo() == 0
        node.server.stop()
        assert node.server.associations == 0
        assert node.leftovers() == []
        peer.close()
