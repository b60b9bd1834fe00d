"""Worklist items and what arrives; upkeep; commands."""

from __future__ import annotations

import json
import random
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from archive.core import Archive
from archive.errors import ArchiveError
from archive.records import EVERYTHING, Scope
from archive.standard.json_model import dataset_json, header_json
from archive.worklist.steps import StepSource
from archive.worklist.upkeep import WorklistUpkeep
from config import clock
from config.services import WorklistSettings
from config.settings import Settings
from tests.factories import ct_image, encode, store
from tests.integration.archive.support import sql
from tests.integration.archive.test_cli import run
from tests.integration.dicom_node.running import wait_until
from tests.integration.dicom_node.scu import EXPLICIT, IMPLICIT
from tests.worklist import NAME, begin, order, put

SOURCE = StepSource("86001", "CT1", "10.0.0.1", EVERYTHING)
FACILITIES = json.dumps([{"code": "86001", "name": "A"}, {"code": "86002", "name": "B"}])


@pytest.fixture
def quick(settings: Settings) -> Any:
    """An archive that closes items as soon as there are images."""
    changed = settings.model_copy(update={"worklist": WorklistSettings(close_after_images=0, keep_days=30)})
    with Archive.open(changed) as archive:
        yield archive


def status(archive: Archive, item: int) -> tuple[str, str | None]:
    entry = archive.worklist.get(item)
    return entry.status, entry.closed_by


# -- which item an arriving object belongs to -------------------------------------------------------------------------


def of(archive: Archive, facility: str = "86001", **known: Any) -> str | None:
    found = archive.worklist.item_of(facility, **{"study_instance_uid": "1.2.3", **known})
    return None if found is None else str(found.order()["AccessionNumber"])


def test_an_object_belongs_to_the_item_of_its_study(archive: Archive) -> None:
    entry = put(archive)
    put(archive, AccessionNumber="A2", StudyInstanceUID="1.2.9")
    assert of(archive, study_instance_uid=entry.study_instance_uid) == "A100"
    assert of(archive, study_instance_uid="1.2.9") == "A2"
    assert of(archive) is None
    assert of(archive, "86002", study_instance_uid="1.2.9") is None


def test_else_to_that_of_its_patient_modality_day_and_station(archive: Archive) -> None:
    put(archive)
    known = {"patient_id": "BN0001", "modality": "CT", "station": "CT1", "study_date": clock.today()}
    assert of(archive, **known) == "A100"
    for other in (
        {"patient_id": "BN2"},
        {"modality": "MR"},
        {"station": "CT2"},
        {"study_date": clock.today() - timedelta(days=1)},
        {"study_date": None},
        {"patient_id": ""},
    ):
        assert of(archive, **{**known, **other}) is None
    # Two steps of one order leave no doubt about the accession number, two orders do.
    put(archive, ScheduledProcedureStepID="S2")
    assert of(archive, **known) == "A100"
    other = put(archive, AccessionNumber="A2")
    assert of(archive, **known) is None
    archive.worklist.cancel(other.id)
    assert of(archive, **known) == "A100"


# -- items without MPPS -----------------------------------------------------------------------------------------------


def test_an_item_is_complete_when_its_images_are_in(quick: Archive) -> None:
    by_study, by_number = put(quick), put(quick, AccessionNumber="A2")
    waiting = put(quick, AccessionNumber="A3")
    other_modality = put(quick, AccessionNumber="A4", Modality="MR")
    store(quick, ct_image(StudyInstanceUID=by_study.study_instance_uid, AccessionNumber=""))
    store(quick, ct_image(AccessionNumber="A2"))
    store(quick, ct_image(AccessionNumber="A3", PatientID="BN-ANOTHER"))
    store(quick, ct_image(AccessionNumber="A4"))
    assert quick.worklist.close_by_images() == 2
    assert status(quick, by_study.id) == status(quick, by_number.id) == ("COMPLETED", "images")
    assert status(quick, waiting.id) == status(quick, other_modality.id) == ("SCHEDULED", None)
    assert quick.worklist.close_by_images() == 0


def test_images_do_not_close_what_an_mpps_tells_about_or_what_was_cancelled(quick: Archive) -> None:
    begun, cancelled = put(quick), put(quick, AccessionNumber="A2")
    quick.performed.create("1.2.3", dataset_json(begin(begun), None), SOURCE)
    quick.worklist.cancel(cancelled.id)
    for entry in (begun, cancelled):
        store(quick, ct_image(StudyInstanceUID=entry.study_instance_uid))
    assert quick.worklist.close_by_images() == 0
    assert (status(quick, begun.id)[0], status(quick, cancelled.id)[0]) == ("STARTED", "CANCELLED")


