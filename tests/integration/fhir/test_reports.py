"""Reports as DiagnosticReport: versions, history, printed form; never a draft."""

from __future__ import annotations

import httpx
import pytest

from archive.core import Archive
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reports.records import Author, Written
from tests.integration.fhir.support import get, ids, matches, pages, references, search
from tests.integration.fhir.test_search import keep
from tests.web_server import web  # noqa: F401  a fixture
from tests.worklist import put

AUTHOR = Author("BS. Trần Bình", "003539/HCM-CCHN")
WRITER = Caller(Kind.SERVICE, "ris", dict.fromkeys(Right))


def sign(archive: Archive, study: str, **written: str) -> str:
    said = Written(**{"conclusion": "Bình thường.", "text": "Phổi <sáng> & đều.", **written})  # type: ignore[arg-type]
    report = archive.reports.create(WRITER, study, said, author=AUTHOR)
    archive.reports.sign(WRITER, report.number, report.revision, author=AUTHOR)
    return report.number


def test_a_report_has_all_that_was_given_out_and_no_draft(web: httpx.Client, archive: Archive) -> None:  # noqa: F811
    keep(archive, "1.2.1", PatientID="P1")
    put(archive, PatientID="P1", AccessionNumber="ACC1", StudyInstanceUID="1.2.1")
    drafted = archive.reports.create(WRITER, "1.2.1", Written(conclusion="Nháp"), author=AUTHOR)
    assert search(web, "DiagnosticReport") == []
    get(web, f"DiagnosticReport/{drafted.number}", 404)
    early = archive.reports.give_out(WRITER, drafted.number, drafted.revision, author=AUTHOR)
    assert get(web, f"DiagnosticReport/{drafted.number}")["status"] == "preliminary"
    signed = archive.reports.sign(WRITER, drafted.number, early.revision, author=AUTHOR)
    added = archive.reports.addend(WRITER, drafted.number, signed.revision, "Đã báo bác sĩ.", "Quên ghi", author=AUTHOR)
    amending = archive.reports.amend(WRITER, drafted.number, added.revision, "Sai bên", author=AUTHOR)
    archive.reports.save(WRITER, drafted.number, amending.revision, Written(conclusion="BÊN TRÁI"), author=AUTHOR)
    found = get(web, f"DiagnosticReport/{drafted.number}")
    assert found["status"] == "appended" and "BÊN TRÁI" not in str(found)
    assert found["conclusion"].startswith("Nháp\nBổ sung (") and found["conclusion"].endswith("): Đã báo bác sĩ.")
    assert found["contained"][0]["identifier"][0]["value"] == AUTHOR.licence
    history = get(web, f"DiagnosticReport/{drafted.number}/_history")
    versions = [entry["resource"] for entry in history["entry"]]
    assert [each["status"] for each in versions] == ["appended", "final", "preliminary"]
    for each in versions:
        assert get(web, f"DiagnosticReport/{drafted.number}/_history/{each['meta']['versionId']}") == each
    for version in ("0", "4", "9", "x", "99999999999"):
        get(web, f"DiagnosticReport/{drafted.number}/_history/{version}", 404)
    printed = web.get(found["presentedForm"][0]["url"])
    assert (printed.status_code, printed.headers["content-type"], printed.content[:5]) == (
        200,
        "application/pdf",
        b"%PDF-",
    )
    for key in (f"{drafted.number}.9", f"{drafted.number}.x", "nothing", "x.1"):
        get(web, f"Binary/{key}", 404)
    bundle = get(web, f"DiagnosticReport?_id={drafted.number}&_include=*")
    included = {f"{each['resourceType']}/{each['id']}" for each in matches(bundle, "include")}
    assert {each for each in references(found) if not each.startswith("#")} == included


@pytest.fixture
def number(archive: Archive) -> str:
    keep(archive, "1.2.1", PatientID="P1", PatientName="NGUYỄN^AN")
    keep(archive, "1.2.2", PatientID="P2", PatientName="LÊ^HOA", StudyDate="20261105")
    sign(archive, "1.2.2")
    return sign(archive, "1.2.1", recommendation="Tái khám")


def test_reports_are_found_by_each_parameter(web: httpx.Client, archive: Archive, number: str) -> None:  # noqa: F811
    both = ids(web, "DiagnosticReport")
    assert len(both) == 2 and number in both
    for query in (
        f"_id={number}", f"identifier=urn:uuid:{number}", f"identifier=urn:ietf:rfc:3986|urn:uuid:{number}",
        "study=ImagingStudy/1.2.1", "patient.identifier=P1", "patient.name=an", "subject:Patient.family=nguyen",
        "date=2026-11-01", "date=lt2026-11-05", "study=1.2.1&status=final",
    ):  # fmt: skip
        assert ids(web, f"DiagnosticReport?{query}", headers={"Prefer": "handling=strict"}) == {number}, query
    for query in (
        "status=final", "category=RAD", "category=http://terminology.hl7.org/CodeSystem/v2-0074|RAD", "code=18748-4",
        "issued=gt2020", "_lastUpdated=gt2020", "performer=Organization/86001", "results-interpreter.name=Bình",
        f"results-interpreter:identifier=urn:pacs:fhir:practising-licence|{AUTHOR.licence}", "status:not=amended",
    ):  # fmt: skip
        assert ids(web, f"DiagnosticReport?{query}", headers={"Prefer": "handling=strict"}) == both, query
    for query in (
        "status=partial",
        "category=LAB",
        "code=x",
        "issued=lt2020",
        "performer=86002",
        "based-on=1",
        "study=1.2.9",
    ):
        assert ids(web, f"DiagnosticReport?{query}", headers={"Prefer": "handling=strict"}) == set(), query
    for sort in ("issued", "-issued", "_id", "_lastUpdated"):
        found = [each["id"] for page in pages(web, f"DiagnosticReport?_count=1&_sort={sort}") for each in matches(page)]
        assert sorted(found) == sorted(both)
    bundle = get(web, "ImagingStudy?_id=1.2.1&_revinclude=DiagnosticReport:study")
    assert [each["id"] for each in matches(bundle, "include")] == [number]


def test_the_words_of_a_report_are_text_and_no_markup(web: httpx.Client, archive: Archive, number: str) -> None:  # noqa: F811
    found = get(web, f"DiagnosticReport/{number}")
    assert "Phổi &lt;sáng&gt; &amp; đều." in found["text"]["div"] and "<b>Đề nghị</b>" in found["text"]["div"]
    said = {each["url"].rpartition(":")[2]: each["valueString"] for each in found["extension"]}
    assert said["report-description"] == "Phổi <sáng> & đều." and said["report-recommendation"] == "Tái khám"
