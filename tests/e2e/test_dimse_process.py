"""The node as a process: memory, stop, sudden death, and a database that cuts the line."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydicom.dataset import Dataset

from archive.core import Archive
from config.settings import Settings
from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    COMMAND,
    DATA,
    LAST,
    Closed,
    RawPeer,
    message,
    p_data,
    pdv,
    sha256,
    store_rq,
)
from tests.integration.dicom_node.process import archive_command, node_process
from tests.integration.dicom_node.running import leftovers, object_files, sql, stored_digests, wait_until

MEGABYTE = 1 << 20
MEGABYTES = int(os.environ.get("PACS_TEST_LARGE_MEGABYTES", "1024"))


def large_object(megabytes: int) -> tuple[Dataset, bytes, int]:
    """A native 16-bit multi-frame image without its pixels: dataset, encoded header, and how many bytes must follow."""
    image = ct_image(rows=1024, columns=1024, NumberOfFrames=megabytes // 2)
    image.PixelData = b""
    header = bytearray(encode(image))
    size = megabytes * MEGABYTE
    struct.pack_into("<I", header, len(header) - 4, size)
    return image, bytes(header), size


def stream(peer: RawPeer, image: Dataset, header: bytes, size: int, pdu: int = 131_072) -> int:
    """Send the object, its pixels made on the way."""
    head = p_data(pdv(1, COMMAND | LAST, store_rq(image.SOPInstanceUID)), pdv(1, DATA, header))
    peer.send(head)
    block = p_data(pdv(1, DATA, random.Random(1).randbytes(pdu)))
    for _ in range(size // pdu):
        peer.send(block)
    peer.send(p_data(pdv(1, DATA | LAST, b"")))
    return peer.status()


@pytest.mark.slow
def test_the_memory_to_receive_an_object_does_not_grow_with_it(settings: Settings, tmp_path: Path) -> None:
    image, header, size = large_object(MEGABYTES)
    with node_process(settings, tmp_path) as node:
        small = ct_image()
        with node.peer(timeout=120).associate() as peer:
            assert peer.store(small.SOPInstanceUID, encode(small)) == 0
            before = node.peak_memory()
            assert stream(peer, image, header, size) == 0
            peer.release()
        grown = node.peak_memory() - before
        print(
            f"\n{MEGABYTES} MB received: peak {before / MEGABYTE:.1f} MB before, {grown / MEGABYTE:.1f} MB more after"
        )
        assert grown < 50 * MEGABYTE
        assert node.terminate() == 0
    with Archive.open(settings) as archive:
        (found,) = archive.locate(image.StudyInstanceUID)
        assert found.number_of_frames == MEGABYTES // 2
        assert found.object.size == found.object.dataset_offset + len(header) + size
        assert leftovers(settings, archive) == []
        # pytest keeps the folders of the last runs, which need not hold this.
        archive.store.delete(found.object.key)


def test_sigterm_lets_a_transfer_finish_and_ends_the_idle(settings: Settings, tmp_path: Path) -> None:
    image = ct_image(rows=300, columns=300)
    whole = message(1, store_rq(image.SOPInstanceUID), encode(image), size=5000)
    with node_process(settings, tmp_path) as node, node.peer().associate() as idle, node.peer().associate() as busy:
        busy.send(whole[:50_000])
        assert idle.echo() == 0
        # Between the last byte received and the signal nothing else may be waited for than that it was read.
        wait_until(lambda: unread(busy) == 0, "the node has read what was sent")
        node.process.terminate()
        assert idle.aborted() == (0, 0)
        busy.send(whole[50_000:])
        assert busy.status() == 0
        assert busy.aborted() == (0, 0)
        busy.close()
        idle.close()
        assert node.process.wait(120) == 0
        assert "Traceback" not in node.log()
    with Archive.open(settings) as archive:
        assert [digest for digest, _ in stored_digests(settings, archive)] == [sha256(encode(image))]
        assert leftovers(settings, archive) == []


def unread(peer: RawPeer) -> int:
    """Bytes sent that the other side's application has not read, as far as this host's TCP table tells."""
    local, remote = peer.socket.getsockname()[1], peer.socket.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = tuple(int(field.rsplit(":", 1)[1], 16) for field in fields[1:3])
        if ports == (remote, local):
            return int(fields[4].split(":")[1], 16)
    return -1


def test_settings_that_cannot_be_used_and_a_port_that_is_taken(settings: Settings, tmp_path: Path) -> None:
    with node_process(settings, tmp_path) as node:
        for changed, code, told in (
            ({"PACS_NODE__PORT": str(node.port)}, 1, "cannot start"),
            ({"PACS_NODE__PORT": "x"}, 2, "node.port"),
            ({"PACS_NODE__PROT": "1"}, 2, "PACS_NODE__PROT: no such setting"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "dicom_node"],
                cwd=Path(__file__).parents[2],
                env={**node.environment, **changed},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == code, done.stderr
            assert told in done.stderr
            assert "Traceback" not in done.stderr
        assert node.terminate() == 0


class Sender(threading.Thread):
    """Stores object after object and remembers each for which Success came."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__()
        self.port = port
        self.number = number
        self.acknowledged: dict[str, bytes] = {}
        self.refused: list[int] = []
        self.enough = threading.Event()

    def run(self) -> None:
        for image in self._images():
            try:
                with RawPeer(self.port).associate() as peer:
                    self._send(peer, image)
            except (Closed, ConnectionError, AssertionError):
                return

    def _send(self, peer: RawPeer, image: Dataset) -> None:
        for _ in range(50):
            data = encode(image)
            status = peer.store(image.SOPInstanceUID, data, size=3000)
            if status == 0:
                self.acknowledged[image.SOPInstanceUID] = sha256(data)
                image = next(self._images())
            else:
                self.refused.append(status)
            if self.enough.is_set():
                raise Closed

    def _images(self) -> Iterator[Dataset]:
        while True:
            yield ct_image(rows=100, columns=100, PatientID=f"KILL{self.number}", seed=self.number)


