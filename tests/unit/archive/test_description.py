"""Values of a dataset as the index keeps them."""

from __future__ import annotations

from typing import Any

import pytest

from archive.description import LONGEST_INDEXED_TEXT, _identifier, cut, fold_name, json_values


@pytest.mark.parametrize("letter", ["a", "đ", "王", "😀"])
def test_cut_counts_bytes_and_never_splits_a_character(letter: str) -> None:
    for length in (1, 255, 256, 257, 1023, 1024, 1025, 5000):
        text = cut(letter * length)
        assert len(text.encode()) <= LONGEST_INDEXED_TEXT
        assert text == letter * len(text)
        assert text == letter * length or len(text.encode()) > LONGEST_INDEXED_TEXT - 4


def test_long_identifiers_stay_different_and_short_enough() -> None:
    long = [_identifier("王" * 2000 + end) for end in ("", "1", "2", "2 ")]
    assert len(set(long)) == 3
    assert max(len(text.encode()) for text in long) <= LONGEST_INDEXED_TEXT
    assert _identifier("  BN 1 ") == "BN 1"
    assert _identifier("x" * LONGEST_INDEXED_TEXT) == "x" * LONGEST_INDEXED_TEXT


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Nguyễn^Văn Đức", "NGUYEN VAN DUC"),
        ("Wang^XiaoDong=王^小东=", "WANG XIAODONG=王 小东"),
        ("=王^小东", "=王 小东"),
        ("^^^", ""),
        ("", ""),
        ("A^^B^=^=", "A B"),
    ],
)
def test_fold_name_keeps_the_groups_apart(name: str, folded: str) -> None:
    assert fold_name(name) == folded
    assert fold_name(fold_name(name)) == folded


@pytest.mark.parametrize(
    ("text", "vr", "values"),
    [
        ("A\\B", "LO", ["A", "B"]),
        ("A\\\\B", "LO", ["A", None, "B"]),
        ("A\\B", "LT", ["A\\B"]),
        ("1\\x\\-3", "IS", [1, "x", -3]),
        ("1.50\\nan\\1e999\\ 2 ", "DS", [1.5, "nan", "1e999", 2.0]),
        ("A^B=C", "PN", [{"Alphabetic": "A^B", "Ideographic": "C"}]),
        ("==C", "PN", [{"Phonetic": "C"}]),
        ("20261101", "DA", ["20261101"]),
    ],
)
def test_json_values(text: str, vr: str, values: list[Any]) -> None:
    assert json_values(text, vr) == values
