"""Looks that belong together are one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr

from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.looks import MOST_REFUSED, Looks
from archive.audit.trail import Trail
from archive.core import Archive
from archive.errors import IndexUnavailable
from archive.people.caller import Caller, Kind
from tests.integration.archive.support import sql, together
from tests.integration.audit.records import records

DOCTOR = Caller(Kind.ACCOUNT, "bs.lan", account=7, address="10.1.2.3")
MINUTE = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def looks(archive: Archive, clock: Clock) -> Looks:
    return Looks(archive.audit, MINUTE, clock)


def view(study: str = "1.2", caller: Caller = DOCTOR, outcome: Outcome = Outcome.SUCCESS) -> AuditEvent:
    return AuditEvent(Action.VIEW, caller, outcome, studies=(study,), detail={"what": "images"})


def counts(archive: Archive) -> list[tuple[str, int | None, int | None]]:
    return [(each.studies[0], each.detail.get("instances"), each.detail.get("requests")) for each in records(archive)]


def test_three_thousand_slices_are_two_records(archive: Archive, looks: Looks, clock: Clock) -> None:
    for number in range(3000):
        looks.note(view(), (f"1.2.{number}",))
        looks.note(view(), (f"1.2.{number}",))
    assert counts(archive) == [("1.2", None, None)]
    clock.now = MINUTE - 1
    assert looks.end_those_over() == 0
    clock.now = MINUTE
    assert looks.end_those_over() == 1
    assert counts(archive) == [("1.2", None, None), ("1.2", 3000, 6000)]
    assert looks.end_those_over() == 0


def test_a_single_request_is_one_record(archive: Archive, looks: Looks, clock: Clock) -> None:
    looks.note(view(), ("1.2.1",))
    clock.now = MINUTE
    assert looks.end_those_over() == 0
    assert counts(archive) == [("1.2", None, None)]


def test_the_next_look_after_its_time_is_another(archive: Archive, looks: Looks, clock: Clock) -> None:
    looks.note(view(), ("1",))
    looks.note(view(), ("2",))
    clock.now = MINUTE
    looks.note(view(), ("3",))
    assert counts(archive) == [("1.2", None, None), ("1.2", 2, 2), ("1.2", None, None)]


@pytest.mark.parametrize(
    "other",
    [
        view("1.3"),
        view(caller=Caller(Kind.ACCOUNT, "bs.hoa", account=8, address="10.1.2.3")),
        view(caller=Caller(Kind.ACCOUNT, "bs.lan", account=7, address="10.1.2.4")),
        view(caller=Caller(Kind.ACCOUNT, "bs.lan", account=7, address="10.1.2.3", purpose="hội chẩn")),
        AuditEvent(Action.COPY, DOCTOR, studies=("1.2",)),
        view(outcome=Outcome.DENIED),
    ],
)
def test_what_differs_is_a_look_of_its_own(archive: Archive, looks: Looks, other: AuditEvent) -> None:
    looks.note(view())
    looks.note(other)
    assert len(records(archive)) == 2


def test_who_comes_second_waits_until_the_first_record_is_durable(archive: Archive, looks: Looks) -> None:
    def work(number: int) -> None:
        looks.note(view(), (str(number),))
        assert sql(archive, "SELECT count(*) FROM audit_record") == [1]

    assert not together(work, 12)
    looks.close()
    assert counts(archive) == [("1.2", None, None), ("1.2", 12, 12)]


def test_nothing_is_shown_that_cannot_be_recorded(archive: Archive, looks: Looks) -> None:
    sql(archive, "ALTER TABLE audit_record RENAME TO audit_gone")
    for _ in range(2):
        with pytest.raises(IndexUnavailable):
            looks.note(view())
    sql(archive, "ALTER TABLE audit_gone RENAME TO audit_record")
    looks.note(view())
    assert counts(archive) == [("1.2", None, None)]


def test_ends_that_cannot_be_recorded_now_are_recorded_later(archive: Archive, looks: Looks, clock: Clock) -> None:
    looks.note(view())
    looks.note(view())
    clock.now = MINUTE
    sql(archive, "ALTER TABLE audit_record RENAME TO audit_gone")
    with pytest.raises(IndexUnavailable):
        looks.end_those_over()
    sql(archive, "ALTER TABLE audit_gone RENAME TO audit_record")
    assert looks.end_those_over() == 1


def test_whoever_knocks_without_an_end_does_not_fill_the_disk(archive: Archive, looks: Looks, clock: Clock) -> None:
    for number in range(MOST_REFUSED + 500):
        looks.note(view(f"1.{number}", outcome=Outcome.DENIED))
    assert len(records(archive)) == MOST_REFUSED + 1
    assert records(archive)[-1].detail["what"] == "many more refusals"
    # Others are not in its shadow, nor is it itself later.
    looks.note(view("1.9", Caller(Kind.NOBODY, address="10.9.9.9"), Outcome.DENIED))
    clock.now = MINUTE
    looks.end_those_over()
    ends = [each.detail["requests"] for each in records(archive) if each.detail.get("phase") == "end"]
    assert ends == [500]
    looks.note(view("1.10", outcome=Outcome.DENIED))
    assert records(archive)[-1].studies == ["1.10"]


def test_a_database_that_is_away_is_told_as_such(archive: Archive, looks: Looks) -> None:
    away = archive.settings.database.model_copy(update={"url": SecretStr("postgresql://127.0.0.1:1/x")})
    with pytest.raises(IndexUnavailable):
        Looks(Trail(away), MINUTE).note(view())


def test_what_is_part_of_a_look_on_record_can_be_counted_alone(archive: Archive, looks: Looks, clock: Clock) -> None:
    assert not looks.count(view(), ("1.2.1",)), "it is for note to record"
    assert not looks.knows(view())
    looks.note(view(), ("1.2.1",))
    assert looks.knows(view())
    assert not looks.knows(view(), about="something else")
    assert looks.count(view(), ("1.2.2",))
    assert not looks.count(view("1.3"), ("1.3.1",))
    assert not looks.count(view(caller=replace(DOCTOR, name="bs.mai")), ("1.2.1",))
    assert not looks.count(view(outcome=Outcome.DENIED), ("1.2.1",))
    clock.now = MINUTE
    assert not looks.count(view(), ("1.2.3",)), "it is over"
    assert not looks.knows(view())
    looks.close()
    assert counts(archive) == [("1.2", None, None), ("1.2", 2, 2)]
