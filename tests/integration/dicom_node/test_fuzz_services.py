"""Fuzzing of every service, from a seed: negotiation items, commands, identifiers, and what comes amid sub-operations.

``PACS_TEST_FUZZ_SESSIONS`` and ``PACS_TEST_FUZZ_SEED`` change the number of sessions of each test, and the seed.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from archive.core import Archive
from config.settings import Settings
from dicom_node.contexts import COMMAND_SERVICES
from tests.factories import ct_image, store
from tests.integration.dicom_node.fuzzing import TEXTS, fragments, mutate, perhaps, unharmed, user_item
from tests.integration.dicom_node.load import CONTEXTS, GET, PENDING, ROLES, STUDY_ROOT_GET, number
from tests.integration.dicom_node.peer import (
    ABORT,
    COMMAND,
    CT_IMAGE_STORAGE,
    DATA,
    EXPLICIT,
    LAST,
    RELEASE_RQ,
    VERIFICATION,
    Closed,
    RawPeer,
    associate_rq,
    cancel_rq,
    command_set,
    decode_command,
    echo_rq,
    elements_of,
    message,
    p_data,
    pdv,
    query_rq,
    store_rsp,
)
from tests.integration.dicom_node.running import Node, running, with_node

SESSIONS = int(os.environ.get("PACS_TEST_FUZZ_SESSIONS", "300"))
SEED = int(os.environ.get("PACS_TEST_FUZZ_SEED", "20261122"))
INTERNAL_ERROR = 0x0110
FIELDS = [0x01, 0x10, 0x20, 0x21, 0x30, 0x100, 0x110, 0x120, 0x130, 0x140, 0x150, 0xFFF, 0x8001, 0x8020, 0x8100, 0x0FFE]
"""C- and N-services of PS3.7 E.1, responses, and what is none."""
SERVED = [uid for uid in COMMAND_SERVICES if uid != VERIFICATION]
STUDY = "1.2.3.4711"
ENDS = {2: "accepted", 3: "rejected", 4: "answered", 6: "released", 7: "aborted"}
Ended = Counter[str]


@contextlib.contextmanager
def fuzzed(settings: Settings, archive: Archive) -> Iterator[Node]:
    """A node with a study to ask for, patient enough for honest peers only."""
    for each in range(4):
        store(archive, ct_image(seed=each, PatientID="FUZZ", StudyInstanceUID=STUDY, InstanceNumber=each))
    with running(with_node(settings, artim_timeout=10, idle_timeout=10, write_timeout=10), archive) as node:
        yield node


def play(node: Node, session: Callable[[RawPeer, random.Random], str], salt: int) -> Ended:
    """Play sessions, each with random numbers of its own."""
    ended: Ended = Counter()
    for each in range(SESSIONS):
        rng = random.Random((SEED + salt) * 1_000_003 + each)
        with RawPeer(node.port, timeout=20) as peer:
            try:
                ended[session(peer, rng)] += 1
            except (Closed, ConnectionError):
                ended["closed"] += 1
            except AssertionError as error:
                # An abort in place of a message.
                assert "PDU type 7" in str(error), (each, error)
                ended["aborted"] += 1
    return ended


def drained(peer: RawPeer, statuses: set[int]) -> str:
    """Read to the end; note the statuses, and answer what is sent to us."""
    command = b""
    while True:
        try:
            kind, body = peer.receive()
        except Closed:
            return "closed"
        if kind != 4:
            return ENDS[kind]
        if body[5] & COMMAND:
            command += body[6:]
            if body[5] & LAST:
                elements = decode_command(command)
                command = b""
                if number(elements[0x100]) & 0x8000:
                    statuses.add(number(elements[0x900]))
                    # 0110 alone is no fault of ours: it also says that a performed step may no longer be changed.
                    assert b"internal error" not in elements.get(0x902, b"")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_odd_negotiation(settings: Settings, archive: Archive) -> None:
    """User items of all kinds, odd, repeated and mutated; where the association stands, it serves."""

    def session(peer: RawPeer, rng: random.Random) -> str:
        classes = [CT_IMAGE_STORAGE, VERIFICATION, *SERVED, "1.2.3.4.5"]
        contexts = [(VERIFICATION, ["1.2.840.10008.1.2"])]
        contexts += [
            (rng.choice(classes), rng.choices([EXPLICIT, "1.2.840.10008.1.2", "1.2.3"], k=2)) for _ in range(4)
        ]
        items = b"".join(user_item(rng, rng.choice(classes)) for _ in range(rng.randrange(8)))
        request = associate_rq(contexts, maximum_length=rng.choice([0, 1, 7, 16384]), items=perhaps(rng, items, 0.3))
        peer.send(perhaps(rng, request, 0.2) + p_data(pdv(1, COMMAND | LAST, echo_rq())) + RELEASE_RQ)
        # Whatever is missing from a message will not come any more.
        peer.socket.shutdown(1)
        kinds = []
        with contextlib.suppress(Closed):
            while True:
                kinds.append(peer.receive()[0])
        return " ".join(ENDS[kind] for kind in kinds)

    with fuzzed(settings, archive) as node, unharmed(node, f"{SESSIONS} odd negotiations"):
        ended = play(node, session, 1)
    print(dict(ended))
    assert ended["accepted answered released"] > SESSIONS // 10


def any_dataset(rng: random.Random) -> bytes:
    """An identifier, or another dataset that some service might understand."""
    chosen = [
        (0x08, 0x52, "CS", rng.choice(["PATIENT", "STUDY", "SERIES", "IMAGE", "WORKLIST", *TEXTS])),
        (0x08, 0x16, "UI", rng.choice([CT_IMAGE_STORAGE, *TEXTS])),
        (0x08, 0x20, "DA", rng.choice(["20261101", "20260101-20261231", *TEXTS])),
        (0x08, 0x30, "TM", rng.choice(["08", "0800-0900", *TEXTS])),
        (0x08, 0x61, "CS", rng.choice(["CT", *TEXTS])),
        (0x08, 0x1195, "UI", rng.choice(["1.2.3.99", *TEXTS])),
        (0x10, 0x10, "PN", rng.choice(["Nguyen*", *TEXTS])),
        (0x10, 0x20, "LO", rng.choice(["FUZZ", *TEXTS])),
        (0x20, 0x0D, "UI", rng.choice([STUDY, *TEXTS])),
        (0x20, 0x0E, "UI", rng.choice(["1.2.3", *TEXTS])),
        (0x20, 0x1206, "IS", rng.choice(["1", *TEXTS])),
        (0x40, 0x252, "CS", rng.choice(["IN PROGRESS", "COMPLETED", "DISCONTINUED", *TEXTS])),
    ]
    kept = [each for each in chosen if rng.random() < 0.6]
    data = elements_of(*kept)
    if rng.random() < 0.3:
        nested = elements_of((0x08, 0x1150, "UI", CT_IMAGE_STORAGE), (0x08, 0x1155, "UI", "1.2.3"))
        tag = rng.choice([(0x08, 0x1199), (0x40, 0x100), (0x40, 0x270), (0x40, 0x340)])
        length = len(nested).to_bytes(4, "little")
        entry = b"\xfe\xff\x00\xe0" + length + nested
        data += tag[0].to_bytes(2, "little") + tag[1].to_bytes(2, "little") + b"SQ\0\0"
        data += len(entry).to_bytes(4, "little") + entry
    return data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_odd_requests_of_every_service(settings: Settings, archive: Archive) -> None:
    """Each SOP class is sent each command, with mutated command sets and datasets: a status of ours, or an abort."""
    statuses: set[int] = set()

    def session(peer: RawPeer, rng: random.Random) -> str:
        classes = [CT_IMAGE_STORAGE, *rng.sample(SERVED, min(4, len(SERVED)))]
        peer.associate([(uid, [EXPLICIT]) for uid in classes], items=ROLES)
        for _ in range(rng.randrange(1, 4)):
            which = rng.randrange(len(classes))
            field = rng.choice(FIELDS)
            elements: dict[int, int | bytes] = {
                rng.choice([2, 3]): rng.choice([classes[which], *TEXTS]).encode(),
                0x100: field,
                rng.choice([0x110, 0x110, 0x120]): rng.choice([1, 0, 65535]),
                0x700: rng.choice([0, 1, 2, 7]),
                0x800: rng.choice([1, 1, 0x101]),
                rng.choice([0x1000, 0x1001]): rng.choice(["1.2.3", "", "x" * 70, "1.2.840.10008.1.20.1.1"]).encode(),
                rng.choice([0x1002, 0x1008]): rng.choice([1, 2, 77]),
            }
            if field == 0x21:
                elements[0x600] = rng.choice([b"CT1", b"NOBODY", b"", b"\xff" * 20])
            command = perhaps(rng, command_set(elements), 0.2)
            peer.send(fragments(rng, 2 * which + 1, COMMAND, command))
            if elements[0x800] == 1:
                peer.send(fragments(rng, 2 * which + 1, DATA, perhaps(rng, any_dataset(rng), 0.5)))
        peer.send(rng.choice([RELEASE_RQ, RELEASE_RQ, ABORT, b""]))
        peer.socket.shutdown(1)
        return drained(peer, statuses)

    with fuzzed(settings, archive) as node, unharmed(node, f"{SESSIONS} odd requests"):
        ended = play(node, session, 2)
    print(dict(ended), "statuses:", " ".join(f"{each:04X}" for each in sorted(statuses)))
    assert {0x0000, 0x0211, 0xA900} <= statuses


@pytest.mark.slow
def test_nonsense_amid_sub_operations(settings: Settings, archive: Archive) -> None:
    """While objects come by C-GET: odd responses, requests, cancellation, garbage, and ends of all kinds."""
    statuses: set[int] = set()
    asked = elements_of((8, 0x52, "CS", "STUDY"), (0x20, 0xD, "UI", STUDY))

    def session(peer: RawPeer, rng: random.Random) -> str:
        peer.associate(CONTEXTS, items=ROLES)
        peer.send(message(GET, query_rq(STUDY_ROOT_GET, 0x10, 9), asked))
        for _ in range(rng.randrange(15)):
            _, command, _ = peer.message()
            if number(command[0x100]) == 1:
                if not answer(peer, rng, command):
                    break
            else:
                statuses.add(number(command[0x900]))
                if number(command[0x900]) != PENDING:
                    break
        peer.send(rng.choice([RELEASE_RQ, ABORT, b"", rng.randbytes(50)]))
        if rng.random() < 0.2:
            peer.reset()
            return "reset by us"
        peer.socket.shutdown(1)
        return drained(peer, statuses)

    def answer(peer: RawPeer, rng: random.Random, command: dict[int, bytes]) -> bool:
        """Answer a C-STORE-RQ; False if the node may wait for more of it."""
        good = store_rsp(command, rng.choice([0] * 20 + [0xB000, 0xA700, 0xC001, 0xFFFF]))
        whole = p_data(pdv(1, COMMAND | LAST, good))
        if rng.random() < 0.9:
            # Right, or a cancellation that may come any time.
            before = [b"", b"", b"", b"", p_data(pdv(GET, COMMAND | LAST, cancel_rq(rng.choice([8, 9]))))]
            peer.send(rng.choice(before) + rng.choice([whole, fragments(rng, 1, COMMAND, good)]))
            return True
        wrong = [
            p_data(pdv(1, COMMAND | LAST, store_rsp({**command, 0x110: rng.randbytes(2)}))),
            p_data(pdv(1, COMMAND | LAST, mutate(rng, good))),
            mutate(rng, whole),
            p_data(pdv(3, COMMAND | LAST, echo_rq())),
            whole * 2,
            p_data(pdv(rng.randrange(256), COMMAND | LAST, good)),
            p_data(pdv(1, DATA | LAST, b"dataset")),
            message(1, query_rq(STUDY_ROOT_GET, 0x10), asked),
            rng.randbytes(rng.randrange(200)),
        ]
        peer.send(rng.choice(wrong))
        return False

    with fuzzed(settings, archive) as node, unharmed(node, f"{SESSIONS} C-GETs with nonsense"):
        ended = play(node, session, 3)
    print(dict(ended), "statuses:", " ".join(f"{each:04X}" for each in sorted(statuses)))
    assert INTERNAL_ERROR not in statuses
    assert {0x0000, 0xB000, 0xFE00, 0xFF00} <= statuses
