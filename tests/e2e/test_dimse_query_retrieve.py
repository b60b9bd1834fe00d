"""DCMTK's getscu, movescu and storescp against the node."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread

from archive.core import Archive
from config.peers import Peer
from config.settings import Settings
from tests.conformance.test_ps3_4_c_4_2_retrieve import asked_for, compressed, stored
from tests.e2e.test_dimse_process import MEGABYTE, large_object, stream
from tests.integration.dicom_node.process import NodeProcess, node_process
from tests.integration.dicom_node.running import Node, running, wait_until
from tests.integration.dicom_node.scu import findscu
from tests.ports import free_port

LARGE = 256
"""Megabytes of a large object."""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[Peer]:
    """DCMTK's storescp as a destination; it writes what it gets into the folder."""
    folder.mkdir()
    port = free_port()
    with subprocess.Popen(
        ["storescp", "-aet", "VIEWER", "-od", str(folder), *options, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: answers(port), "storescp listens")
            yield Peer(ae_title="VIEWER", facility="86001", host="127.0.0.1", port=port)
        finally:
            process.terminate()


@contextmanager
def node_of(settings: Settings, *peers: Peer) -> Iterator[Node]:
    changed = settings.model_copy(update={"peers": (*settings.peers, *peers)})
    with Archive.open(changed) as archive, running(changed, archive) as node:
        yield node
        node.wait_until_idle()


def dcmtk(program: str, node: Node | NodeProcess, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [program, "-v", "-aet", "CT1", "-aec", "PACS", *arguments, "127.0.0.1", str(node.port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def keys(asked: object) -> list[str]:
    """An identifier as options of DCMTK's programs."""
    found = []
    for element in asked:  # type: ignore[attr-defined]
        value = element.value if isinstance(element.value, str) else "\\".join(element.value)
        found += ["-k", f"{element.keyword}={value}"]
    return found


def datasets(folder: Path) -> dict[str, tuple[str, str, bytes]]:
    """Name, transfer syntax and pixels of the files in a folder, by instance."""
    read = [dcmread(path) for path in folder.iterdir() if path.is_file()]
    return {
        str(ds.SOPInstanceUID): (str(ds.PatientName), str(ds.file_meta.TransferSyntaxUID), bytes(ds.PixelData))
        for ds in read
    }


LEVELS = [
    ("-P", "PATIENT", 4),
    ("-P", "STUDY", 3),
    ("-P", "SERIES", 2),
    ("-P", "IMAGE", 2),
    ("-S", "STUDY", 3),
    ("-S", "SERIES", 2),
    ("-S", "IMAGE", 2),
    ("-O", "PATIENT", 4),
]


def test_movescu_to_storescp_at_all_levels(settings: Settings, tmp_path: Path) -> None:
    with storescp(tmp_path / "got", "+xa") as peer, node_of(settings, peer) as node:
        images = stored(node.archive)
        for root, level, count in LEVELS:
            asked, _ = asked_for(images, level)
            code, output = dcmtk("movescu", node, root, "-aem", "VIEWER", *keys(asked))
            assert code == 0, output
            assert "Received Final Move Response (Success)" in output
            got = datasets(tmp_path / "got")
            assert {uid: pixels for uid, (_, _, pixels) in got.items()} == {
                image.SOPInstanceUID: image.PixelData for image in images[:count]
            }
            assert {name for name, _, _ in got.values()} == {"Nguyễn^Văn Đức"}
            for path in (tmp_path / "got").iterdir():
                path.unlink()


def test_getscu_at_all_levels(settings: Settings, tmp_path: Path) -> None:
    with node_of(settings) as node:
        images = stored(node.archive)
        for number, (root, level, count) in enumerate(LEVELS):
            folder = tmp_path / str(number)
            folder.mkdir()
            asked, _ = asked_for(images, level)
            code, output = dcmtk("getscu", node, root, "-od", str(folder), *keys(asked))
            assert code == 0, output
            got = datasets(folder)
            assert {uid: pixels for uid, (_, _, pixels) in got.items()} == {
                image.SOPInstanceUID: image.PixelData for image in images[:count]
            }


@pytest.mark.parametrize(
    ("option", "syntax"), [("+xa", "1.2.840.10008.1.2.5"), ("+x=", "1.2.840.10008.1.2.1"), ("+xi", "1.2.840.10008.1.2")]
)
def test_storescp_gets_what_it_takes(settings: Settings, tmp_path: Path, option: str, syntax: str) -> None:
    with storescp(tmp_path / "got", option) as peer, node_of(settings, peer) as node:
        image = compressed(node.archive)
        asked = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={image.StudyInstanceUID}"]
        code, output = dcmtk("movescu", node, "-S", "-aem", "VIEWER", *asked)
        assert code == 0, output
        ((_, found, pixels),) = datasets(tmp_path / "got").values()
    assert found == syntax
    assert (pixels == image.PixelData) is (option != "+xa")


def test_storescp_that_aborts_while_it_receives(settings: Settings, tmp_path: Path) -> None:
    with storescp(tmp_path / "got", "--abort-during") as peer, node_of(settings, peer) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        code, output = dcmtk("movescu", node, "-S", "-aem", "VIEWER", *keys(asked))
        assert code != 0
        assert "Failed Suboperations" in output or "Refused" in output
        assert dcmtk("echoscu", node)[0] == 0


def test_movescu_to_an_unknown_destination(settings: Settings) -> None:
    with node_of(settings) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        code, output = dcmtk("movescu", node, "-S", "-aem", "NOBODY", *keys(asked))
        assert code != 0
        assert "Refused: MoveDestinationUnknown" in output


def test_movescu_cancels(settings: Settings, tmp_path: Path) -> None:
    with storescp(tmp_path / "got") as peer, node_of(settings, peer) as node:
        asked, _ = asked_for(stored(node.archive), "PATIENT")
        _, output = dcmtk("movescu", node, "-P", "-aem", "VIEWER", "--cancel", "1", *keys(asked))
        assert "Sending Cancel" in output or "Cancel" in output
        assert dcmtk("echoscu", node)[0] == 0


def test_what_findscu_finds_getscu_gets(settings: Settings, tmp_path: Path) -> None:
    with node_of(settings) as node:
        images = stored(node.archive)
        found = findscu(node, tmp_path / "found", "QueryRetrieveLevel=STUDY", "PatientName=TRAN*", "StudyInstanceUID")
        (match,) = found.responses
        (tmp_path / "got").mkdir()
        asked = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={match.StudyInstanceUID}"]
        assert dcmtk("getscu", node, "-S", "-od", str(tmp_path / "got"), *asked)[0] == 0
        ((name, _, pixels),) = datasets(tmp_path / "got").values()
    assert (name, pixels) == ("Trần^Thị B", images[4].PixelData)


@pytest.mark.slow
@pytest.mark.parametrize("service", ["C-GET", "C-MOVE"])
def test_the_memory_to_send_an_object_does_not_grow_with_it(settings: Settings, tmp_path: Path, service: str) -> None:
    image, header, size = large_object(LARGE)
    with storescp(tmp_path / "got", "+xa", "--ignore") as peer:
        peers = (*settings.peers, peer)
        with node_process(settings.model_copy(update={"peers": peers}), tmp_path) as node:
            with node.peer(timeout=120).associate() as sender:
                assert stream(sender, image, header, size) == 0
                sender.release()
            before = node.peak_memory()
            options = ["-aem", "VIEWER"] if service == "C-MOVE" else ["--ignore"]
            program = "movescu" if service == "C-MOVE" else "getscu"
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={image.StudyInstanceUID}"]
            code, output = dcmtk(program, node, "-S", *options, *keys)
            assert code == 0, output
            grown = node.peak_memory() - before
            print(f"\n{LARGE} MB sent by {service}: peak {grown / MEGABYTE:.1f} MB more")
            assert grown < 50 * MEGABYTE
            assert node.terminate() == 0
    with Archive.open(settings) as archive:
        (found,) = archive.locate(image.StudyInstanceUID)
        archive.store.delete(found.object.key)
