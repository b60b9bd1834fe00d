"""All storage objects of pydicom's data, sent by DCMTK, by pynetdicom and byte by byte: stored as sent, and found."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.presentation import build_context

from archive.database import open_engine
from archive.locate import versions
from archive.reading import Reader
from archive.records import EVERYTHING, Level, Query
from tests.corpus import CorpusFile, corpus
from tests.factories import ct_image, encode
from tests.integration.dicom_node.conftest import node
from tests.integration.dicom_node.peer import RawPeer, sha256
from tests.integration.dicom_node.running import Node
from tests.integration.dicom_node.tee import Tee

__all__ = ["node"]

REFUSED = 0xC000


@cache
def objects() -> tuple[CorpusFile, ...]:
    return tuple(file for file in corpus() if file.is_storage_object)


@cache
def placeable() -> tuple[CorpusFile, ...]:
    """Those that name their study and series. Colour palettes do not by definition, and four images are broken."""
    wanted = ["StudyInstanceUID", "SeriesInstanceUID"]

    def named(path: Path) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pydicom.dcmread(path, force=True, specific_tags=wanted)
        return all(found.get(keyword) for keyword in wanted)

    return tuple(file for file in objects() if named(file.path))


@cache
def dataset(path: Path) -> bytes:
    """What follows the file meta information."""
    with path.open("rb") as file:
        read_preamble(file, False)
        _read_file_meta_info(file)
        return file.read()


def verbatim(node: Node, files: tuple[CorpusFile, ...]) -> Counter[int]:
    """Send the datasets as they lie in the files, each on a context with its own transfer syntax alone."""
    statuses: Counter[int] = Counter()
    kinds = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})
    for start in range(0, len(kinds), 128):
        contexts = kinds[start : start + 128]
        with RawPeer(node.port).associate([(sop_class, [syntax]) for sop_class, syntax in contexts]) as peer:
            assert set(peer.results.values()) == {0}
            for file in files:
                kind = (file.sop_class_uid, file.transfer_syntax_uid)
                if kind in contexts:
                    status = peer.store(
                        file.sop_instance_uid,
                        dataset(file.path),
                        context=2 * contexts.index(kind) + 1,
                        sop_class=file.sop_class_uid,
                    )
                    statuses[status] += 1
            peer.release()
    return statuses


def test_every_object_is_stored_byte_for_byte_found_and_all_versions_can_be_had(node: Node) -> None:
    files = objects()
    good = len(placeable())
    assert good > 200
    assert verbatim(node, files) == {0: good, REFUSED: len(files) - good}
    sent = {sha256(dataset(file.path)) for file in placeable()}
    assert set(node.digests()) == sent
    assert node.leftovers() == []
    held = kept_versions(node)
    assert {digest for digests in held.values() for digest in digests} == sent
    report(
        "verbatim",
        sent=len(files),
        without_study=len(files) - good,
        stored=good,
        distinct_datasets=len(sent),
        instances=len(held),
        conflicting_versions=sum(len(digests) - 1 for digests in held.values()),
    )
    # Once more: nothing is added, and every answer is Success.
    assert verbatim(node, files) == {0: good, REFUSED: len(files) - good}
    assert len(node.keys()) == len(sent) == len(set(node.digests()))
    assert node.leftovers() == []


def kept_versions(node: Node) -> dict[tuple[str, str, str], list[bytes]]:
    """Digests, recomputed, of all versions of each instance; what search and locate say must agree with the index."""
    engine = open_engine(node.settings.database, "test")
    found = {}
    try:
        for study, series, instance in node.sql(
            "SELECT study_instance_uid, series_instance_uid, sop_instance_uid FROM instance "
            "JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id"
        ):
            keys = {0x0020000D: study, 0x0020000E: series, 0x00080018: instance}
            assert node.archive.search(Query(Level.IMAGE, keys)).total == 1
            (shown,) = node.archive.locate(study, series, instance)
            kept = versions(Reader(engine), study, series, instance, EVERYTHING)
            assert shown in kept
            digests = []
            for each in kept:
                with node.archive.store.open(each.object.key) as reader:
                    digests.append(sha256(reader.read()[each.object.dataset_offset :]))
            assert digests == [each.object.digest for each in kept]
            found[study, series, instance] = digests
    finally:
        engine.dispose()
    return found


@pytest.mark.slow
def test_dcmsend_sends_everything_and_what_it_sent_is_what_is_stored(node: Node, tmp_path: Path) -> None:
    """DCMTK re-encodes some datasets on the way, so what it puts on the wire is compared."""
    files = placeable()
    for number, file in enumerate(files):
        (tmp_path / f"{number:03}.dcm").symlink_to(file.path)
    with Tee(node.port) as tee:
        output = dcmsend(tee.port, tmp_path)
        node.wait_until_idle()
    sent = [sha256(data) for data in tee.datasets()]
    stored = set(node.digests())
    # Files whose meta information names another object than the dataset: DCMTK warns, announces the former, and is
    # told so (A900).
    refused = output.count("Response (Error: DataSetDoesNotMatchSOPClass)")
    accepted = output.count("Response (Success)")
    assert refused == output.count("SOP Class UID in dataset differs from the one in the transfer list") < 10
    assert accepted + refused == len(sent)
    assert len(sent) >= len(files) - 5, output
    assert stored <= set(sent)
    assert len(set(sent) - stored) <= refused
    assert node.leftovers() == []
    originals = {sha256(dataset(file.path)) for file in files}
    report(
        "dcmsend",
        given=len(files),
        sent=len(sent),
        accepted=accepted,
        refused_as_misannounced=refused,
        stored_as_sent=len(stored & set(sent)),
        of_them_as_in_file=len(originals & stored),
    )


def dcmsend(port: int, folder: Path) -> str:
    done = subprocess.run(
        [
            *["dcmsend", "-v", "-dn", "-nuc", "-nh", "-aet", "CT1", "-aec", "PACS", "+sd", "+r", "127.0.0.1"],
            str(port),
            str(folder),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=100,
        # The proxy acknowledges as late as the kernel likes.
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    assert "with status SUCCESS" in done.stdout + done.stderr, done.stderr
    return done.stdout + done.stderr


def save(image: Dataset, path: Path) -> None:
    """Write a Part 10 file."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)


