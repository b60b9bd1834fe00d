"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): levels, counts, failures, transfer syntaxes, cancellation, destinations."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.events import Event

from archive.core import Archive
from config.peers import Peer
from config.settings import Settings
from tests.factories import ct_image, encode, store, store_bytes
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.peer import sha256
from tests.integration.dicom_node.running import Node, running, with_node
from tests.integration.dicom_node.scu import (
    BIG_ENDIAN,
    EXPLICIT,
    GET,
    IMPLICIT,
    MOVE,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    associated,
    cancellation_sent,
    identifier,
)

__all__ = ["node"]

SUCCESS, PENDING, CANCEL, WARNING = 0x0000, 0xFF00, 0xFE00, 0xB000
UNABLE, UNKNOWN_DESTINATION, MISMATCH, NOT_AUTHORIZED, CANNOT_READ = 0xA702, 0xA801, 0xA900, 0x0124, 0xC000


@dataclass
class Got:
    """What a retrieval brought."""

    statuses: list[int] = field(default_factory=list)
    counts: list[tuple[int | None, ...]] = field(default_factory=list)
    """Remaining, completed, failed, warning of each response."""
    failed: list[str] = field(default_factory=list)
    received: dict[str, bytes] = field(default_factory=dict)
    syntaxes: set[str] = field(default_factory=set)
    originators: set[tuple[str, int]] = field(default_factory=set)

    def answer(self, event: Event) -> int:
        """The C-STORE handler of who receives."""
        request = event.request
        self.received[str(request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        self.syntaxes.add(str(event.context.transfer_syntax))
        self.originators.add((str(request.MoveOriginatorApplicationEntityTitle), request.MoveOriginatorMessageID))
        return 0

    def note(self, responses: Iterator[tuple[Dataset, Dataset | None]]) -> None:
        for status, data in responses:
            self.statuses.append(status.Status)
            names = ("Remaining", "Completed", "Failed", "Warning")
            self.counts.append(tuple(status.get(f"NumberOf{name}Suboperations") for name in names))
            if data is not None and "FailedSOPInstanceUIDList" in data:
                value = data.FailedSOPInstanceUIDList
                self.failed = [value] if isinstance(value, str) else list(value)


def get(
    node: Node,
    asked: Dataset,
    *,
    root: str = STUDY_ROOT,
    syntax: str = EXPLICIT,
    takes: tuple[tuple[str, str], ...] = ((CTImageStorage, EXPLICIT),),
    roles: bool = True,
    answer: Callable[[Event], int] | None = None,
    calling: str = "CT1",
    extended: bytes = b"",
) -> Got:
    got = Got()
    model = root + GET
    with associated(
        node,
        [(model, syntax), *takes],
        calling=calling,
        negotiation=[build_role(sop_class, scp_role=True) for sop_class in sorted({each[0] for each in takes})]
        if roles
        else [],
        extended={model: extended} if extended else None,
        handlers=[(evt.EVT_C_STORE, answer or got.answer)],
    ) as association:
        got.note(association.send_c_get(asked, model))
    return got


def move(
    node: Node,
    asked: Dataset,
    destination: str = "VIEWER",
    *,
    root: str = STUDY_ROOT,
    calling: str = "CT1",
    got: Got | None = None,
) -> Got:
    got = got or Got()
    with associated(node, [(root + MOVE, IMPLICIT)], calling=calling) as association:
        got.note(association.send_c_move(asked, destination, root + MOVE, msg_id=77))
    return got


@contextmanager
def viewer(got: Got, *syntaxes: str, answer: Callable[[Event], int] | None = None, **options: Any) -> Iterator[Peer]:
    """A destination of C-MOVE on a free port."""
    ae = AE(ae_title="VIEWER")
    for sop_class in (CTImageStorage, MRImageStorage):
        ae.add_supported_context(sop_class, list(syntaxes or (EXPLICIT, IMPLICIT, RLELossless, BIG_ENDIAN)))
    for name, value in options.items():
        setattr(ae, name, value)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer or got.answer)])
    try:
        yield Peer(ae_title="VIEWER", facility="86001", host="127.0.0.1", port=server.server_address[1])
    finally:
        server.shutdown()
        ae.shutdown()


@contextmanager
def node_with(settings: Settings, *peers: Peer, **node: Any) -> Iterator[Node]:
    """A node that knows these peers too."""
    changed = with_node(settings, **node).model_copy(update={"peers": (*settings.peers, *peers)})
    with Archive.open(changed) as archive, running(changed, archive) as started:
        yield started
        started.wait_until_idle()


