"""Metadata and bulk data of stored instances (PS3.18 10.4.1.1.4, F.2), without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import orjson
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from archive.correction.record import Change, Corrections
from archive.errors import NotFound
from archive.metadata import each_metadata, each_text, instance_metadata, parse_bulk_path, read_bulkdata
from archive.ready_metadata import Addresses
from archive.retrieve import read_header
from archive.standard.json_model import BulkPath
from archive.standard.json_text import with_addresses
from tests.corpus import storage_objects
from tests.unit.imaging.conftest import Corpus
from tests.unit.imaging.stored import store_bytes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def uri(path: BulkPath) -> str:
    return "/".join(map(str, path))


def waveform(character_set: str | None, syntax: str) -> bytes:
    """An object whose sender writes Latin 1, with words within a sequence."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "ECG"
    if character_set is not None:
        ds.SpecificCharacterSet = character_set
    ds.add_new("PatientName", "PN", b"M\xfcller^J\xf6rg")
    group = Dataset()
    group.WaveformBitsAllocated = 16
    group.add_new("WaveformData", "OW", b"\x01\x02" * 1000)
    ds.WaveformSequence = Sequence([Dataset(), group])
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("declared", [None, ""])
def test_text_without_a_character_set_is_read_in_that_of_the_sender(
    corpus: Corpus, declared: str | None, syntax: str
) -> None:
    stored = store_bytes(corpus.store, waveform(declared, syntax), generate_uid().replace(".", "")[:60])
    corrections = Corrections("ISO_IR 100", (), "OLD", datetime(2026, 11, 22, tzinfo=UTC))
    inst = replace(stored, corrections=corrections)
    assert read_header(corpus.store, inst).PatientName == "Müller^Jörg"
    found = instance_metadata(corpus.store, inst, uri)
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert found["00080005"]["Value"] == ["ISO_IR 192"]
    assert list(found) == sorted(found)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_words_within_a_sequence_come_little_endian(corpus: Corpus, syntax: str) -> None:
    inst = store_bytes(corpus.store, waveform("ISO_IR 100", syntax), generate_uid().replace(".", "")[:60])
    found = instance_metadata(corpus.store, inst, uri)
    path = found["54000100"]["Value"][1]["54001010"]["BulkDataURI"]
    assert path == "54000100/1/54001010"
    wanted = b"\x02\x01" * 1000 if syntax == ExplicitVRBigEndian else b"\x01\x02" * 1000
    assert read_bulkdata(corpus.store, inst, parse_bulk_path(path)) == ("OW", wanted)


@pytest.mark.parametrize(
    "path", ["", "/", "54000100", "54000100/1", "54000100/7/54001010", "5400010/1/54001010", "g" * 8]
)
def test_paths_to_nothing(corpus: Corpus, path: str) -> None:
    inst = store_bytes(corpus.store, waveform(None, SYNTAXES[0]), generate_uid().replace(".", "")[:60])
    with pytest.raises(NotFound):
        read_bulkdata(corpus.store, inst, parse_bulk_path(path))


def test_many_come_in_order_and_a_lost_one_is_no_end(corpus: Corpus) -> None:
    found = [
        store_bytes(corpus.store, waveform(None, SYNTAXES[0]), generate_uid().replace(".", "")[:60]) for _ in range(60)
    ]
    each = each_metadata(corpus.store, found, lambda _: uri)
    assert [one["00080018"]["Value"][0] for one in each] == [inst.sop_instance_uid for inst in found]
    corpus.store.delete(found[40].object.key)
    with pytest.raises(Exception, match="lost"):
        list(each_metadata(corpus.store, found, lambda _: uri))


def test_a_deflated_dataset_is_inflated_and_its_pixels_are_bulk_data(corpus: Corpus) -> None:
    inst = corpus.named("image_dfl.dcm")
    found = instance_metadata(corpus.store, inst, uri)
    assert found["7FE00010"]["BulkDataURI"] == "7FE00010"
    assert found["00280010"]["Value"] == [512]


def test_elements_behind_the_pixels_are_metadata_too(corpus: Corpus) -> None:
    source = pydicom.dcmread(BytesIO(waveform(None, SYNTAXES[0])))
    source.Rows = source.Columns = 2
    source.BitsAllocated = source.BitsStored = 8
    source.SamplesPerPixel = 1
    source.add_new(0x7FE00010, "OB", b"\x01\x02\x03\x04")
    source.add_new(0x7FE10010, "LO", "BEHIND")
    buffer = BytesIO()
    source.save_as(buffer)
    inst = store_bytes(corpus.store, buffer.getvalue(), "behind")
    assert inst.object.trailer_offset is not None
    assert instance_metadata(corpus.store, inst, uri)["7FE10010"]["Value"] == ["BEHIND"]
    assert read_header(corpus.store, inst)[0x7FE10010].value == "BEHIND"


CORRECTIONS = (
    None,
    Corrections("ISO_IR 100", (), "OLD", datetime(2026, 11, 22, tzinfo=UTC)),
    Corrections(
        None,
        (
            Change(0x00100010, "PN", "was", "Nguyễn^Văn Đức", "rule"),
            Change(0x00080050, "SH", "was", None, "rule"),
            Change(0x00100021, "LO", "", "86001", "rule"),
        ),
        "CT1",
        datetime(2026, 11, 22, tzinfo=UTC),
    ),
)


def test_the_text_of_many_is_the_metadata_of_each_corrected_or_not(corpus: Corpus) -> None:
    stored = [corpus.of(path) for path in storage_objects()]
    # As if they were of one series, so that one writer has them all; and some twice, when it knows them.
    found = [
        replace(inst, series_instance_uid="1.2.3", corrections=corrections)
        for corrections in (*CORRECTIONS, None)
        for inst in stored
    ]
    addresses = Addresses("http://pacs/dicom-web", "?view=quality")
    for inst, text in zip(found, each_text(corpus.store, found), strict=True):
        wanted = orjson.dumps(instance_metadata(corpus.store, inst, addresses.bulk_uri_of(inst)))
        assert with_addresses(text, addresses.root, addresses.suffix) == wanted
