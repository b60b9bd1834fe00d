"""Reports: who writes and reads them, how they are signed, and that nothing given out is ever changed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import psycopg
import pytest

from archive.core import Archive
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted, Outdated
from archive.people.caller import ANYBODY, Caller, Kind
from archive.people.roles import Right, Role
from archive.reports.canonical import canonical
from archive.reports.records import Author, Written
from archive.reports.reports import Reports
from archive.reports.unread import Wanted
from tests.integration.archive.support import sql, together, url_of
from tests.integration.archive.test_sharing import WEEK, A, B, caller_of, kept

FOUND = Written(conclusion="Nhồi máu não bán cầu trái.", text="Vùng giảm tỷ trọng thái dương trái.")


def radiologist(archive: Archive, name: str, facility: str, licence: str = "003539/HCM-CCHN") -> Caller:
    caller = caller_of(archive, name, (Role.RADIOLOGIST, facility))
    sql(archive, "UPDATE account SET display_name = %s WHERE name = %s", f"BS. {name.title()}", name)
    if licence:
        assert caller.account is not None
        archive.reports.set_licence(caller, caller.account, licence)
    return caller


@pytest.fixture
def an(archive: Archive) -> Caller:
    return radiologist(archive, "an", "86001")


@pytest.fixture
def binh(archive: Archive) -> Caller:
    return radiologist(archive, "binh", "86002")


def with_settings(archive: Archive, **values: object) -> Reports:
    settings = archive.settings.reports.model_copy(update=values)
    return Reports(archive._engine, archive.reader, archive.audit, archive.looks, settings)


def test_a_report_is_written_given_out_and_signed(archive: Archive, an: Caller, binh: Caller) -> None:
    study, reports = kept(archive, A), archive.reports
    drafted = reports.create(an, study)
    assert (drafted.status, drafted.revision, drafted.version) == ("draft", 1, None)
    saved = reports.save(an, drafted.number, 1, FOUND)
    assert saved.draft is not None and saved.draft.conclusion == FOUND.conclusion
    early = reports.give_out(an, drafted.number, saved.revision)
    assert (early.status, early.final_at) == ("preliminary", None)
    later = reports.save(an, drafted.number, early.revision, replace(FOUND, conclusion="Nhồi máu não cấp."))
    assert later.version is not None and later.version.conclusion == FOUND.conclusion
    signed = reports.sign(an, drafted.number, later.revision)
    version = signed.version
    assert signed.is_signed and version is not None and signed.draft is None
    assert (version.number, version.status, version.conclusion) == (2, "final", "Nhồi máu não cấp.")
    assert (version.author, version.author_name, version.author_licence) == ("an", "BS. An", "003539/HCM-CCHN")
    assert version.signed_at == signed.final_at and version.signature is not None
    assert version.subject is not None and version.subject["study"] == study
    content = canonical(signed.number, version, version.subject)
    assert version.digest == hashlib.sha256(content).digest()
    assert [each.status for each in reports.history(an, signed.number)] == ["preliminary", "final"]
    assert [(each.kind, each.version) for each in reports.events(0)] == [("preliminary", 1), ("final", 2)]
    assert reports.by_id(reports.events(0)[0].report).number == signed.number
    acts = sql(archive, "SELECT detail ->> 'what' FROM audit_record WHERE action = 'report' ORDER BY sequence")
    assert [act for act in acts if act != "report written"] == [
        "report created",
        "report preliminary",
        "report signed",
    ]


def test_what_was_signed_is_amended_added_to_and_cancelled_but_never_changed(archive: Archive, an: Caller) -> None:
    reports = archive.reports
    entry = reports.create(an, kept(archive, A), FOUND)
    entry = reports.sign(an, entry.number, entry.revision)
    first = entry.version
    with pytest.raises(Conflict):
        reports.save(an, entry.number, entry.revision, FOUND)
    with pytest.raises(Conflict):
        reports.sign(an, entry.number, entry.revision)
    with pytest.raises(InvalidItem, match="reason"):
        reports.amend(an, entry.number, entry.revision, " ")
    entry = reports.amend(an, entry.number, entry.revision, "Nhầm bên")
    assert entry.version == first and entry.draft is not None and entry.draft.conclusion == FOUND.conclusion
    with pytest.raises(Conflict):
        reports.addend(an, entry.number, entry.revision, "thêm", "thiếu")
    entry = reports.save(an, entry.number, entry.revision, replace(FOUND, conclusion="Nhồi máu não bán cầu phải."))
    entry = reports.sign(an, entry.number, entry.revision)
    assert entry.status == "amended" and entry.version is not None and entry.version.reason == "Nhầm bên"
    entry = reports.addend(an, entry.number, entry.revision, "Có so sánh phim cũ.", "Có phim cũ")
    assert entry.status == "amended" and entry.version is not None
    assert entry.version.conclusion == "Nhồi máu não bán cầu phải."
    assert [each["text"] for each in entry.version.addenda] == ["Có so sánh phim cũ."]
    assert "Có so sánh phim cũ." in entry.version.whole_conclusion
    entry = reports.cancel(an, entry.number, entry.revision, "Nhầm người bệnh")
    assert entry.status == "cancelled" and not entry.is_signed
    with pytest.raises(Conflict):
        reports.amend(an, entry.number, entry.revision, "lại")
    history = reports.history(an, entry.number)
    assert [each.status for each in history] == ["final", "amended", "addendum", "cancelled"]
    assert history[0] == first
    assert [each.kind for each in reports.events(0)] == ["final", "amended", "addendum", "cancelled"]
    assert sql(archive, "SELECT version FROM report_object ORDER BY 1") == [1, 2, 3, 4]


def test_the_database_refuses_to_change_what_was_given_out(archive: Archive, an: Caller) -> None:
    reports = archive.reports
    entry = reports.create(an, kept(archive, A), FOUND)
    sql(archive, "UPDATE report_version SET conclusion = 'still a draft'")
    reports.give_out(an, entry.number, entry.revision)
    for statement in (
        "UPDATE report_version SET conclusion = ''",
        "DELETE FROM report_version",
        "TRUNCATE report_version",
        "DELETE FROM report",
    ):
        with psycopg.connect(url_of(archive), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            with pytest.raises(psycopg.errors.IntegrityError):
                # A foreign key is not looked at by a replica; what it protects is.
                if statement == "DELETE FROM report":
                    connection.execute("SET session_replication_role = DEFAULT")
                connection.execute(statement)  # type: ignore[call-overload]


def test_of_two_who_write_at_once_one_is_told(archive: Archive, an: Caller) -> None:
    reports = archive.reports
    study = kept(archive, A)
    entry = reports.create(an, study, FOUND)
    reports.save(an, entry.number, entry.revision, FOUND)
    with pytest.raises(Outdated):
        reports.save(an, entry.number, entry.revision, FOUND)
    with pytest.raises(Outdated):
        reports.sign(an, entry.number, entry.revision)
    late = together(lambda _: reports.sign(an, entry.number, entry.revision + 1), 3)
    assert [type(error) for error in late] == [Outdated, Outdated]
    assert [each.status for each in reports.history(an, entry.number)] == ["final"]


def test_one_facility_begins_one_report_unless_it_wants_another(archive: Archive, an: Caller) -> None:
    reports, study = archive.reports, kept(archive, A)
    late = together(lambda _: reports.create(an, study), 3)
    assert [type(error) for error in late] == [Conflict, Conflict]
    reports.create(an, study, another=True)
    assert len(reports.of_study(an, study)) == 2


def test_a_draft_is_for_those_who_write_it_and_what_was_given_out_for_who_sees_the_study(
    archive: Archive, an: Caller, binh: Caller
) -> None:
    reports, study = archive.reports, kept(archive, A)
    clinician = caller_of(archive, "chi", (Role.CLINICIAN, "86001"))
    entry = reports.create(an, study, FOUND)
    for reader in (clinician, binh):
        assert reports.of_study(reader, study) == []
        with pytest.raises(NotFound):
            reports.get(reader, entry.number)
    assert [each.draft is not None for each in reports.of_study(an, study)] == [True]
    entry = reports.sign(an, entry.number, entry.revision)
    reports.amend(an, entry.number, entry.revision, "bổ sung")
    (seen,) = reports.of_study(clinician, study)
    assert seen.version is not None and seen.draft is None
    assert reports.of_study(binh, study) == []
    with pytest.raises(NotPermitted):
        reports.amend(clinician, entry.number, seen.revision, "không được")
    with pytest.raises(NotPermitted):
        reports.create(clinician, study)
    with pytest.raises(NotPermitted):
        reports.create(ANYBODY, study)
    archive.sharings.refer(an, study, "86002", WEEK)
    (shared,) = reports.of_study(binh, study)
    assert shared.version is not None and shared.draft is None


def test_row_security_holds_drafts_back_without_the_predicate(archive: Archive, an: Caller, binh: Caller) -> None:
    reports, study = archive.reports, kept(archive, A)
    entry = reports.create(an, study, FOUND)

    def rows(facility: str) -> list[int]:
        number = sql(archive, "SELECT id FROM facility WHERE code = %s", facility)[0]
        with psycopg.connect(url_of(archive), autocommit=True) as connection:
            connection.execute("SET ROLE pacs_reader")
            connection.execute("SELECT set_config('pacs.facilities', %s, false)", (f"{{{number}}}",))
            counts = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[call-overload]
                for table in ("report", "report_version")
            ]
        return [count[0] for count in counts]

    kept(archive, B)  # so that the other facility is known
    assert rows("86001") == [1, 1]
    assert rows("86002") == [0, 0]
    archive.sharings.refer(an, study, "86002", WEEK)
    assert rows("86002") == [0, 0]
    reports.sign(an, entry.number, entry.revision)
    assert rows("86002") == [1, 1]


def test_another_facility_reports_where_it_was_asked_and_as_long_as_that_holds(
    archive: Archive, an: Caller, binh: Caller
) -> None:
    reports, study = archive.reports, kept(archive, A)
    kept(archive, B)
    with pytest.raises(NotFound):
        reports.create(binh, study)
    shared = archive.sharings.refer(an, study, "86002", WEEK)
    entry = reports.create(binh, study, FOUND)
    assert (entry.facility, entry.owner) == ("86002", "86001")
    assert reports.of_study(an, study) == []
    with pytest.raises(NotPermitted):
        with_settings(archive, tele_reading=False).create(binh, study, another=True)
    entry = reports.sign(binh, entry.number, entry.revision)
    (seen,) = reports.of_study(an, study)
    assert seen.is_signed and seen.facility == "86002"
    with pytest.raises(NotPermitted):
        reports.amend(an, entry.number, entry.revision, "không phải của mình")
    archive.sharings.close(an, shared.id)
    with pytest.raises(NotFound):
        reports.amend(binh, entry.number, entry.revision, "hết hạn")


def test_a_patient_under_care_is_looked_at_and_not_reported_on(archive: Archive, an: Caller, binh: Caller) -> None:
    study = kept(archive, A)
    kept(archive, B)
    sql(
        archive,
        "INSERT INTO access_grant (study_id, facility_id, kind, purpose, expires_at) SELECT study.id, facility.id, "
        "'care', '', now() + interval '1 day' FROM study, facility WHERE study_instance_uid = %s AND code = '86002'",
        study,
    )
    assert archive.reports.of_study(binh, study) == []
    assert not archive.reports.writers.may_write(binh, study)
    with pytest.raises(NotPermitted):
        archive.reports.create(binh, study)


def test_two_readers_and_a_licence_where_the_settings_want_them(archive: Archive, an: Caller) -> None:
    study = kept(archive, A)
    reports = with_settings(archive, two_readers=True)
    specialist = radiologist(archive, "dung", "86001")
    entry = reports.create(an, study, FOUND)
    with pytest.raises(NotPermitted):
        reports.sign(an, entry.number, entry.revision)
    entry = reports.give_out(an, entry.number, entry.revision)
    with pytest.raises(NotPermitted):
        reports.sign(an, entry.number, entry.revision)
    entry = reports.sign(specialist, entry.number, entry.revision)
    assert entry.version is not None and entry.version.author == "dung"
    assert [each.author for each in reports.history(an, entry.number)] == ["an", "dung"]
    nameless = radiologist(archive, "em", "86001", licence="")
    entry = archive.reports.create(nameless, kept(archive, A), FOUND)
    with pytest.raises(InvalidItem, match="licence"):
        archive.reports.sign(nameless, entry.number, entry.revision)
    empty = archive.reports.create(an, kept(archive, A))
    with pytest.raises(InvalidItem, match="conclusion"):
        archive.reports.sign(an, empty.number, empty.revision)
    with pytest.raises(InvalidItem, match="signature"):
        entry = archive.reports.save(an, empty.number, empty.revision, FOUND)
        with_settings(archive, signature_required=True).sign(an, entry.number, entry.revision)


def test_a_draft_is_thrown_away_and_what_was_given_out_stays(archive: Archive, an: Caller) -> None:
    reports, study = archive.reports, kept(archive, A)
    entry = reports.create(an, study, FOUND)
    reports.discard(an, entry.number, entry.revision)
    assert reports.of_study(an, study) == []
    entry = reports.create(an, study, FOUND)
    entry = reports.sign(an, entry.number, entry.revision)
    entry = reports.amend(an, entry.number, entry.revision, "xem lại")
    reports.discard(an, entry.number, entry.revision)
    (left,) = reports.of_study(an, study)
    assert left.is_signed and left.draft is None


def test_a_program_says_whose_word_it_is(archive: Archive) -> None:
    study = kept(archive, A)
    program = Caller(Kind.SERVICE, "ris", {right: frozenset({"86001"}) for right in (Right.VIEW, Right.REPORT)})
    with pytest.raises(InvalidItem, match="author"):
        archive.reports.create(program, study, FOUND)
    author = Author("BS. Lê Thị Hoa", "001234/CM-CCHN")
    entry = archive.reports.create(program, study, FOUND, author=author, source="api")
    entry = archive.reports.sign(program, entry.number, entry.revision, author=author)
    assert entry.version is not None
    assert (entry.version.author_name, entry.version.signed_by) == ("BS. Lê Thị Hoa", "ris")


def test_texts_are_composed_and_bounded(archive: Archive, an: Caller) -> None:
    study = kept(archive, A)
    entry = archive.reports.create(an, study, Written(conclusion="Go\u0302\u0301m\x07\r\nhai"))
    assert entry.draft is not None and entry.draft.conclusion == "Gốm\nhai"
    with pytest.raises(InvalidItem, match="conclusion"):
        archive.reports.save(an, entry.number, entry.revision, Written(conclusion="a" * 70_000))


def test_what_is_to_be_read_and_how_far_it_is(archive: Archive, an: Caller, binh: Caller) -> None:
    reading, reports = archive.reports.reading, archive.reports
    first, second = kept(archive, A), kept(archive, A, Modality="MR")
    assert [each.study for each in reading.unread(an, Wanted())] == [first, second]
    entry = reports.create(an, first, FOUND)
    assert [(each.status, each.writer) for each in reading.unread(an, Wanted())] == [("draft", "an"), ("unread", "")]
    assert [each.study for each in reading.unread(an, Wanted(mine=True))] == [first]
    assert [each.study for each in reading.unread(an, Wanted(modality="MR"))] == [second]
    assert reading.unread(an, Wanted(urgent=True)) == []
    order = {
        "Facility": "86001",
        "AccessionNumber": "CD1",
        "PatientID": "BN0001",
        "PatientName": "NGUYEN^AN",
        "Modality": "MR",
        "RequestedProcedureDescription": "MR",
        "StudyInstanceUID": second,
        "RequestedProcedurePriority": "STAT",
        "ScheduledProcedureStepStartDate": "20261122",
    }
    archive.worklist.put(order, source="api")
    assert [(each.study, each.priority) for each in reading.unread(an, Wanted())] == [(second, "STAT"), (first, "")]
    assert reading.unread(binh, Wanted()) == []
    entry = reports.give_out(an, entry.number, entry.revision)
    assert reading.statuses(an, [first, second]) == {first: "preliminary"}
    reports.sign(an, entry.number, entry.revision)
    assert reading.statuses(an, [first, second]) == {first: "signed"}
    assert reading.statuses(binh, [first]) == {}
    assert [each.study for each in reading.unread(an, Wanted())] == [second]
    archive.sharings.refer(an, second, "86002", WEEK)
    kept(archive, B, Modality="US")
    assert second in [each.study for each in reading.unread(binh, Wanted())]
    treated = kept(archive, A, PatientID="BN0009")
    cared_for = (
        "INSERT INTO access_grant (study_id, facility_id, kind, purpose, expires_at) SELECT study.id, facility.id, "
    )
    cared_for += (
        "'care', '', now() + interval '1 day' FROM study, facility WHERE study_instance_uid = %s AND code = '86002'"
    )
    sql(archive, cared_for, treated)
    assert treated not in [each.study for each in reading.unread(binh, Wanted())]
