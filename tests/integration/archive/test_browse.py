"""Matches one by one, while the index changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archive.core import Archive
from archive.errors import InvalidQuery, TooManyMatches
from archive.records import DicomJSON, Level, Query, Scope
from tests.integration.archive.support import sql, value

STUDIES = 1200
UID, NAME = 0x0020000D, 0x00100010


def insert(archive: Archive, first: int, last: int, year: int) -> None:
    sql(
        archive,
        """INSERT INTO study (study_instance_uid, patient_id, facility_id, study_date, accession_number, study_id,
                              study_description, referring_physician_fold, attributes, instance_count)
           SELECT '1.2.' || n, (SELECT min(id) FROM patient), (SELECT min(id) FROM facility),
                  make_date(%s, 1, 1) - (n / 7), '', '', '', '', '{}', 1 FROM generate_series(%s::int, %s::int) AS n""",
        year,
        first,
        last,
    )


@pytest.fixture
def filled(archive: Archive) -> Archive:
    sql(
        archive,
        """INSERT INTO patient (issuer, identity, patient_id, name, name_fold, sex, attributes)
           VALUES ('A', 'P', 'P', 'N', 'N', 'F', '{}')""",
    )
    sql(archive, "INSERT INTO facility (code, name) VALUES ('X', 'X')")
    insert(archive, 1, STUDIES, 2026)
    return archive


def uids(matches: Iterator[DicomJSON]) -> list[str]:
    return [value(match, UID) for match in matches]


def test_every_match_comes_once_although_others_arrive_and_go(filled: Archive) -> None:
    matches = filled.browse(Query(Level.STUDY), all_of_them=True)
    found = [value(next(matches), UID) for _ in range(300)]
    # Newer ones, which move all others down, and some gone before their turn.
    insert(filled, 5000, 5400, 2030)
    sql(filled, "UPDATE study SET instance_count = 0 WHERE study_instance_uid IN ('1.2.1100', '1.2.1101')")
    found += uids(matches)
    assert len(found) == len(set(found))
    assert set(found) == {f"1.2.{n}" for n in range(1, STUDIES + 1)} - {"1.2.1100", "1.2.1101"}


def test_browsing_gives_what_searching_gives(filled: Archive) -> None:
    query = Query(Level.STUDY, {0x00080020: "20251201-"}, include=frozenset({NAME}))
    page = filled.search(query)
    assert page.total == len(page.matches) > 100
    assert list(filled.browse(query)) == page.matches


@pytest.mark.parametrize("cap", [3, 250, 251, 700])
def test_no_more_than_the_cap_and_then_it_says_so(filled: Archive, cap: int) -> None:
    limited = filled.settings.model_copy(
        update={"ingest": filled.settings.ingest.model_copy(update={"query_limit": cap})}
    )
    with Archive.open(limited) as archive:
        matches, found = archive.browse(Query(Level.STUDY)), []
        with pytest.raises(TooManyMatches, match=f"over {cap} matches"):
            while True:
                found.append(next(matches))
        assert [value(match, UID) for match in found] == uids(iter(archive.search(Query(Level.STUDY)).matches))
        assert len(found) == cap
        assert len(uids(archive.browse(Query(Level.STUDY), all_of_them=True))) == STUDIES


@pytest.mark.parametrize("cap", [1200, 1201])
def test_as_many_as_the_cap_are_not_too_many(filled: Archive, cap: int) -> None:
    limited = filled.settings.model_copy(
        update={"ingest": filled.settings.ingest.model_copy(update={"query_limit": cap})}
    )
    with Archive.open(limited) as archive:
        assert len(uids(archive.browse(Query(Level.STUDY)))) == STUDIES


def test_nothing_is_seen_that_the_scope_does_not_cover(filled: Archive) -> None:
    assert uids(filled.browse(Query(Level.STUDY), Scope(frozenset({"86009"})))) == []


def test_a_bad_value_is_refused(filled: Archive) -> None:
    with pytest.raises(InvalidQuery):
        list(filled.browse(Query(Level.STUDY, {0x00080020: "soon"})))
