"""Peers that are listed while the node runs: who is let in, from which moment on."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from archive.core import Archive
from archive.errors import IndexUnavailable
from archive.people.commands import OPERATOR
from archive.registry import live
from config.peers import Peer
from config.settings import Settings
from tests.factories import ct_image, encode
from tests.integration.archive.support import sql
from tests.integration.dicom_node.peer import CT_IMAGE_STORAGE, EXPLICIT, associate_rq
from tests.integration.dicom_node.running import Node, running, wait_until

HERE = {"facility": "86001"}
PATIENCE = 120.0


@pytest.fixture
def strict(settings: Settings) -> Settings:
    return settings.model_copy(update={"unknown_peers": "reject"})


@pytest.fixture
def web(strict: Settings) -> Iterator[Archive]:
    """Another process of the same archive, as far as it matters here."""
    with Archive.open(strict) as archive:
        yield archive


@pytest.fixture
def node(strict: Settings, web: Archive) -> Iterator[Node]:
    with Archive.open(strict) as archive, running(strict, archive) as found:
        yield found


def calls(node: Node, title: str) -> bool:
    """Whether an association is taken."""
    with node.peer() as peer:
        peer.send(associate_rq([(CT_IMAGE_STORAGE, [EXPLICIT])], calling=title))
        return peer.receive()[0] == 2


def dcmtk(program: str, node: Node, title: str, *more: str) -> int:
    command = [program, "-aet", title, "-aec", "PACS", "127.0.0.1", str(node.port), *more]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode


def test_a_peer_works_on_its_first_try_after_it_was_added_elsewhere(node: Node, web: Archive, tmp_path: Path) -> None:
    path = tmp_path / "ct.dcm"
    image = ct_image()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
    assert dcmtk("storescu", node, "CT9", str(path)) != 0
    web.registry.add(OPERATOR, "CT9", HERE)
    assert dcmtk("echoscu", node, "CT9") == 0
    assert dcmtk("storescu", node, "CT9", str(path)) == 0
    assert sql(web, "SELECT code FROM study JOIN facility ON facility.id = facility_id") == ["86001"]


def test_a_disabled_peer_is_refused_and_what_it_has_open_goes_on(node: Node, web: Archive) -> None:
    made = web.registry.add(OPERATOR, "CT9", HERE)
    image = ct_image()
    with node.archive.peers.following(), node.peer().associate(calling="CT9") as peer:
        web.registry.disable(OPERATOR, "CT9", made.revision)
        wait_until(lambda: not calls(node, "CT9"), "the disabled peer is refused", PATIENCE)
        assert peer.store(image.SOPInstanceUID, encode(image)) == 0
        peer.release()
    assert sql(web, "SELECT DISTINCT detail ->> 'why' FROM audit_record WHERE name = 'CT9'") == ["DISABLED"]
    web.registry.enable(OPERATOR, "CT9", None)
    assert calls(node, "CT9")
    node.wait_until_idle()


def test_a_disabled_peer_is_no_stranger_where_those_are_let_in(settings: Settings) -> None:
    for unknown in ("accept", "quarantine"):
        chosen = settings.model_copy(update={"unknown_peers": unknown})
        with Archive.open(chosen) as archive, running(chosen, archive) as node:
            title = f"X_{unknown}"[:16]
            assert calls(node, title)
            archive.registry.add(OPERATOR, title, HERE)
            archive.registry.disable(OPERATOR, title, None)
            assert not calls(node, title)
            archive.registry.remove(OPERATOR, title, None)
            assert calls(node, title)
            node.wait_until_idle()


def test_an_address_that_was_mended_holds_at_the_next_call(node: Node, web: Archive) -> None:
    made = web.registry.add(OPERATOR, "CT9", {**HERE, "addresses": ["10.1.2.3"]})
    assert not calls(node, "CT9")
    web.registry.change(OPERATOR, "CT9", {**HERE, "addresses": ["127.0.0.0/8"]}, made.revision)
    assert calls(node, "CT9")


def test_changed_rights_hold_for_the_next_association(node: Node, web: Archive) -> None:
    web.registry.add(OPERATOR, "WS1", {**HERE, "rights": ["store"]})

    def finds() -> bool:
        return dcmtk("findscu", node, "WS1", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=1") == 0

    def right() -> bool:
        found = node.archive.peers.find("WS1", "127.0.0.1")
        return found is not None and found.may("find")

    with node.archive.peers.following():
        assert not right()
        web.registry.change(OPERATOR, "WS1", {**HERE, "rights": ["store", "find"]}, None)
        wait_until(right, "the new rights are known", PATIENCE)
    assert finds()


def test_a_change_by_hand_in_the_database_is_followed(node: Node, web: Archive) -> None:
    web.registry.add(OPERATOR, "CT9", HERE)
    assert calls(node, "CT9")
    with node.archive.peers.following():
        sql(web, "DELETE FROM peer")
        wait_until(lambda: not calls(node, "CT9"), "the deleted peer is refused", PATIENCE)


def test_strangers_at_the_same_moment_share_one_look(node: Node, web: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    refresh = live.LivePeers.refresh

    def counted(self: live.LivePeers) -> None:
        looks.append(1)
        refresh(self)

    monkeypatch.setattr(live.LivePeers, "refresh", counted)
    monkeypatch.setattr(live, "_BETWEEN_LOOKS", 1.0)
    found: list[Peer | None] = []
    ready = threading.Barrier(40)

    def stranger() -> None:
        ready.wait()
        found.append(node.archive.peers.find("NOBODY", "127.0.0.1"))

    threads = [threading.Thread(target=stranger) for _ in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [None] * 40
    assert len(looks) < 40


def test_the_last_known_book_holds_while_the_index_is_away(
    node: Node, web: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.registry.add(OPERATOR, "CT9", HERE)
    peers = node.archive.peers
    assert peers.find("CT9", "127.0.0.1") is not None

    def away(*_: Any) -> None:
        raise IndexUnavailable("the index is away")

    monkeypatch.setattr(live, "fetch", away)
    assert peers.find("CT9", "127.0.0.1") is not None
    assert peers.find("CT1", "127.0.0.1") is not None
    assert peers.find("NOBODY", "127.0.0.1") is None
    monkeypatch.undo()
    # Nobody asks the index again at once: the thread does, and once the time is over so do strangers.
    peers.refresh()


def test_the_file_wins_over_the_page_and_nothing_stops_the_start(web: Archive, strict: Settings) -> None:
    web.registry.add(OPERATOR, "CT9", {**HERE, "rights": ["find"], "description": "của trang"})
    web.registry.add(OPERATOR, "CT8", {"facility": "86002"})
    # As after the file was edited by hand: one AE title in both, then one of a facility that is no more.
    with_both = strict.model_copy(update={"peers": (*strict.peers, Peer(ae_title="CT9", facility="86002"))})
    with Archive.open(with_both) as archive:
        found = archive.peers.named("CT9")
        assert found is not None and found.facility == "86002" and not found.may("find")
        entry = archive.registry.one(OPERATOR, "CT9")
        assert (entry.source, entry.state) == ("page", "overruled")
        archive.registry.remove(OPERATOR, "CT9", entry.revision)
        assert archive.peers.named("CT9") is found
    gone = strict.model_copy(update={"facilities": strict.facilities[:1], "peers": strict.peers[:1]})
    with Archive.open(gone) as archive:
        entry = archive.registry.one(OPERATOR, "CT8")
        assert entry.state == "unusable" and "facility" in entry.faults
        assert archive.peers.named("CT8") is None
        assert archive.peers.find("CT8", "127.0.0.1") is None
    with Archive.open(strict) as archive:
        assert archive.peers.named("CT8") is not None


def test_settings_that_no_release_knows_stop_nothing(web: Archive, strict: Settings) -> None:
    web.registry.add(OPERATOR, "CT9", HERE)
    with psycopg.connect(strict.database.url.get_secret_value(), autocommit=True) as connection:
        connection.execute('UPDATE peer SET settings = settings || \'{"flavour": "sweet", "port": "x"}\'')
    with Archive.open(strict) as archive:
        entry = archive.registry.one(OPERATOR, "CT9")
        assert entry.state == "unusable" and {"flavour", "port"} <= set(entry.faults)
        assert archive.peers.find("CT9", "127.0.0.1") is None


def test_what_a_disabled_peer_has_sent_is_corrected_as_before(web: Archive) -> None:
    web.registry.add(OPERATOR, "XQ1", {**HERE, "default_character_set": "TCVN3"})
    web.registry.disable(OPERATOR, "XQ1", None)
    assert "XQ1" in web.peers.correcting()
    known = web.peers.known("XQ1")
    assert known is not None and known.default_character_set == "TCVN3"
    assert web.peers.named("XQ1") is None


def test_a_destination_that_was_added_is_sent_to(web: Archive) -> None:
    web.registry.add(OPERATOR, "WS1", {**HERE, "host": "127.0.0.1", "port": 104})
    assert web.routing.place_of("WS1").facility == "86001"
    assert [each.ae_title for each in web.peers.listed if each.host] == ["WS1"]
