"""Patients are linked as they come: by strong numbers that fit, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset

from archive.core import Archive
from archive.identity.linker import Linker
from archive.identity.numbers import Identifier, Kind
from archive.identity.records import Facts, Number
from archive.people.caller import Caller, Membership, rights_of
from archive.people.caller import Kind as CallerKind
from archive.people.roles import Right, Role
from archive.records import Level, Query, Source
from tests.factories import ct_image, store
from tests.integration.archive.support import sql

A = Source(facility="86001", issuer_of_patient_id="86001", transport="import")
B = Source(facility="86002", issuer_of_patient_id="86002", transport="import")
HOA = {"PatientName": "NGUYỄN^THỊ HOA", "PatientBirthDate": "19620814", "PatientSex": "F"}
CITIZEN = "001162000017"
PROVINCE = Caller(CallerKind.ACCOUNT, "so-y-te", {Right.IDENTITY: None})


def others(*numbers: tuple[str, str]) -> list[Dataset]:
    items = []
    for number, issuer in numbers:
        item = Dataset()
        item.PatientID, item.IssuerOfPatientID = number, issuer
        item.TypeOfPatientID = "TEXT"
        items.append(item)
    return items


def kept(archive: Archive, source: Source, number: str, *numbers: tuple[str, str], **attributes: Any) -> str:
    image = ct_image(PatientID=number, **{**HOA, **attributes})
    if numbers:
        image.OtherPatientIDsSequence = others(*numbers)
    store(archive, image, source)
    return str(image.StudyInstanceUID)


@contextmanager
def linking(archive: Archive) -> Iterator[Linker]:
    linker = archive.linker()
    linker.begin()
    try:
        yield linker
    finally:
        linker.close()


def linked(archive: Archive) -> None:
    with linking(archive) as linker:
        while linker.step():
            pass


def groups(archive: Archive) -> set[frozenset[str]]:
    found = sql(
        archive,
        "SELECT array_agg(DISTINCT patient.patient_id) FROM patient_person JOIN patient ON patient.id = patient_person.patient_id"
        " GROUP BY person_id",
    )
    return {frozenset(each) for each in found}


def proposed(archive: Archive) -> list[tuple[set[str], bool]]:
    return [({each.one.number, each.other.number}, each.conflict) for each in archive.reviews.open(PROVINCE)]


def alone(*numbers: str) -> set[frozenset[str]]:
    return {frozenset((number,)) for number in numbers}


def test_one_personal_number_is_one_person_in_both_hospitals(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    kept(archive, B, "B1", (CITIZEN, "CCCD"), PatientName="NGUYEN THI HOA", PatientBirthDate="19620101")
    kept(archive, B, "B2", PatientName="TRẦN VĂN BÌNH", PatientBirthDate="19550302", PatientSex="M")
    linked(archive)
    assert groups(archive) == {frozenset(("A1", "B1")), frozenset(("B2",))}
    assert set(sql(archive, "SELECT how FROM patient_person")) == {"identifier", "own"}
    person = archive.identities.person_of_number(Number("86001", "A1"))
    assert person is not None
    (event,) = archive.identities.events_of(person)
    assert (event.action, event.caller) == ("link", "link")
    assert sql(archive, "SELECT citizen_id, name, birth_date::text FROM person WHERE id = %s", person) == [
        (CITIZEN, "NGUYỄN THỊ HOA", "1962-08-14")
    ]
    linked(archive)
    assert len(archive.identities.events_of(person)) == 1


@pytest.mark.parametrize(
    ("number", "issuer", "odd"),
    [
        (CITIZEN, "CCCD", {"PatientSex": "M"}),
        (CITIZEN, "CCCD", {"PatientBirthDate": "19630814"}),
        (CITIZEN, "CCCD", {"PatientName": "LÊ VĂN TÁM"}),
        ("GD4017912345678", "", {"PatientBirthDate": "19620815"}),
        ("GD4017912345678", "", {"PatientName": "NGUYỄN THỊ HÒA"}),
        ("GD4017912345678", "", {"PatientName": "NGUYỄN THỊ HOAN"}),
    ],
)
def test_a_strong_number_that_does_not_fit_is_for_somebody_to_decide(
    archive: Archive, number: str, issuer: str, odd: dict[str, str]
) -> None:
    kept(archive, A, "A1", (number, issuer or "BHYT"))
    kept(archive, B, "B1", (number, issuer or "BHYT"), **odd)
    linked(archive)
    assert groups(archive) == alone("A1", "B1")
    ((pair, _),) = proposed(archive)
    assert pair == {"A1", "B1"}


def test_a_mismatch_is_kept_and_shown(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"), PatientSex="M", PatientBirthDate="19990101")
    linked(archive)
    person = archive.identities.person_of_number(Number("86001", "A1"))
    (side,) = archive.reviews.person(PROVINCE, person or 0)
    assert [(each.value, each.warnings) for each in side.numbers] == [(CITIZEN, ("sex", "birth_year"))]
    assert sql(archive, "SELECT citizen_id FROM person") == [""]


def test_a_name_and_a_birth_date_never_link_by_themselves(archive: Archive) -> None:
    kept(archive, A, "A1", PatientName="TÔN NỮ DIỆU THẠCH")
    kept(archive, B, "B1", PatientName="TÔN NỮ DIỆU THẠCH")
    kept(archive, B, "B2", PatientName="TÔN NỮ DIỆU THẠCH", PatientBirthDate="19991231", PatientSex="M")
    linked(archive)
    assert groups(archive) == alone("A1", "B1", "B2")
    assert proposed(archive) == [({"A1", "B1"}, False)]


def test_twins_with_the_mothers_card_stay_two(archive: Archive) -> None:
    card = ("TE1017912345678", "BHYT")
    twins = {"PatientBirthDate": "20200301", "PatientSex": "M"}
    kept(archive, A, "A1", card, PatientName="NGUYỄN VĂN AN", **twins)
    kept(archive, B, "B1", card, PatientName="NGUYỄN VĂN ANH", **twins)
    kept(archive, A, "A2", card, PatientName="CON BÀ NGUYỄN THỊ HOA", **twins)
    kept(archive, B, "B2", card, PatientName="CON BÀ NGUYỄN THỊ HOA", **twins)
    linked(archive)
    assert groups(archive) == alone("A1", "B1", "A2", "B2")


def test_two_persons_become_one_when_a_patient_has_the_numbers_of_both(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    kept(archive, B, "B1", ("DN4017912345678", "BHYT"))
    linked(archive)
    assert groups(archive) == alone("A1", "B1")
    kept(archive, B, "B2", (CITIZEN, "CCCD"), ("7912345678", "BHYT"))
    linked(archive)
    assert groups(archive) == {frozenset(("A1", "B1", "B2"))}


def test_what_was_said_to_be_two_is_not_linked_again(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    kept(archive, B, "B1", (CITIZEN, "CCCD"))
    linked(archive)
    person = archive.identities.person_of_number(Number("86001", "A1")) or 0
    (event,) = archive.identities.events_of(person)
    archive.identities.unmerge(PROVINCE, event.id, "thẻ mượn")
    assert groups(archive) == alone("A1", "B1")
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    linked(archive)
    assert groups(archive) == alone("A1", "B1")
    assert proposed(archive) == []


def test_a_link_goes_when_what_it_was_made_by_goes(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    citizen = (Identifier(Kind.CITIZEN, CITIZEN),)
    number = Number("86002", "B1")
    kept(archive, B, "B1")
    archive.identities.update(PROVINCE, number, Facts(identifiers=citizen))
    linked(archive)
    assert groups(archive) == {frozenset(("A1", "B1"))}
    archive.identities.update(PROVINCE, number, Facts("LÊ VĂN TÁM", "19880101", "M"))
    linked(archive)
    assert groups(archive) == alone("A1", "B1")
    assert sql(archive, "SELECT action FROM identity_event ORDER BY id") == ["link", "split"]


def test_a_decision_is_not_taken_back_by_what_comes_later(archive: Archive) -> None:
    kept(archive, A, "A1")
    kept(archive, B, "B1", PatientName="LÊ VĂN TÁM")
    linked(archive)
    one, two = (archive.identities.person_of_number(Number(*each)) or 0 for each in (("86001", "A1"), ("86002", "B1")))
    archive.identities.merge(PROVINCE, two, one, "đổi tên")
    archive.identities.update(PROVINCE, Number("86002", "B1"), Facts("LÊ VĂN TÁM", "19880101", "M"))
    linked(archive)
    assert groups(archive) == {frozenset(("A1", "B1"))}
    kept(archive, B, "B2", (CITIZEN, "CCCD"))
    archive.identities.update(PROVINCE, Number("86001", "A1"), Facts(identifiers=(Identifier(Kind.CITIZEN, CITIZEN),)))
    linked(archive)
    assert groups(archive) == {frozenset(("A1", "B1", "B2"))}


def test_what_is_typed_where_no_number_is_known_names_nobody(archive: Archive) -> None:
    for number in ("000000000000", "123456789012"):
        kept(archive, A, f"A{number}", (number, "CCCD"))
        kept(archive, B, f"B{number}", (number, "CCCD"))
    linked(archive)
    assert all(len(group) == 1 for group in groups(archive))


def test_patients_of_unlisted_senders_are_not_looked_at(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    kept(archive, B, "B1", (CITIZEN, "CCCD"))
    sql(
        archive,
        "UPDATE study SET quarantine = 'X@1' FROM patient WHERE patient.id = study.patient_id AND patient.patient_id = 'B1'",
    )
    linked(archive)
    assert groups(archive) == alone("A1")


def test_an_order_tells_who_somebody_is(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    sql(
        archive,
        "INSERT INTO worklist_item (facility_id, accession_number, requested_procedure_id, scheduled_procedure_step_id,"
        " study_instance_uid, patient_id, issuer, name, name_fold, birth_date, sex, modality, station_ae_titles,"
        " start_date, start_time, status, source, attributes) SELECT id, 'X1', 'R', 'S', '1.2.3', 'B9', '86002',"
        " 'NGUYỄN^THỊ HOA', '', '1962-08-14', 'F', 'CT', '{}', current_date, '08:00', 'SCHEDULED', 'api',"
        ' \'{"00101002": {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["001162000017"]},'
        ' "00100021": {"vr": "LO", "Value": ["CCCD"]}}]}}\' FROM facility WHERE code = \'86002\'',
    )
    linked(archive)
    one, two = (archive.identities.person_of_number(Number(*each)) for each in (("86001", "A1"), ("86002", "B9")))
    assert one == two is not None


def test_a_row_of_patient_may_go_and_come_again(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    study = kept(archive, B, "B1", (CITIZEN, "CCCD"))
    linked(archive)
    sql(
        archive,
        "UPDATE study SET patient_id = (SELECT id FROM patient WHERE patient_id = 'A1') WHERE study_instance_uid = %s",
        study,
    )
    sql(archive, "UPDATE patient SET created_at = now() - interval '2 days' WHERE patient_id = 'B1'")
    assert archive.reconcile().empty >= 1
    assert groups(archive) == alone("A1")
    kept(archive, B, "B1")
    linked(archive)
    assert groups(archive) == alone("A1", "B1")


def test_a_run_that_is_cut_short_is_finished_by_the_next(archive: Archive) -> None:
    for number in range(6):
        kept(archive, A, f"A{number}", (f"00116200001{number}", "CCCD"))
        kept(archive, B, f"B{number}", (f"00116200001{number}", "CCCD"))
    with linking(archive) as linker:
        linker._session.run(lambda connection: linker._sweep_from(connection, 0))
    assert sql(archive, "SELECT count(*) FROM identity_record WHERE due") == [12]
    linked(archive)
    assert groups(archive) == {frozenset((f"A{number}", f"B{number}")) for number in range(6)}
    assert sql(archive, "SELECT count(*) FROM identity_record WHERE due") == [0]


def seen(archive: Archive, caller: Caller) -> set[str]:
    return {match["0020000D"]["Value"][0] for match in archive.search(Query(Level.STUDY), caller.scope()).matches}


def test_who_treats_a_patient_sees_what_is_linked_and_no_more_when_it_is_not(archive: Archive) -> None:
    binh = Caller(CallerKind.ACCOUNT, "binh", rights_of([Membership(Role.RADIOLOGIST, "86002")]))
    care = archive.care()
    care.begin()
    try:
        theirs = kept(archive, A, "A1", (CITIZEN, "CCCD"))
        alike = kept(archive, A, "A2")
        own = kept(archive, B, "B1", (CITIZEN, "CCCD"))
        while care.step():
            pass
        assert seen(archive, binh) == {own}
        linked(archive)
        assert ({"A1", "A2"}, False) in proposed(archive) or ({"A2", "B1"}, False) in proposed(archive)
        while care.step():
            pass
        assert seen(archive, binh) == {own, theirs}
        person = archive.identities.person_of_number(Number("86002", "B1")) or 0
        (event,) = archive.identities.events_of(person)
        archive.identities.unmerge(PROVINCE, event.id, "nhầm người")
        assert seen(archive, binh) == {own}
        while care.step():
            pass
        assert seen(archive, binh) == {own}
        two = archive.identities.person_of_number(Number("86001", "A2")) or 0
        mine = archive.identities.person_of_number(Number("86002", "B1")) or 0
        archive.identities.merge(PROVINCE, two, mine, "đúng là một người")
        while care.step():
            pass
        assert seen(archive, binh) == {own, alike}
    finally:
        care.close()
