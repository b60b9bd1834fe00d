"""200 associations at once, held and served; and peers that vanish or stop reading give their places back.

``PACS_TEST_SOAK_SECONDS`` has the 200 go on for so long.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from archive.core import Archive
from config.settings import DatabaseSettings, Settings
from storage.journal import SEGMENTS
from tests.factories import ct_image, encode
from tests.integration.dicom_node.load import CONTEXTS, GET, ROLES, STUDY_ROOT_GET, Member
from tests.integration.dicom_node.peer import (
    Closed,
    RawPeer,
    associate_rq,
    elements_of,
    message,
    query_rq,
    sha256,
    store_rq,
)
from tests.integration.dicom_node.process import ROOT, NodeProcess, node_process
from tests.integration.dicom_node.running import leftovers, stored_digests, wait_until

SECONDS = float(os.environ.get("PACS_TEST_SOAK_SECONDS", "0"))
MEGABYTE = 1 << 20
NUMBER = 200
"""The default of ``node.maximum_associations``."""
REJECTED = 3
LOCAL_LIMIT_EXCEEDED = bytes([0, 2, 3, 2])
"""Rejected transient, by the presentation related service provider, local limit exceeded (PS3.8 Table 9-21)."""


class Load:
    """The process that has many associations."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.opened: int = self.answer()["open"]

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def tell(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()


@contextmanager
def load(node: NodeProcess, number: int) -> Iterator[Load]:
    command = [sys.executable, "-m", "tests.integration.dicom_node.load", str(node.port), str(number)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": "."},
    ) as process:
        try:
            yield Load(process)
        finally:
            process.kill()


def associations(node: NodeProcess) -> int:
    """Connections that the node's process has open, beside the listening one."""
    found = psutil.Process(node.process.pid).net_connections("tcp")
    return sum(each.laddr.port == node.port and each.status == psutil.CONN_ESTABLISHED for each in found)


@pytest.mark.slow
def test_200_associations_are_held_and_served_in_bounded_memory(settings: Settings, tmp_path: Path) -> None:
    with node_process(settings, tmp_path) as node:
        warm = Member(node.port, 9999)
        warm.turn()
        warm.peer.release()
        process = psutil.Process(node.process.pid)
        wait_until(lambda: associations(node) == 0, "the first association is over")
        before, threads, files = process.memory_info().rss, process.num_threads(), process.num_fds()
        with load(node, NUMBER) as many:
            assert many.opened == NUMBER
            held = process.memory_info().rss
            assert rejected(node) == LOCAL_LIMIT_EXCEEDED
            done = many.tell(f"run {SECONDS}")
            assert done["wrong"] == []
            assert min(done["operations"].values()) >= NUMBER
            # All are open still, and not one more.
            assert associations(node) == NUMBER
            assert rejected(node) == LOCAL_LIMIT_EXCEEDED
            peak = node.peak_memory()
            assert many.tell("end") == {"released": NUMBER}
        # That of the receive journal stays, which was made meanwhile.
        wait_until(lambda: process.num_threads() <= threads + 1, "threads are back")
        # So do its segments, and the connections that the pool of the index has opened.
        most = files + SEGMENTS + DatabaseSettings().pool_size
        wait_until(lambda: process.num_fds() <= most, f"file descriptors are back to {most}")
        after = process.memory_info().rss
        with node.peer().associate() as peer:
            assert peer.echo() == 0
            peer.release()
        report(before=before, held=held, peak=peak, after=after)
        print(json.dumps(done))
        assert peak - before < 100 * MEGABYTE
        assert node.terminate() == 0
        assert "Traceback" not in node.log()
    with Archive.open(settings) as archive:
        assert len(stored_digests(settings, archive)) == done["operations"]["C-STORE"] + 1
        assert leftovers(settings, archive) == []


def report(**bytes_: int) -> None:
    print("\n200 associations, MB: " + ", ".join(f"{name} {value / MEGABYTE:.0f}" for name, value in bytes_.items()))


def rejected(node: NodeProcess) -> bytes:
    """The answer to one association too many."""
    with node.peer() as peer:
        peer.send(associate_rq(CONTEXTS))
        kind, body = peer.receive()
        assert kind == REJECTED
        return body


def test_peers_that_vanish_or_stop_reading_give_their_places_back(settings: Settings, tmp_path: Path) -> None:
    """30 of 40 places, taken by ten each that stop reading, fall silent within a message, and vanish; the others are served beside."""
    limits = {"maximum_associations": 40, "idle_timeout": 5, "write_timeout": 5, "artim_timeout": 10}
    with node_process(settings, tmp_path, **limits) as node:
        big = ct_image(rows=2048, columns=2048, NumberOfFrames=4, PatientID="BIG")
        big.PixelData = bytes(2048 * 2048 * 2 * 4)
        with node.peer().associate() as peer:
            assert peer.store(big.SOPInstanceUID, encode(big)) == 0
            peer.release()
        image = ct_image(rows=200, columns=200)
        half = message(1, store_rq(image.SOPInstanceUID), encode(image), size=5000)[:50_000]
        asked = elements_of((8, 0x52, "CS", "STUDY"), (0x20, 0xD, "UI", big.StudyInstanceUID))
        readers = [associated(node, receive_buffer=4096) for _ in range(10)]
        silent, vanished = ([associated(node) for _ in range(10)] for _ in range(2))
        members = [Member(node.port, which) for which in range(10)]
        for each in readers:
            each.send(message(GET, query_rq(STUDY_ROOT_GET, 0x10), asked))
        for each in (*silent, *vanished):
            each.send(half)
        assert rejected(node) == LOCAL_LIMIT_EXCEEDED
        for each in vanished:
            each.reset()
        for member in members:
            member.turn()
            member.peer.release()
        # The places of the vanished are free at once, the others' after the time that the settings give.
        new: list[RawPeer] = []
        wait_until(lambda: took_place(node, new) and len(new) == 40, "all places are there again", 60)
        for each in new:
            each.release()
        for each in readers:
            assert gone(each)
        assert gone(silent[0])
        assert [member.wrong for member in members] == [[]] * 10
        for each in (*readers, *silent):
            each.close()
        wait_until(lambda: associations(node) == 0, "no connection is left")
        assert node.terminate() == 0
        assert "Traceback" not in node.log()
    with Archive.open(settings) as archive:
        assert sha256(encode(big)) in [digest for digest, _ in stored_digests(settings, archive)]
        assert leftovers(settings, archive) == []


def associated(node: NodeProcess, **options: Any) -> RawPeer:
    return node.peer(**options).associate(CONTEXTS, items=ROLES)


def took_place(node: NodeProcess, new: list[RawPeer]) -> bool:
    """Try to have one more place; those that were had are used meanwhile, so that they are not taken for idle."""
    for each in new:
        assert each.echo() == 0
    peer = node.peer()
    try:
        new.append(peer.associate(CONTEXTS))
    except AssertionError:
        peer.close()
        return False
    return True


def gone(peer: RawPeer) -> bool:
    """Whether the node ended the association: nothing but what was under way comes any more."""
    try:
        while peer.receive()[0] == 4:
            pass
    except Closed:
        return True
    return True
