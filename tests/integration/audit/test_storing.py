"""What was stored comes on record, whatever dies when."""

from __future__ import annotations

from archive.audit.storing import begin, record_stored
from archive.core import Archive
from archive.index_session import IndexSession
from tests.factories import ct_image, store
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
