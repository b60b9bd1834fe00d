"""Values that break the standard: the object is taken, its good values are indexed, and PostgreSQL never objects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings
from pydicom.dataset import Dataset

from archive.attributes import BY_LEVEL
from archive.core import Archive
from archive.records import Level, Outcome, Query
from tests.factories import ct_image, store_bytes
from tests.integration.archive.support import assert_sound, sql, studies, value, with_raw

UIDS = {0x0020000D, 0x0020000E, 0x00080016, 0x00080018}
SETTABLE = [a for attributes in BY_LEVEL.values() for a in attributes if a.tag not in UIDS]


def _store(archive: Archive, values: dict[int, tuple[str, bytes]], **attributes: Any) -> Dataset:
    image = ct_image(**attributes)
    data = with_raw(image, {0x00080005: ("CS", b"ISO_IR 192"), **values})
    assert store_bytes(archive, data, image.SOPClassUID, image.SOPInstanceUID).outcome is Outcome.STORED
    return image


def test_nul_and_control_characters_vanish(archive: Archive) -> None:
    _store(archive, {0x00100020: ("LO", b"BN\x00\x0100\x1f7\x00"), 0x00100010: ("PN", b"An\x00^\x7fB\x00")})
    (match,) = studies(archive, {0x00100020: "BN007"})
    assert value(match, 0x00100010) == {"Alphabetic": "An^B"}
    assert_sound(archive)


@pytest.mark.parametrize("letter", ["a", "đ", "王", "😀"])
def test_text_longer_than_an_index_row(archive: Archive, letter: str) -> None:
    import random

    # Not of one letter: what PostgreSQL can compress fits into an index row after all.
    chance = random.Random(1)
    alphabet = [chr(ord(letter) + n) for n in range(20)]
    text = "".join(chance.choices(alphabet, k=10_000))
    raw = text.encode()
    tags = {a.tag: (a.vr, raw) for a in SETTABLE if a.vr in ("LO", "SH", "PN", "LT", "ST", "CS")}
    _store(archive, tags)
    _store(archive, {**tags, 0x00100020: ("LO", raw + b"x")})
    # The same beginning, and yet two patients.
    assert sql(archive, "SELECT count(*) FROM patient") == [2]
    assert len(studies(archive, {0x00100020: f"{text[:100]}*"})) == 2
    assert len(studies(archive, {0x00081030: f"{text[:30]}*"})) == 2
    assert archive.search(Query(Level.IMAGE, include="all")).total == 2
    assert_sound(archive)


@pytest.mark.parametrize(
    ("tag", "vr", "raw"),
    [
        (0x00080020, "DA", b"20261345"),
        (0x00080020, "DA", b"00000000"),
        (0x00080020, "DA", b"99999999"),
        (0x00080020, "DA", b"2026"),
        (0x00080020, "DA", b"********"),
        (0x00080030, "TM", b"256070"),
        (0x00080030, "TM", b"noon"),
        (0x00100030, "DA", b"unknown"),
        (0x00200011, "IS", b"9" * 30),
        (0x00200011, "IS", b"1e5"),
        (0x00200013, "IS", b"9223372036854775808"),
        (0x00200013, "IS", b"-9223372036854775808"),
        (0x00280008, "IS", b"99999999999"),
        (0x00280008, "IS", b"-1"),
        (0x00280100, "US", b"\xff\xff"),
        (0x00280010, "US", b""),
        (0x00101030, "DS", b"nan"),
        (0x00101030, "DS", b"1e999"),
        (0x00101030, "DS", b"heavy"),
        (0x00080005, "CS", b"ISO_IR 999"),
        (0x00080005, "CS", b"\\\\\\\\"),
        (0x00080060, "CS", b"\\CT"),
        (0x00100040, "CS", b"UNKNOWN SEX OF MORE THAN SIXTEEN"),
        (0x00100010, "PN", b"=\\=\\^^^^="),
    ],
)
def test_an_invalid_value_leaves_its_column_empty_and_nothing_else(
    shared: Archive, tag: int, vr: str, raw: bytes
) -> None:
    image = _store(shared, {tag: (vr, raw)})
    study = {0x0020000D: image.StudyInstanceUID}
    for level in Level:
        keys = {0x00100020: "BN0001"} if level is Level.PATIENT else study | {0x00100020: "BN0001"}
        assert shared.search(Query(level, keys, include="all")).total == 1
    assert len(shared.locate(image.StudyInstanceUID)) == 1


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(
    strategies.dictionaries(
        strategies.sampled_from([a.tag for a in SETTABLE] + [0x00080005]), strategies.binary(max_size=80), max_size=12
    )
)
def test_any_bytes_in_any_indexed_value(shared: Archive, values: dict[int, bytes]) -> None:
    vrs = {a.tag: a.vr for a in SETTABLE} | {0x00080005: "CS"}
    # What says how long the pixel data are must be kept, or the object is truncated by its own account.
    kept = {tag: (vrs[tag], raw) for tag, raw in values.items() if tag not in (0x00280010, 0x00280011, 0x00280100)}
    image = _store(shared, kept)
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        assert shared.search(Query(level, {0x0020000D: image.StudyInstanceUID}, include="all")).total == 1
    assert len(shared.locate(image.StudyInstanceUID)) == 1


def test_what_was_stored_in_this_file_is_sound(shared: Archive) -> None:
    assert_sound(shared)
