"""The audit trail is durable, ordered, and cannot be changed unnoticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql as build

from archive.audit.anchors import anchor, key_of
from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.retention import expire
from archive.audit.trail import MOST_AT_ONCE, Trail
from archive.audit.verify import Verified, verify
from archive.core import Archive
from archive.errors import IndexUnavailable
from archive.people.caller import Caller, Kind
from config.audit import AuditSettings
from storage.memory import MemoryStore
from tests.factories import ct_image, store
from tests.integration.archive.support import sql, together, url_of

DOCTOR = Caller(Kind.ACCOUNT, "bs.lan", account=7, address="10.1.2.3", home=frozenset({"86001"}))
KEY = "a key of many characters"


def view(study: str = "1.2.3", **more: object) -> AuditEvent:
    return AuditEvent(Action.VIEW, DOCTOR, studies=(study,), patient_id="PID-1", detail={"frames": 3}, **more)  # type: ignore[arg-type]


def checked(archive: Archive) -> Verified:
    return verify(archive.settings.database, archive.store, (KEY,))


def sealed(archive: Archive) -> None:
    assert anchor(archive.audit, archive.store, KEY) is not None


def texts(done: Verified) -> str:
    return "\n".join(map(str, done.findings))


def as_superuser(archive: Archive, *statements: LiteralString) -> None:
    """What somebody can do who owns the database: with all triggers off."""
    with psycopg.connect(url_of(archive), autocommit=True) as connection:
        for table in ("audit_record", "audit_segment", "audit_anchor"):
            connection.execute(build.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(build.Identifier(table)))
        for statement in statements:
            connection.execute(statement)
        for table in ("audit_record", "audit_segment", "audit_anchor"):
            connection.execute(build.SQL("ALTER TABLE {} ENABLE TRIGGER ALL").format(build.Identifier(table)))


# --- writing


def test_what_was_recorded_is_there_before_record_returns_and_names_patient_and_owner(archive: Archive) -> None:
    image = ct_image()
    store(archive, image)
    event = AuditEvent(Action.VIEW, DOCTOR, studies=(image.StudyInstanceUID,), purpose="hội chẩn \x00 \ud800")
    archive.audit.record(event)
    ((patient, owners, home, name, purpose),) = sql(
        archive, "SELECT patient_id, owners, home, name, purpose FROM audit_record"
    )
    assert patient == image.PatientID
    assert owners == ["86001"]
    assert (home, name, purpose) == (["86001"], "bs.lan", "hội chẩn \ufffd \ufffd")


def test_threads_share_transactions_and_the_chain_has_no_gap(archive: Archive) -> None:
    def work(number: int) -> None:
        for each in range(25):
            archive.audit.record(view(f"1.2.{number}.{each}"))

    assert not together(work, 16)
    assert sql(archive, "SELECT count(*), max(sequence), count(DISTINCT studies) FROM audit_record") == [
        (400, 400, 400)
    ]
    done = checked(archive)
    assert (done.records, done.unanchored, done.findings) == (400, 400, [])


def test_what_a_thread_brings_stays_in_order_though_it_takes_several_transactions(archive: Archive) -> None:
    def work(number: int) -> None:
        for _ in range(2):
            archive.audit.record_all([view(f"1.{number}", purpose=str(each)) for each in range(MOST_AT_ONCE + 50)])
            archive.audit.record(view(f"1.{number}", purpose="end"))

    assert not together(work, 4)
    brought = [*map(str, range(MOST_AT_ONCE + 50)), "end"] * 2
    for number in range(4):
        found = sql(
            archive,
            "SELECT purpose FROM audit_record WHERE studies = %s ORDER BY segment_id, sequence",
            [f"1.{number}"],
        )
        assert found == brought
    assert checked(archive).findings == []


def test_each_of_many_threads_is_told_that_its_record_is_not_there_and_all_go_on(archive: Archive) -> None:
    refused: list[IndexUnavailable] = []

    def work(number: int) -> None:
        for _ in range(5):
            try:
                archive.audit.record(view(f"1.2.{number}"))
            except IndexUnavailable as error:
                refused.append(error)

    sql(archive, "ALTER TABLE audit_record RENAME TO audit_gone")
    assert not together(work, 16)
    sql(archive, "ALTER TABLE audit_gone RENAME TO audit_record")
    assert len(refused) == 80
    assert not together(work, 16)
    assert len(refused) == 80
    assert sql(archive, "SELECT count(*) FROM audit_record") == [80]
    assert checked(archive).findings == []


def test_two_kinds_of_records_have_segments_of_their_own(archive: Archive) -> None:
    archive.audit.record_all([view(), AuditEvent(Action.SIGN_IN, DOCTOR, Outcome.DENIED), view()])
    found = sql(
        archive, "SELECT keeping, sequence FROM audit_record JOIN audit_segment ON id = segment_id ORDER BY 1, 2"
    )
    assert found == [("access", 1), ("access", 2), ("security", 1)]
    assert checked(archive).findings == []


def test_several_processes_write_at_once_and_one_that_is_killed_leaves_a_whole_trail(archive: Archive) -> None:
    program = """
