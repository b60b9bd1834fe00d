"""Whose a study is when two facilities send under one Study Instance UID, by mistake or on purpose."""

from __future__ import annotations

import argparse

import pytest

from archive.core import Archive
from archive.errors import InvalidItem, NotFound, NotPermitted
from archive.people.caller import Caller
from archive.people.roles import Right, Role
from archive.sharing.break_glass import Notice
from archive.sharing.commands import _own
from archive.sharing.sharings import Members, Terms
from tests.factories import ct_image, store
from tests.integration.access.filled import following
from tests.integration.archive.support import assert_sound, sql
from tests.integration.archive.test_sharing import A, B, caller_of, catch_up, seen
from tests.integration.archive.test_sharing import following as caring
from tests.integration.audit.records import records
from tests.integration.viewer_api.test_sharing_api import as_


@pytest.fixture
def people(archive: Archive) -> dict[str, Caller]:
    return {
        "a": caller_of(archive, "an", (Role.RADIOLOGIST, "86001")),
        "b": caller_of(archive, "binh", (Role.RADIOLOGIST, "86002")),
        "a_admin": caller_of(archive, "qt1", (Role.FACILITY_ADMIN, "86001")),
        "b_admin": caller_of(archive, "qt2", (Role.FACILITY_ADMIN, "86002")),
        "province": caller_of(archive, "tinh", (Role.PROVINCE_ADMIN, None)),
    }


def squatted(archive: Archive) -> str:
    """B has learned a UID that A is about to use, and sends a forged image under it first."""
    real = ct_image(PatientID="BN0001")
    forged = ct_image(PatientID="BN0666", StudyInstanceUID=real.StudyInstanceUID, seed=3)
    store(archive, forged, B)
    store(archive, real, A)
    return str(real.StudyInstanceUID)


def notices(archive: Archive, caller: Caller) -> list[Notice]:
    return archive.break_glass.notices(caller)


def test_both_are_told_once_and_it_is_on_record(archive: Archive, people: dict[str, Caller]) -> None:
    with caring(archive) as care:
        study = squatted(archive)
        catch_up(care)
        store(archive, ct_image(StudyInstanceUID=study, seed=9), A)
        catch_up(care)
    (for_a,), (for_b,) = (notices(archive, people[name]) for name in ("a_admin", "b_admin"))
    assert (for_a.kind, for_a.facility, for_a.to_facility, for_a.study) == ("stranger", "86001", "86002", study)
    assert (for_b.kind, for_b.facility, for_b.to_facility, for_b.study) == ("stranger", "86002", "86001", study)
    # A sees nothing of a patient that another facility has named; B has sent it.
    assert (for_a.patient_id, for_b.patient_id) == ("", "BN0666")
    told = [each for each in records(archive, "store") if each.name == "ownership"]
    assert [(each.studies, each.detail["owner"], each.detail["sender"]) for each in told] == [
        ([study], "86002", "86001")
    ]
    archive.break_glass.acknowledge(people["a_admin"], for_a.id)
    assert notices(archive, people["a_admin"]) == []
    assert len(notices(archive, people["b_admin"])) == 1


def test_nobody_is_told_of_ones_own(archive: Archive, people: dict[str, Caller]) -> None:
    with caring(archive) as care:
        image = ct_image()
        store(archive, image, A)
        store(archive, ct_image(StudyInstanceUID=image.StudyInstanceUID, seed=4), A)
        catch_up(care)
    assert notices(archive, people["province"]) == []


def test_the_province_gives_the_study_to_whose_it_is(archive: Archive, people: dict[str, Caller]) -> None:
    study = squatted(archive)
    c = caller_of(archive, "chi", (Role.RADIOLOGIST, "86003"))
    archive.sharings.consult(people["b"], "x", Members(accounts=("chi",)), [study], Terms("x"))
    assert seen(archive, people["b"]) == seen(archive, c) == {study}
    with following(archive):
        assert archive.ownership.give(people["province"], study, "86001", "mã ca chụp bị chiếm") == "86002"
    assert seen(archive, people["a"]) == seen(archive, people["a"], Right.COPY) == {study}
    # What B has shared was not B's to share.
    assert seen(archive, people["b"]) == seen(archive, c) == set()
    record = records(archive, "share")[-1]
    assert (record.name, record.studies) == ("tinh", [study])
    assert (
        sql(archive, "SELECT purpose FROM audit_record WHERE action = 'share' ORDER BY recorded_at")[-1]
        == "mã ca chụp bị chiếm"
    )
    assert (record.detail["from"], record.detail["to"]) == ("86002", "86001")
    told = sql(archive, "SELECT kind, code FROM change JOIN facility ON facility.id = facility_id ORDER BY sequence")
    assert told == [("corrected", "86001")] * 2
    assert_sound(archive)
    # What B sends from now on goes where all goes, and opens nothing.
    store(archive, ct_image(StudyInstanceUID=study, seed=12), B)
    assert seen(archive, people["b"]) == set()


def test_nobody_else_may_and_nothing_else_can_be_said(archive: Archive, people: dict[str, Caller]) -> None:
    study = squatted(archive)
    for name in ("a", "b", "a_admin", "b_admin"):
        with pytest.raises(NotPermitted):
            archive.ownership.give(people[name], study, "86001", "x")
    province = people["province"]
    for facility, reason in (("99999", "x"), ("UNKNOWN", "x"), ("86002", "x"), ("86001", " "), ("86001", "x" * 1025)):
        with pytest.raises(InvalidItem):
            archive.ownership.give(province, study, facility, reason)
    with pytest.raises(NotFound):
        archive.ownership.give(province, "1.2.3", "86001", "x")
    assert seen(archive, people["b"]) == {study}


def test_over_http_and_by_hand(archive: Archive, people: dict[str, Caller], capsys: pytest.CaptureFixture[str]) -> None:
    study = squatted(archive)
    body = {"study": study, "facility": "86001", "reason": "nhầm mã"}
    with as_(archive, people["a_admin"]) as web:
        assert web.post("/sharing/owners", json=body).status_code == 403
    with as_(archive, people["province"]) as web:
        done = web.post("/sharing/owners", json=body)
        assert (done.status_code, done.json()) == (200, {"study": study, "from": "86002", "to": "86001"})
        assert web.post("/sharing/owners", json=body).status_code == 422
    _own(archive, argparse.Namespace(study=study, facility="86002", reason="nhầm"))
    assert capsys.readouterr().out == f"{study}  86001 -> 86002\n"
    assert seen(archive, people["b"]) == {study}
    assert records(archive, "share")[-1].detail["to"] == "86002"