def report(what: str, **figures: object) -> None:
    print(f"\n{what}: " + ", ".join(f"{name}={value}" for name, value in figures.items()))


@pytest.mark.parametrize("option", ["-xe", "-xb", "-xi", "-xd"])
def test_storescu_in_each_uncompressed_syntax(node: Node, tmp_path: Path, option: str) -> None:
    image = ct_image(rows=64, columns=64)
    path = tmp_path / "image.dcm"
    save(image, path)
    done = storescu(node.port, option, str(path))
    assert done.returncode == 0, done.stderr
    node.wait_until_idle()
    (row,) = node.archive.locate(image.StudyInstanceUID)
    expected = {
        "-xe": "1.2.840.10008.1.2.1",
        "-xb": "1.2.840.10008.1.2.1",  # it offers little endian as well, which is preferred
        "-xi": "1.2.840.10008.1.2",
        "-xd": "1.2.840.10008.1.2.1.99",
    }
    assert row.object.transfer_syntax_uid == expected[option]
    assert node.leftovers() == []


def storescu(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["storescu", "-aet", "CT1", "-aec", "PACS", *arguments[:-1], "127.0.0.1", str(port), arguments[-1]],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
    )


def test_echoscu_is_answered_many_times(node: Node) -> None:
    done = subprocess.run(
        ["echoscu", "--repeat", "50", "-aet", "CT1", "-aec", "PACS", "127.0.0.1", str(node.port)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_echoscu_proposes_every_syntax_and_context(node: Node) -> None:
    done = subprocess.run(
        ["echoscu", "-pts", "38", "-ppc", "128", "-aec", "PACS", "127.0.0.1", str(node.port)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_a_dcmtk_client_that_aborts_instead_of_releasing(node: Node) -> None:
    done = subprocess.run(
        ["echoscu", "--abort", "-aec", "PACS", "127.0.0.1", str(node.port)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    node.wait_until_idle()


def test_termscu_cannot_stop_the_node(node: Node) -> None:
    subprocess.run(["termscu", "-aec", "PACS", "127.0.0.1", str(node.port)], capture_output=True, timeout=60)
    with node.peer().associate() as peer:
        assert peer.echo() == 0
        peer.release()


def test_storescu_gets_the_refusal_and_sends_the_rest(node: Node, tmp_path: Path) -> None:
    good, bad = ct_image(), ct_image(StudyInstanceUID=None)
    for name, image in (("1.dcm", bad), ("2.dcm", good)):
        save(image, tmp_path / name)
    done = storescu(node.port, "-nh", "-v", "+sd", str(tmp_path))
    assert "Error: CannotUnderstand" in done.stdout + done.stderr
    node.wait_until_idle()
    assert node.archive.locate(good.StudyInstanceUID)
    assert node.leftovers() == []


@pytest.mark.filterwarnings("ignore")
def test_pynetdicom_as_client(node: Node) -> None:
    """Every tenth file, as pynetdicom encodes it."""
    files = placeable()[::10]
    entity = AE(ae_title="US2")
    kinds = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})
    entity.requested_contexts = [
        build_context(*kind) for kind in [("1.2.840.10008.1.1", ImplicitVRLittleEndian), *kinds]
    ]
    association = entity.associate("127.0.0.1", node.port, ae_title="PACS", max_pdu=0)
    assert association.is_established
    for file in files:
        assert association.send_c_store(pydicom.dcmread(file.path)).Status == 0, file.path
    assert association.send_c_echo().Status == 0
    association.release()
    node.wait_until_idle()
    assert {uid for (uid,) in node.sql("SELECT sop_instance_uid FROM instance")} == {
        file.sop_instance_uid for file in files
    }
    assert len(node.digests()) == len(files)
    assert {
        code for (code,) in node.sql("SELECT DISTINCT code FROM study JOIN facility ON facility.id = facility_id")
    } == {"86002"}


def test_objects_of_other_facilities_do_not_replace_what_is_shown(node: Node) -> None:
    first, second = ct_image(seed=1), ct_image(seed=2)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    for calling, image in (("CT1", first), ("US2", second)):
        with node.peer().associate(calling=calling) as peer:
            assert peer.store(first.SOPInstanceUID, encode(image)) == 0
            peer.release()
    (held,) = kept_versions(node).values()
    assert held == [sha256(encode(first)), sha256(encode(second))]
    assert node.archive.locate(first.StudyInstanceUID)[0].object.digest == held[0]
