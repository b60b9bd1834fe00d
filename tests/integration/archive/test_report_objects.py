"""Signed reports as DICOM objects: made once whatever happens, and out of sight when something else holds."""

from __future__ import annotations

import io
from dataclasses import replace

import pydicom
import pytest

from archive.core import Archive
from archive.errors import StoreUnavailable
from archive.people.caller import Caller
from archive.reports.records import Entry, Written
from archive.reports.structured import BASIC_TEXT_SR, ENCAPSULATED_PDF, uid_of
from archive.retrieve import read_header
from tests.integration.archive.support import assert_sound, sql, together
from tests.integration.archive.test_reports import FOUND, radiologist
from tests.integration.archive.test_sharing import A, kept


@pytest.fixture
def an(archive: Archive) -> Caller:
    return radiologist(archive, "an", "86001")


def signed(archive: Archive, caller: Caller, study: str, written: Written = FOUND) -> Entry:
    entry = archive.reports.create(caller, study, written)
    return archive.reports.sign(caller, entry.number, entry.revision)


def made(archive: Archive, study: str) -> dict[str, str]:
    """SOP Instance UID of what is shown and is no image, by SOP class."""
    found = archive.locate(study)
    return {each.sop_class_uid: each.sop_instance_uid for each in found if each.modality in ("SR", "DOC")}


def work(archive: Archive) -> None:
    while archive.report_objects.work():
        pass


def test_a_signed_report_becomes_a_structured_report_and_a_pdf(archive: Archive, an: Caller) -> None:
    study = kept(archive, A)
    entry = signed(archive, an, study)
    work(archive)
    assert made(archive, study) == {
        BASIC_TEXT_SR: uid_of(entry.number, "sr", 1),
        ENCAPSULATED_PDF: uid_of(entry.number, "pdf", 1),
    }
    (inst,) = archive.locate(study, None, uid_of(entry.number, "sr", 1))
    document = read_header(archive.store, inst)
    assert (document.CompletionFlag, document.VerificationFlag, document.PatientID) == (
        "COMPLETE",
        "VERIFIED",
        "BN0001",
    )
    texts = [item.ContentSequence[0].TextValue for item in document.ContentSequence if item.ValueType == "CONTAINER"]
    assert texts == [FOUND.text, FOUND.conclusion]
    reports = archive.results.of_study(an.scope(), study).reports
    pdf = next(each for each in reports if each.lines is None)
    assert archive.results.document(pdf).startswith(b"%PDF-")
    assert not archive.report_objects.work()
    assert_sound(archive)


def test_what_is_replaced_or_cancelled_is_hidden(archive: Archive, an: Caller) -> None:
    study, reports = kept(archive, A), archive.reports
    entry = signed(archive, an, study)
    entry = reports.amend(an, entry.number, entry.revision, "Nhầm bên")
    entry = reports.save(an, entry.number, entry.revision, replace(FOUND, conclusion="Bên phải."))
    entry = reports.sign(an, entry.number, entry.revision)
    work(archive)
    assert set(made(archive, study).values()) == {uid_of(entry.number, kind, 2) for kind in ("sr", "pdf")}
    (inst,) = archive.locate(study, None, uid_of(entry.number, "sr", 2))
    before = read_header(archive.store, inst).PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid_of(entry.number, "sr", 1)
    entry = reports.addend(an, entry.number, entry.revision, "So với phim cũ.", "Có phim cũ")
    work(archive)
    assert set(made(archive, study).values()) == {uid_of(entry.number, kind, 3) for kind in ("sr", "pdf")}
    reports.cancel(an, entry.number, entry.revision, "Nhầm người bệnh")
    work(archive)
    assert made(archive, study) == {}
    assert_sound(archive)


def test_a_crash_before_the_row_is_done_makes_the_same_objects_again(
    archive: Archive, an: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = kept(archive, A)
    entry = signed(archive, an, study)
    begin = archive.report_objects._begin

    def broken(*arguments: object, **named: object) -> object:
        if named["sop_class_uid"] == ENCAPSULATED_PDF:
            raise StoreUnavailable("the store is away")
        return begin(*arguments, **named)

    monkeypatch.setattr(archive.report_objects, "_begin", broken)
    assert archive.report_objects.work()
    assert sql(archive, "SELECT state, attempts, error FROM report_object") == [("waiting", 1, "the store is away")]
    assert not archive.report_objects.work()
    monkeypatch.undo()
    sql(archive, "UPDATE report_object SET due_at = now()")
    work(archive)
    sql(archive, "UPDATE report_object SET state = 'waiting', due_at = now()")
    together(lambda _: work(archive), 2)
    assert len(made(archive, study)) == 2
    assert sql(archive, "SELECT count(*) FROM stored_object WHERE version > 1") == [0]
    assert archive.reports.get(an, entry.number).is_signed


def test_the_same_version_is_printed_in_the_same_bytes(archive: Archive, an: Caller) -> None:
    entry = signed(archive, an, kept(archive, A), replace(FOUND, text="Tiếng Việt: ẵ ệ ữ. " * 400))
    assert entry.version is not None
    first, second = (archive.report_objects.printed(entry.number, entry.version, "BS. An") for _ in range(2))
    assert first == second
    assert first.count(b"/Type /Page\n") > 1


def test_objects_can_be_read_by_others(archive: Archive, an: Caller) -> None:
    study = kept(archive, A)
    entry = signed(archive, an, study)
    work(archive)
    (inst,) = archive.locate(study, None, uid_of(entry.number, "pdf", 1))
    with archive.store.open(inst.object.key) as reader:
        document = pydicom.dcmread(io.BytesIO(reader.read()))
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength].rstrip(b"\0\n").endswith(b"%%EOF")
