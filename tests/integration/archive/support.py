"""What must be true of an archive at rest, and short ways to look into its database."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pydicom.config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from archive.core import Archive
from archive.receiving import Receiving
from archive.records import Level, Query, Source
from archive.reindex import OF_ARCHIVE
from storage.filesystem import FilesystemStore
from tests.factories import SOURCE, ct_image, encode

STUDY_COUNTS = """
SELECT study.study_instance_uid, study.series_count, study.instance_count, study.byte_count,
       study.modalities_in_study, study.sop_classes_in_study, study.hidden_count, study.quarantine
  FROM study WHERE study.instance_count + study.hidden_count > 0 ORDER BY 1, 8
"""
STUDY_RECOUNT = """
SELECT study.study_instance_uid, count(DISTINCT series.id) FILTER (WHERE hidden = 0), count(*) FILTER (WHERE hidden = 0),
       coalesce(sum(stored_object.size) FILTER (WHERE hidden = 0), 0),
       coalesce(array_agg(DISTINCT modality ORDER BY modality) FILTER (WHERE hidden = 0 AND modality <> ''), '{}'),
       coalesce(array_agg(DISTINCT sop_class_uid ORDER BY sop_class_uid) FILTER (WHERE hidden = 0), '{}'),
       count(*) FILTER (WHERE hidden <> 0), study.quarantine
  FROM study JOIN series ON series.study_id = study.id JOIN instance ON instance.series_id = series.id
  JOIN stored_object ON stored_object.instance_id = instance.id AND current
 GROUP BY study.id ORDER BY 1, 8
"""
SERIES_COUNTS = """
SELECT id, instance_count, hidden_count FROM series WHERE instance_count + hidden_count > 0 ORDER BY id
"""
SERIES_RECOUNT = """
SELECT series_id, count(*) FILTER (WHERE hidden = 0), count(*) FILTER (WHERE hidden <> 0)
  FROM instance GROUP BY series_id ORDER BY series_id
"""


def url_of(archive: Archive) -> str:
    return archive.settings.database.url.get_secret_value()


def sql(archive: Archive, statement: LiteralString, *parameters: Any) -> list[Any]:
    """Run a statement on a connection of its own; rows of one column come as plain values."""
    with psycopg.connect(url_of(archive), autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        rows = cursor.fetchall() if cursor.description else []
    return [row[0] if len(row) == 1 else row for row in rows]


def stored_keys(archive: Archive) -> set[str]:
    return {key for key in archive.store.keys("") if not key.startswith(OF_ARCHIVE)}


def assert_sound(archive: Archive) -> None:
    """Counters equal a recount, every row has its object with the right bytes, and every object has a row."""
    assert sql(archive, STUDY_COUNTS) == sql(archive, STUDY_RECOUNT)
    assert sql(archive, SERIES_COUNTS) == sql(archive, SERIES_RECOUNT)
    assert not sql(
        archive, "SELECT id FROM instance WHERE id NOT IN (SELECT instance_id FROM stored_object WHERE current)"
    )
    rows = sql(archive, "SELECT key, size, digest, dataset_offset FROM stored_object")
    assert {key for key, *_ in rows} == stored_keys(archive)
    for key, size, digest, offset in rows:
        with archive.store.open(key) as reader:
            data = reader.read()
        assert (len(data), hashlib.sha256(data[offset:]).digest()) == (size, digest)


def use_journal(archive: Archive) -> None:
    """Store until the receive journal is in use, so that small objects share its flushes."""
    kept = archive.store
    assert isinstance(kept, FilesystemStore) and kept._journal is not None
    while not kept._journal.active:
        with kept.create("warm/up", indexed=True) as writer:
            writer.commit()
        kept.delete("warm/up")


def begun(archive: Archive, dataset: Dataset, source: Source = SOURCE) -> Receiving:
    """An object of which all bytes are there, to be finished."""
    receiving = archive.begin(
        source,
        sop_class_uid=dataset.SOPClassUID,
        sop_instance_uid=dataset.SOPInstanceUID,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    receiving.write(encode(dataset))
    receiving.check()
    return receiving


def of_one_series(count: int, **attributes: object) -> list[Dataset]:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **attributes}
    return [ct_image(**uids, InstanceNumber=n + 1) for n in range(count)]


def studies(archive: Archive, keys: dict[int, str] | None = None, **options: Any) -> list[dict[str, Any]]:
    return archive.search(Query(Level.STUDY, keys or {}, **options)).matches


def value(match: dict[str, Any], tag: int) -> Any:
    """The first value of an attribute; None if there is none."""
    values = match[f"{tag:08X}"].get("Value") or [None]
    return values[0]


@contextmanager
def unchecked() -> Iterator[None]:
    """Let pydicom make and write values that break the standard, as senders do."""
    settings = pydicom.config.settings
    before = settings.reading_validation_mode, settings.writing_validation_mode
    settings.reading_validation_mode = settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        yield
    finally:
        settings.reading_validation_mode, settings.writing_validation_mode = before


def start_sender(archive: Archive, *, threads: int, count: int, study: str, series: str) -> subprocess.Popen[str]:
    """A process of `sender`, opened and waiting for its line."""
    arguments = [url_of(archive), str(archive.settings.data_dir), str(threads), str(count), study, series]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.archive.sender", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def together(work: Callable[[int], None], threads: int) -> list[BaseException]:
    """Run `work(n)` in threads that start at the same moment; give what they raised."""
    barrier = threading.Barrier(threads)
    errors: list[BaseException] = []

    def run(n: int) -> None:
        barrier.wait()
        try:
            work(n)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return errors


def with_raw(dataset: Dataset, values: dict[int, tuple[str, bytes]]) -> bytes:
    """The dataset in Explicit VR Little Endian, with some values as these bytes, which pydicom would not write."""
    elements = {}
    for element in dataset:
        alone = Dataset()
        alone.add(DataElement(element.tag, "OW", element.value) if element.keyword == "PixelData" else element)
        alone.SpecificCharacterSet = "ISO_IR 192"
        if element.tag != 0x00080005:
            elements[int(element.tag)] = encode(alone).split(b"CS\x0a\x00ISO_IR 192", 1)[1]
    for tag, (vr, raw) in values.items():
        padded = raw + b" " * (len(raw) % 2)
        long = vr in ("SQ", "UC", "UT", "UR")
        length = struct.pack("<HI", 0, len(padded)) if long else struct.pack("<H", len(padded))
        elements[tag] = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode()) + length + padded
    return b"".join(elements[tag] for tag in sorted(elements))
