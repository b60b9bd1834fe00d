"""Forwarding by whole processes: sudden death, two archives that forward to each other, DCMTK and Orthanc as receivers."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pydicom
import pytest
from pydicom import dcmread
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

from archive.core import Archive
from archive.errors import BadObject
from config.peers import Peer
from config.routes import Route
from config.settings import Settings, load
from tests.conftest import TEMPLATE
from tests.corpus import corpus
from tests.e2e.test_dimse_process import Sender, stored
from tests.e2e.test_dimse_query_retrieve import answers
from tests.factories import SOURCE, ct_image, encode, store, store_bytes
from tests.integration.dicom_node.forwarding import forwarding, queue, wait_until_empty, with_routes
from tests.integration.dicom_node.peer import sha256
from tests.integration.dicom_node.process import archive_command, node_process
from tests.integration.dicom_node.running import sql, wait_until
from tests.interop.orthanc import Orthanc, orthanc
from tests.interop.site import Site
from tests.ports import free_port


def to(*destinations: str, **values: Any) -> Route:
    return Route(**{"name": "all", "destinations": destinations or ("VIEWER",), **values})


class Receiver:
    """A destination that keeps the digest of what it gets, and how often it came."""

    def __init__(self) -> None:
        self.digests: dict[str, bytes] = {}
        self.times: Counter[str] = Counter()

    def answer(self, event: Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.digests[uid] = sha256(event.request.DataSet.getvalue())
        self.times[uid] += 1
        return 0


@contextmanager
def receiver(found: Receiver) -> Iterator[Peer]:
    ae = AE(ae_title="VIEWER")
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, found.answer)])
    try:
        yield Peer(ae_title="VIEWER", facility="86001", host="127.0.0.1", port=server.server_address[1], parallel=2)
    finally:
        server.shutdown()
        ae.shutdown()


@pytest.mark.slow
def test_a_node_that_is_killed_while_it_stores_and_sends_forgets_nothing(settings: Settings, tmp_path: Path) -> None:
    """kill -9 again and again: all that was acknowledged arrives, and little of it twice."""
    found, senders, kills = Receiver(), [], 4
    with receiver(found) as peer:
        changed = with_routes(settings, peer, to())
        for round_ in range(kills):
            with node_process(changed, tmp_path) as node:
                mine = [Sender(node.port, round_ * 10 + n) for n in range(2)]
                for sender in mine:
                    sender.start()
                before = len(found.digests)
                wait_until(lambda goal=before + 15: len(found.digests) >= goal, "some have arrived", 60)  # type: ignore[misc]
                node.kill()
                for sender in mine:
                    sender.join()
                senders += mine
        expected = {uid: digest for sender in senders for uid, digest in sender.acknowledged.items()}
        with node_process(changed, tmp_path) as node:
            wait_until(lambda: expected.keys() <= found.digests.keys(), "all have arrived", 60)
            assert node.terminate() == 0
    assert expected.items() <= found.digests.items()
    again = sum(times - 1 for times in found.times.values())
    print(f"\n{kills} kills: {stored(senders)} acknowledged, all arrived, {again} of them twice")
    # What two associations had under way, or had not noted yet, at each kill.
    assert max(found.times.values()) <= 1 + kills
    assert again <= kills * 2 * 20


@contextmanager
def another_database(settings: Settings, folder: Path, **values: Any) -> Iterator[Settings]:
    """Settings of a second archive."""
    url = settings.database.url.get_secret_value()
    name = f"other_{folder.name}"
    head, _, query = url.partition("?")
    server = head.rsplit("/", 1)[0]
    with psycopg.connect(f"{server}/postgres?{query}", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log")  # type: ignore[arg-type]
    try:
        yield load(
            environ={},
            data_dir=folder,
            database={"url": f"{server}/{name}?{query}"},
            storage={"minimum_free_bytes": 0},
            facilities=[facility.model_dump() for facility in settings.facilities],
            **values,
        )
    finally:
        with psycopg.connect(f"{server}/postgres?{query}", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def test_two_archives_that_forward_to_each_other_do_not_play_ping_pong(settings: Settings, tmp_path: Path) -> None:
    """A and B both send on all they get, to each other."""
    port_a, port_b = free_port(), free_port()
    (tmp_path / "bbb").mkdir()
    a = with_routes(settings, Peer(ae_title="B", facility="86001", host="127.0.0.1", port=port_b), to("B"))
    node = {"port": port_b, "host": "127.0.0.1", "ae_title": "B"}
    with another_database(settings, tmp_path / "bbb", node=node) as base:
        b = with_routes(base, Peer(ae_title="PACS", facility="86001", host="127.0.0.1", port=port_a), to("PACS"))
        with node_process(a, tmp_path, port=port_a) as one, node_process(b, tmp_path / "bbb", **node) as other:
            images = [ct_image(seed=n) for n in range(5)]
            with one.peer().associate() as sender:
                for image in images[:3]:
                    assert sender.store(image.SOPInstanceUID, encode(image)) == 0
                sender.release()
            with other.peer().associate(called="B") as sender:
                for image in images[3:]:
                    assert sender.store(image.SOPInstanceUID, encode(image)) == 0
                sender.release()
            for each in (a, b):
                wait_until(lambda each=each: count(each) == 5, "each has all", 60)  # type: ignore[misc]
                wait_until(lambda each=each: settled(each), "each has looked at all", 60)  # type: ignore[misc]
            assert sql(a, "SELECT state, count(*) FROM route_task GROUP BY 1") == [("sent", 3)]
            assert sql(b, "SELECT state, count(*) FROM route_task GROUP BY 1") == [("sent", 2)]
            assert one.terminate() == 0
            assert other.terminate() == 0


def count(settings: Settings) -> int:
    return int(sql(settings, "SELECT count(*) FROM stored_object")[0][0])


def settled(settings: Settings) -> bool:
    query = """SELECT (SELECT max(id) FROM stored_object) <= (SELECT position FROM route_cursor)
                  AND NOT EXISTS (SELECT 1 FROM route_task WHERE state = 'waiting')"""
    return bool(sql(settings, query)[0][0])


@contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    command = ["storescp", "-aet", "VIEWER", "-od", str(folder), *options, str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(port), "storescp listens")
            yield
        finally:
            process.terminate()


@pytest.mark.parametrize("misbehaviour", ["--refuse", "--abort-during", "--abort-after"])
def test_storescp_that_misbehaves_and_then_recovers(settings: Settings, tmp_path: Path, misbehaviour: str) -> None:
    port = free_port()
    peer = Peer(ae_title="VIEWER", facility="86001", host="127.0.0.1", port=port)
    with forwarding(with_routes(settings, peer, to())) as archive:
        with storescp(tmp_path / "bad", port, misbehaviour):
            images = [ct_image(rows=200, columns=200, seed=n) for n in range(4)]
            for image in images:
                store(archive, image)
            wait_until(lambda: queue(archive).failures >= 2, "it is tried more than once")
            assert queue(archive).failed == 0
        with storescp(tmp_path / "good", port, "+xa"):
            # Those that it broke off with come after the others, half a minute later unless somebody cannot wait.
            wait_until(lambda: bool(archive.routing.retry("VIEWER")) or not queue(archive).waiting, "it is tried again")
            wait_until(lambda: not queue(archive).waiting or not archive.routing.retry("VIEWER"), "all are sent")
            wait_until_empty(archive)
        assert files(tmp_path / "good") == {image.SOPInstanceUID for image in images}


def files(folder: Path) -> set[str]:
    return {str(dcmread(path).SOPInstanceUID) for path in folder.iterdir()}


QRSCP = """
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
pacs = (PACS, 127.0.0.1, 11112)
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
VIEWER {folder} RW (200, 1024mb) ANY
AETable END
"""


def test_dcmqrscp_takes_what_it_knows(settings: Settings, tmp_path: Path) -> None:
    """It knows no compressed syntax unless told to: what is stored in RLE arrives decoded."""
    from tests.conformance.test_ps3_4_c_4_2_retrieve import compressed

    port, folder = free_port(), tmp_path / "db"
    folder.mkdir()
    (tmp_path / "dcmqrscp.cfg").write_text(QRSCP.format(port=port, folder=folder))
    # One association: two processes of dcmqrscp give files of one second the same name at times, and one is lost there.
    peer = Peer(ae_title="VIEWER", facility="86001", host="127.0.0.1", port=port, parallel=1)
    command = ["dcmqrscp", "-c", str(tmp_path / "dcmqrscp.cfg")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(port), "dcmqrscp listens")
            with forwarding(with_routes(settings, peer, to())) as archive:
                images = [compressed(archive), *(ct_image(seed=n) for n in range(30))]
                for image in images[1:]:
                    store(archive, image)
                wait_until_empty(archive)
                assert sql(settings, "SELECT state, count(*) FROM route_task GROUP BY 1") == [("sent", 31)]
        finally:
            process.terminate()
    found = [dcmread(path) for path in folder.iterdir() if path.name != "index.dat"]
    assert {str(ds.SOPInstanceUID): ds.PixelData for ds in found} == {
        image.SOPInstanceUID: image.PixelData for image in images
    }


@contextmanager
def orthanc_peer(folder: Path) -> Iterator[tuple[Peer, Orthanc]]:
    port = free_port()
    site = cast(Site, SimpleNamespace(ports={"ORTHANC": port}, port=1))
    with orthanc(site, folder) as running:
        yield Peer(ae_title="ORTHANC", facility="86001", host="127.0.0.1", port=port, parallel=2), running


def test_real_files_arrive_in_orthanc_as_they_were_stored(settings: Settings, tmp_path: Path) -> None:
    """Compressed ones of all kinds too: Orthanc takes them as they are."""
    small = [file for file in corpus() if file.is_storage_object and file.path.stat().st_size < 3_000_000]
    rare = Counter(file.transfer_syntax_uid for file in small)
    # Orthanc keeps the first of several with one UID, so one is chosen, of the rarest syntax; and a few of each syntax.
    unique = {file.sop_instance_uid: file for file in sorted(small, key=lambda file: -rare[file.transfer_syntax_uid])}
    taken: Counter[str] = Counter()
    chosen = []
    for file in unique.values():
        taken[file.transfer_syntax_uid] += 1
        if taken[file.transfer_syntax_uid] <= 4:
            chosen.append(file)
    with orthanc_peer(tmp_path / "orthanc") as (peer, running):
        with_orthanc = with_routes(settings, peer, to("ORTHANC"), tries=2)
        with forwarding(with_orthanc) as archive:
            for file in chosen:
                with contextlib.suppress(BadObject):
                    keep(archive, file)
            wait_until_empty(archive, "ORTHANC", 120)
            refused = {problem.instance: problem.error for problem in archive.routing.problems("ORTHANC")}
            shown = {
                inst.sop_instance_uid: inst.object.transfer_syntax_uid
                for (object_id,) in sql(settings, "SELECT id FROM stored_object WHERE current")
                for inst in archive.routing.instances([object_id]).values()
            }
        held = running.get("/instances")
        syntaxes = Counter(running.http.get(f"/instances/{each}/metadata/TransferSyntax").text.strip() for each in held)
    sent = {uid: syntax for uid, syntax in shown.items() if uid not in refused}
    print(
        f"\n{len(shown)} files, {len(refused)} refused: {set(refused.values())}, {len(syntaxes)} transfer syntaxes: {syntaxes}"
    )
    assert len(held) == len(sent)
    assert syntaxes == Counter(sent.values())
    assert len(refused) <= 3
    assert len(syntaxes) > 9


def keep(archive: Archive, file: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(file.path, stop_before_pixels=True)
    data = file.path.read_bytes()
    # Behind preamble, prefix and file meta information.
    start = 144 + int(ds.file_meta.FileMetaInformationGroupLength)
    store_bytes(
        archive,
        data[start:],
        file.sop_class_uid,
        file.sop_instance_uid,
        transfer_syntax_uid=file.transfer_syntax_uid,
        source=SOURCE,
    )


def test_the_command_shows_and_steers_the_queues(settings: Settings, tmp_path: Path) -> None:
    away = Peer(ae_title="AWAY", facility="86001", host="127.0.0.1", port=free_port())
    changed = with_routes(settings, away, to("AWAY"))

    def queues(*arguments: str) -> tuple[int, str]:
        done = archive_command(changed, tmp_path, "queues", *arguments)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    image = ct_image()
    with forwarding(changed) as archive:
        store(archive, image)
        wait_until(lambda: queue(archive, "AWAY").failures > 0, "it cannot be reached")
    code, said = queues()
    assert code == 1
    assert "AWAY" in said and "failing" in said and "cannot connect" in said
    assert queues("pause", "AWAY") == (0, "AWAY: paused\n")
    assert "paused" in queues("list")[1]
    assert queues("resume", "AWAY") == (0, "AWAY: resumed\n")
    assert queues("discard", "AWAY", "--all") == (0, "given up: 1\n")
    assert queues("send", "AWAY", "--study", image.StudyInstanceUID) == (0, "objects in the queue: 1\n")
    assert queues("retry", "AWAY")[0] == 0
    assert queues("show", "AWAY")[0] == 0
    assert queues("send", "NOBODY", "--study", "1.2") == (1, "NOBODY is no peer with host and port\n")
    assert queues("send", "AWAY", "--study", "1.2") == (1, "no such study\n")
    assert queues("pause") == (2, "pause needs the AE title of a destination\n")
    assert queues("send", "AWAY") == (2, "send needs --study\n")


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        ({"where": ["NoSuchThing = 1"]}, "is no attribute that the index keeps"),
        ({"where": ["NumberOfStudyRelatedSeries = 1"]}, "is counted by the archive"),
        ({"where": ["StudyDescription"]}, "is no condition"),
        ({"destinations": ["NOBODY"]}, "list it as a peer with host and port"),
        ({"destinations": ["PACS"]}, "is this archive itself"),
        ({"facilities": ["99999"]}, "names facilities that are not listed"),
        ({"hours": "22-5"}, "are no hours"),
        ({"smallest": 2, "largest": 1}, "no object can meet that"),
        ({"priors": 2}, "priors need"),
        ({"colour": "red"}, "no such setting"),
    ],
)
def test_a_bad_route_stops_the_start_with_a_sentence(tmp_path: Path, route: dict[str, Any], sentence: str) -> None:
    import json
    import os
    import sys

    values = {"name": "r", "destinations": ["VIEWER"], **route}
    text = '[[facilities]]\ncode = "86001"\nname = "A"\n[[peers]]\nae_title = "VIEWER"\nfacility = "86001"\n'
    text += 'host = "127.0.0.1"\nport = 104\n[[routes]]\n'
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    (tmp_path / "pacs.toml").write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PACS_")}
    done = subprocess.run(
        [sys.executable, "-m", "dicom_node"],
        env={**kept, "PACS_CONFIG": str(tmp_path / "pacs.toml")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stop_does_not_wait_for_a_silent_destination(settings: Settings, tmp_path: Path) -> None:
    begun, over = threading.Event(), threading.Event()

    def never(event: Event) -> int:
        begun.set()
        over.wait()
        return 0

    found = Receiver()
    found.answer = never  # type: ignore[method-assign]
    with receiver(found) as peer, node_process(with_routes(settings, peer, to()), tmp_path, shutdown_grace=0.2) as node:
        image = ct_image()
        with node.peer().associate() as sender:
            assert sender.store(image.SOPInstanceUID, encode(image)) == 0
            sender.release()
        assert begun.wait(120)
        assert node.terminate() == 0
        over.set()
        assert "Traceback" not in node.log()


def test_two_nodes_on_one_index_share_the_queue(settings: Settings, tmp_path: Path) -> None:
    found = Receiver()
    with receiver(found) as peer:
        changed = with_routes(settings, peer, to())
        with node_process(changed, tmp_path) as one, node_process(changed, tmp_path) as other:
            images = [ct_image(seed=n) for n in range(40)]
            with one.peer().associate() as sender, other.peer().associate() as second:
                for n, image in enumerate(images):
                    assert (sender if n % 2 else second).store(image.SOPInstanceUID, encode(image)) == 0
                sender.release()
                second.release()
            wait_until(lambda: len(found.digests) == 40, "all have arrived", 60)
            wait_until(lambda: settled(changed), "all is noted", 60)
            assert one.terminate() == 0
            assert other.terminate() == 0
            assert "Traceback" not in one.log() + other.log()
    assert set(found.times.values()) == {1}


def test_a_database_that_cuts_the_line_does_not_stop_the_queues(settings: Settings, tmp_path: Path) -> None:
    found = Receiver()
    with receiver(found) as peer:
        changed = with_routes(settings, peer, to())
        with node_process(changed, tmp_path) as node:
            senders = [Sender(node.port, n) for n in range(2)]
            for sender in senders:
                sender.start()
            for goal in range(10, 50, 10):
                wait_until(lambda goal=goal: len(found.digests) >= goal, "more have arrived", 60)  # type: ignore[misc]
                wait_until(lambda: cut_the_line(changed), "a session of forwarding was ended", 60)
            for sender in senders:
                sender.enough.set()
            for sender in senders:
                sender.join()
            expected = {uid: digest for sender in senders for uid, digest in sender.acknowledged.items()}
            wait_until(lambda: expected.keys() <= found.digests.keys(), "all have arrived", 60)
            wait_until(lambda: settled(changed), "all is noted", 60)
            assert node.terminate() == 0
    assert expected.items() <= found.digests.items()


def cut_the_line(settings: Settings) -> bool:
    query = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'pacs forwarding' AND datname = current_database()"""
    return bool(sql(settings, query))


