"""N-EVENT-REPORT on an association that the peer opened, whatever else happens on it (PS3.7 10.1.1, 7.2)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from archive.core import Archive
from config.settings import Settings
from dicom_node.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_STORE_RQ,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    EVENT_TYPE_ID,
    N_EVENT_REPORT_RQ,
    NO_DATA_SET,
    WITH_DATA_SET,
    Command,
    response,
)
from dicom_node.events import Event
from dicom_node.exchange import Exchange
from dicom_node.handlers.echo import Echo
from dicom_node.handlers.store import StoreService
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Dialogue, Operation
from dicom_node.server import DicomServer
from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    ABORT,
    COMMAND,
    DATA,
    LAST,
    RELEASE_RQ,
    RawPeer,
    command_set,
    decode_command,
    echo_rq,
    message,
    p_data,
    pdv,
    store_rq,
)
from tests.integration.dicom_node.running import leftovers, open_files, with_node

ECHO_CONTEXT, CT_CONTEXT = 3, 1
EVENT = {
    AFFECTED_SOP_CLASS_UID: "1.2.3",
    COMMAND_FIELD: N_EVENT_REPORT_RQ,
    COMMAND_DATA_SET_TYPE: WITH_DATA_SET,
    AFFECTED_SOP_INSTANCE_UID: "1.2.3.4",
    EVENT_TYPE_ID: 1,
}


@dataclass
class Source:
    """Posts events on the association that asked by a C-ECHO, and notes how they end."""

    callers: list[Caller] = field(default_factory=list)
    ended: list[int | None] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        caller.outbox.open()
        self.callers.append(caller)
        return Echo(command, context, caller)

    def post(self, data: bytes | None = b"dataset!", context_id: int = ECHO_CONTEXT) -> None:
        kind = WITH_DATA_SET if data is not None else NO_DATA_SET
        self.callers[-1].outbox.post(Event(context_id, {**EVENT, COMMAND_DATA_SET_TYPE: kind}, data, self._done))

    def _done(self, status: int | None) -> None:
        with self.changed:
            self.ended.append(status)
            self.changed.notify_all()

    def wait(self, *statuses: int | None) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ended) >= len(statuses), 20)
            assert self.ended == list(statuses)


@dataclass
class Slow:
    """An operation whose response waits for an event that the test posts, so that one is out meanwhile."""

    release: threading.Event = field(default_factory=threading.Event)
    polled: threading.Event = field(default_factory=threading.Event)

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        return _SlowOperation(self, command)


class _SlowOperation:
    def __init__(self, slow: Slow, command: Command) -> None:
        self._slow = slow
        self._command = command

    def write(self, data: memoryview) -> None: ...

    def abort(self) -> None: ...

    def finish(self) -> Dialogue:
        return self._answer

    def _answer(self, exchange: Exchange) -> None:
        while not self._slow.release.wait(0.005):
            exchange.poll()
            self._slow.polled.set()
        exchange.poll()
        exchange.respond(exchange.context_id, response(self._command, 0))


@dataclass
class Serving:
    server: DicomServer
    source: Source
    slow: Slow

    def peer(self) -> RawPeer:
        """An association that has made its outbox ready."""
        peer = RawPeer(self.server.port).associate()
        assert peer.echo() == 0
        return peer


@pytest.fixture
def serving(settings: Settings, archive: Archive) -> Iterator[Serving]:
    source, slow = Source(), Slow()
    settings = with_node(settings, shutdown_grace=0.2)
    archive.check()
    services = {C_ECHO_RQ: source, C_STORE_RQ: StoreService(archive), C_FIND_RQ: slow}
    files = open_files()
    server = DicomServer(settings.node, archive.peers, services)
    server.start()
    yield Serving(server, source, slow)
    server.stop()
    assert open_files() <= files
    assert leftovers(settings, archive) == []


def receive_event(peer: RawPeer, *, data: bytes | None = b"dataset!") -> int:
    """Read one N-EVENT-REPORT-RQ; give its message ID."""
    command, dataset, done = b"", b"", False
    while not done:
        kind, body = peer.receive()
        assert kind == 4
        offset = 0
        while offset < len(body):
            size = int.from_bytes(body[offset : offset + 4], "big")
            assert body[offset + 4] == ECHO_CONTEXT
            control, value = body[offset + 5], body[offset + 6 : offset + 4 + size]
            offset += 4 + size
            if control & COMMAND:
                command += value
                done = bool(control & LAST) and data is None
            else:
                dataset += value
                done = bool(control & LAST)
    elements = decode_command(command)
    assert elements[0x100] == b"\x00\x01"
    assert elements[2].rstrip(b"\0") == b"1.2.3"
    assert elements[0x1002] == b"\1\0"
    assert dataset == (data or b"")
    return int.from_bytes(elements[0x110], "little")


def answer(number: int, status: int = 0, *, data: bool = False) -> bytes:
    return command_set({0x100: 0x8100, 0x120: number, 0x800: 1 if data else 0x101, 0x900: status})


def send_answer(peer: RawPeer, number: int, status: int = 0, reply: bytes | None = None) -> None:
    if reply is None:
        peer.send(p_data(pdv(ECHO_CONTEXT, COMMAND | LAST, answer(number, status))))
    else:
        peer.send(message(ECHO_CONTEXT, answer(number, status, data=True), reply))


def test_an_event_reaches_an_idle_peer_and_its_answer_comes_back(serving: Serving) -> None:
    with serving.peer() as peer:
        for status in (0, 0x0110):
            serving.source.post()
            send_answer(peer, receive_event(peer), status)
        serving.source.wait(0, 0x0110)
        assert peer.echo() == 0
        peer.release()


def test_an_event_without_dataset(serving: Serving) -> None:
    with serving.peer() as peer:
        serving.source.post(None)
        send_answer(peer, receive_event(peer, data=None))
        serving.source.wait(0)
        peer.release()


def test_an_event_in_pdus_as_small_as_the_peer_takes(serving: Serving) -> None:
    with RawPeer(serving.server.port).associate(maximum_length=16) as peer:
        assert peer.echo() == 0
        data = bytes(range(256)) * 10
        serving.source.post(data)
        send_answer(peer, receive_event(peer, data=data))
        serving.source.wait(0)


def test_an_answer_with_a_dataset_is_taken_and_the_dataset_dropped(serving: Serving) -> None:
    """PS3.7 10.1.1.1.8: an Event Reply."""
    with serving.peer() as peer:
        serving.source.post()
        send_answer(peer, receive_event(peer), reply=b"reply" * 1000)
        serving.source.wait(0)
        assert peer.echo() == 0
        peer.release()


def test_several_events_at_once(serving: Serving) -> None:
    with serving.peer() as peer:
        for _ in range(5):
            serving.source.post()
        numbers = [receive_event(peer) for _ in range(5)]
        assert len(set(numbers)) == 5
        for number in reversed(numbers):
            send_answer(peer, number)
        serving.source.wait(0, 0, 0, 0, 0)
        peer.release()


def test_the_peer_goes_on_with_requests_before_it_answers(serving: Serving) -> None:
    with serving.peer() as peer:
        serving.source.post()
        number = receive_event(peer)
        image = ct_image()
        assert peer.echo() == 0
        assert peer.store(image.SOPInstanceUID, encode(image)) == 0
        assert serving.source.ended == []
        send_answer(peer, number)
        serving.source.wait(0)
        peer.release()


def test_an_event_waits_for_the_end_of_an_object_that_is_being_received(serving: Serving) -> None:
    image = ct_image(rows=100, columns=100)
    whole = message(CT_CONTEXT, store_rq(image.SOPInstanceUID), encode(image), size=4096)
    with serving.peer() as peer:
        peer.send(whole[:10_000])
        serving.source.post()
        peer.send(whole[10_000:])
        assert peer.status() == 0
        send_answer(peer, receive_event(peer))
        serving.source.wait(0)
        peer.release()


def test_an_answer_between_the_fragments_of_an_object_does_no_harm(serving: Serving) -> None:
    """A peer that answers from another thread than it sends from."""
    image = ct_image(rows=100, columns=100)
    with serving.peer() as peer:
        serving.source.post()
        number = receive_event(peer)
        data = encode(image)
        peer.send(p_data(pdv(CT_CONTEXT, COMMAND | LAST, store_rq(image.SOPInstanceUID))))
        peer.send(p_data(pdv(CT_CONTEXT, DATA, data[:1000])))
        send_answer(peer, number)
        serving.source.wait(0)
        peer.send(p_data(pdv(CT_CONTEXT, DATA | LAST, data[1000:])))
        assert peer.status() == 0
        peer.release()


@pytest.mark.parametrize("reply", [None, b"reply"])
def test_an_answer_within_an_operation_of_several_responses(serving: Serving, reply: bytes | None) -> None:
    with serving.peer() as peer:
        serving.source.post()
        number = receive_event(peer)
        find = command_set({2: b"1.2", 0x100: 0x20, 0x110: 9, 0x700: 0, 0x800: 1})
        peer.send(message(ECHO_CONTEXT, find, b"identifier"))
        assert serving.slow.polled.wait(120)
        send_answer(peer, number, reply=reply)
        serving.source.wait(0)
        serving.slow.release.set()
        assert peer.status() == 0
        assert peer.echo() == 0
        peer.release()


def test_events_that_are_out_or_waiting_end_with_the_association(serving: Serving) -> None:
    endings = (RELEASE_RQ, ABORT, b"\x09\0\0\0\0\0")
    for number, ending in enumerate(endings, 1):
        with serving.peer() as peer:
            serving.source.post()
            receive_event(peer)
            peer.send(ending)
            peer.close()
            serving.source.wait(*[None] * number)
    with serving.peer() as peer:
        serving.source.post()
        receive_event(peer)
        peer.reset()
        serving.source.wait(*[None] * 4)
    serving.source.post()
    serving.source.wait(*[None] * 5)


def test_the_release_of_the_peer_is_answered_while_an_event_is_out(serving: Serving) -> None:
    with serving.peer() as peer:
        serving.source.post()
        receive_event(peer)
        peer.release()
    serving.source.wait(None)


def test_an_answer_to_nothing_is_passed_over(serving: Serving) -> None:
    with serving.peer() as peer:
        send_answer(peer, 4711)
        assert peer.echo() == 0
        serving.source.post()
        number = receive_event(peer)
        send_answer(peer, number)
        send_answer(peer, number, 0x0110)
        serving.source.wait(0)
        assert peer.echo() == 0
        peer.release()


def test_a_stop_of_the_node_ends_an_association_that_waits_for_events(serving: Serving) -> None:
    with serving.peer() as peer:
        serving.source.post()
        receive_event(peer)
        stopping = threading.Thread(target=serving.server.stop)
        stopping.start()
        assert peer.aborted() == (0, 0)
        stopping.join()
        serving.source.wait(None)


def test_a_silent_peer_is_given_up_with_its_events(settings: Settings, archive: Archive) -> None:
    source = Source()
    server = DicomServer(with_node(settings, idle_timeout=0.2).node, archive.peers, {C_ECHO_RQ: source})
    server.start()
    with RawPeer(server.port).associate() as peer:
        assert peer.echo() == 0
        source.post()
        receive_event(peer)
        assert peer.aborted() == (2, 0)
        peer.close()
        source.wait(None)
    server.stop()


def test_events_in_a_stream_of_objects(serving: Serving) -> None:
    """A modality sends one object after the other while results come."""
    images = [ct_image(seed=n) for n in range(30)]
    with serving.peer() as peer:
        for count, image in enumerate(images, 1):
            peer.send(message(CT_CONTEXT, store_rq(image.SOPInstanceUID, message=count), encode(image)))
            if count % 10 == 0:
                assert peer.status() == 0
                serving.source.post()
                send_answer(peer, receive_event(peer))
            else:
                assert peer.status() == 0
        serving.source.wait(0, 0, 0)
        peer.send(p_data(pdv(ECHO_CONTEXT, COMMAND | LAST, echo_rq())))
        assert peer.status() == 0
        peer.release()
