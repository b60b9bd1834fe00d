"""Merge, unmerge and all else that is decided about persons: exact, remembered, and safe side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from archive.core import Archive
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted
from archive.identity.numbers import Identifier, Kind
from archive.identity.records import Facts, Number
from archive.people.caller import Caller
from archive.people.caller import Kind as CallerKind
from archive.people.roles import Right
from tests.integration.archive.support import sql

HIS = Caller(CallerKind.SERVICE, "his-86001", {Right.IDENTITY: frozenset({"86001"})})
PROVINCE = Caller(CallerKind.ACCOUNT, "so-y-te", {Right.IDENTITY: None})
OTHER = Caller(CallerKind.ACCOUNT, "binh", {Right.IDENTITY: frozenset({"86002"})})


def told(archive: Archive, number: str, issuer: str = "86001", **facts: Any) -> int:
    return archive.identities.update(PROVINCE, Number(issuer, number), Facts(**facts))


def state(archive: Archive) -> list[Any]:
    """All that a decision may change."""
    return [
        sql(archive, "SELECT id, person_id, how, score, linked_by, linked_at FROM identity_record ORDER BY id"),
        sql(
            archive,
            "SELECT id, kind, citizen_id, name, birth_date, sex, merged_into FROM person"
            " WHERE EXISTS (SELECT FROM identity_record WHERE person_id = person.id) ORDER BY id",
        ),
        sql(archive, "SELECT record_id, other_id FROM identity_apart ORDER BY 1, 2"),
    ]


def test_a_merge_moves_all_and_its_undo_restores_exactly(archive: Archive) -> None:
    first = told(archive, "A1", name="NGUYỄN THỊ HOA", birth="19620814", sex="F")
    second = told(archive, "A2", name="NGUYEN THI HOA", sex="F")
    before = state(archive)
    done = archive.identities.merge(PROVINCE, second, first, "cùng một người")
    assert archive.identities.person_of_number(Number("86001", "A2")) == first
    assert archive.identities.numbers_of(second) == archive.identities.numbers_of(first)
    undone = archive.identities.unmerge(PROVINCE, done.event, "nhầm")
    assert state(archive) == before
    events = archive.identities.events_of(first)
    assert [(each.action, each.caller, each.reason) for each in events] == [
        ("undo", "so-y-te", "nhầm"),
        ("merge", "so-y-te", "cùng một người"),
    ]
    assert (events[0].id, events[0].undoes, events[1].undone_by) == (undone.event, done.event, undone.event)
    assert [each["before"]["person_id"] for each in events[1].detail["moved"] if each["identity"] == "A2"] == [second]
    with pytest.raises(Conflict, match="undone already"):
        archive.identities.unmerge(PROVINCE, done.event, "lại")


def test_merges_are_undone_in_the_reverse_order(archive: Archive) -> None:
    a, b, c = (told(archive, number, name=f"TRẦN VĂN {number}") for number in ("A", "B", "C"))
    before = state(archive)
    one = archive.identities.merge(PROVINCE, a, b, "một")
    between = state(archive)
    two = archive.identities.merge(PROVINCE, b, c, "hai")
    assert archive.identities.numbers_of(a) == archive.identities.numbers_of(c)
    with pytest.raises(Conflict, match=f"undo {two.event} first"):
        archive.identities.unmerge(PROVINCE, one.event, "sai")
    archive.identities.unmerge(PROVINCE, two.event, "sai")
    assert state(archive) == between
    archive.identities.unmerge(PROVINCE, one.event, "sai")
    assert state(archive) == before


def test_no_cycle_can_be_made(archive: Archive) -> None:
    a, b = told(archive, "A"), told(archive, "B")
    archive.identities.merge(PROVINCE, a, b, "một")
    for source, target in ((b, a), (a, b), (a, a)):
        with pytest.raises(Conflict, match="one person already"):
            archive.identities.merge(PROVINCE, source, target, "lại")


def test_merges_side_by_side_leave_one_person_and_no_cycle(archive: Archive) -> None:
    persons = [told(archive, f"N{number}") for number in range(8)]
    refused: list[Exception] = []

    def merge(source: int, target: int) -> None:
        try:
            archive_two.identities.merge(PROVINCE, source, target, "song song")
        except Conflict as error:
            refused.append(error)

    with Archive.open(archive.settings) as archive_two:
        threads = [threading.Thread(target=merge, args=(persons[n], persons[(n + 1) % 8])) for n in range(8)]
        for thread in threads:
            thread.start()
        archive.identities.merge(PROVINCE, persons[3], persons[6], "cùng lúc")
        for thread in threads:
            thread.join()
    assert sql(archive, "SELECT count(DISTINCT person_id) FROM identity_record") == [1]
    assert len(sql(archive, "SELECT id FROM person WHERE merged_into IS NULL")) == 1
    assert len(refused) >= 1


def test_a_hospital_decides_about_its_own_numbers_only(archive: Archive) -> None:
    mine, own, theirs = Number("86001", "1"), Number("86001", "2"), Number("86002", "9")
    archive.identities.update(HIS, mine, Facts("LÊ VĂN TÁM"))
    with pytest.raises(NotPermitted):
        archive.identities.update(HIS, theirs, Facts("LÊ VĂN TÁM"))
    told(archive, "9", "86002")
    refused: list[Callable[[], object]] = [
        lambda: archive.identities.merge_numbers(HIS, mine, theirs, "A40"),
        lambda: archive.identities.move_number(HIS, theirs, mine, "A43"),
        lambda: archive.identities.separate_numbers(HIS, theirs, mine, "A37"),
        lambda: archive.identities.merge_numbers(Caller(CallerKind.ACCOUNT, "x"), mine, own, "không có quyền"),
    ]
    for each in refused:
        with pytest.raises(NotPermitted):
            each()
    archive.identities.merge_numbers(HIS, own, mine, "A40")
    assert archive.identities.person_of_number(own) == archive.identities.person_of_number(mine)


def test_an_administrator_decides_where_one_is_known_to_their_hospital(archive: Archive) -> None:
    first, second, third = told(archive, "1"), told(archive, "2"), told(archive, "3", "86002")
    with pytest.raises(NotPermitted):
        archive.identities.merge(OTHER, first, second, "không phải của tôi")
    done = archive.identities.merge(OTHER, first, third, "chuyển tuyến")
    with pytest.raises(NotPermitted):
        archive.identities.unmerge(Caller(CallerKind.ACCOUNT, "x", {Right.IDENTITY: frozenset()}), done.event, "x")
    archive.identities.unmerge(OTHER, done.event, "nhầm")


def test_a_merge_that_comes_before_the_patients_is_not_lost(archive: Archive) -> None:
    old, new = Number("86001", "TAM1"), Number("86001", "BN1")
    archive.identities.merge_numbers(HIS, old, new, "A40")
    assert archive.identities.person_of_number(old) == archive.identities.person_of_number(new)
    archive.identities.merge_numbers(HIS, old, new, "A40 lần nữa")
    assert sql(archive, "SELECT count(*) FROM identity_event") == [2]


def test_not_the_same_is_remembered_and_a_later_merge_takes_it_back(archive: Archive) -> None:
    first, second = told(archive, "1"), told(archive, "2")
    archive.identities.not_same(PROVINCE, first, second, "anh em sinh đôi")
    assert len(sql(archive, "SELECT * FROM identity_apart")) == 1
    done = archive.identities.merge(PROVINCE, first, second, "xem lại: một người")
    assert sql(archive, "SELECT * FROM identity_apart") == []
    archive.identities.unmerge(PROVINCE, done.event, "nhầm")
    assert len(sql(archive, "SELECT * FROM identity_apart")) == 1


def test_one_record_is_taken_out_and_put_back(archive: Archive) -> None:
    first, second = told(archive, "1"), told(archive, "2")
    archive.identities.merge(PROVINCE, second, first, "một")
    before = state(archive)
    (record,) = sql(archive, "SELECT id FROM identity_record WHERE identity = '2'")
    done = archive.identities.separate(PROVINCE, record, "hai người")
    assert archive.identities.person_of_number(Number("86001", "2")) == done.person != first
    with pytest.raises(Conflict, match="only number"):
        archive.identities.separate(PROVINCE, record, "lần nữa")
    archive.identities.unmerge(PROVINCE, done.event, "nhầm")
    assert state(archive) == before


def test_a_number_moves_from_one_person_to_another(archive: Archive) -> None:
    numbers = [Number("86001", each) for each in ("1", "2", "3")]
    for number in numbers:
        archive.identities.update(HIS, number, Facts())
    archive.identities.merge_numbers(HIS, numbers[0], numbers[1], "A24")
    before = state(archive)
    done = archive.identities.move_number(HIS, numbers[0], numbers[2], "A43")
    assert archive.identities.numbers_of(done.person) == [numbers[0], numbers[2]]
    assert sql(archive, "SELECT count(*) FROM identity_apart") == [1]
    archive.identities.unmerge(HIS, done.event, "nhầm")
    assert state(archive) == before
    archive.identities.separate_numbers(HIS, numbers[0], numbers[1], "A37")
    assert len({archive.identities.person_of_number(each) for each in numbers}) == 3


def test_newborns_and_unknown_people_have_numbers_until_it_is_known_who_they_are(archive: Archive) -> None:
    mother = Number("86001", "BN77")
    told(archive, "BN77", name="PHẠM THỊ BÍCH PHƯỢNG", sex="F")
    first, done = archive.identities.temporary(
        PROVINCE, "86001", "newborn", Facts("CON BÀ PHẠM THỊ BÍCH PHƯỢNG", sex="M"), mother=mother
    )
    second, _ = archive.identities.temporary(PROVINCE, "86001", "newborn", Facts(), mother=mother, order=2)
    assert (first.id, second.id) == ("BN77-SS1", "BN77-SS2")
    assert sql(archive, "SELECT kind FROM person WHERE id = %s", done.person) == ["newborn"]
    with pytest.raises(Conflict, match="next order"):
        archive.identities.temporary(PROVINCE, "86001", "newborn", Facts(), mother=mother, order=2)
    with pytest.raises(InvalidItem):
        archive.identities.temporary(PROVINCE, "86001", "newborn", Facts())
    one, _ = archive.identities.temporary(PROVINCE, "86001", "unknown", Facts(sex="M"))
    two, unknown = archive.identities.temporary(PROVINCE, "86001", "unknown", Facts(sex="M"))
    assert one.id.startswith("VD") and one != two
    known = told(archive, "BN88", name="VÕ KHÁNH", sex="M")
    resolved = archive.identities.merge_numbers(PROVINCE, two, Number("86001", "BN88"), "gia đình nhận", how="manual")
    assert resolved.person == known
    assert sql(archive, "SELECT kind, name FROM person WHERE id = %s", known) == [("known", "VÕ KHÁNH")]
    archive.identities.unmerge(PROVINCE, resolved.event, "nhận nhầm")
    assert sql(archive, "SELECT kind FROM person WHERE id = %s", unknown.person) == ["unknown"]
    with pytest.raises(NotPermitted):
        archive.identities.temporary(HIS, "86002", "unknown", Facts())


def test_the_trace_cannot_be_changed(archive: Archive) -> None:
    done = archive.identities.merge(PROVINCE, told(archive, "1"), told(archive, "2"), "một")
    for statement in (
        "UPDATE identity_event SET reason = ''",
        "DELETE FROM identity_event",
        "TRUNCATE identity_event CASCADE",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            sql(archive, statement)
    assert archive.identities.events_of(done.person)[0].reason == "một"


def test_what_is_asked_of_nobody_is_refused(archive: Archive) -> None:
    with pytest.raises(NotFound):
        archive.identities.unmerge(PROVINCE, 77, "không có")
    with pytest.raises(NotFound):
        archive.identities.merge(PROVINCE, 77, 78, "không có")
    with pytest.raises(InvalidItem):
        archive.identities.merge(PROVINCE, told(archive, "1"), told(archive, "2"), " ")
    for bad in (Number("86001", ""), Number("", "1"), Number("86001", "9" * 65), Number("86001", "a\x00")):
        with pytest.raises(InvalidItem):
            archive.identities.update(PROVINCE, bad, Facts())


def test_who_may_be_meant_is_found_by_number_and_by_name(archive: Archive) -> None:
    citizen = Identifier(Kind.CITIZEN, "001162000017")
    person = told(archive, "1", name="NGUYỄN THỊ HOA", birth="19620814", sex="F", identifiers=(citizen,))
    told(archive, "2", name="TRẦN VĂN BÌNH", birth="19550302", sex="M")
    found = archive.identities.resolve(Facts("NGUYEN THI HOA", "19620814", "F", identifiers=(citizen,)))
    assert [(each.person, each.comparison.automatic) for each in found] == [(person, True)]
    (alike,) = archive.identities.resolve(Facts("NGUYỄN THỊ HOA", "1962", "F"))
    assert alike.person == person and not alike.comparison.automatic
    assert archive.identities.resolve(Facts("ĐẶNG THỊ YẾN", "20040711", "F")) == []
    (known,) = archive.identities.resolve(Facts(), Number("86001", "1"))
    assert known.person == person
