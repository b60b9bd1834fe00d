"""What was stored comes on record, whatever dies when."""

from __future__ import annotations

from dataclasses import replace

from archive.audit.storing import begin, record_stored
from archive.core import Archive
from archive.index_session import IndexSession
from tests.factories import SOURCE, ct_image, store
from tests.integration.archive.support import sql
from tests.integration.audit.records import records


def test_objects_of_one_sender_and_study_are_one_record(archive: Archive) -> None:
    session = IndexSession(archive.settings.database, "test")
    store(archive, ct_image())
    begin(session)
    first = ct_image(seed=1)
    for seed in range(2, 5):
        store(archive, ct_image(StudyInstanceUID=first.StudyInstanceUID, seed=seed))
    other = ct_image(seed=9, PatientID="BN0009")
    store(archive, other)
    while record_stored(session, archive.audit).behind:
        pass
    one, two = records(archive, "store")
    assert one.studies == [first.StudyInstanceUID]
    assert one.detail["instances"] == 3
    assert one.detail["last_object"] - one.detail["first_object"] == 2
    assert (two.studies, two.patient_id) == ([other.StudyInstanceUID], "BN0009")
    assert one.owners == one.home == ["86001"]
    assert record_stored(session, archive.audit).objects == 0
    session.close()


def test_a_crash_before_the_cursor_moved_records_again_and_loses_nothing(archive: Archive) -> None:
    session = IndexSession(archive.settings.database, "test")
    begin(session)
    store(archive, ct_image())
    before = sql(archive, "SELECT position, horizon, holders FROM audit_cursor")
    while record_stored(session, archive.audit).behind:
        pass
    position, horizon, holders = before[0]
    sql(archive, "UPDATE audit_cursor SET position = %s, horizon = %s, holders = %s", position, horizon, holders)
    while record_stored(session, archive.audit).behind:
        pass
    one, again = records(archive, "store")
    assert one.detail == again.detail
    session.close()


def test_who_used_the_sender_is_told_apart(archive: Archive) -> None:
    """The user that a peer has proved (PS3.7 D.3.3.7), as all else that comes by DIMSE tells it."""
    session = IndexSession(archive.settings.database, "test")
    begin(session)
    first = ct_image(seed=1)
    for seed, user in ((2, "ktv.hoa"), (3, ""), (4, "ktv.hoa")):
        image = ct_image(StudyInstanceUID=first.StudyInstanceUID, seed=seed)
        store(archive, image, replace(SOURCE, user=user))
    while record_stored(session, archive.audit).behind:
        pass
    told = {each.name: each for each in records(archive, "store")}
    assert set(told) == {"ktv.hoa", SOURCE.calling_ae_title}
    assert told["ktv.hoa"].detail["instances"] == 2
    assert told["ktv.hoa"].detail["calling"] == SOURCE.calling_ae_title
    session.close()