def stored(archive: Archive) -> list[Dataset]:
    """A patient with two studies: of two series with three images, and of one; and another patient."""
    first = ct_image()
    same = {"StudyInstanceUID": first.StudyInstanceUID}
    second = ct_image(**same, SeriesInstanceUID=first.SeriesInstanceUID, InstanceNumber=2, seed=1)
    third = ct_image(**same, SeriesNumber=2, seed=2)
    images = [first, second, third, ct_image(seed=3), ct_image(PatientID="BN0002", PatientName="Trần^Thị B", seed=4)]
    for image in images:
        store(archive, image)
    return images


def asked_for(images: list[Dataset], level: str) -> tuple[Dataset, list[Dataset]]:
    first = images[0]
    keys = {"PATIENT": {"PatientID": "BN0001"}}
    keys["STUDY"] = {**keys["PATIENT"], "StudyInstanceUID": first.StudyInstanceUID}
    keys["SERIES"] = {**keys["STUDY"], "SeriesInstanceUID": first.SeriesInstanceUID}
    keys["IMAGE"] = {**keys["SERIES"], "SOPInstanceUID": [images[0].SOPInstanceUID, images[1].SOPInstanceUID]}
    count = {"PATIENT": 4, "STUDY": 3, "SERIES": 2, "IMAGE": 2}[level]
    return identifier(level, **keys[level]), images[:count]


def sent(images: list[Dataset], syntax: str = EXPLICIT) -> dict[str, bytes]:
    return {image.SOPInstanceUID: encode(image, syntax) for image in images}


LEVELS = [
    *((PATIENT_ROOT, level) for level in ("PATIENT", "STUDY", "SERIES", "IMAGE")),
    *((STUDY_ROOT, level) for level in ("STUDY", "SERIES", "IMAGE")),
    *((PATIENT_STUDY_ONLY, level) for level in ("PATIENT", "STUDY")),
]


@pytest.mark.parametrize(("root", "level"), LEVELS)
def test_c_4_3_get_at_every_level_brings_what_was_stored(node: Node, root: str, level: str) -> None:
    asked, expected = asked_for(stored(node.archive), level)
    got = get(node, asked, root=root)
    count = len(expected)
    assert got.received == sent(expected)
    assert got.statuses == [PENDING] * (count - 1) + [SUCCESS]
    assert got.counts[:-1] == [(count - done, done, 0, 0) for done in range(1, count)]
    assert got.counts[-1] == (None, count, 0, 0)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_c_4_3_the_identifier_in_every_transfer_syntax(node: Node, syntax: str) -> None:
    asked, expected = asked_for(stored(node.archive), "SERIES")
    got = get(node, asked, syntax=syntax)
    assert set(got.received) == set(sent(expected))
    got = get(node, asked, syntax=syntax, roles=False)
    assert got.failed == list(sent(expected))


def test_c_4_3_1_nothing_matches(node: Node) -> None:
    asked = identifier("STUDY", StudyInstanceUID="1.2.3")
    got = get(node, asked)
    assert (got.statuses, got.counts) == ([SUCCESS], [(None, 0, 0, 0)])


