"""Storage commitment as SCP: what peers do to it, and what befalls the node (PS3.4 J.3)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role

from archive.commitment.records import Claimed, Reference, Requester
from archive.commitment.requests import LeaseLost, Requests
from archive.core import Archive
from archive.errors import IndexUnavailable
from archive.records import EVERYTHING, Scope, Source
from config.settings import Settings
from dicom_node.commitment.desk import Desk
from storage.errors import StorageUnavailable
from tests.conformance.test_ps3_4_j_storage_commitment import OTHER, file_of, states, stored
from tests.factories import ct_image, store
from tests.integration.dicom_node.committing import (
    COMMITMENT,
    CT,
    Gate,
    Reports,
    about,
    action,
    ask,
    asking,
    committing,
    listening,
    undecided,
    with_commitment,
    with_peer,
)
from tests.integration.dicom_node.peer import EXPLICIT
from tests.integration.dicom_node.roleless import roleless_peer
from tests.integration.dicom_node.running import Node, running, wait_until, with_node
from tests.rejection_notes import note


def wait_for(node: Node, *wanted: str) -> None:
    wait_until(lambda: states(node) == list(wanted), f"requests are {wanted}: {states(node)}")


def column(node: Node, name: str) -> list[Any]:
    return [value for (value,) in node.sql(f"SELECT {name} FROM commitment_request ORDER BY id")]


def due_now(node: Node) -> None:
    node.sql("UPDATE commitment_request SET due_at = now() WHERE leased_until IS NULL")


# -- where results go


def test_the_next_objects_on_the_association_while_the_result_is_prepared(settings: Settings) -> None:
    """Like a modality that asks after each series and goes on sending."""
    reports = Reports()
    with committing(settings) as node, asking(node, reports) as association:
        images = [ct_image(seed=n) for n in range(40)]
        for number, image in enumerate(images):
            image.file_meta = Dataset()  # type: ignore[assignment]
            image.ensure_file_meta()
            image.file_meta.TransferSyntaxUID = EXPLICIT
            assert association.send_c_store(image).Status == 0
            if number % 8 == 7:
                assert ask(association, about(images[number - 7 : number + 1])) == 0
        got = reports.wait(5)
    assert sorted(uid for report in got for uid in report.committed) == sorted(image.SOPInstanceUID for image in images)
    assert {report.kind for report in got} == {1}


def test_a_peer_that_releases_while_the_report_is_out_gets_it_on_another_association(settings: Settings) -> None:
    gate = Gate()
    here, there = Reports(before=gate), Reports()
    with listening(there) as port, committing(with_peer(settings, host="127.0.0.1", port=port)) as node:
        images = stored(node.archive, 2)
        with asking(node, here) as association:
            assert ask(association, about(images)) == 0
            assert gate.reached.wait(120)
            association.abort()
            gate.opened.set()
        (report,) = there.wait()
        wait_for(node, "delivered")
    assert report.committed == [image.SOPInstanceUID for image in images]


def test_a_peer_that_nobody_can_call_gets_its_result_when_it_associates_again(settings: Settings) -> None:
    reports = Reports()
    with committing(settings) as node:
        images = node_has_result(node)
        assert column(node, "problem") == ["the peer has no association open, and is not called"]
        # Another peer, and an association of its own without the context.
        with asking(node, reports, calling="US2"):
            pass
        ae = AE(ae_title="CT1")
        ae.add_requested_context(CT, EXPLICIT)
        ae.associate("127.0.0.1", node.port, ae_title="PACS", evt_handlers=reports.handlers).release()
        ae.shutdown()
        assert states(node) == ["ready"]
        assert reports.got == []
        with asking(node, reports):
            (report,) = reports.wait()
        wait_for(node, "delivered")
    assert report.committed == [image.SOPInstanceUID for image in images]


def test_a_peer_that_wants_results_on_new_associations_alone(settings: Settings) -> None:
    here, there = Reports(), Reports()
    with (
        listening(there) as port,
        committing(with_peer(settings, host="127.0.0.1", port=port, commitment="new")) as node,
        asking(node, here) as association,
    ):
        assert ask(association, about(stored(node.archive, 1))) == 0
        there.wait()
        wait_for(node, "delivered")
        assert association.is_established
        with asking(node, here):
            pass
    assert (len(here.got), len(there.got)) == (0, 1)


def test_a_peer_that_wants_results_on_its_own_associations_alone(settings: Settings) -> None:
    here, there = Reports(), Reports()
    with (
        listening(there) as port,
        committing(with_peer(settings, host="127.0.0.1", port=port, commitment="same")) as node,
    ):
        images = stored(node.archive, 1)
        with asking(node, here) as association:
            assert ask(association, about(images)) == 0
            here.wait()
        wait_for(node, "delivered")
    assert (len(here.got), len(there.got)) == (1, 0)


def test_a_peer_that_proposes_the_scp_role_alone_is_sent_nothing_there(settings: Settings) -> None:
    """It has come to answer a request of ours, not to take an answer."""
    here, there = Reports(), Reports()
    with committing(settings) as node:
        node_has_result(node)
        ae = AE(ae_title="CT1")
        ae.add_requested_context(COMMITMENT, EXPLICIT)
        association = ae.associate(
            "127.0.0.1",
            node.port,
            ae_title="PACS",
            ext_neg=[build_role(COMMITMENT, scp_role=True)],
            evt_handlers=here.handlers,
        )
        assert association.accepted_contexts[0].as_scp
        association.release()
        ae.shutdown()
        assert states(node) == ["ready"]
        with asking(node, there):
            there.wait()
        wait_for(node, "delivered")
    assert here.got == []


def node_has_result(node: Node) -> list[Dataset]:
    """A result waits for CT1, which has no association open."""
    images = stored(node.archive, 1)
    request(node, images)
    wait_until(lambda: states(node) == ["ready"] and column(node, "problem") != [""], "a result waits")
    return images


def requester_of(ae_title: str, facility: str = "86001") -> Requester:
    return Requester(ae_title, "PACS", "127.0.0.1", facility, EVERYTHING)


def request(node: Node, images: Sequence[Dataset], ae_title: str = "CT1", facility: str = "86001") -> str:
    """A request that came on an association which is gone; gives its Transaction UID."""
    transaction = str(generate_uid())
    requester = requester_of(ae_title, facility)
    node.archive.commitments.requests.accept(requester, transaction, references(images))
    return transaction


def references(images: Sequence[Dataset]) -> list[Reference]:
    return [Reference(image.SOPClassUID, image.SOPInstanceUID) for image in images]


def test_a_peer_that_says_nothing_of_roles_gets_its_result(settings: Settings) -> None:
    """PS3.7 D.3.3.4 has it answer the role; not every device does."""
    with roleless_peer() as port, committing(with_peer(settings, host="127.0.0.1", port=port)) as node:
        request(node, stored(node.archive, 1))
        wait_for(node, "delivered")


def test_the_peer_is_called_under_the_title_that_it_knows(settings: Settings) -> None:
    reports = Reports()
    titles: list[str] = []
    reports.before = lambda event: titles.append(str(event.assoc.requestor.ae_title))
    with listening(reports) as port:
        changed = with_node(with_peer(settings, host="127.0.0.1", port=port), require_called_ae_title=False)
        with committing(changed) as node:
            images = stored(node.archive, 1)
            ae = AE(ae_title="CT1")
            ae.add_requested_context(COMMITMENT, EXPLICIT)
            association = ae.associate("127.0.0.1", node.port, ae_title="OLD_PACS")
            with undecided(settings):
                assert ask(association, about(images)) == 0
                association.release()
            reports.wait()
            wait_for(node, "delivered")
            ae.shutdown()
    assert titles == ["OLD_PACS"]


def test_a_node_that_stops_does_not_wait_for_a_peer(settings: Settings) -> None:
    """The peer has taken the report, and does not answer; the next node reports again."""
    gate = Gate()
    reports = Reports(before=gate)
    with listening(reports) as port, Archive.open(with_peer(settings, host="127.0.0.1", port=port)) as archive:
        with running(archive.settings, archive, committing=True) as node:
            request(node, stored(archive, 1))
            assert gate.reached.wait(120)
        assert states(node) == ["ready"]
        assert column(node, "attempts") == [1]
        gate.opened.set()
        due_now(node)
        with running(archive.settings, archive, committing=True):
            wait_for(node, "delivered")
    assert len(reports.got) == 2


# -- trying again


def test_a_result_is_sent_until_the_peer_takes_it(settings: Settings) -> None:
    reports = Reports(statuses=[0x0110, 0x0213])
    with listening(reports) as port, committing(with_peer(settings, host="127.0.0.1", port=port)) as node:
        images = stored(node.archive, 1)
        request(node, images)
        for count, problem in ((1, "answered with status 0110"), (2, "answered with status 0213")):
            wait_until(lambda count=count: column(node, "attempts") == [count], "an attempt failed")  # type: ignore[misc]
            assert column(node, "problem") == [problem]
            (left,) = column(node, "extract(epoch from due_at - now())")
            assert 15 * (count - 1) < left <= 15 * count
            due_now(node)
        wait_for(node, "delivered")
    assert len(reports.got) == 3
    assert len({report.transaction for report in reports.got}) == 1


def test_a_dead_peer_does_not_hold_up_the_others(settings: Settings) -> None:
    reports = Reports()
    with listening(reports, "US2") as port:
        dead = with_peer(settings, host="127.0.0.1", port=1)
        (us2,) = (peer for peer in dead.peers if peer.ae_title == "US2")
        alive = us2.model_copy(update={"host": "127.0.0.1", "port": port})
        peers = tuple(alive if peer is us2 else peer for peer in dead.peers)
        with committing(dead.model_copy(update={"peers": peers})) as node:
            images = stored(node.archive, 1)
            for _ in range(20):
                request(node, images)
            request(node, images, "US2")
            reports.wait()
            wait_until(lambda: states(node).count("delivered") == 1, "the other is delivered")
            wait_until(lambda: all(each > 0 for each in column(node, "attempts")[:20]), "the dead one was tried")
        assert any("refused" in problem for problem in column(node, "problem"))


def test_results_of_one_peer_come_in_order_on_one_association(settings: Settings) -> None:
    reports = Reports()
    associations: list[int] = []
    reports.before = lambda event: associations.append(id(event.assoc))
    with listening(reports) as port, Archive.open(with_peer(settings, host="127.0.0.1", port=port)) as archive:
        images = stored(archive, 1)
        transactions = [generate_uid() for _ in range(10)]
        for transaction in transactions:
            archive.commitments.requests.accept(requester_of("CT1"), transaction, references(images))
        checker = archive.commitments.checker(lambda: False)
        while claimed := archive.commitments.requests.claim_to_check():
            checker.check(claimed)
        with running(archive.settings, archive, committing=True) as node:
            reports.wait(10)
            wait_until(lambda: set(states(node)) == {"delivered"}, "all are delivered")
    assert [report.transaction for report in reports.got] == transactions
    assert len(set(associations)) == 1


def test_what_nobody_takes_is_given_up_with_a_warning(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with committing(with_commitment(settings, give_up_days=1)) as node:
        node_has_result(node)
        node.sql("UPDATE commitment_request SET received_at = now() - interval '25 hours'")
    with caplog.at_level(logging.WARNING), committing(with_commitment(settings, give_up_days=1)) as node:
        wait_for(node, "failed")
    (record,) = [each for each in caplog.records if "could not be delivered" in each.message]
    assert record.pacs_fields["peer"] == "CT1"  # type: ignore[attr-defined]
    assert "no association open" in record.pacs_fields["error"]  # type: ignore[attr-defined]


def test_what_is_over_is_deleted_after_some_time(settings: Settings) -> None:
    with committing(settings) as node:
        node_has_result(node)
        node.sql("UPDATE commitment_request SET state = 'delivered', closed_at = now() - interval '29 days'")
    with committing(settings) as node:
        wait_until(lambda: node.archive.commitments.requests.claim_to_check() is None, "nothing to do")
        assert states(node) == ["delivered"]
        node.sql("UPDATE commitment_request SET closed_at = now() - interval '31 days'")
    with committing(settings) as node:
        wait_for(node)
        assert node.sql("SELECT count(*) FROM commitment_request_item") == [(0,)]


# -- who may ask about what


def test_what_a_facility_sent_again_it_may_ask_about(settings: Settings) -> None:
    """The bytes are stored once, for the facility that sent them first."""
    with committing(settings) as node:
        image, other = ct_image(), ct_image(seed=1)
        store(node.archive, image)
        store(node.archive, other)
        store(node.archive, image, OTHER)
        assert outcome(node, "US2", "86002", frozenset(["86002"]), [image, other]) == [0, 0x0112]


def test_what_nobody_may_see_is_still_of_its_sender(settings: Settings) -> None:
    with committing(settings) as node:
        (mine,) = stored(node.archive, 1, OTHER)
        assert outcome(node, "US2", "86002", frozenset(), [mine]) == [0]
        assert outcome(node, "CT9", "86001", frozenset(["86001"]), [mine]) == [0x0112]
        assert outcome(node, "CT9", "86001", None, [mine]) == [0]


def test_what_was_rejected_is_kept_for_its_sender_and_gone_for_others(settings: Settings) -> None:
    with committing(settings) as node:
        rejected, shown = stored(node.archive, 2)
        store(node.archive, note([rejected]))
        assert outcome(node, "CT1", "86001", None, [rejected, shown]) == [0, 0]
        assert outcome(node, "US2", "86002", None, [rejected, shown]) == [0x0112, 0]


def test_what_was_discarded_from_quarantine_is_not_kept(settings: Settings) -> None:
    with committing(settings) as node:
        stranger = Source("UNKNOWN", "UNKNOWN", "import", calling_ae_title="A", address="10.0.0.1", quarantined=True)
        image = ct_image()
        store(node.archive, image, stranger)
        assert outcome(node, "A", "UNKNOWN", frozenset(["UNKNOWN"]), [image]) == [0]
        node.sql("UPDATE instance SET hidden = hidden | 128")
        assert outcome(node, "A", "UNKNOWN", frozenset(["UNKNOWN"]), [image]) == [0x0112]


def test_strangers_share_a_facility_and_nothing_else(settings: Settings) -> None:
    with committing(settings) as node:
        first = Source("UNKNOWN", "UNKNOWN", "import", calling_ae_title="A")
        image = ct_image()
        store(node.archive, image, first)
        assert outcome(node, "A", "UNKNOWN", frozenset(), [image]) == [0]
        assert outcome(node, "B", "UNKNOWN", frozenset(), [image]) == [0x0112]
        store(node.archive, image, Source("UNKNOWN", "UNKNOWN", "import", calling_ae_title="B"))
        assert outcome(node, "B", "UNKNOWN", frozenset(), [image]) == [0]


def test_of_several_versions_the_one_that_was_sent_counts(settings: Settings) -> None:
    with committing(settings) as node:
        first = ct_image()
        uids = {name: first[name].value for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
        second = ct_image(seed=1, **uids)
        held = ct_image(seed=2, **uids)
        for image, source in ((first, None), (second, None), (held, OTHER)):
            store(node.archive, image, source) if source else store(node.archive, image)
        keys = dict(node.sql("SELECT version, key FROM stored_object"))
        (settings.objects_dir / keys[3]).unlink()
        assert outcome(node, "CT1", "86001", None, [first]) == [0]
        assert outcome(node, "US2", "86002", None, [first]) == [0x0112]
        (settings.objects_dir / keys[1]).unlink()
        assert outcome(node, "CT1", "86001", None, [first]) == [0]
        (settings.objects_dir / keys[2]).unlink()
        assert outcome(node, "CT1", "86001", None, [first]) == [0x0112]


def outcome(
    node: Node, ae_title: str, facility: str, scope: frozenset[str] | None, images: Sequence[Dataset]
) -> list[int]:
    requester = Requester(ae_title, "PACS", "127.0.0.1", facility, Scope(scope))
    number = node.archive.commitments.requests.accept(requester, generate_uid(), references(images))
    wait_until(
        lambda: node.sql("SELECT state FROM commitment_request WHERE id = %s", number) == [("ready",)], "it is decided"
    )
    return [
        reason
        for (reason,) in node.sql(
            "SELECT reason FROM commitment_request_item WHERE request_id = %s ORDER BY number", number
        )
    ]


# -- what befalls the node


def test_a_store_that_does_not_answer_is_asked_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with committing(settings) as node:
        one, two = stored(node.archive, 2)
        away = file_of(node, two).relative_to(settings.objects_dir)
        honest = node.archive.store.stat

        def stat(key: str) -> Any:
            if key == str(away):
                raise StorageUnavailable("injected")
            return honest(key)

        with monkeypatch.context() as patched:
            patched.setattr(node.archive.store, "stat", stat)
            request(node, [one, two])
            wait_until(lambda: column(node, "attempts") == [1], "it was tried")
            assert states(node) == ["received"]
            assert "did not answer for 1 objects" in column(node, "problem")[0]
            assert node.sql("SELECT reason FROM commitment_request_item ORDER BY number") == [(0,), (None,)]
            # For hours: then the peer is told.
            node.sql("UPDATE commitment_request SET received_at = now() - interval '7 hours'")
            due_now(node)
            wait_for(node, "ready")
            assert node.sql("SELECT reason FROM commitment_request_item ORDER BY number") == [(0,), (0x0213,)]


def test_two_nodes_share_the_work(settings: Settings) -> None:
    reports = Reports()
    with (
        listening(reports) as port,
        committing(with_peer(settings, host="127.0.0.1", port=port)) as one,
        Archive.open(one.settings) as two,
        Desk(two, poll=0.05),
    ):
        images = stored(one.archive, 3)
        transactions = [generate_uid() for _ in range(30)]
        for number, transaction in enumerate(transactions):
            archive = (one.archive, two)[number % 2]
            archive.commitments.requests.accept(requester_of("CT1"), transaction, references(images))
        wait_until(lambda: set(states(one)) == {"delivered"}, "all are delivered", 40)
    assert sorted(report.transaction for report in reports.got) == sorted(transactions)


def test_nobody_claims_what_another_has_claimed(settings: Settings) -> None:
    """Threads of several processes, all at the same moment: each request is worked on once in each state."""
    with Archive.open(settings) as archive, Archive.open(settings) as second, running(settings, archive) as node:
        images = stored(archive, 1)
        for number in range(60):
            request(node, images, f"PEER{number % 20}")
        node.sql("UPDATE commitment_request SET received_at = received_at - interval '1 hour'")
        claimed = together(lambda each: [found for found in [each.claim_to_check()] if found], archive, second)
        assert sorted(claimed) == list(range(1, 61))
        node.sql("UPDATE commitment_request SET state = 'ready', leased_until = NULL, ready_at = received_at")
        claimed = together(Requests.claim_to_deliver, archive, second)
        assert sorted(claimed) == list(range(1, 61))


def together(claim: Callable[[Requests], list[Claimed]], *archives: Archive) -> list[int]:
    """Claim from four threads for each archive until nothing is left; give the numbers of what was claimed."""
    numbers: list[int] = []
    started = threading.Barrier(4 * len(archives))

    def work(requests: Requests) -> None:
        started.wait()
        idle = 0
        while idle < 20:
            found = claim(requests)
            idle = 0 if found else idle + 1
            numbers.extend(each.id for each in found)

    threads = [threading.Thread(target=work, args=(each.commitments.requests,)) for each in archives * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return numbers


def test_a_lease_that_ended_is_taken_over_and_the_late_worker_changes_nothing(settings: Settings) -> None:
    with Archive.open(settings) as archive, running(settings, archive) as node:
        requests = archive.commitments.requests
        requests.accept(requester_of("CT1"), generate_uid(), references(stored(archive, 2)))
        first = requests.claim_to_check()
        assert first is not None
        assert requests.claim_to_check() is None
        node.sql("UPDATE commitment_request SET leased_until = now() - interval '1 second'")
        second = requests.claim_to_check()
        assert second is not None
        with pytest.raises(LeaseLost):
            requests.record(first, {1: 0x0110})
        with pytest.raises(LeaseLost):
            archive.commitments.checker(lambda: False).check(first)
        requests.let_go(first, 1000, "late")
        assert archive.commitments.checker(lambda: False).check(second) == 0
        with pytest.raises(LeaseLost):
            requests.checked(second)
        requests.delivered(first)
        assert states(node) == ["ready"]


def test_a_result_is_not_ready_before_every_item_has_one(settings: Settings) -> None:
    with Archive.open(settings) as archive, running(settings, archive) as node:
        requests = archive.commitments.requests
        requests.accept(requester_of("CT1"), generate_uid(), references(stored(archive, 2)))
        claimed = requests.claim_to_check()
        assert claimed is not None
        requests.record(claimed, {1: 0})
        with pytest.raises(LeaseLost):
            requests.checked(claimed)
        assert states(node) == ["received"]


def test_the_same_request_from_many_associations_at_once_is_one(settings: Settings) -> None:
    with Archive.open(settings) as archive, running(settings, archive) as node:
        wanted = references(stored(archive, 2))
        transaction = generate_uid()
        numbers: list[int] = []
        started = threading.Barrier(6)

        def accept() -> None:
            started.wait()
            numbers.append(archive.commitments.requests.accept(requester_of("CT1"), transaction, wanted))

        threads = [threading.Thread(target=accept) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(numbers)) == 1
        assert len(numbers) == 6
        assert states(node) == ["received"]


def test_reading_is_held_to_a_rate(settings: Settings) -> None:
    with Archive.open(with_commitment(settings, read_rate=1 << 20)) as archive:
        image = ct_image(rows=1024, columns=1536)
        store(archive, image)
        archive.commitments.requests.accept(requester_of("CT1"), generate_uid(), references([image]))
        claimed = archive.commitments.requests.claim_to_check()
        assert claimed is not None
        checker = archive.commitments.checker(lambda: False)
        waits: list[float] = []
        checker._wait = waits.append
        assert checker.check(claimed) == 0
    # Three megabytes at one a second. The waits were skipped, so each is as long as all that was read by then.
    assert max(waits) == pytest.approx(3, abs=0.5)


def test_without_the_index_a_request_is_not_acknowledged(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Archive.open(settings) as archive, running(settings, archive) as node, asking(node, Reports()) as association:

        def refuse(*_: object) -> int:
            raise IndexUnavailable("injected")

        with monkeypatch.context() as patched:
            patched.setattr(archive.commitments.requests, "accept", refuse)
            assert ask(association, action([(CT, "1.2.3")])) == 0x0213
        assert states(node) == []


def test_a_database_that_was_restarted_keeps_the_next_request(settings: Settings) -> None:
    """Its connections are gone, and nobody has noticed yet."""
    with Archive.open(settings) as archive, running(settings, archive) as node, asking(node, Reports()) as association:
        for _ in range(2):
            assert ask(association, action([(CT, "1.2.3")])) == 0
            node.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert len(states(node)) == 2


@pytest.mark.slow
def test_tens_of_thousands_of_instances_in_one_request(settings: Settings) -> None:
    reports = Reports()
    with committing(settings) as node:
        images = stored(node.archive, 3)
        never = [(CT, generate_uid()) for _ in range(50_000)]
        pairs = [*((CT, image.SOPInstanceUID) for image in images), *never]
        ae = AE(ae_title="CT1")
        ae.add_requested_context(COMMITMENT, EXPLICIT)
        ae.dimse_timeout = 120
        association = ae.associate("127.0.0.1", node.port, ae_title="PACS", evt_handlers=reports.handlers)
        assert ask(association, action(pairs)) == 0
        wait_until(lambda: bool(reports.got), "the result", 120)
        wait_until(lambda: states(node) == ["delivered"], "delivered", 60)
        association.release()
        ae.shutdown()
        (report,) = reports.got
    assert report.committed == [image.SOPInstanceUID for image in images]
    assert list(report.failed) == [instance for _, instance in never]
    assert set(report.failed.values()) == {0x0112}
