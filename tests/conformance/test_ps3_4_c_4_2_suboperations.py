"""Sub-operations of C-MOVE side by side, again after a break, and with the rights of who asks (PS3.4 C.4.2, B.2.1)."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from pynetdicom.events import Event

from config.peers import Peer
from config.settings import Settings
from dicom_node.sender import fitting
from dicom_node.suboperations import Pace
from tests.conformance.test_ps3_4_c_4_2_retrieve import (
    CANCEL,
    NOT_AUTHORIZED,
    PENDING,
    SUCCESS,
    UNABLE,
    WARNING,
    Got,
    asked_for,
    gone,
    move,
    node_with,
    sent,
    stored,
    viewer,
)
from tests.factories import ct_image, encode, store
from tests.integration.dicom_node.running import Node, wait_until
from tests.integration.dicom_node.scu import IMPLICIT, MOVE, STUDY_ROOT, associated, cancellation_sent, identifier

COUNT = 24


def series(node: Node, count: int = COUNT) -> dict[str, bytes]:
    """A series of so many images in the archive; what each is by its UID."""
    first = ct_image()
    images = [first]
    for number in range(1, count):
        same = {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID}
        images.append(ct_image(InstanceNumber=number + 1, seed=number, **same))
    for image in images:
        store(node.archive, image)
    return {image.SOPInstanceUID: encode(image) for image in images}


def study_of(node: Node) -> Any:
    ((study,),) = node.sql("SELECT study_instance_uid FROM study")
    return identifier("STUDY", StudyInstanceUID=study)


def parallel(peer: Peer, count: int) -> Peer:
    return peer.model_copy(update={"parallel": count})


def test_c_4_2_several_associations_at_once_and_the_counts_are_right(settings: Settings) -> None:
    got, together = Got(), threading.Barrier(3)
    associations: set[int] = set()
    first_three = iter(range(3))

    def answer(event: Event) -> int:
        associations.add(id(event.assoc))
        if next(first_three, None) is not None:
            # Broken unless three objects are on their way at the same moment.
            together.wait(120)
        return got.answer(event)

    with viewer(got, answer=answer) as peer, node_with(settings, parallel(peer, 3)) as node:
        expected = series(node)
        move(node, study_of(node), got=got)
    assert got.received == expected
    assert len(associations) == 3
    assert got.statuses == [PENDING] * (COUNT - 1) + [SUCCESS]
    assert got.counts == [(COUNT - n, n, 0, 0) for n in range(1, COUNT)] + [(None, COUNT, 0, 0)]


def test_c_4_2_a_destination_that_takes_one_association_gets_all_over_that(settings: Settings) -> None:
    got = Got()
    with viewer(got, maximum_associations=1) as peer, node_with(settings, parallel(peer, 4)) as node:
        expected = series(node)
        move(node, study_of(node), got=got)
    assert got.received == expected
    assert got.counts[-1] == (None, COUNT, 0, 0)


def test_c_4_2_1_6_failures_and_warnings_of_all_associations_are_counted(settings: Settings) -> None:
    got = Got()
    lock = threading.Lock()

    def answer(event: Event) -> int:
        with lock:
            got.answer(event)
            return (0, 0xC123, 0xB007)[len(got.received) % 3]

    with viewer(got, answer=answer) as peer, node_with(settings, parallel(peer, 3)) as node:
        expected = series(node)
        move(node, study_of(node), got=got)
    assert got.statuses[-1] == WARNING
    assert got.counts[-1] == (None, 8, 8, 8)
    assert len(set(got.failed)) == 8 and set(got.failed) < set(expected)
    for remaining, *done in got.counts[:-1]:
        assert remaining is not None and remaining + sum(n or 0 for n in done) == COUNT


@pytest.mark.parametrize("associations", [1, 2])
def test_c_4_2_an_object_whose_association_broke_is_sent_again(settings: Settings, associations: int) -> None:
    got, broken = Got(), threading.Event()

    def answer(event: Event) -> int:
        if len(got.received) == 5 and not broken.is_set():
            broken.set()
            event.assoc.abort()
            return 0xC000
        return got.answer(event)

    with viewer(got, answer=answer) as peer, node_with(settings, parallel(peer, associations)) as node:
        expected = series(node)
        move(node, study_of(node), got=got)
    assert broken.is_set()
    assert got.received == expected
    assert (got.statuses[-1], got.counts[-1], got.failed) == (SUCCESS, (None, COUNT, 0, 0), [])


def test_9_3_4_3_a_cancellation_stops_all_associations(settings: Settings) -> None:
    got = Got()
    asking: list[Any] = []
    cancelled = threading.Event()
    on_its_way, note = cancellation_sent()

    def answer(event: Event) -> int:
        if not cancelled.is_set():
            cancelled.set()
            asking[0].send_c_cancel(77, None, STUDY_ROOT + MOVE)
        assert on_its_way.wait(120)
        return got.answer(event)

    with viewer(got, answer=answer) as peer, node_with(settings, parallel(peer, 3)) as node:
        series(node)
        with associated(node, [(STUDY_ROOT + MOVE, IMPLICIT)], handlers=[note]) as association:
            asking.append(association)
            got.note(association.send_c_move(study_of(node), "VIEWER", STUDY_ROOT + MOVE, msg_id=77))
    assert got.statuses[-1] == CANCEL
    remaining, completed, failed, warning = got.counts[-1]
    assert (completed, failed, warning) == (len(got.received), 0, 0)
    assert remaining == COUNT - len(got.received)
    assert 0 < len(got.received) < COUNT


@pytest.mark.parametrize("priority", [0, 1, 2])
def test_ps3_7_9_1_1_1_6_objects_have_the_priority_of_the_move(settings: Settings, priority: int) -> None:
    got = Got()
    seen = set()

    def answer(event: Event) -> int:
        seen.add(event.request.Priority)
        return got.answer(event)

    with viewer(got, answer=answer) as peer, node_with(settings, peer) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        with associated(node, [(STUDY_ROOT + MOVE, IMPLICIT)]) as association:
            got.note(association.send_c_move(asked, "VIEWER", STUDY_ROOT + MOVE, priority=priority))
    assert (seen, got.statuses[-1]) == ({priority}, SUCCESS)


def test_c_4_2_a_node_that_stops_does_not_wait_for_a_silent_destination(settings: Settings) -> None:
    got = Got()
    begun, over = threading.Event(), threading.Event()

    def never(event: Event) -> int:
        begun.set()
        over.wait()
        return 0

    with viewer(got, answer=never) as peer, node_with(settings, peer, shutdown_grace=0.1) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        with associated(node, [(STUDY_ROOT + MOVE, IMPLICIT)]) as association:
            answers = association.send_c_move(asked, "VIEWER", STUDY_ROOT + MOVE)
            asking = threading.Thread(target=list, args=(answers,))
            asking.start()
            assert begun.wait(120)
            # With its idle timeout of five minutes, only being woken can end it.
            node.server.stop()
            wait_until(lambda: node.server.associations == 0, "the association of the move has ended")
            over.set()
            asking.join()


def test_c_4_2_1_4_who_may_send_where(settings: Settings) -> None:
    got = Got()
    peers = [
        Peer(ae_title="OWN", facility="86002", rights=frozenset(["move"]), sees="province"),
        Peer(ae_title="ALL", facility="86002", rights=frozenset(["move"]), sees="province", destinations="province"),
        Peer(ae_title="LIST", facility="86002", rights=frozenset(["move"]), sees="province", destinations=("VIEWER",)),
        Peer(ae_title="NONE", facility="86001", rights=frozenset(["move"]), sees="province", destinations=()),
        gone(1, "THERE").model_copy(update={"facility": "86002"}),
    ]
    with viewer(got) as peer, node_with(settings, peer, *peers) as node:
        asked, _ = asked_for(stored(node.archive), "IMAGE")
        for calling, final in (("CT1", SUCCESS), ("ALL", SUCCESS), ("LIST", SUCCESS)):
            assert move(node, asked, calling=calling).statuses[-1] == final
        for calling in ("OWN", "NONE"):
            assert move(node, asked, calling=calling).statuses == [NOT_AUTHORIZED]
        assert move(node, asked, "THERE", calling="OWN").statuses[-1] == UNABLE
        assert move(node, asked, "THERE", calling="LIST").statuses == [NOT_AUTHORIZED]


def test_c_4_2_1_4_a_peer_may_always_send_to_itself(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer:
        own = peer.model_copy(update={"rights": frozenset(["move"]), "destinations": ()})
        with node_with(settings, own) as node:
            asked, expected = asked_for(stored(node.archive), "STUDY")
            assert move(node, asked, calling="VIEWER", got=got).statuses[-1] == SUCCESS
    assert got.received == sent(expected)


def test_c_4_2_only_the_shown_version_of_an_instance_is_sent(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer, node_with(settings, peer) as node:
        image = ct_image()
        store(node.archive, image)
        image.StudyDescription = "corrected"
        store(node.archive, image)
        move(node, study_of(node), got=got)
    assert got.received == {image.SOPInstanceUID: encode(image)}
    assert got.counts == [(None, 1, 0, 0)]


def test_c_4_2_1_4_a_second_association_that_is_never_answered_holds_nobody_up(settings: Settings) -> None:
    """A destination that serves one connection after the other, as DCMTK's storescp does."""
    got = Got()
    with (
        viewer(got) as peer,
        socket.create_server(("127.0.0.1", 0)) as front,
        node_with(settings, parallel(gone(front.getsockname()[1]), 2)) as node,
    ):
        serving = threading.Thread(target=one_at_a_time, args=(front, peer.port or 0), daemon=True)
        serving.start()
        expected = series(node)
        move(node, study_of(node), got=got)
        assert got.received == expected
        assert got.counts[-1] == (None, COUNT, 0, 0)