@pytest.mark.parametrize(
    ("root", "level", "keys"),
    [
        (STUDY_ROOT, "PATIENT", {"PatientID": "BN0001"}),
        (STUDY_ROOT, "STUDY", {}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": ""}),
        (STUDY_ROOT, "SERIES", {"SeriesInstanceUID": "1.2"}),
        (PATIENT_ROOT, "PATIENT", {"PatientID": "BN*"}),
        (PATIENT_ROOT, "PATIENT", {"PatientID": ["1", "2"]}),
        (PATIENT_ROOT, "STUDY", {"StudyInstanceUID": "1.2"}),
    ],
)
def test_c_4_2_2_1_keys_that_are_required(node: Node, root: str, level: str, keys: dict[str, Any]) -> None:
    stored(node.archive)
    assert get(node, identifier(level, **keys), root=root).statuses == [MISMATCH]
    assert move(node, identifier(level, **keys), "US2", root=root).statuses == [UNKNOWN_DESTINATION]


def test_c_5_3_1_relational_retrieval_where_negotiated(node: Node) -> None:
    images = stored(node.archive)
    asked = identifier("IMAGE", SOPInstanceUID=[images[0].SOPInstanceUID, images[4].SOPInstanceUID])
    assert get(node, asked).statuses == [MISMATCH]
    got = get(node, asked, extended=b"\1")
    assert got.received == sent([images[0], images[4]])


def test_c_4_3_3_1_without_the_role_nothing_can_be_sent(node: Node) -> None:
    asked, expected = asked_for(stored(node.archive), "STUDY")
    got = get(node, asked, roles=False)
    assert got.statuses[-1] == UNABLE
    assert got.counts[-1] == (None, 0, 3, 0)
    assert sorted(got.failed) == sorted(sent(expected))


def test_c_4_3_1_4_what_the_requestor_does_not_take_is_listed(node: Node) -> None:
    image, other = ct_image(), ct_image(SOPClassUID=MRImageStorage)
    other.StudyInstanceUID = image.StudyInstanceUID
    for each in (image, other):
        store(node.archive, each)
    got = get(node, identifier("STUDY", StudyInstanceUID=image.StudyInstanceUID))
    assert got.statuses[-1] == WARNING
    assert got.counts[-1] == (None, 1, 1, 0)
    assert (set(got.received), got.failed) == ({image.SOPInstanceUID}, [other.SOPInstanceUID])


@pytest.mark.parametrize(("status", "final", "counts"), [(0xA700, UNABLE, (0, 3, 0)), (0xB006, WARNING, (0, 0, 3))])
def test_c_4_3_1_4_statuses_of_the_requestor_are_counted(
    node: Node, status: int, final: int, counts: tuple[int, ...]
) -> None:
    asked, _ = asked_for(stored(node.archive), "STUDY")
    got = get(node, asked, answer=lambda event: status)
    assert got.statuses[-1] == final
    assert got.counts[-1] == (None, *counts)


def compressed(archive: Archive) -> Dataset:
    """An image that is stored in RLE; the dataset is the one before."""
    image = ct_image()
    packed = ct_image(SOPInstanceUID=image.SOPInstanceUID)
    packed.StudyInstanceUID, packed.SeriesInstanceUID = image.StudyInstanceUID, image.SeriesInstanceUID
    packed.file_meta = FileMetaDataset()
    packed.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    packed.compress(RLELossless, generate_instance_uid=False)
    del packed.file_meta
    store_bytes(
        archive, encode(packed, RLELossless), CTImageStorage, image.SOPInstanceUID, transfer_syntax_uid=RLELossless
    )
    return image


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_c_4_2_2_2_what_is_stored_compressed_is_decoded_where_it_must(node: Node, syntax: str) -> None:
    image = compressed(node.archive)
    asked = identifier("STUDY", StudyInstanceUID=image.StudyInstanceUID)
    got = get(node, asked, takes=((CTImageStorage, syntax),))
    assert got.statuses == [SUCCESS]
    assert got.syntaxes == {syntax}
    assert got.received[image.SOPInstanceUID].endswith(image.PixelData)


def test_c_4_2_2_2_what_is_stored_compressed_goes_as_it_is_where_it_may(node: Node) -> None:
    image = compressed(node.archive)
    asked = identifier("STUDY", StudyInstanceUID=image.StudyInstanceUID)
    got = get(node, asked, takes=((CTImageStorage, EXPLICIT), (CTImageStorage, RLELossless)))
    assert got.syntaxes == {RLELossless}
    assert [sha256(data) for data in got.received.values()] == node.digests()


LOSSLESS = [RLELossless, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless]


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_c_4_2_2_2_who_takes_nothing_else_gets_it_compressed_without_loss(node: Node, syntax: str) -> None:
    asked, expected = asked_for(stored(node.archive), "IMAGE")
    got = get(node, asked, takes=((CTImageStorage, syntax),))
    assert_compressed(got, expected, syntax)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_c_4_2_2_2_a_destination_that_takes_nothing_else_gets_it_compressed(settings: Settings, syntax: str) -> None:
    got = Got()
    with viewer(got, syntax) as peer, node_with(settings, peer) as node:
        asked, expected = asked_for(stored(node.archive), "IMAGE")
        move(node, asked, got=got)
    assert_compressed(got, expected, syntax)


def assert_compressed(got: Got, expected: list[Dataset], syntax: str) -> None:
    assert (got.statuses[-1], got.syntaxes) == (SUCCESS, {syntax})
    assert set(got.received) == {image.SOPInstanceUID for image in expected}
    for image in expected:
        ds = read_dataset(BytesIO(got.received[image.SOPInstanceUID]), is_implicit_VR=False, is_little_endian=True)
        assert ds.PatientName == image.PatientName
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        assert ds.pixel_array.tobytes() == image.PixelData


def test_c_4_2_2_2_nothing_is_compressed_for_who_takes_it_plain(node: Node) -> None:
    asked, expected = asked_for(stored(node.archive), "IMAGE")
    got = get(node, asked, takes=((CTImageStorage, JPEGLSLossless), (CTImageStorage, IMPLICIT)))
    assert (got.statuses[-1], got.syntaxes) == (SUCCESS, {IMPLICIT})
    assert got.received == sent(expected, IMPLICIT)


def test_c_4_2_2_2_nothing_is_compressed_with_loss(node: Node) -> None:
    asked, expected = asked_for(stored(node.archive), "IMAGE")
    got = get(node, asked, takes=((CTImageStorage, JPEGLSNearLossless),))
    assert got.statuses[-1] == UNABLE
    assert sorted(got.failed) == sorted(sent(expected))


def test_9_3_3_3_a_get_is_cancelled_between_sub_operations(node: Node) -> None:
    asked, _ = asked_for(stored(node.archive), "STUDY")
    got = Got()

    def cancel(event: Event) -> int:
        event.assoc.send_c_cancel(1, None, STUDY_ROOT + GET)
        return got.answer(event)

    result = get(node, asked, answer=cancel)
    assert result.statuses[-1] == CANCEL
    assert result.counts[-1] == (2, 1, 0, 0)
    assert len(got.received) == 1


def test_c_4_3_a_lost_object_fails_alone_before_anything_of_it_is_sent(node: Node) -> None:
    asked, (first, second, _) = asked_for(stored(node.archive), "STUDY")
    (inst,) = node.archive.locate(first.StudyInstanceUID, instance=second.SOPInstanceUID)
    node.archive.store.delete(inst.object.key)
    got = get(node, asked)
    assert got.statuses[-1] == WARNING
    assert got.counts[-1] == (None, 2, 1, 0)
    assert got.failed == [second.SOPInstanceUID]


@pytest.mark.parametrize(("root", "level"), LEVELS)
def test_c_4_2_move_at_every_level(settings: Settings, root: str, level: str) -> None:
    got = Got()
    with viewer(got) as peer, node_with(settings, peer) as node:
        asked, expected = asked_for(stored(node.archive), level)
        move(node, asked, root=root, got=got)
    count = len(expected)
    assert got.received == sent(expected)
    assert got.statuses == [PENDING] * (count - 1) + [SUCCESS]
    assert got.counts[:-1] == [(count - done, done, 0, 0) for done in range(1, count)]
    assert got.counts[-1] == (None, count, 0, 0)
    assert got.originators == {("CT1", 77)}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, RLELossless])
