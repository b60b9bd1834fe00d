"""Under which names metadata are kept: what changes an answer changes a name, and as few others as possible."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.correction.record import Change, Corrections
from archive.ready_metadata import fingerprint, groups
from archive.records import ObjectRecord, StoredInstance

AT = datetime(2026, 11, 22, tzinfo=UTC)


def instance(n: int, series: str = "1.2.1") -> StoredInstance:
    stored = ObjectRecord(
        f"{n}", 1000, hashlib.sha256(f"{n}".encode()).digest(), "1.2.840.10008.1.2.1", 300, 600, None, b""
    )
    return StoredInstance("1.2", series, f"{series}.{n}", "1.2.3", "CT", 1, 64, 64, 1, stored, AT)


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3)), max_size=300))
def test_groups_are_all_instances_in_their_order_and_none_crosses_a_series(made: list[tuple[int, int]]) -> None:
    found = [instance(n, f"1.2.{series}") for n, series in made]
    cut = list(groups(found))
    assert [inst for group in cut for inst in group] == found
    assert all(len({inst.series_instance_uid for inst in group}) == 1 for group in cut)
    assert all(len(group) <= 256 for group in cut)


def test_groups_are_of_middling_size() -> None:
    assert 10 <= len(list(groups([instance(n) for n in range(2000)]))) <= 80


@given(st.integers(0, 1000))
def test_an_instance_that_comes_in_or_goes_changes_one_group_or_two(at: int) -> None:
    before = [instance(n) for n in range(1000)]
    after = [*before[:at], instance(5000), *before[at:]]

    def names(found: list[StoredInstance]) -> set[bytes]:
        return {b"".join(map(fingerprint, group)) for group in groups(found)}

    assert len(names(after) - names(before)) <= 2
    assert len(names(before) - names(after)) <= 1


CORRECTED = Corrections(None, (Change(0x00100010, "PN", "A", "B", "rule"),), "CT1", AT)


@pytest.mark.parametrize(
    "other",
    [
        replace(instance(1), object=replace(instance(1).object, digest=bytes(32))),
        replace(instance(1), object=replace(instance(1).object, transfer_syntax_uid="1.2.840.10008.1.2")),
        replace(instance(1), study_instance_uid="1.3"),
        replace(instance(1), series_instance_uid="1.2.2"),
        replace(instance(1), corrections=CORRECTED),
    ],
)
def test_what_changes_the_metadata_changes_the_name(other: StoredInstance) -> None:
    assert fingerprint(other) != fingerprint(instance(1))


def test_each_correction_has_a_name_of_its_own() -> None:
    others = (None, CORRECTED, replace(CORRECTED, character_set="ISO_IR 100"), replace(CORRECTED, peer="CT2"))
    assert len({fingerprint(replace(instance(1), corrections=each)) for each in others}) == len(others)
