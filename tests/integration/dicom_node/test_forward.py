"""Objects sent on: to whom, when, and what happens if they are not taken."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom.events import Event

from archive.core import Archive
from config.peers import Peer
from config.routes import Route
from config.settings import Settings
from tests.conformance.test_ps3_4_c_4_2_retrieve import Got, closed_port, compressed, gone, viewer
from tests.factories import SOURCE, ct_image, encode, store
from tests.integration.dicom_node.forwarding import forwarding, queue, wait_until_empty, with_routes
from tests.integration.dicom_node.running import sql, wait_until


def route(name: str = "all", **values: Any) -> Route:
    return Route(**{"name": name, "destinations": ("VIEWER",), **values})


def states(archive: Archive) -> list[tuple[Any, ...]]:
    return sql(archive.settings, "SELECT destination, state, count(*) FROM route_task GROUP BY 1, 2 ORDER BY 1, 2")


def test_what_arrives_is_sent_on_once(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer, forwarding(with_routes(settings, peer, route())) as archive:
        images = [ct_image(seed=n) for n in range(7)]
        for image in images:
            store(archive, image)
            store(archive, image)
        wait_until(lambda: len(got.received) == 7, "all are there")
        wait_until_empty(archive)
        assert got.received == {image.SOPInstanceUID: encode(image) for image in images}
        assert states(archive) == [("VIEWER", "sent", 7)]


def test_objects_from_before_the_first_route_stay(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer:
        with Archive.open(settings) as archive:
            store(archive, ct_image())
        with forwarding(with_routes(settings, peer, route())) as archive:
            new = ct_image()
            store(archive, new)
            wait_until(lambda: bool(got.received), "the new one is there")
            wait_until_empty(archive)
    assert set(got.received) == {new.SOPInstanceUID}


def test_what_arrived_while_nobody_looked_is_sent_later(settings: Settings) -> None:
    """The process that stored it died before the routes were held against it."""
    got = Got()
    with viewer(got) as peer:
        changed = with_routes(settings, peer, route())
        with forwarding(changed):
            pass
        image = ct_image()
        with Archive.open(changed) as archive:
            store(archive, image)
        with forwarding(changed) as archive:
            wait_until(lambda: bool(got.received), "it is there")
    assert set(got.received) == {image.SOPInstanceUID}


def test_a_destination_that_is_away_blocks_no_other_and_gets_all_when_it_is_back(settings: Settings) -> None:
    got, late = Got(), Got()
    away = closed_port()
    with viewer(got) as peer:
        both = route(destinations=("VIEWER", "AWAY"))
        with forwarding(with_routes(settings, peer, gone(away, "AWAY"), both)) as archive:
            images = [ct_image(seed=n) for n in range(5)]
            for image in images:
                store(archive, image)
            wait_until(lambda: len(got.received) == 5, "who is there has all")
            wait_until(lambda: queue(archive, "AWAY").failures > 2, "the other is tried again")
            state = queue(archive, "AWAY")
            assert (state.state, state.waiting, state.failed) == ("failing", 5, 0)
            assert "cannot connect" in state.error
            with back_at(away, late):
                wait_until(lambda: len(late.received) == 5, "it has all")
                wait_until_empty(archive, "AWAY")
            assert queue(archive, "AWAY").failures == 0
    assert late.received.keys() == got.received.keys()


def back_at(port: int, got: Got) -> Any:
    from contextlib import contextmanager

    from pynetdicom import AE, evt

    @contextmanager
    def serve() -> Any:
        ae = AE(ae_title="AWAY")
        ae.add_supported_context(CTImageStorage)
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, got.answer)])
        try:
            yield
        finally:
            server.shutdown()
            ae.shutdown()

    return serve()


def test_a_refused_object_is_set_aside_and_the_others_go_on(settings: Settings) -> None:
    got = Got()
    images = [ct_image(seed=n) for n in range(4)]
    bad = images[0].SOPInstanceUID

    def answer(event: Event) -> int:
        return 0xC001 if event.request.AffectedSOPInstanceUID == bad else got.answer(event)

    with viewer(got, answer=answer) as peer, forwarding(with_routes(settings, peer, route(), tries=3)) as archive:
        for image in images:
            store(archive, image)
        wait_until(lambda: queue(archive).failed == 1, "it is set aside")
        wait_until_empty(archive)
        assert states(archive) == [("VIEWER", "failed", 1), ("VIEWER", "sent", 3)]
        assert queue(archive).failures == 0
        (problem,) = archive.routing.problems("VIEWER")
        assert (problem.instance, problem.refusals, problem.status, problem.state) == (bad, 3, 0xC001, "failed")
        assert "C001" in problem.error
        bad = ""
        assert archive.routing.retry("VIEWER") == 1
        wait_until(lambda: len(got.received) == 4, "it is taken in the end")


def test_a_destination_without_room_is_left_alone_and_objects_keep_their_tries(settings: Settings) -> None:
    got, full = Got(), threading.Event()
    full.set()

    def answer(event: Event) -> int:
        return 0xA700 if full.is_set() else got.answer(event)

    with viewer(got, answer=answer) as peer, forwarding(with_routes(settings, peer, route(), tries=2)) as archive:
        images = [ct_image(seed=n) for n in range(3)]
        for image in images:
            store(archive, image)
        wait_until(lambda: queue(archive).failures >= 3, "it was tried several times")
        assert "A700" in queue(archive).error
        assert queue(archive).failed == 0
        full.clear()
        archive.routing.retry("VIEWER")
        wait_until(lambda: len(got.received) == 3, "all arrive")


def test_an_object_that_breaks_every_association_is_set_aside(settings: Settings) -> None:
    got = Got()
    images = [ct_image(seed=n) for n in range(3)]
    poison = images[0].SOPInstanceUID

    def answer(event: Event) -> int:
        if event.request.AffectedSOPInstanceUID == poison:
            event.assoc.abort()
            return 0xC000
        return got.answer(event)

    with viewer(got, answer=answer) as peer, forwarding(with_routes(settings, peer, route(), tries=2)) as archive:
        for image in images:
            store(archive, image)
        wait_until(lambda: len(got.received) == 2, "the others arrive")
        # Once more it breaks, after others got through: now it is known to be the object.
        sql(settings, "UPDATE route_task SET due_at = now() WHERE state = 'waiting'")
        wait_until(lambda: queue(archive).failed == 1, "it is set aside")
        wait_until(lambda: queue(archive).failures == 0 or bool(archive.routing.retry("VIEWER")), "it is tried again")
    assert set(got.received) == {image.SOPInstanceUID for image in images[1:]}


def test_an_object_that_breaks_every_association_is_set_aside_when_it_is_alone_too(settings: Settings) -> None:
    def answer(event: Event) -> int:
        event.assoc.abort()
        return 0xC000

    with viewer(Got(), answer=answer) as peer, forwarding(with_routes(settings, peer, route(), tries=3)) as archive:
        store(archive, ct_image())
        for tried in (1, 2, 3):
            wait_until(lambda tried=tried: refusals(settings) == tried, "it broke again")  # type: ignore[misc]
            sql(settings, "UPDATE route_task SET due_at = now() WHERE state = 'waiting'")
        wait_until(lambda: queue(archive).failed == 1, "it is set aside")


def refusals(settings: Settings) -> int:
    return int(sql(settings, "SELECT coalesce(sum(refusals), 0) FROM route_task")[0][0])


def test_a_destination_that_never_answers_holds_nobody_up(settings: Settings) -> None:
    got, over = Got(), threading.Event()

    def never(event: Event) -> int:
        over.wait()
        return 0

    silent = Got()
    with viewer(got) as peer, viewer(silent, answer=never) as mute:
        mute = mute.model_copy(update={"ae_title": "MUTE"})
        changed = with_routes(settings, peer, mute, route(destinations=("VIEWER", "MUTE")))
        changed = changed.model_copy(update={"node": changed.node.model_copy(update={"idle_timeout": 1.0})})
        with forwarding(changed) as archive:
            for n in range(3):
                store(archive, ct_image(seed=n))
            wait_until(lambda: len(got.received) == 3, "the other has all")
            wait_until(lambda: queue(archive, "MUTE").failures > 0, "it is given up for now")
            assert "nothing received" in queue(archive, "MUTE").error
            over.set()


@pytest.mark.parametrize("transcode", ["as_needed", "never"])
def test_what_is_not_taken_as_stored_is_decoded_if_the_route_says_so(settings: Settings, transcode: str) -> None:
    got = Got()
    rule = route(transcode=transcode)
    with viewer(got, "1.2.840.10008.1.2") as peer, forwarding(with_routes(settings, peer, rule, tries=1)) as archive:
        image = compressed(archive)
        if transcode == "never":
            wait_until(lambda: queue(archive).failed == 1, "it is set aside")
            assert "transfer syntax" in archive.routing.problems("VIEWER")[0].error
        else:
            wait_until(lambda: bool(got.received), "it is there")
            assert got.received[image.SOPInstanceUID].endswith(image.PixelData)


def test_pause_and_resume(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer, forwarding(with_routes(settings, peer, route())) as archive:
        archive.routing.pause("VIEWER", paused=True)
        store(archive, ct_image())
        wait_until(lambda: queue(archive).waiting == 1, "it waits")
        assert queue(archive).state == "paused"
        assert not got.received
        archive.routing.pause("VIEWER", paused=False)
        wait_until(lambda: len(got.received) == 1, "it is there")


def test_discard_empties_the_queue(settings: Settings) -> None:
    with forwarding(with_routes(settings, gone(closed_port()), route())) as archive:
        for n in range(3):
            store(archive, ct_image(seed=n))
        wait_until(lambda: queue(archive).waiting == 3, "they wait")
        assert archive.routing.discard("VIEWER") == 0
        wait_until(lambda: archive.routing.discard("VIEWER", only_failed=False) > 0, "nobody is at it")
        wait_until(
            lambda: queue(archive).waiting == 0 or bool(archive.routing.discard("VIEWER", only_failed=False)),
            "all are discarded",
        )


def test_a_study_sent_by_hand_goes_where_it_has_been(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer, forwarding(with_routes(settings, peer)) as archive:
        image = ct_image()
        store(archive, image)
        for _ in range(2):
            got.received.clear()
            assert archive.routing.send(image.StudyInstanceUID, "VIEWER") == 1
            wait_until(lambda: len(got.received) == 1, "it is there")
            wait_until_empty(archive)


def test_a_study_goes_when_it_is_complete_and_whole(settings: Settings) -> None:
    """One object of it fits the rule, and all of it goes, once."""
    got = Got()
    rule = route(what="study", modalities=("MR",), delay=0.3)
    with viewer(got) as peer, forwarding(with_routes(settings, peer, rule)) as archive:
        first = ct_image()
        second = ct_image(StudyInstanceUID=first.StudyInstanceUID, Modality="MR", SOPClassUID=MRImageStorage)
        other = ct_image()
        for image in (first, second, other):
            store(archive, image)
        wait_until(lambda: len(got.received) == 2, "the study is there")
        wait_until_empty(archive)
        assert set(got.received) == {first.SOPInstanceUID, second.SOPInstanceUID}
        got.received.clear()
        late = ct_image(StudyInstanceUID=first.StudyInstanceUID, Modality="MR", SOPClassUID=MRImageStorage)
        store(archive, late)
        wait_until(lambda: bool(got.received), "the late one is there")
        wait_until_empty(archive)
    assert set(got.received) == {late.SOPInstanceUID}


def test_priors_go_with_a_study(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer:
        old = [ct_image(StudyDate=f"202{n}0101") for n in range(4)]
        foreign = ct_image(PatientID="BN0002", StudyDate="20250101")
        with Archive.open(settings) as archive:
            for image in (*old, foreign):
                store(archive, image)
        rule = route(what="study", delay=0, priors=2)
        with forwarding(with_routes(settings, peer, rule)) as archive:
            new = ct_image(StudyDate="20260101")
            store(archive, new)
            wait_until(lambda: len(got.received) == 3, "it and its priors are there")
            wait_until_empty(archive)
    assert set(got.received) == {new.SOPInstanceUID, old[3].SOPInstanceUID, old[2].SOPInstanceUID}


def test_high_before_low(settings: Settings) -> None:
    got = Got()
    rules = [
        route("low", modalities=("CT",), priority="low"),
        route("high", modalities=("MR",), priority="high"),
    ]
    with viewer(got) as peer, forwarding(with_routes(settings, peer, *rules)) as archive:
        archive.routing.pause("VIEWER", paused=True)
        images = [ct_image(seed=n, Modality="CT" if n < 3 else "MR") for n in range(6)]
        for image in images:
            store(archive, image)
        wait_until(lambda: queue(archive).waiting == 6, "all wait")
        archive.routing.pause("VIEWER", paused=False)
        wait_until(lambda: len(got.received) == 6, "all are there")
    assert list(got.received) == [image.SOPInstanceUID for image in (*images[3:], *images[:3])]


def test_nothing_goes_back_where_it_came_from(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer:
        alias = peer.model_copy(update={"ae_title": "SAMEPLACE"})
        rule = route(destinations=("VIEWER", "SAMEPLACE"))
        with forwarding(with_routes(settings, peer, alias, rule)) as archive:
            store(archive, ct_image(), replace(SOURCE, calling_ae_title="VIEWER"))
            last = ct_image()
            store(archive, last)
            wait_until(lambda: bool(got.received), "the other one is there")
            wait_until_empty(archive)
            wait_until_empty(archive, "SAMEPLACE")
    assert set(got.received) == {last.SOPInstanceUID}


def test_a_correction_follows_the_first_version_and_a_copy_from_elsewhere_does_not(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer, forwarding(with_routes(settings, peer, route())) as archive:
        image = ct_image()
        store(archive, image)
        wait_until(lambda: len(got.received) == 1, "the first version is there")
        image.StudyDescription = "changed on its way through another archive"
        store(archive, image, replace(SOURCE, calling_ae_title="OTHERPACS"))
        image.StudyDescription = "corrected"
        store(archive, image)
        wait_until(lambda: got.received[image.SOPInstanceUID] == encode(image), "the correction is there")
        wait_until_empty(archive)
        assert sql(settings, "SELECT count(*) FROM route_task") == [(2,)]


def test_rights_of_the_peer_book_do_not_matter_for_routes(settings: Settings) -> None:
    """A destination needs no right: a rule of the settings is one."""
    got = Got()
    with viewer(got) as peer:
        peer = Peer(ae_title="VIEWER", facility="86002", host=peer.host, port=peer.port, rights=frozenset())
        with forwarding(with_routes(settings, peer, route())) as archive:
            store(archive, ct_image())
            wait_until(lambda: bool(got.received), "it is there")


def test_several_associations_to_one_destination(settings: Settings) -> None:
    got = Got()
    together = threading.Barrier(3)
    lock = threading.Lock()
    seen: set[int] = set()

    def answer(event: Event) -> int:
        with lock:
            new = id(event.assoc) not in seen
            seen.add(id(event.assoc))
        if new and len(seen) <= 3:
            together.wait(120)
        return got.answer(event)

    with viewer(got, answer=answer) as peer:
        changed = with_routes(settings, peer.model_copy(update={"parallel": 3}), route())
        with Archive.open(changed) as archive:
            pass
        with forwarding(changed) as archive:
            archive.routing.pause("VIEWER", paused=True)
            for n in range(70):
                store(archive, ct_image(seed=n))
            wait_until(lambda: queue(archive).waiting == 70, "all wait")
            archive.routing.pause("VIEWER", paused=False)
            wait_until(lambda: len(got.received) == 70, "all are there")
            wait_until_empty(archive)
    assert len(seen) >= 3


def test_an_availability_notification_of_a_complete_study(settings: Settings) -> None:
    """PS3.4 R: N-CREATE to a peer, with all instances of the study."""
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import InstanceAvailabilityNotification  # type: ignore[attr-defined]

    told: list[Any] = []

    def create(event: Event) -> tuple[int, None]:
        told.append((event.attribute_list, event.request.AffectedSOPInstanceUID))
        return 0, None

    ae = AE(ae_title="RIS")
    ae.add_supported_context(InstanceAvailabilityNotification)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_CREATE, create)])
    try:
        peer = gone(server.server_address[1], "RIS")
        rule = Route(name="tell", destinations=("RIS",), notify="availability", delay=0.2)
        with forwarding(with_routes(settings, peer, rule)) as archive:
            first = ct_image()
            second = ct_image(StudyInstanceUID=first.StudyInstanceUID, SeriesNumber=2, seed=1)
            for image in (first, second):
                store(archive, image)
            wait_until(lambda: bool(told), "it is told")
            wait_until_empty(archive, "RIS")
            assert queue(archive, "RIS").failures == 0
    finally:
        server.shutdown()
        ae.shutdown()
    ((notice, instance),) = told
    assert instance
    assert notice.StudyInstanceUID == first.StudyInstanceUID
    assert not notice.ReferencedPerformedProcedureStepSequence
    found = {
        item.SeriesInstanceUID: [
            (each.ReferencedSOPInstanceUID, each.InstanceAvailability, each.RetrieveAETitle)
            for each in item.ReferencedSOPSequence
        ]
        for item in notice.ReferencedSeriesSequence
    }
    assert found == {image.SeriesInstanceUID: [(image.SOPInstanceUID, "ONLINE", "PACS")] for image in (first, second)}


def test_a_peer_that_takes_no_notifications_is_tried_again(settings: Settings) -> None:
    got = Got()
    rule = route(notify="availability", delay=0)
    with viewer(got) as peer, forwarding(with_routes(settings, peer, rule)) as archive:
        store(archive, ct_image())
        wait_until(lambda: queue(archive).failures > 0, "it is refused")
        assert "Availability" in queue(archive).error or "rejected" in queue(archive).error
    assert not got.received
