"""Who sees what after a referral, in a consultation, while treating a patient, and by breaking glass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from pydicom.dataset import Dataset

from archive.core import Archive
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted
from archive.people.caller import ANYBODY, Caller, Kind, Membership, rights_of
from archive.people.roles import Right, Role
from archive.records import Level, Query, Source
from archive.sharing.break_glass import Emergency
from archive.sharing.care import Care
from archive.sharing.sharings import Members, Terms
from tests.factories import ct_image, store
from tests.integration.archive.support import sql

A = Source(facility="86001", issuer_of_patient_id="TINH", transport="import")
B = Source(facility="86002", issuer_of_patient_id="TINH", transport="import")
WEEK = Terms("chuyển tuyến", days=7)
ALIKE = Emergency("BN0001", date(1962, 5, 12), "cấp cứu: chấn thương sọ não")


def caller_of(archive: Archive, name: str, *places: tuple[Role, str | None]) -> Caller:
    """Somebody with an account."""
    account = sql(
        archive,
        "INSERT INTO account (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name RETURNING id",
        name,
    )[0]
    members = [Membership(role, facility) for role, facility in places]
    return Caller(Kind.ACCOUNT, name, rights_of(members), account=account)


@pytest.fixture
def an(archive: Archive) -> Caller:
    return caller_of(archive, "an", (Role.RADIOLOGIST, "86001"))


@pytest.fixture
def binh(archive: Archive) -> Caller:
    return caller_of(archive, "binh", (Role.RADIOLOGIST, "86002"))


@contextmanager
def following(archive: Archive) -> Iterator[Care]:
    care = archive.care()
    care.begin()
    try:
        yield care
    finally:
        care.close()


def catch_up(care: Care) -> None:
    while care.step():
        pass


def seen(archive: Archive, caller: Caller, right: Right = Right.VIEW) -> set[str]:
    """What a caller finds; what they find they can retrieve, and the other way round."""
    scope = caller.scope(right=right)
    found = {match["0020000D"]["Value"][0] for match in archive.search(Query(Level.STUDY), scope).matches}
    for uid in sql(archive, "SELECT study_instance_uid FROM study"):
        try:
            assert archive.locate(uid, scope=scope)
            assert uid in found
        except NotFound:
            assert uid not in found
    return found


def kept(archive: Archive, source: Source, **attributes: object) -> str:
    image: Dataset = ct_image(**attributes)
    store(archive, image, source)
    return str(image.StudyInstanceUID)


def test_a_referral_opens_one_study_and_its_end_shuts_it(archive: Archive, an: Caller, binh: Caller) -> None:
    first, second = kept(archive, A), kept(archive, A)
    shared = archive.sharings.refer(an, first, "86002", WEEK)
    assert seen(archive, binh) == {first}
    assert seen(archive, binh, Right.COPY) == set()
    assert shared.studies == [first]
    archive.sharings.close(an, shared.id)
    assert seen(archive, binh) == set()
    copied = archive.sharings.refer(an, second, "86002", Terms("chuyển tuyến", may_copy=True))
    assert seen(archive, binh, Right.COPY) == {second}
    sql(archive, "UPDATE access_grant SET expires_at = now() WHERE sharing_id = %s", copied.id)
    assert seen(archive, binh) == set()
    events = sql(archive, "SELECT action, name, purpose FROM audit_record ORDER BY recorded_at")
    assert [event[0] for event in events] == ["share", "withdraw", "share"]
    assert events[0][1:] == ("an", "chuyển tuyến")


def test_a_referral_of_a_patient_opens_what_comes_later_and_nothing_of_others(
    archive: Archive, an: Caller, binh: Caller
) -> None:
    with following(archive) as care:
        first, second = kept(archive, A), kept(archive, A)
        kept(archive, A, PatientID="BN0002")
        catch_up(care)
        shared = archive.sharings.refer(an, first, "86002", WEEK, whole_patient=True)
        assert seen(archive, binh) == {first, second}
        third = kept(archive, A)
        catch_up(care)
        assert seen(archive, binh) == {first, second, third}
        (grant,) = [each for each in archive.sharings.grants(an) if each.study == second]
        archive.sharings.withdraw(an, grant.id)
        fourth = kept(archive, A)
        catch_up(care)
        assert seen(archive, binh) == {first, third, fourth}
        archive.sharings.close(an, shared.id)
        kept(archive, A)
        catch_up(care)
        assert seen(archive, binh) == set()


def test_nobody_refers_what_is_not_theirs(archive: Archive, an: Caller, binh: Caller) -> None:
    mine = kept(archive, A)
    for study in (mine, "1.2.3.4"):
        with pytest.raises(NotFound, match="no such study, or not all of these"):
            archive.sharings.refer(binh, study, "86002", WEEK)
    technician = caller_of(archive, "ky", (Role.TECHNICIAN, "86001"))
    with pytest.raises(NotPermitted):
        archive.sharings.refer(technician, mine, "86002", WEEK)
    for terms in (Terms(""), Terms("x", days=0), Terms("x", days=366), Terms("x" * 1025)):
        with pytest.raises(InvalidItem):
            archive.sharings.refer(an, mine, "86002", terms)
    for to in ("86001", "99999"):
        with pytest.raises(InvalidItem):
            archive.sharings.refer(an, mine, to, WEEK)
    # What was shared with them is not theirs to pass on.
    archive.sharings.refer(an, mine, "86002", WEEK)
    with pytest.raises(NotFound):
        archive.sharings.refer(binh, mine, "86001", WEEK)
    with pytest.raises(NotFound):
        archive.sharings.withdraw(binh, archive.sharings.grants(an)[0].id)


def test_members_of_a_consultation_see_its_studies_until_it_ends(archive: Archive, an: Caller, binh: Caller) -> None:
    mine, theirs = kept(archive, A), kept(archive, B, PatientID="BN0009")
    expert = caller_of(archive, "cuong", (Role.CLINICIAN, "86003"))
    members = Members(("86002",), ("cuong",))
    shared = archive.sharings.consult(an, "Hội chẩn u não", members, [mine], WEEK)
    assert seen(archive, binh) == {mine, theirs}
    assert seen(archive, expert) == {mine}
    archive.sharings.extend(binh, shared.id, studies=[theirs])
    assert seen(archive, an) == {mine, theirs}
    assert seen(archive, expert) == {mine, theirs}
    with pytest.raises(NotPermitted):
        archive.sharings.extend(binh, shared.id, Members(("86001",)))
    with pytest.raises(NotPermitted):
        archive.sharings.close(binh, shared.id)
    assert [each.title for each in archive.sharings.decisions(expert)] == ["Hội chẩn u não"]
    archive.sharings.close(an, shared.id)
    assert (seen(archive, an), seen(archive, binh), seen(archive, expert)) == ({mine}, {theirs}, set())
    with pytest.raises(NotFound):
        archive.sharings.extend(an, shared.id, studies=[mine])


def test_who_treats_a_patient_sees_what_others_have(archive: Archive, an: Caller, binh: Caller) -> None:
    with following(archive) as care:
        before = kept(archive, A)
        stranger = kept(archive, A, PatientID="BN0002")
        catch_up(care)
        assert seen(archive, binh) == set()
        now = kept(archive, B)
        catch_up(care)
        assert seen(archive, binh) == {before, now}
        assert seen(archive, binh, Right.COPY) == {now}
        # Both treat the patient.
        assert seen(archive, an) == {before, stranger, now}
        later = kept(archive, A)
        catch_up(care)
        assert seen(archive, binh) == {before, now, later}
        (told,) = archive.break_glass.notices(caller_of(archive, "qt", (Role.FACILITY_ADMIN, "86001")))
        assert (told.kind, told.to_facility, told.patient_id) == ("care", "86002", "BN0001")
        (grant,) = [each for each in archive.sharings.grants(an) if each.study == before]
        archive.sharings.withdraw(an, grant.id)
        kept(archive, B)
        catch_up(care)
        assert before not in seen(archive, binh)


def test_an_order_is_care_as_well_and_care_ends(archive: Archive, binh: Caller) -> None:
    with following(archive) as care:
        kept(archive, A)
        today = f"{datetime.now():%Y%m%d}"
        order = {"Facility": "86002", "PatientID": "BN0001", "PatientName": "NGUYEN^DUC", "Modality": "CT"}
        order |= {"IssuerOfPatientID": "TINH", "AccessionNumber": "A77", "ScheduledProcedureStepStartDate": today}
        order |= {"RequestedProcedureID": "R", "ScheduledProcedureStepID": "S", "PatientBirthDate": "19620512"}
        order |= {"RequestedProcedureDescription": "CT", "ScheduledProcedureStepDescription": "CT", "PatientSex": "M"}
        archive.worklist.put(order, source="api")
        catch_up(care)
        assert len(seen(archive, binh)) == 1
        sql(archive, "UPDATE access_grant SET expires_at = now()")
        assert seen(archive, binh) == set()


def test_care_can_be_turned_off_and_is_nothing_for_patients_without_number(archive: Archive, binh: Caller) -> None:
    with following(archive) as care:
        kept(archive, A, PatientID="")
        kept(archive, B, PatientID="")
        catch_up(care)
        assert len(seen(archive, binh)) == 1
    off = Care(archive.settings.database, archive.settings.sharing.model_copy(update={"care": "off"}), archive.audit)
    kept(archive, A)
    kept(archive, B)
    while off.step():
        pass
    off.close()
    assert len(seen(archive, binh)) == 2


def test_broken_glass_lets_one_account_see_for_hours_and_tells_the_owner(
    archive: Archive, an: Caller, binh: Caller
) -> None:
    with following(archive) as care:
        first = kept(archive, A)
        catch_up(care)
        broken = archive.break_glass.open(binh, ALIKE)
        assert broken.studies == [first]
        assert timedelta(hours=7) < broken.expires_at - datetime.now(UTC) <= timedelta(hours=8)
        second = kept(archive, A)
        catch_up(care)
        assert seen(archive, binh) == {first, second}
        assert seen(archive, binh, Right.COPY) == set()
        assert seen(archive, caller_of(archive, "ban", (Role.RADIOLOGIST, "86002"))) == set()
    admin = caller_of(archive, "qt", (Role.FACILITY_ADMIN, "86001"))
    (notice,) = archive.break_glass.notices(admin)
    assert (notice.opened_by, notice.reason, notice.to_facility) == ("binh", ALIKE.reason, "86002")
    other = caller_of(archive, "qt2", (Role.FACILITY_ADMIN, "86002"))
    assert archive.break_glass.notices(other) == []
    with pytest.raises(NotFound):
        archive.break_glass.acknowledge(other, notice.id)
    archive.break_glass.acknowledge(admin, notice.id)
    assert archive.break_glass.notices(admin) == []
    assert archive.break_glass.notices(admin, acknowledged=True)[0].acknowledged_by == "qt"


def test_broken_glass_needs_the_exact_patient_a_reason_and_an_account(archive: Archive, binh: Caller) -> None:
    kept(archive, A)
    for patient, born in (("BN000", 12), ("BN0001", 13), ("bn0001", 12), ("BN0001*", 12), ("*", 12), ("", 12)):
        with pytest.raises(NotFound, match="no patient has this number and this birth date"):
            archive.break_glass.open(binh, Emergency(patient, date(1962, 5, born), ALIKE.reason))
    with pytest.raises(InvalidItem):
        archive.break_glass.open(binh, Emergency("BN0001", date(1962, 5, 12), "gấp"))
    with pytest.raises(NotPermitted):
        archive.break_glass.open(ANYBODY, ALIKE)
    with pytest.raises(NotPermitted):
        archive.break_glass.open(caller_of(archive, "ky", (Role.TECHNICIAN, "86002")), ALIKE)
    elsewhere = Source(facility="86001", issuer_of_patient_id="86001", transport="import")
    kept(archive, elsewhere)
    with pytest.raises(Conflict):
        archive.break_glass.open(binh, ALIKE)
    named = Emergency("BN0001", date(1962, 5, 12), ALIKE.reason, issuer="86001")
    assert len(archive.break_glass.open(binh, named).studies) == 1
    assert len(seen(archive, binh)) == 1


def test_tries_to_break_glass_are_limited_found_or_not(archive: Archive, an: Caller, binh: Caller) -> None:
    kept(archive, A)
    wrong = Emergency("BN0002", date(1962, 5, 12), ALIKE.reason)
    for _ in range(archive.settings.sharing.break_glass_tries):
        with pytest.raises(NotFound):
            archive.break_glass.open(binh, wrong)
    for emergency in (wrong, ALIKE):
        with pytest.raises(NotPermitted, match="too many tries"):
            archive.break_glass.open(binh, emergency)
    assert sql(archive, "SELECT outcome, count(*) FROM audit_record GROUP BY outcome ORDER BY outcome") == [
        ("denied", 2),
        ("failed", archive.settings.sharing.break_glass_tries),
    ]