def one_at_a_time(front: socket.socket, port: int) -> None:
    """Pass connections on to `port`, each to its end before the next is looked at."""
    while True:
        try:
            client, _ = front.accept()
        except OSError:
            return
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=copy, args=(server, client))
            back.start()
            copy(client, server)
            back.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_c_4_2_1_6_pending_responses_come_at_a_rate_that_can_be_read() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert all(pace.due() for _ in range(Pace.ALL))
    due = 0
    for _ in range(10_000):
        now[0] += 0.001
        due += pace.due()
    assert 90 <= due <= 101


def test_ps3_8_9_3_2_2_what_is_proposed_fits_into_128_contexts() -> None:
    kinds = [(f"1.2.{sop_class}", f"1.3.{syntax}") for sop_class in range(60) for syntax in range(3)]
    taken, offered = fitting(kinds)
    assert len(offered) <= 128
    assert kinds[0] in taken
    assert {(each, (kind[1],)) for kind in taken for each in (kind[0],)} <= {(a, tuple(s)) for a, s in offered}
    rest, _ = fitting([kinds[-1], *kinds])
    assert kinds[-1] in rest


@pytest.mark.parametrize("as_stored", [True, False])
def test_c_4_2_2_2_a_class_is_proposed_decoded_once(as_stored: bool) -> None:
    _, offered = fitting([("1.2", "1.3"), ("1.2", "1.4"), ("1.2", "1.3")], as_stored=as_stored)
    assert len(offered) == (2 if as_stored else 4)
