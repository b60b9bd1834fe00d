"""What unlisted senders send: kept, shown to nobody, released or discarded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archive.core import Archive
from archive.errors import NotFound
from archive.records import Level, Outcome, Query
from archive.rejection.quarantine import Decision
from config.settings import Settings
from tests.factories import SOURCE, ct_image, store
from tests.integration.archive.support import assert_sound, sql, stored_keys, studies, value
from tests.integration.archive.test_rejection import CLINICAL, EVERYTHING, QUALITY_VIEW, seen, study_of, uids
from tests.rejection_notes import SAFETY, note

STRANGER = replace(
    SOURCE,
    facility="UNKNOWN",
    issuer_of_patient_id="UNKNOWN",
    transport="dimse",
    calling_ae_title="WHO",
    address="10.1.2.3",
    quarantined=True,
)
ALL = Decision("WHO@10.1.2.3", None, "admin", "rented scanner")


def test_what_a_stranger_sends_is_kept_and_shown_to_nobody(archive: Archive) -> None:
    images = study_of(3)
    for image in images:
        assert store(archive, image, STRANGER).outcome is Outcome.STORED
        assert store(archive, image, STRANGER).outcome is Outcome.DUPLICATE
    assert seen(archive) == seen(archive, QUALITY_VIEW) == set()
    assert seen(archive, EVERYTHING) == uids(images)
    (listed,) = archive.quarantine.studies()
    assert (listed.sender, listed.study, listed.instances, listed.known) == (
        "WHO@10.1.2.3",
        images[0].StudyInstanceUID,
        3,
        False,
    )
    assert_sound(archive)


def test_a_stranger_changes_nothing_of_a_known_study(archive: Archive) -> None:
    known = study_of(2, AccessionNumber="", PatientBirthDate="")
    for image in known:
        store(archive, image)
    before = sql(archive, "SELECT * FROM study"), sql(archive, "SELECT * FROM patient"), studies(archive, include="all")
    forged = ct_image(
        StudyInstanceUID=known[0].StudyInstanceUID,
        SeriesInstanceUID=known[0].SeriesInstanceUID,
        SOPInstanceUID=known[0].SOPInstanceUID,
        AccessionNumber="FORGED",
        IssuerOfPatientID="86001",
        PatientName="Khác",
    )
    added = ct_image(
        StudyInstanceUID=known[0].StudyInstanceUID,
        SeriesInstanceUID=known[0].SeriesInstanceUID,
        AccessionNumber="FORGED",
        IssuerOfPatientID="86001",
        Modality="MR",
    )
    for image in (forged, added):
        assert store(archive, image, STRANGER).outcome is Outcome.STORED
    # Nor does it reject anything.
    assert store(archive, note(known), STRANGER).unmet == ""
    after = (
        sql(archive, "SELECT * FROM study WHERE quarantine = ''"),
        sql(archive, "SELECT * FROM patient WHERE identity = 'BN0001'"),
        studies(archive, include="all"),
    )
    assert after == before
    assert seen(archive) == uids(known)
    (inst,) = archive.locate(known[0].StudyInstanceUID, known[0].SeriesInstanceUID, known[0].SOPInstanceUID)
    assert inst.version == 1
    first, second = archive.locate(
        known[0].StudyInstanceUID, known[0].SeriesInstanceUID, known[0].SOPInstanceUID, EVERYTHING
    )
    assert (first.object.key, second.object.key != first.object.key) == (inst.object.key, True)
    assert archive.quarantine.studies()[0].known
    assert_sound(archive)


def test_a_study_that_a_stranger_began_belongs_to_the_facility_that_sends_it(archive: Archive) -> None:
    (image,) = study_of(1)
    store(archive, ct_image(StudyInstanceUID=image.StudyInstanceUID, PatientID="X", AccessionNumber="X"), STRANGER)
    store(archive, image)
    result = archive.search(Query(Level.STUDY))
    assert (result.owners, value(result.matches[0], 0x00100020)) == (["86001"], "BN0001")
    assert seen(archive) == uids([image])
    assert_sound(archive)


def test_release_gives_it_to_a_facility(archive: Archive) -> None:
    images = study_of(3, series=2)
    for image in images:
        store(archive, image, STRANGER)
    store(archive, rejected := note(images[:1], SAFETY), STRANGER)
    received = sql(archive, "SELECT received_at FROM stored_object ORDER BY key")
    keys = stored_keys(archive)
    done = archive.quarantine.release(ALL, "86002")
    assert (done.objects, done.copies, done.left) == (4, 0, 0)
    # Its rejection notes count from now on.
    assert seen(archive) == uids(images[1:])
    assert seen(archive, EVERYTHING) == uids([*images, rejected])
    result = archive.search(Query(Level.STUDY))
    assert (result.owners, value(result.matches[0], 0x00100021)) == (["86002"], "86002")
    assert sql(archive, "SELECT received_at FROM stored_object ORDER BY key") == received
    assert stored_keys(archive) == keys
    assert sql(archive, "SELECT action, subject, who, why, instances FROM hiding_action WHERE action = 'released'") == [
        ("released", images[0].StudyInstanceUID, "admin", "rented scanner", 4)
    ]
    with pytest.raises(NotFound):
        archive.quarantine.release(ALL, "86002")
    assert archive.quarantine.studies() == []
    assert_sound(archive)


def test_release_of_what_others_sent_too_follows_the_rules_for_versions(archive: Archive) -> None:
    same, changed, new = study_of(3)
    store(archive, same)
    store(archive, changed)
    store(archive, same, STRANGER)
    changed.PatientName = "Khác"
    store(archive, changed, STRANGER)
    store(archive, new, STRANGER)
    done = archive.quarantine.release(replace(ALL, study=same.StudyInstanceUID), "86002")
    assert (done.objects, done.copies, done.left) == (2, 1, 0)
    assert seen(archive) == uids([same, changed, new])
    (inst,) = archive.locate(changed.StudyInstanceUID, changed.SeriesInstanceUID, changed.SOPInstanceUID)
    assert inst.version == 1
    assert_sound(archive)


def test_release_where_other_content_is_refused_leaves_it_in_quarantine(settings: Settings) -> None:
    ingest = settings.ingest.model_copy(update={"conflict": "reject"})
    with Archive.open(settings.model_copy(update={"ingest": ingest})) as archive:
        (image,) = study_of(1)
        store(archive, image)
        image.PatientName = "Khác"
        store(archive, image, STRANGER)
        assert archive.quarantine.release(ALL, "86001").left == 1
        assert archive.quarantine.studies()[0].instances == 1
        assert_sound(archive)


def test_what_is_discarded_is_shown_to_nobody_and_kept(archive: Archive) -> None:
    images = study_of(2)
    for image in images:
        store(archive, image, STRANGER)
    keys = stored_keys(archive)
    assert archive.quarantine.discard(ALL) == 2
    assert seen(archive) == seen(archive, EVERYTHING) == set()
    assert archive.quarantine.studies()[0].discarded == 2
    assert stored_keys(archive) == keys
    for refused in (lambda: archive.quarantine.discard(ALL), lambda: archive.quarantine.release(ALL, "86001")):
        with pytest.raises(NotFound):
            refused()
    assert_sound(archive)


def test_a_sender_without_a_name_is_not_everybody(archive: Archive) -> None:
    images = study_of(2)
    for image in images:
        store(archive, image)
    nobody = Decision("", None, "admin", "a variable of the script was empty")
    with pytest.raises(NotFound):
        archive.quarantine.discard(nobody)
    with pytest.raises(NotFound):
        archive.quarantine.release(replace(nobody, study=images[0].StudyInstanceUID), "86002")
    assert seen(archive) == uids(images)
    assert_sound(archive)


def test_a_facility_that_is_not_listed_gets_nothing(archive: Archive) -> None:
    store(archive, study_of(1)[0], STRANGER)
    with pytest.raises(NotFound, match="no facility 99999"):
        archive.quarantine.release(ALL, "99999")
    assert archive.quarantine.studies()


def test_an_index_made_anew_still_hides_what_was_rejected_and_what_came_from_strangers(archive: Archive) -> None:
    known, strange = study_of(3), study_of(2)
    for image in known:
        store(archive, image)
    for image in strange:
        store(archive, image, STRANGER)
    store(archive, note(known[:1], SAFETY))
    receipt = archive.rejections.reject(
        known[0].StudyInstanceUID, code="113001", who="BS Lan", why="mờ", instances=[known[1].SOPInstanceUID]
    )
    assert receipt.unmet == ""
    before = {scope: seen(archive, scope) for scope in (CLINICAL, QUALITY_VIEW, EVERYTHING)}
    assert before[CLINICAL] == uids(known[2:])
    sql(archive, "TRUNCATE stored_object, instance, series, study, patient, key_block, rejection_note CASCADE")
    archive.reindex()
    assert {scope: seen(archive, scope) for scope in before} == before
    assert [each.sender for each in archive.quarantine.studies()] == ["WHO@10.1.2.3"]
    assert_sound(archive)
