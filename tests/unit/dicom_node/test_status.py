from __future__ import annotations

from collections.abc import Iterator

import pytest

import archive.core
from archive import errors
from dicom_node.status import (
    C_FIND_MEANING,
    C_RETRIEVE_MEANING,
    C_STORE_STATUS,
    MEANING,
    UnknownDestination,
    c_find_status,
    c_retrieve_status,
    c_store_status,
    is_warning,
)

assert archive.core  # loads every module that may define an error


def all_errors(kind: type[errors.ArchiveError] = errors.ArchiveError) -> Iterator[type[errors.ArchiveError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from all_errors(each)


def test_the_walk_finds_errors_defined_outside_of_the_tree() -> None:
    assert "StaleKey" in {kind.__name__ for kind in all_errors()}


def test_every_domain_error_has_a_status_of_c_store() -> None:
    """PS3.4 Table B.2-1, PS3.7 Annex C; each status is a failure and explained."""
    for kind in all_errors():
        status, comment = c_store_status(kind.__new__(kind, "told"))
        assert comment == "told"
        assert status in MEANING
        assert status != 0
        assert status >> 12 in (0xA, 0xC) or status in (0x0110, 0x0111, 0x0122, 0x0124)


def test_every_error_of_the_tree_stands_in_the_table_itself_or_under_its_kind() -> None:
    for kind in all_errors():
        if kind.__module__ == "archive.errors" and not issubclass(kind, errors.Unavailable):
            assert kind in C_STORE_STATUS, kind


def test_what_can_be_sent_again_is_out_of_resources() -> None:
    for kind in all_errors(errors.Unavailable):
        assert c_store_status(kind.__new__(kind, "later"))[0] == 0xA700


def test_every_domain_error_has_a_status_of_c_find() -> None:
    """PS3.4 Table C.4-1; each status is a failure and explained."""
    for kind in all_errors():
        status, comment = c_find_status(kind.__new__(kind, "told"))
        assert comment == "told"
        assert status in C_FIND_MEANING
        assert status >> 12 in (0xA, 0xC) or status in (0x0110, 0x0124) or kind is errors.Withdrawn
    assert c_find_status(errors.Withdrawn())[0] == 0xFE00
    assert c_find_status(ValueError("PatientName")) == (0x0110, "internal error, see the log of the archive")


def test_every_domain_error_has_a_status_of_c_move_and_c_get() -> None:
    """PS3.4 Tables C.4-2 and C.4-3; each status is a failure and explained."""
    for kind in all_errors():
        status, comment = c_retrieve_status(kind.__new__(kind, "told"))
        assert comment == "told"
        assert status in C_RETRIEVE_MEANING
        assert status >> 12 in (0xA, 0xC) or status in (0x0110, 0x0124)
    assert c_retrieve_status(UnknownDestination("x"))[0] == 0xA801
    assert c_retrieve_status(ValueError("PatientName")) == (0x0110, "internal error, see the log of the archive")


@pytest.mark.parametrize(
    ("status", "warning"), [(0, False), (0xB000, True), (0xB007, True), (0xA700, False), (0x107, True)]
)
def test_warnings_are_told_from_failures(status: int, warning: bool) -> None:
    assert is_warning(status) is warning


def test_what_is_not_ours_is_not_told() -> None:
    for error in (ValueError("PatientName"), KeyError("x"), MemoryError(), OSError(5, "/var/pacs/objects")):
        assert c_store_status(error) == (0x0110, "internal error, see the log of the archive")