def test_a_study_that_still_grows_is_waited_for(archive: Archive) -> None:
    entry = put(archive)
    store(archive, ct_image(StudyInstanceUID=entry.study_instance_uid))
    assert archive.worklist.close_by_images() == 0
    sql(archive, "UPDATE study SET updated_at = updated_at - interval '11 minutes' RETURNING 1")
    assert archive.worklist.close_by_images() == 1


def test_closing_by_images_can_be_turned_off(settings: Settings) -> None:
    changed = settings.model_copy(update={"worklist": WorklistSettings(close_by_images=False, close_after_images=0)})
    with Archive.open(changed) as archive:
        store(archive, ct_image(StudyInstanceUID=put(archive).study_instance_uid))
        assert archive.worklist.close_by_images() == 0


def test_old_items_are_deleted_and_their_steps_stay(quick: Archive) -> None:
    old = put(quick, ScheduledProcedureStepStartDate=f"{clock.today() - timedelta(days=31):%Y%m%d}")
    kept = put(
        quick, AccessionNumber="A2", ScheduledProcedureStepStartDate=f"{clock.today() - timedelta(days=30):%Y%m%d}"
    )
    quick.performed.create("1.2.3", dataset_json(begin(old), None), SOURCE)
    assert quick.worklist.delete_old() == 1
    assert [each.id for each in quick.worklist.search(_everything())[0]] == [kept.id]
    assert quick.performed.get("1.2.3").items == []


def test_upkeep_runs_in_the_background(quick: Archive) -> None:
    entry = put(quick)
    store(quick, ct_image(StudyInstanceUID=entry.study_instance_uid))
    with WorklistUpkeep(quick.worklist):
        wait_until(lambda: status(quick, entry.id) == ("COMPLETED", "images"), "the item is closed")


def _everything() -> Any:
    from archive.worklist.listing import ItemSearch

    return ItemSearch()


# -- races ------------------------------------------------------------------------------------------------------------


def test_an_order_and_its_step_in_the_same_moment_are_linked_in_the_end(archive: Archive) -> None:
    for number in range(12):
        ready = threading.Barrier(2)
        uid, study = f"1.2.{number}", f"1.2.826.{number}"
        attributes = begin()
        attributes.ScheduledStepAttributesSequence[0].StudyInstanceUID = study

        def schedule(number: int = number, study: str = study, ready: threading.Barrier = ready) -> None:
            ready.wait()
            put(archive, AccessionNumber=f"A{number}", StudyInstanceUID=study)

        thread = threading.Thread(target=schedule)
        thread.start()
        ready.wait()
        archive.performed.create(uid, dataset_json(attributes, None), SOURCE)
        thread.join()
        archive.performed.set(uid, {"00400280": {"vr": "ST", "Value": ["x"]}}, SOURCE)
        assert len(archive.performed.get(uid).items) == 1


def test_two_steps_of_the_same_items_end_at_once(archive: Archive) -> None:
    """Locks are taken in one order: nobody waits for ever, and the items have the state of both."""
    items = [put(archive, ScheduledProcedureStepID=f"S{number}") for number in range(4)]
    for number in range(6):
        attributes = begin(items[0])
        chosen = items if number % 2 else items[::-1]
        attributes.ScheduledStepAttributesSequence = [begin(item).ScheduledStepAttributesSequence[0] for item in chosen]
        archive.performed.create(f"1.2.{number}", dataset_json(attributes, None), SOURCE)
    ready = threading.Barrier(6)

    def finish(number: int) -> None:
        ready.wait()
        given = {"00400252": {"vr": "CS", "Value": ["DISCONTINUED" if number % 2 else "COMPLETED"]},
                 "00400250": {"vr": "DA", "Value": ["20261122"]}, "00400251": {"vr": "TM", "Value": ["10"]},
                 "00400340": {"vr": "SQ", "Value": [{"0020000E": {"vr": "UI", "Value": ["1.2.3"]}}]}}  # fmt: skip
        archive.performed.set(f"1.2.{number}", given, SOURCE)

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status(archive, item.id) for item in items} == {("COMPLETED", "mpps")}


