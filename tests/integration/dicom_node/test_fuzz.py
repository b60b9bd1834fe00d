"""Mutated sessions, from a seed: the node lives, loses no thread and no file descriptor, and serves others meanwhile.

``PACS_TEST_FUZZ_SESSIONS`` and ``PACS_TEST_FUZZ_SEED`` change the number of sessions and the seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections import Counter

import pytest

from archive.core import Archive
from config.settings import Settings
from tests.factories import ct_image, encode
from tests.integration.dicom_node.fuzzing import mutate
from tests.integration.dicom_node.peer import (
    ABORT,
    COMMAND,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    LAST,
    RELEASE_RQ,
    VERIFICATION,
    Closed,
    RawPeer,
    associate_rq,
    cancel_rq,
    command_set,
    echo_rq,
    extended_item,
    message,
    p_data,
    pdv,
    role_item,
    sha256,
    store_rq,
)
from tests.integration.dicom_node.running import Node, live_threads, open_files, running, wait_until, with_node

SESSIONS = int(os.environ.get("PACS_TEST_FUZZ_SESSIONS", "2000"))
SEED = int(os.environ.get("PACS_TEST_FUZZ_SEED", "20261122"))
STUDY_ROOT_FIND, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
CONTEXTS = [
    (CT_IMAGE_STORAGE, [EXPLICIT]),
    (VERIFICATION, [IMPLICIT]),
    (STUDY_ROOT_FIND, [EXPLICIT]),
    (STUDY_ROOT_GET, [EXPLICIT]),
]
ITEMS = (
    role_item(CT_IMAGE_STORAGE, 1, 1) + extended_item(STUDY_ROOT_FIND, b"\1\0\1") + extended_item(STUDY_ROOT_GET, b"\1")
)
IDENTIFIER = b"\x08\0\x52\0CS\x06\0STUDY " + b"\x10\0\x10\0PN\x04\0N*E*" + b"\x20\0\x0d\0UI\x04\0" + b"1.2\0"


def session(rng: random.Random) -> tuple[bytes, bytes]:
    """A request and what follows it, one of them or both mutated."""
    image = ct_image(seed=rng.randrange(5), PatientID=f"FUZZ{rng.randrange(3)}")
    store = message(1, store_rq(image.SOPInstanceUID), encode(image), size=rng.choice([1, 16, 200, 65536]))
    echo = p_data(pdv(3, COMMAND | LAST, echo_rq()))
    cancel = p_data(pdv(1, COMMAND | LAST, cancel_rq()))
    find, get = (
        message(context, query_rq(context, field), IDENTIFIER, size=rng.choice([1, 7, 65536]))
        for context, field in ((5, 0x20), (7, 0x10))
    )
    parts = [rng.choice([store, store, echo, cancel, find, get, RELEASE_RQ, ABORT]) for _ in range(rng.randrange(1, 5))]
    rng.shuffle(parts)
    request = associate_rq(CONTEXTS, maximum_length=rng.choice([0, 1, 20, 16384]), items=ITEMS)
    rest = b"".join(parts) + RELEASE_RQ
    which = rng.randrange(10)
    if which < 2:
        request = mutate(rng, request)
    if which != 0:
        rest = mutate(rng, rest)
    return request, rest


def query_rq(context: int, field: int) -> bytes:
    """C-FIND-RQ or C-GET-RQ."""
    sop_class = CONTEXTS[context // 2][0]
    return command_set({2: sop_class.encode(), 0x100: field, 0x110: 1, 0x700: 0, 0x800: 1})


def run(port: int, rng: random.Random) -> str:
    """Play a session; tell how the node ended it."""
    request, rest = session(rng)
    seen = "closed"
    with RawPeer(port, timeout=10) as peer, contextlib.suppress(Closed, ConnectionError):
        if rng.randrange(2):
            peer.send(request)
            peer.send(rest)
        else:
            peer.send(request + rest)
        if rng.randrange(8) == 0:
            peer.reset()
            return "reset by us"
        # Whatever is missing from a message will not come any more.
        peer.socket.shutdown(1)
        while True:
            kind, _ = peer.receive()
            seen = {2: "accepted", 3: "rejected", 4: "answered", 6: "released", 7: "aborted"}[kind]
    return seen


class Honest:
    """Stores good objects on one association for as long as the others misbehave."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.stop = threading.Event()
        self.sent: list[bytes] = []
        self.wrong: list[object] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with self.node.peer().associate(calling="US2") as peer:
                while not self.stop.is_set():
                    image = ct_image(seed=len(self.sent), PatientID="HONEST")
                    data = encode(image)
                    if status := peer.store(image.SOPInstanceUID, data, size=1000):
                        self.wrong.append(status)
                    self.sent.append(sha256(data))
                    self.stop.wait(0.02)
                peer.release()
        except BaseException as error:
            self.wrong.append(error)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_mutated_sessions_harm_nobody(settings: Settings, archive: Archive) -> None:
    quiet = with_node(settings, artim_timeout=5, idle_timeout=5, write_timeout=5)
    with running(quiet, archive) as node:
        run(node.port, random.Random(0))
        node.wait_until_idle()
        threads, files = live_threads(), open_files()
        honest = Honest(node)
        honest.thread.start()
        ended: Counter[str] = Counter()
        for number in range(SESSIONS):
            ended[run(node.port, random.Random(SEED * 1_000_003 + number))] += 1
        honest.stop.set()
        honest.thread.join()
        assert honest.wrong == []
        node.wait_until_idle()
        wait_until(lambda: live_threads() <= threads, "threads are back")
        wait_until(lambda: open_files() <= files + 2, "file descriptors are back")
        assert set(honest.sent) <= set(node.digests())
        assert node.leftovers() == []
        print(f"\n{SESSIONS} mutated sessions: {dict(ended)}; {len(honest.sent)} honest objects beside them")
        assert ended["aborted"] > SESSIONS // 10
        assert ended["released"] > SESSIONS // 100