def test_what_is_sent_on_is_committed_by_the_other_archive(settings: Settings, tmp_path: Path) -> None:
    """A sends to B and asks it to commit; B, an archive like A, reports to A."""
    port_a, port_b = free_port(), free_port()
    (tmp_path / "ccc").mkdir()
    rule = to("B", commit=True)
    a = with_routes(settings, Peer(ae_title="B", facility="86001", host="127.0.0.1", port=port_b), rule)
    node = {"port": port_b, "host": "127.0.0.1", "ae_title": "B"}
    with another_database(settings, tmp_path / "ccc", node=node) as base:
        b = with_routes(base, Peer(ae_title="PACS", facility="86001", host="127.0.0.1", port=port_a))
        with node_process(a, tmp_path, port=port_a) as one, node_process(b, tmp_path / "ccc", **node) as other:
            images = [ct_image(seed=n) for n in range(3)]
            with one.peer().associate() as sender:
                for image in images:
                    assert sender.store(image.SOPInstanceUID, encode(image)) == 0
                sender.release()
            wait_until(lambda: count(b) == 3, "B has all", 60)
            wait_until(lambda: settled(a), "A knows", 60)
            # Not to wait half a minute for more.
            sql(a, "UPDATE route_destination SET sent_at = now() - interval '1 hour'")
            done = "SELECT count(*) FROM route_task WHERE state = 'sent' AND NOT commitment AND error = ''"
            wait_until(lambda: sql(a, done) == [(3,)], "B has committed to all", 90)
            assert one.terminate() == 0
            assert other.terminate() == 0
