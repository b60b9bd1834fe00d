"""The review list, the page of a person, temporary numbers, and the same by JSON."""

from __future__ import annotations

import httpx
import pytest

from archive.core import Archive
from archive.errors import NotFound, NotPermitted
from archive.identity.records import Number
from archive.people.caller import Caller, Kind, Membership, rights_of
from archive.people.roles import Right, Role
from tests.integration.archive.support import sql
from tests.integration.identity.test_linking import CITIZEN, PROVINCE, A, B, kept, linked
from tests.web_server import serving
from viewer_api.app import create_app
from viewer_api.related import of_persons


def test_a_pair_is_looked_at_merged_and_parted_on_pages(archive: Archive) -> None:
    study = kept(archive, A, "A1", (CITIZEN, "CCCD"))
    kept(archive, B, "B1", (CITIZEN, "CCCD"), PatientName="LÊ VĂN TÁM")
    linked(archive)
    with (
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, headers={"Origin": url}, follow_redirects=True) as client,
    ):
        page = client.get("/persons")
        assert page.status_code == 200
        assert "NGUYỄN THỊ HOA" in page.text and "LÊ VĂN TÁM" in page.text and CITIZEN in page.text
        one, other = (
            archive.identities.person_of_number(Number(*each)) or 0 for each in (("86001", "A1"), ("86002", "B1"))
        )
        form = {"one": one, "other": other, "reason": "đổi tên", "same": "yes"}
        assert client.post("/persons/decide", data={**form, "reason": ""}).status_code == 422
        assert client.post("/persons/decide", data=form).status_code == 200
        person = archive.identities.person_of_number(Number("86002", "B1")) or 0
        assert person == archive.identities.person_of_number(Number("86001", "A1"))
        shown = client.get(f"/persons/{person}?lang=en")
        assert shown.status_code == 200 and "Merged" in shown.text and "does not fit the sex" not in shown.text
        others = client.post("/studies-of-person", data={"study": study})
        assert others.status_code == 200 and others.text.count("data-study=") == 2
        (event,) = sql(archive, "SELECT id FROM identity_event WHERE action = 'merge'")
        assert client.post(f"/persons/{person}/undo", data={"event": event, "reason": "nhầm"}).status_code == 200
        assert archive.identities.person_of_number(Number("86002", "B1")) != archive.identities.person_of_number(
            Number("86001", "A1")
        )
        made = client.post("/persons/temporary", data={"facility": "86001", "sex": "M", "reason": "cấp cứu"})
        assert made.status_code == 200 and "VD" in made.text
        found = client.post("/persons/find", data={"issuer": "86001", "number": "A1"})
        assert found.status_code == 200 and "NGUYỄN THỊ HOA" in found.text
        assert client.post("/persons/find", data={"issuer": "86001", "number": "X"}).status_code == 404
    assert sql(archive, "SELECT count(*) FROM audit_record WHERE action = 'identity'")[0] >= 3


def test_programs_do_the_same(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    kept(archive, B, "B1", (CITIZEN, "CCCD"), PatientName="LÊ VĂN TÁM")
    linked(archive)
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, headers={"Origin": url}) as client:
        (pair,) = client.get("/identity/review").json()
        assert pair["conflict"] and pair["evidence"]["name"][0] == "different"
        body = {"source": pair["one"]["person"], "target": pair["other"]["person"], "reason": "một người"}
        done = client.post("/identity/merges", json=body)
        assert done.status_code == 201
        person = client.get(f"/identity/persons/{done.json()['person']}").json()
        assert len(person["records"]) == 2 and person["events"][0]["action"] == "merge"
        again = client.post("/identity/merges", json=body)
        assert again.status_code == 409
        undone = client.post(f"/identity/events/{done.json()['event']}/undo", json={"reason": "nhầm"})
        assert undone.status_code == 201
        about = {"name": "NGUYEN THI HOA", "birth_date": "1962", "numbers": [{"value": CITIZEN, "label": "CCCD"}]}
        (first, *_) = client.post("/identity/resolve", json=about).json()
        assert first["automatic"] and first["number"] == "A1"
        assert client.get("/identity/persons/999999").status_code == 404