import sys
from archive.audit.events import Action, AuditEvent
from archive.audit.trail import MOST_AT_ONCE, Trail
from archive.people.caller import SYSTEM
from config.settings import load
trail = Trail(load(environ={}, database={"url": sys.argv[1]}).database)
for number in range(100000):
    trail.record(AuditEvent(Action.VIEW, SYSTEM, studies=(f"1.{number}",)))
    print(number, flush=True)
"""
    command = [sys.executable, "-c", program, url_of(archive)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = []
    for process in processes:
        assert process.stdout is not None
        for _ in range(30):
            last = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        told.append(max([last, *map(int, process.stdout.read().split())]))
        process.wait()
        process.stdout.close()
    archive.audit.record(view())
    found = dict(sql(archive, "SELECT segment_id, count(*) FROM audit_record GROUP BY 1"))
    # Each that was told to be recorded is there, and at most the one that was being told.
    assert sorted(found.values())[0] == 1
    for count, segment in zip(sorted(found.values())[1:], sorted(told), strict=True):
        assert count in (segment + 1, segment + 2)
    while anchor(archive.audit, archive.store, KEY) is not None:
        pass
    # The server may need a moment to notice that a client is gone; its segment is closed by a later anchor.
    assert checked(archive).findings == []


def test_a_trail_that_cannot_be_written_says_so_and_goes_on_in_a_new_segment(archive: Archive) -> None:
    archive.audit.record(view())
    sql(archive, "ALTER TABLE audit_record RENAME TO audit_gone")
    with pytest.raises(IndexUnavailable, match="on record"):
        archive.audit.record(view())
    sql(archive, "ALTER TABLE audit_gone RENAME TO audit_record")
    archive.audit.record(view())
    assert sql(archive, "SELECT segment_id, sequence FROM audit_record ORDER BY 1") == [(1, 1), (2, 1)]
    assert sql(archive, "SELECT records FROM audit_segment ORDER BY id") == [1, None]
    assert checked(archive).findings == []


def test_a_lost_connection_costs_nothing(archive: Archive) -> None:
    archive.audit.record(view())
    sql(archive, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pacs audit'")
    archive.audit.record(view())
    assert sql(archive, "SELECT segment_id, sequence FROM audit_record ORDER BY 2") == [(1, 1), (1, 2)]


def test_a_process_that_was_taken_for_dead_goes_on_in_a_new_segment(archive: Archive) -> None:
    archive.audit.record(view())
    sql(archive, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pacs audit'")
    other = Trail(archive.settings.database)
    while sql(archive, "SELECT count(*) FROM audit_segment WHERE closed_at IS NULL") != [0]:
        anchor(other, archive.store, KEY)
    archive.audit.record(view())
    assert sql(archive, "SELECT segment_id, sequence FROM audit_record ORDER BY 1") == [(1, 1), (2, 1)]
    assert checked(archive).findings == []
    other.close()


def test_records_where_only_this_process_writes_are_noticed_at_once(archive: Archive) -> None:
    archive.audit.record(view())
    as_superuser(
        archive,
        "INSERT INTO audit_record SELECT segment_id, 2, hash, recorded_at, action, outcome, kind, name, account_id, "
        "address, home, studies, owners, patient_id, issuer_of_patient_id, purpose, detail FROM audit_record",
    )
    with pytest.raises(IndexUnavailable, match="tampered"):
        archive.audit.record(view())
    archive.audit.record(view())
    assert "record 1-2" in texts(checked(archive))


# --- the database refuses


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_record SET name = 'x'",
        "DELETE FROM audit_record",
        "TRUNCATE audit_record",
        "TRUNCATE audit_segment CASCADE",
        "DELETE FROM audit_segment WHERE closed_at IS NULL",
        "UPDATE audit_segment SET keeping = 'security'",
        "UPDATE audit_segment SET expired_at = now()",
        "UPDATE audit_anchor SET body = '{}'",
        "DELETE FROM audit_anchor",
        "SET session_replication_role = replica; DELETE FROM audit_record",
    ],
)
def test_the_database_refuses_every_change(archive: Archive, statement: LiteralString) -> None:
    archive.audit.record(view())
    sealed(archive)
    with pytest.raises(psycopg.errors.Error) as raised:
        sql(archive, statement)
    assert raised.value.sqlstate in ("42501", "23503")
    assert checked(archive).findings == []


def test_a_closed_segment_takes_no_more(archive: Archive) -> None:
    archive.audit.record(view())
    archive.audit.close()
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="closed"):
        sql(
            archive,
            "INSERT INTO audit_record SELECT segment_id, 2, hash, recorded_at, action, outcome, kind, name, account_id, "
            "address, home, studies, owners, patient_id, issuer_of_patient_id, purpose, detail FROM audit_record",
        )


# --- whoever owns the database is found out


def tampered(archive: Archive, *statements: LiteralString) -> str:
    for number in range(1, 7):
        archive.audit.record(view(f"1.2.{number}"))
    archive.audit.record(AuditEvent(Action.SIGN_IN, DOCTOR))
    sealed(archive)
    archive.audit.record(view("1.2.7"))
    sealed(archive)
    assert checked(archive).findings == []
    as_superuser(archive, *statements)
    return texts(checked(archive))


@pytest.mark.parametrize(
    "column",
    [
        "recorded_at = recorded_at + interval '1 microsecond'",
        "action = 'copy'",
        "outcome = 'denied'",
        "kind = 'peer'",
        "name = 'bs.hoa'",
        "account_id = 8",
        "account_id = NULL",
        "address = ''",
        "home = '{}'",
        "studies = '{1.2.9}'",
        "studies = studies || studies",
        "owners = '{86002}'",
        "patient_id = 'PID-2'",
        "issuer_of_patient_id = 'X'",
        "purpose = 'x'",
        "detail = '{}'",
        "hash = '\\x00'",
    ],
)
def test_a_changed_value_is_found_whichever_it_is(archive: Archive, column: LiteralString) -> None:
    statement: LiteralString = "UPDATE audit_record SET " + column + " WHERE sequence = 3 AND segment_id = 1"
    assert "record 1-3: was changed" in tampered(archive, statement)


def test_a_removed_record_is_found(archive: Archive) -> None:
    found = tampered(archive, "DELETE FROM audit_record WHERE segment_id = 1 AND sequence = 3")
    assert "record 1-4: follows none: 3 taken away" in found


def test_a_record_removed_with_the_numbers_moved_up_is_found(archive: Archive) -> None:
    found = tampered(
        archive,
        "DELETE FROM audit_record WHERE segment_id = 1 AND sequence = 3",
        "UPDATE audit_record SET sequence = -sequence WHERE segment_id = 1 AND sequence > 3",
        "UPDATE audit_record SET sequence = -sequence - 1 WHERE segment_id = 1 AND sequence < 0",
    )
    assert "record 1-3: was changed, or does not follow" in found


def test_two_records_that_changed_places_are_found(archive: Archive) -> None:
    found = tampered(
        archive,
        "UPDATE audit_record SET sequence = -3 WHERE segment_id = 1 AND sequence = 3",
        "UPDATE audit_record SET sequence = 3 WHERE segment_id = 1 AND sequence = 4",
        "UPDATE audit_record SET sequence = 4 WHERE segment_id = 1 AND sequence = -3",
    )
    assert "record 1-3: was changed" in found
    assert "record 1-4: was changed" in found


def test_an_added_record_is_found(archive: Archive) -> None:
    found = tampered(
        archive,
        "INSERT INTO audit_record SELECT segment_id, 8, hash, recorded_at, action, outcome, kind, name, account_id, "
        "address, home, studies, owners, patient_id, issuer_of_patient_id, purpose, detail FROM audit_record "
        "WHERE segment_id = 1 AND sequence = 3",
    )
    assert "record 1-8: was changed, or does not follow the one before" in found


def test_a_record_taken_to_another_segment_is_found(archive: Archive) -> None:
    found = tampered(
        archive, "UPDATE audit_record SET segment_id = 2, sequence = 2 WHERE segment_id = 1 AND sequence = 7"
    )
    assert "record 2-2" in found
    assert "segment 1: ends with 6, anchors have up to 7: cut off" in found


def test_a_tail_that_was_cut_off_is_found(archive: Archive) -> None:
    found = tampered(archive, "DELETE FROM audit_record WHERE segment_id = 1 AND sequence > 5")
    assert "segment 1: ends with 5, anchors have up to 7: cut off" in found


def test_a_segment_that_was_cut_off_is_found(archive: Archive) -> None:
    found = tampered(archive, "DELETE FROM audit_record WHERE segment_id = 2", "DELETE FROM audit_segment WHERE id = 2")
    assert "segment 2: an anchor tells of it, and it is gone" in found


def test_a_trail_that_was_written_anew_is_found(archive: Archive) -> None:
    """Whoever can compute SHA-256 can make a chain that is sound in itself, and not the anchors."""
    forged = "1.2.666"
    tampered(archive, "DELETE FROM audit_record", "DELETE FROM audit_segment")
    other = Trail(archive.settings.database)
    for number in range(7):
        other.record(view(forged if number == 3 else f"1.2.{number}"))
    found = texts(checked(archive))
    assert "record 1-6: an anchor has another hash of it" in found
    other.close()


def test_a_trail_written_anew_with_its_anchors_is_found_by_their_copies_and_the_key(archive: Archive) -> None:
    tampered(archive, "DELETE FROM audit_record", "DELETE FROM audit_segment", "DELETE FROM audit_anchor")
    other = Trail(archive.settings.database)
    other.record(view("1.2.666"))
    anchor(other, MemoryStore(), "some other key of theirs")
    found = texts(checked(archive))
    assert "anchor 1: is not signed by our key" in found
    assert "anchor 1: its copy in the object store says something else" in found
    assert "anchor 2: is in the object store and not in the database" in found
    other.close()


def test_anchors_that_were_taken_away_or_changed_are_found(archive: Archive) -> None:
    assert "anchor 1: taken away" in tampered(archive, "DELETE FROM audit_anchor WHERE number = 1")
    as_superuser(archive, "UPDATE audit_anchor SET body = replace(body, 'open', 'opem') WHERE number = 2")
    assert "anchor 2: was changed" in texts(checked(archive))
    archive.store.delete(key_of(2))
    assert "anchor 2: the object store has lost its copy" in texts(checked(archive))


def test_anchors_of_before_there_was_a_key_are_vouched_for_by_the_first_that_is_signed(archive: Archive) -> None:
    archive.audit.record(view())
    anchor(archive.audit, archive.store, "")
    assert "not signed, and there is a key" in texts(checked(archive))
    archive.audit.record(view())
    sealed(archive)
    assert checked(archive).findings == []
    archive.audit.record(view())
    anchor(archive.audit, archive.store, "the key that came afterwards")
    assert "anchor 3: is not signed by our key" in texts(checked(archive))
    keys = ("the key that came afterwards", KEY)
    assert verify(archive.settings.database, archive.store, keys).findings == []


def test_after_a_restore_the_anchors_since_the_copy_are_not_written_over(archive: Archive) -> None:
    archive.audit.record(view())
    sealed(archive)
    kept = archive.store.open(key_of(1)).read()
    # What the copy of the database has not: all of it.
    as_superuser(archive, "DELETE FROM audit_anchor", "DELETE FROM audit_record", "DELETE FROM audit_segment")
    other = Trail(archive.settings.database)
    other.record(view())
    assert anchor(other, archive.store, KEY) is not None
    other.record(view())
    assert anchor(other, archive.store, KEY) is not None
    assert texts(checked(archive)) == "anchor 1: taken away, or lost when the database was restored"
    assert archive.store.open(key_of(1)).read() == kept
    other.close()


def test_a_copy_that_could_not_be_made_is_made_with_the_next_anchor(archive: Archive) -> None:
    archive.audit.record(view())
    sealed(archive)
    as_superuser(archive, "UPDATE audit_anchor SET copied = false")
    archive.store.delete(key_of(1))
    archive.audit.record(view())
    sealed(archive)
    assert sorted(archive.store.keys("audit/")) == [key_of(1), key_of(2)]
    assert checked(archive).findings == []


# --- keeping


def aged(archive: Archive, days: int) -> Trail:
    moment = datetime.now(UTC) - timedelta(days=days)
    return Trail(archive.settings.database, clock=lambda: moment)


@pytest.mark.parametrize(("days", "gone"), [(401, 1), (399, 0)])
def test_what_is_over_goes_as_a_whole_and_the_rest_still_verifies(archive: Archive, days: int, gone: int) -> None:
    old = aged(archive, days)
    old.record_all([AuditEvent(Action.SIGN_IN, DOCTOR), view()])
    old.close()
    archive.audit.record(AuditEvent(Action.SIGN_IN, DOCTOR))
    assert expire(archive.audit, AuditSettings()) == 0  # not before an anchor tells how it ended
    sealed(archive)
    assert expire(archive.audit, AuditSettings()) == gone
    assert expire(archive.audit, AuditSettings()) == 0
    sealed(archive) if gone else None
    done = checked(archive)
    assert (done.findings, done.expired) == ([], gone)
    assert sql(archive, "SELECT count(*) FROM audit_record WHERE action = 'view'") == [1]
    assert sql(archive, "SELECT detail ->> 'records' FROM audit_record WHERE action = 'audit'") == ["1"] * gone


def test_records_of_patients_go_only_where_the_settings_say_so(archive: Archive) -> None:
    old = aged(archive, 2000)
    old.record(view())
    old.close()
    sealed(archive)
    assert expire(archive.audit, AuditSettings()) == 0
    assert expire(archive.audit, AuditSettings(access_keep_days=1825)) == 1


def test_a_deletion_that_looks_like_expiry_is_found(archive: Archive) -> None:
    found = tampered(
        archive,
        "UPDATE audit_segment SET closed_at = now(), last_at = now(), records = 7, head = '\\x00', expired_at = now() "
        "WHERE id = 1",
        "DELETE FROM audit_record WHERE segment_id = 1",
    )
    assert "segment 1: its records were deleted without an anchor that closed it" in found


def test_each_day_begins_a_segment(archive: Archive) -> None:
    moment = [datetime(2026, 11, 22, 23, 59, tzinfo=UTC)]
    trail = Trail(archive.settings.database, clock=lambda: moment[0])
    trail.record(view())
    moment[0] += timedelta(minutes=2)
    trail.record(view())
    trail.close()
    assert sql(archive, "SELECT segment_id, sequence FROM audit_record ORDER BY 1") == [(1, 1), (2, 1)]
    assert sql(archive, "SELECT records FROM audit_segment ORDER BY id") == [1, 1]
    assert checked(archive).findings == []


def test_verifying_while_others_write_and_anchor_finds_nothing(archive: Archive) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            archive.audit.record(view(f"1.{number}"))
            number += 1

    def seal() -> None:
        while not stop.is_set():
            anchor(archive.audit, archive.store, KEY)

    work: list[Callable[[], None]] = [write, write, seal]
    threads = [threading.Thread(target=each) for each in work]
    archive.audit.record(view())
    sealed(archive)
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert checked(archive).findings == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()