def test_c_4_2_2_2_a_destination_gets_what_it_takes(settings: Settings, syntax: str) -> None:
    got = Got()
    with viewer(got, syntax) as peer, node_with(settings, peer) as node:
        image = compressed(node.archive)
        move(node, identifier("STUDY", StudyInstanceUID=image.StudyInstanceUID), got=got)
    assert (got.statuses, got.syntaxes) == ([SUCCESS], {syntax})
    if syntax != RLELossless:
        assert got.received[image.SOPInstanceUID].endswith(image.PixelData)


def test_ps3_8_d_1_a_destination_gets_pdus_of_its_size(settings: Settings) -> None:
    got = Got()
    with viewer(got, maximum_pdu_size=4096) as peer, node_with(settings, peer) as node:
        image = ct_image(rows=900, columns=1000)
        store(node.archive, image)
        move(node, identifier("STUDY", StudyInstanceUID=image.StudyInstanceUID), got=got)
    assert got.received == sent([image])


def test_c_4_2_1_4_who_may_not_and_where_nothing_goes(settings: Settings) -> None:
    peers = (Peer(ae_title="SENDER", facility="86001", rights=frozenset(["find"])),)
    with node_with(settings, *peers) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        for calling in ("SENDER", "STRANGER"):
            assert move(node, asked, calling=calling).statuses == [NOT_AUTHORIZED]
            assert get(node, asked, calling=calling).statuses == [NOT_AUTHORIZED]
        for destination in ("NOBODY", "US2", "viewer"):
            assert move(node, asked, destination).statuses == [UNKNOWN_DESTINATION]


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_c_4_2_1_4_a_peer_gets_what_its_facility_sent(settings: Settings, level: str) -> None:
    peers = [Peer(ae_title="B", facility="86002", rights=frozenset(["move"]))]
    peers.append(Peer(ae_title="ALL", facility="86002", rights=frozenset(["move"]), sees="province"))
    with node_with(settings, *peers) as node:
        asked, wanted = asked_for(stored(node.archive), level)
        assert get(node, asked, calling="B").received == {}
        assert get(node, asked, calling="ALL").received.keys() == {image.SOPInstanceUID for image in wanted}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def gone(port: int, title: str = "VIEWER") -> Peer:
    return Peer(ae_title=title, facility="86001", host="127.0.0.1", port=port)


