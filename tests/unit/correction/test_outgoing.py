"""Every storage object of the corpus given with corrections: what is not corrected stays byte for byte."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archive.correction.outgoing import given_dataset, given_object
from archive.correction.record import Change, Corrections
from archive.records import StoredInstance
from archive.retrieve import coding_of, corrected, read_encoded, read_object
from archive.standard.file_format import read_file_meta
from archive.standard.rewrite import outline
from archive.standard.uids import transfer_syntax
from storage.filesystem import FilesystemStore
from tests.corpus import storage_objects
from tests.unit.imaging.stored import store_file

CHANGES = (
    Change(0x00080080, "LO", "", "Trạm Y tế", "set"),
    Change(0x00100021, "LO", "", "87", "set"),
    Change(0x00104000, "LT", "", None, "remove"),
)
CHANGED = {change.tag for change in CHANGES} | {0x00080005, 0x04000561}
MADE = Corrections(None, CHANGES, "XQ1", datetime(2026, 11, 22, tzinfo=UTC))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FilesystemStore:
    return FilesystemStore(tmp_path_factory.mktemp("objects"))


def _inflated(data: bytes, inst: StoredInstance) -> bytes:
    syntax = transfer_syntax(inst.object.transfer_syntax_uid)
    assert syntax is not None
    return zlib.decompressobj(-15).decompress(data) if syntax.deflated else data


@pytest.mark.parametrize("path", storage_objects(), ids=lambda path: path.name)
def test_only_what_is_corrected_differs(store: FilesystemStore, path: Path) -> None:
    stored = store_file(store, path)
    inst = replace(stored, corrections=MADE)
    before, after = read_encoded(store, inst), corrected(inst, read_encoded(store, inst))
    code = coding_of(before.header, inst)
    # Text that is not ASCII becomes UTF-8 for the Vietnamese value; its elements are compared elsewhere.
    old = {span.tag: before.header[span.offset : span.end] for span in outline(before.header, code)}
    new = {span.tag: after.header[span.offset : span.end] for span in outline(after.header, code)}
    ascii_only = {tag for tag, raw in old.items() if (raw.isascii() and b"\x1b" not in raw) or tag >> 16 == 0x0028}
    untouched = {tag for tag in ascii_only - CHANGED if tag & 0xFFFF}
    assert {tag: new.get(tag) for tag in untouched} == {tag: old[tag] for tag in untouched}
    assert set(new) - CHANGED == set(old) - CHANGED

    size, chunks = given_object(store, inst)
    data = b"".join(chunks)
    assert size in (None, len(data))
    meta = read_file_meta(data, at_end=True)
    assert data[: meta.dataset_offset] == b"".join(read_object(store, stored))[: meta.dataset_offset]
    dataset = data[meta.dataset_offset :]
    assert dataset == b"".join(given_dataset(store, inst))
    assert len(dataset) % 2 == 0
    raw = _inflated(b"".join(read_object(store, stored))[stored.object.dataset_offset :], inst)
    given = _inflated(dataset, inst)
    assert given.startswith(after.header)
    assert given[len(after.header) :] == raw[stored.object.header_length :]


@pytest.mark.parametrize("path", storage_objects()[:40], ids=lambda path: path.name)
def test_without_corrections_the_stored_bytes_are_given(store: FilesystemStore, path: Path) -> None:
    stored = store_file(store, path, hashlib.sha256(f"{path} plain".encode()).hexdigest()[:32])
    whole = b"".join(read_object(store, stored))
    assert b"".join(given_object(store, stored).chunks) == whole
    assert given_object(store, stored).size == len(whole)