def assert_nothing_acknowledged_is_lost(settings: Settings, archive: Archive, senders: list[Sender]) -> int:
    stored = {instance: digest for digest, instance in stored_digests(settings, archive)}
    for sender in senders:
        assert sender.acknowledged.items() <= stored.items()
    return len(stored)


@pytest.mark.slow
def test_a_node_that_is_killed_loses_nothing_acknowledged(settings: Settings, tmp_path: Path) -> None:
    """kill -9 at points spread over the life of objects; after each start and reconcile, all is in order."""
    all_senders: list[Sender] = []
    for round_ in range(5):
        with node_process(settings, tmp_path) as node:
            senders = [Sender(node.port, round_ * 10 + n) for n in range(3)]
            for sender in senders:
                sender.start()
            goal = [1, 5, 12, 20, 33][round_]
            wait_until(lambda goal=goal, senders=senders: stored(senders) >= goal, "enough is stored")  # type: ignore[misc]
            node.kill()
            for sender in senders:
                sender.join()
            all_senders += senders
    # PostgreSQL may still work for who was killed; until it is done, that writer counts as alive.
    alive = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, %s)"
    wait_until(lambda: sql(settings, alive, "pacs dicom_node") == [], "the sessions of the killed node have ended")
    done = archive_command(settings, tmp_path, "reconcile", "--verify", "--content")
    assert done.returncode == 0, done.stdout + done.stderr
    with Archive.open(settings) as archive:
        count = assert_nothing_acknowledged_is_lost(settings, archive, all_senders)
        assert leftovers(settings, archive) == []
        assert archive.reconcile().blocks == 0
    print(f"\n5 kills: {stored(all_senders)} acknowledged, {count} stored, none lost")


def stored(senders: list[Sender]) -> int:
    return sum(len(sender.acknowledged) for sender in senders)


def test_a_killed_node_leaves_a_half_object_to_reconcile(settings: Settings, tmp_path: Path) -> None:
    image = ct_image(rows=500, columns=500)
    whole = message(1, store_rq(image.SOPInstanceUID), encode(image), size=5000)
    with node_process(settings, tmp_path) as node, node.peer().associate() as peer:
        peer.send(whole[:300_000])
        wait_until(lambda: bool(object_files(settings.objects_dir)), "a part of the object is on the disk")
        node.kill()
    with node_process(settings, tmp_path) as node:
        # It reconciles at its start by itself.
        wait_until(lambda: object_files(settings.objects_dir) == [], "the part is gone")
        with node.peer().associate() as peer:
            peer.send(whole)
            assert peer.status() == 0
            peer.release()
        assert node.terminate() == 0
    with Archive.open(settings) as archive:
        assert [digest for digest, _ in stored_digests(settings, archive)] == [sha256(encode(image))]
        assert leftovers(settings, archive) == []


def test_a_database_that_cuts_the_line_costs_no_acknowledged_object(settings: Settings, tmp_path: Path) -> None:
    """Whoever stores meanwhile gets Success or A700; the node goes on by itself."""
    with node_process(settings, tmp_path) as node:
        senders = [Sender(node.port, n) for n in range(3)]
        for sender in senders:
            sender.start()
        for goal in range(10, 60, 5):
            wait_until(lambda goal=goal: stored(senders) >= goal, "more is stored")  # type: ignore[misc]
            # It may be about to connect again since the last time.
            wait_until(lambda: cut_the_line(settings), "a session of the node was ended")
        after = stored(senders) + 10
        wait_until(lambda: stored(senders) >= after, "the node stores again")
        for sender in senders:
            sender.enough.set()
        for sender in senders:
            sender.join()
        refused = [status for sender in senders for status in sender.refused]
        assert set(refused) <= {0xA700}
        assert node.terminate() == 0
    done = archive_command(settings, tmp_path, "reconcile", "--verify", "--content")
    assert done.returncode == 0, done.stdout + done.stderr
    with Archive.open(settings) as archive:
        count = assert_nothing_acknowledged_is_lost(settings, archive, senders)
        assert leftovers(settings, archive) == []
    print(f"\n10 cuts: {stored(senders)} acknowledged, {len(refused)} refused with A700, {count} stored, none lost")


def cut_the_line(settings: Settings) -> bool:
    """End the database sessions of the node; whether there were any."""
    return bool(
        sql(
            settings,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s "
            "AND datname = current_database()",
            "pacs dicom_node%",
        )
    )


def test_200_idle_associations_in_a_process(settings: Settings, tmp_path: Path) -> None:
    with node_process(settings, tmp_path) as node:
        with node.peer().associate() as peer:
            peer.release()
        process = psutil.Process(node.process.pid)
        before = process.memory_info().rss
        idle = [node.peer().associate() for _ in range(200)]
        grown = process.memory_info().rss - before
        print(f"\n200 idle associations: {grown / MEGABYTE:.1f} MB more")
        assert grown < 60 * MEGABYTE
        for peer in idle:
            peer.close()
        assert node.terminate() == 0