def test_c_4_2_1_4_a_destination_that_is_not_there(settings: Settings) -> None:
    with node_with(settings, gone(closed_port())) as node:
        asked, expected = asked_for(stored(node.archive), "STUDY")
        got = move(node, asked)
    assert got.statuses[-1] == UNABLE
    assert got.counts[-1] == (None, 0, 3, 0)
    assert sorted(got.failed) == sorted(sent(expected))


def test_c_4_2_1_4_a_destination_that_says_nothing_is_given_up(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        node_with(settings, gone(silent.getsockname()[1]), artim_timeout=0.2) as node,
    ):
        asked, _ = asked_for(stored(node.archive), "STUDY")
        assert move(node, asked).counts[-1] == (None, 0, 3, 0)


@pytest.mark.parametrize(
    "answer",
    [b"\x03\0\0\0\0\x04\0\1\1\7", b"\x07\0\0\0\0\x04\0\0\0\0", b"\x02\0\0\0\0\x04\0\1\0\0", b"HTTP/1.1 400 Bad", b""],
    ids=["rejects", "aborts", "malformed", "no DICOM", "closes"],
)
def test_c_4_2_1_4_a_destination_that_does_not_associate(settings: Settings, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with node_with(settings, gone(server.getsockname()[1])) as node:
            asked, _ = asked_for(stored(node.archive), "STUDY")
            got = move(node, asked)
        thread.join()
    assert got.statuses[-1] == UNABLE
    assert got.counts[-1] == (None, 0, 3, 0)


def test_c_4_2_1_4_a_destination_that_aborts_half_way(settings: Settings) -> None:
    got = Got()

    def abort(event: Event) -> int:
        if got.received:
            event.assoc.abort()
            return 0xC000
        return got.answer(event)

    with viewer(got, answer=abort) as peer, node_with(settings, peer) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        move(node, asked, got=got)
    assert got.statuses[-1] == WARNING
    assert got.counts[-1] == (None, 1, 2, 0)


def test_c_4_2_1_4_a_destination_that_never_answers_is_given_up(settings: Settings) -> None:
    got, over = Got(), threading.Event()

    def never(event: Event) -> int:
        over.wait()
        return 0

    with viewer(got, answer=never) as peer, node_with(settings, peer, idle_timeout=1, artim_timeout=5) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        move(node, asked, got=got)
        over.set()
    assert got.statuses[-1] == UNABLE
    assert got.counts[-1] == (None, 0, 3, 0)


def test_c_4_2_an_object_that_breaks_off_fails_alone(settings: Settings) -> None:
    got = Got()
    with viewer(got) as peer, node_with(settings, peer) as node:
        asked, (first, second, third) = asked_for(stored(node.archive), "STUDY")
        (inst,) = node.archive.locate(first.StudyInstanceUID, instance=second.SOPInstanceUID)
        path = node.settings.objects_dir / inst.object.key
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-100])
        move(node, asked, got=got)
    assert got.received == sent([first, third])
    assert got.counts[-1] == (None, 2, 1, 0)
    assert got.failed == [second.SOPInstanceUID]


def test_9_3_4_3_a_move_is_cancelled_between_sub_operations(settings: Settings) -> None:
    got = Got()
    asking: list[Any] = []
    on_its_way, note = cancellation_sent()

    def cancel(event: Event) -> int:
        asking[0].send_c_cancel(77, None, STUDY_ROOT + MOVE)
        assert on_its_way.wait(120)
        return got.answer(event)

    with viewer(got, answer=cancel) as peer, node_with(settings, peer) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        with associated(node, [(STUDY_ROOT + MOVE, IMPLICIT)], handlers=[note]) as association:
            asking.append(association)
            got.note(association.send_c_move(asked, "VIEWER", STUDY_ROOT + MOVE, msg_id=77))
    assert got.statuses[-1] == CANCEL
    remaining, completed, failed, warning = got.counts[-1]
    assert (remaining, completed, failed, warning) == (2, 1, 0, 0)
    assert len(got.received) == 1


def test_c_4_2_a_requestor_that_leaves_ends_the_move(settings: Settings) -> None:
    got = Got()
    asking: list[Any] = []

    def leave(event: Event) -> int:
        asking[0].abort()
        return got.answer(event)

    with viewer(got, answer=leave) as peer, node_with(settings, peer) as node:
        asked, _ = asked_for(stored(node.archive), "STUDY")
        with associated(node, [(STUDY_ROOT + MOVE, IMPLICIT)]) as association:
            asking.append(association)
            list(association.send_c_move(asked, "VIEWER", STUDY_ROOT + MOVE))
        node.wait_until_idle()
    assert len(got.received) < 3