def test_a_hospital_sees_what_it_knows_and_how_the_rest_compares(archive: Archive) -> None:
    kept(archive, A, "A1", (CITIZEN, "CCCD"))
    kept(archive, B, "B1", (CITIZEN, "CCCD"), PatientName="LÊ VĂN TÁM")
    kept(archive, A, "A2", PatientName="TRẦN VĂN BÌNH", PatientBirthDate="19550302", PatientSex="M")
    linked(archive)
    admin = Caller(Kind.ACCOUNT, "binh", rights_of([Membership(Role.FACILITY_ADMIN, "86002")]))
    (pair,) = archive.reviews.open(admin)
    mine, theirs = sorted((pair.one, pair.other), key=lambda side: not side.own)
    assert (mine.name, mine.shown) == ("LÊ VĂN TÁM", True)
    assert (theirs.name, theirs.number, theirs.numbers, theirs.studies, theirs.shown) == ("", "", (), (), False)
    assert theirs.facilities == ("86001",) and theirs.study_count == 1
    assert pair.evidence["citizen"][0] == "same"
    (alone,) = sql(archive, "SELECT person_id FROM identity_record WHERE identity = 'A2'")
    with pytest.raises(NotFound):
        archive.reviews.person(admin, alone)
    with pytest.raises(NotPermitted):
        archive.reviews.open(Caller(Kind.ACCOUNT, "an", rights_of([Membership(Role.RADIOLOGIST, "86001")])))
    assert Right.IDENTITY in PROVINCE.rights


def test_the_study_list_says_that_there_is_more_under_other_numbers(archive: Archive) -> None:
    first, second = kept(archive, A, "A1", (CITIZEN, "CCCD")), kept(archive, A, "A1", (CITIZEN, "CCCD"))
    third = kept(archive, B, "B1", (CITIZEN, "CCCD"))
    alone = kept(archive, B, "B2", PatientName="TRẦN VĂN BÌNH", PatientBirthDate="19550302", PatientSex="M")
    linked(archive)
    studies = [first, second, third, alone]
    assert archive.reviews.elsewhere(PROVINCE_READER.scope(), studies) == {first: 1, second: 1, third: 2}
    # Who may not see the others is not told of them.
    binh = Caller(Kind.ACCOUNT, "binh", rights_of([Membership(Role.RADIOLOGIST, "86002")]))
    assert archive.reviews.elsewhere(binh.scope(), studies) == {}
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        page = client.get("/?lang=en").text
    rows = {part.split('"')[0]: part for part in page.split('data-study="')[1:]}
    assert {study: row.count("badge more") for study, row in rows.items()} == {first: 1, second: 1, third: 1, alone: 0}
    assert "+2" in rows[third] and "2 more under other patient IDs" in rows[third]


def test_studies_of_a_person_are_found_whatever_their_numbers(archive: Archive) -> None:
    mine, later = kept(archive, A, "100", (CITIZEN, "CCCD")), kept(archive, A, "100")
    prior = kept(archive, B, "B7", (CITIZEN, "CCCD"))
    stranger = kept(archive, B, "100", PatientName="TRẦN VĂN BÌNH", PatientBirthDate="19550302", PatientSex="M")
    linked(archive)
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:

        def found(**query: str) -> set[str]:
            answer = client.get("/dicom-web/studies", params=query)
            assert answer.status_code == 200, answer.text
            return {each["0020000D"]["Value"][0] for each in answer.json()}

        assert found(PatientID="100") == {mine, later, stranger}
        assert found(relatedto=mine) == found(RelatedTo=prior) == {mine, later, prior}
        assert found(relatedto=stranger) == {stranger}
        assert found(relatedto=f"{prior},{stranger}") == {mine, later, prior, stranger}
        assert found(relatedto=mine, PatientID="B7") == {prior}
        assert found(relatedto="1.2.3.4") == set()
        for query in ({"relatedto": mine, "StudyInstanceUID": mine}, {"relatedto": ""}, {"relatedto": "no UID"}):
            assert client.get("/dicom-web/studies", params=query).status_code == 400, query
        assert client.get("/dicom-web/series", params={"relatedto": mine}).status_code == 400


def test_of_a_person_only_what_the_caller_may_see_is_found(archive: Archive) -> None:
    mine, prior = kept(archive, A, "100", (CITIZEN, "CCCD")), kept(archive, B, "B7", (CITIZEN, "CCCD"))
    linked(archive)
    binh = Caller(Kind.ACCOUNT, "binh", rights_of([Membership(Role.RADIOLOGIST, "86002")]))
    for scope, study in ((binh.scope(), mine), (binh.scope(), prior)):
        items = of_persons(archive, scope, [("relatedto", study), ("limit", "5")])
        assert items == [("limit", "5"), ("StudyInstanceUID", study)]


PROVINCE_READER = Caller(Kind.ACCOUNT, "so-y-te", {Right.VIEW: None})
