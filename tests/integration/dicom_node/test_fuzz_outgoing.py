"""Fuzzing of what the node does as a client: destinations that answer garbage, slowly, or not at all.

``PACS_TEST_FUZZ_OUTGOING`` and ``PACS_TEST_FUZZ_SEED`` change the number of associations of each test, and the seed.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from archive.core import Archive
from config.peers import Peer
from config.routes import Route
from config.settings import Settings
from dicom_node import suboperations
from tests.factories import ct_image, encode, store
from tests.integration.dicom_node.committing import Reports, about, ask, asking, committing, with_peer
from tests.integration.dicom_node.evil_scp import EvilScp
from tests.integration.dicom_node.forwarding import caught_up, forwarding, with_routes
from tests.integration.dicom_node.fuzzing import unharmed
from tests.integration.dicom_node.load import PENDING, number
from tests.integration.dicom_node.peer import EXPLICIT, IMPLICIT, VERIFICATION, RawPeer, elements_of, message, query_rq
from tests.integration.dicom_node.running import Node, running, wait_until, with_node
from tests.integration.dicom_node.test_fuzz import SEED

SESSIONS = int(os.environ.get("PACS_TEST_FUZZ_OUTGOING", "60"))
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY = "1.2.3.4712"
NUMBER = 3
AT_ONCE = 8
TRIES = 100
QUICK = {"artim_timeout": 0.3, "idle_timeout": 0.3, "write_timeout": 0.3}
"""Time limits of the node as a client, so that silence costs little."""


def evil_peer(scp: EvilScp) -> Peer:
    return Peer(ae_title="EVIL", facility="86001", host="127.0.0.1", port=scp.port)


@contextmanager
def impatient(settings: Settings, *peers: Peer) -> Iterator[Node]:
    """A node that waits briefly for destinations, and as ever for those that call it."""
    changed = with_node(settings, **QUICK).model_copy(update={"peers": (*settings.peers, *peers)})
    with Archive.open(changed) as archive, running(settings, archive) as node:
        yield node


@pytest.mark.slow
def test_c_move_to_a_malicious_destination(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each move gets its final response with counts that add up, and the association goes on."""
    monkeypatch.setattr(suboperations, "PAUSES", (0.01, 0.01, 0.01))
    ended: Counter[str] = Counter()
    wrong: list[object] = []
    with EvilScp(SEED) as scp, impatient(settings, evil_peer(scp)) as node:
        for each in range(NUMBER):
            store(node.archive, ct_image(seed=each, PatientID="EVIL", StudyInstanceUID=STUDY, InstanceNumber=each))

        def work() -> None:
            try:
                with node.peer(timeout=60).associate([(MOVE, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]) as peer:
                    while scp.sessions < SESSIONS:
                        ended[move(peer)] += 1
                        assert peer.echo() == 0
                    peer.release()
            except BaseException as error:
                wrong.append(error)

        with unharmed(node, f"C-MOVEs to a malicious destination, {SESSIONS} associations"):
            threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert wrong == []
        scp.good.set()
        with node.peer(timeout=60).associate([(MOVE, [EXPLICIT])]) as peer:
            assert move(peer) == "0000"
        assert len(scp.received) == NUMBER
    print(f"{scp.sessions} associations, final statuses {dict(ended)}")
    print(", ".join(f"{what} {count}" for what, count in sorted(scp.did.items())))
    assert {"0000", "B000", "A702"} >= ended.keys()
    assert len(ended) > 1


def move(peer: RawPeer) -> str:
    """C-MOVE of the study to EVIL; the final status."""
    asked = elements_of((8, 0x52, "CS", "STUDY"), (0x20, 0xD, "UI", STUDY))
    peer.send(message(1, query_rq(MOVE, 0x21, destination=b"EVIL"), asked))
    while True:
        _, command, _ = peer.message()
        counts = [number(command.get(element, b"")) for element in (0x1020, 0x1021, 0x1022, 0x1023)]
        assert sum(counts) == NUMBER, counts
        if number(command[0x900]) != PENDING:
            return f"{number(command[0x900]):04X}"


@pytest.mark.slow
def test_forwarding_to_a_malicious_destination_loses_nothing(settings: Settings) -> None:
    """However the destination behaves, all are there once it behaves well."""
    images = [ct_image(seed=each, PatientID="ON") for each in range(20)]
    with EvilScp(SEED + 1) as scp:
        limits = with_node(settings, **QUICK)
        changed = with_routes(limits, evil_peer(scp), Route(name="all", destinations=("EVIL",)), tries=TRIES)
        with forwarding(changed) as archive, running(settings, archive) as node:
            with unharmed(node, f"forwarding to a malicious destination, {SESSIONS} associations"):
                for image in images:
                    store(archive, image)
                wait_until(lambda: due(node) and (scp.sessions >= SESSIONS or delivered(images, scp)), "tried", 600)
            scp.good.set()
            wait_until(lambda: due(node) and delivered(images, scp), "all are there", 120)
            wait_until(lambda: due(node) and caught_up(archive) and left(node) == 0, "nothing waits", 120)
    print(f"{scp.sessions} associations: " + ", ".join(f"{what} {count}" for what, count in sorted(scp.did.items())))
    assert all(scp.received[image.SOPInstanceUID] == encode(image) for image in images)


def due(node: Node) -> bool:
    """Let what failed be tried again now."""
    node.sql("UPDATE route_task SET due_at = now() WHERE state = 'waiting' AND due_at > now()")
    return True


def left(node: Node) -> int:
    ((count,),) = node.sql("SELECT count(*) FROM route_task WHERE state NOT IN ('sent', 'skipped')")
    return int(count)


def delivered(images: list[object], scp: EvilScp) -> bool:
    return {str(image.SOPInstanceUID) for image in images} <= scp.received.keys()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_commitment_results_for_a_malicious_requestor(settings: Settings) -> None:
    """A result is offered again and again until it is taken."""
    with EvilScp(SEED + 2) as scp:
        changed = with_peer(with_node(settings, **QUICK), host="127.0.0.1", port=scp.port)
        with committing(changed) as node:
            image = ct_image()
            store(node.archive, image)
            transactions = []
            for _ in range(10):
                wanted = about([image])
                transactions.append(str(wanted.TransactionUID))
                # As often as it is offered there before the association is gone: it shall be offered elsewhere.
                reports = Reports(statuses=[0x0110] * 1000)
                with asking(node, reports) as association:
                    assert ask(association, wanted) == 0
                    association.abort()

            def tried() -> bool:
                node.sql("UPDATE commitment_request SET due_at = now() WHERE leased_until IS NULL")
                return scp.sessions >= SESSIONS // 2 or taken(scp, transactions)

            wait_until(tried, "results are offered", 300)
            scp.good.set()

            def there() -> bool:
                node.sql("UPDATE commitment_request SET due_at = now() WHERE leased_until IS NULL")
                return taken(scp, transactions)

            wait_until(there, "all results are there", 300)
            node.wait_until_idle()
    print(f"{scp.sessions} associations: " + ", ".join(f"{what} {count}" for what, count in sorted(scp.did.items())))


def taken(scp: EvilScp, transactions: list[str]) -> bool:
    return all(any(each.encode() in report for report in scp.reports) for each in transactions)