def test_postgresql_went_away_between_two_orders(archive: Archive) -> None:
    put(archive)
    sql(
        archive,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    assert put(archive, PatientWeight=70).version == 2
    assert archive.worklist.search(_everything(), Scope(frozenset({"86001"})))[1] == 1


# -- what devices send wrong ------------------------------------------------------------------------------------------


def test_values_longer_than_they_should_be(archive: Archive) -> None:
    attributes = dataset_json(begin(), None)
    for key in ("00100020", "00400253", "00080060"):
        attributes[key]["Value"] = ["X" * 5000]
    attributes["00400270"]["Value"][0]["00080050"]["Value"] = ["Y" * 5000]
    archive.performed.create("1.2.3", attributes, SOURCE)
    assert archive.performed.get("1.2.3").attributes["00100020"]["Value"] == ["X" * 5000]


def test_broken_datasets_are_refused_and_nothing_else(archive: Archive) -> None:
    """Whatever comes is an error of the archive or a step; the database takes all that decoding lets through."""
    chance = random.Random(5)
    entry = put(archive)
    whole = {syntax: encode(begin(entry), syntax) for syntax in (IMPLICIT, EXPLICIT)}
    outcomes = set()
    for number in range(150):
        syntax = chance.choice((IMPLICIT, EXPLICIT))
        data = bytearray(whole[syntax])
        for _ in range(chance.choice((1, 1, 2, 3))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            archive.performed.create(f"1.2.{number}", header_json(bytes(data), syntax, None), SOURCE)
            outcomes.add("taken")
        except ArchiveError as error:
            outcomes.add(type(error).__name__)
    assert {"taken", "CannotParse"} < outcomes


# -- commands ---------------------------------------------------------------------------------------------------------


def test_orders_from_a_file_are_listed_and_cancelled(settings: Settings, archive: Archive, tmp_path: Path) -> None:
    today = f"{clock.today():%d/%m/%Y}"
    table = tmp_path / "orders.csv"
    table.write_text(
        "AccessionNumber;PatientID;PatientName;PatientBirthDate;PatientSex;Modality;ScheduledStationAETitle;"
        "ScheduledProcedureStepStartDate;ScheduledProcedureStepStartTime;RequestedProcedureDescription;"
        "ScheduledProtocolCodeSequence\n"
        f"A1;BN1;{NAME};5/12/1962;M;CT;CT1\\CT2;{today};8:30;Sọ não;SN|99BV|Sọ não\n"
        f"A2;BN2;TRẦN^B;01/02/1980;F;US;;{today};09:00;Bụng;\n"
        f"A3;BN3;LỖI^X;30/02/1980;F;US;;{today};09:00;Bụng;\n",
        encoding="utf-8-sig",
    )
    done = run(settings, "worklist-import", str(table), "--facility", "86001", PACS_FACILITIES=FACILITIES)
    assert done.returncode == 1
    assert done.stdout == "new: 2; known before: 0; not taken: 1\n"
    assert "line 4: PatientBirthDate is not a date" in done.stderr
    first = archive.worklist.get(1).order()
    assert (first["PatientBirthDate"], first["ScheduledStationAETitle"]) == ("19621205", ["CT1", "CT2"])
    assert first["ScheduledProtocolCodeSequence"][0]["CodeMeaning"] == "Sọ não"
    listed = run(settings, "worklist", PACS_FACILITIES=FACILITIES).stdout.splitlines()
    assert len(listed) == 3
    assert "CT1/CT2" in listed[0] and NAME in listed[0] and "any" in listed[1]
    done = run(settings, "worklist-cancel", "2", PACS_FACILITIES=FACILITIES)
    assert (done.returncode, done.stdout) == (0, "2: cancelled\n")
    assert run(settings, "worklist", "--status", "CANCELLED", PACS_FACILITIES=FACILITIES).stdout.endswith("1 item\n")
    assert run(settings, "worklist-cancel", "99", PACS_FACILITIES=FACILITIES).returncode == 1


def test_orders_from_json(settings: Settings, archive: Archive, tmp_path: Path) -> None:
    file = tmp_path / "orders.json"
    file.write_text(json.dumps([order(), order(AccessionNumber="A2", Facility=None)]), encoding="utf-8")
    for said in ("new: 2; known before: 0; not taken: 0\n", "new: 0; known before: 2; not taken: 0\n"):
        done = run(settings, "worklist-import", str(file), "--facility", "86002", PACS_FACILITIES=FACILITIES)
        assert (done.returncode, done.stdout) == (0, said), done.stderr
    assert sorted(entry.facility for entry in archive.worklist.search(_everything())[0]) == ["86001", "86002"]
    for text in (b"{", b"[1]", b"\xff\xfe"):
        file.write_bytes(text)
        done = run(settings, "worklist-import", str(file), PACS_FACILITIES=FACILITIES)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
