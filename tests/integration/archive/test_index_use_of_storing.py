"""Storing does not become slower with the size of the archive, on tables large enough for the planner to care."""

from __future__ import annotations

from archive.core import Archive
from tests.factories import ct_image, store
from tests.integration.archive.support import sql
from tests.integration.archive.test_index_use import large
from tests.integration.dicom_node.running import wait_until

__all__ = ["large"]

GROWING = ("patient", "study", "series", "instance", "stored_object")
UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID")


def counted(archive: Archive) -> dict[str, tuple[int, int]]:
    """Rows added to each table that grows with the archive, and how often it was read from end to end."""
    rows = sql(archive, "SELECT relname, n_tup_ins, seq_scan FROM pg_stat_user_tables")
    return {name: (added, scans) for name, added, scans in rows if name in GROWING}


def test_storing_reads_no_table_from_end_to_end(large: Archive) -> None:
    """Neither new patients, studies and series nor objects of those that are there, twice sent, or of other content."""
    # What the server counts of a session it tells some time later: once this is there, all of what was before is.
    added = counted(large)["stored_object"][0]
    store(large, ct_image(PatientID="BEFORE"))
    wait_until(lambda: counted(large)["stored_object"][0] == added + 1, "the counts are there")
    before = counted(large)
    first = ct_image(PatientID="P77", StudyInstanceUID="1.2.77", SeriesInstanceUID="1.2.77.1")
    images = [first, first, *(ct_image(seed=n, PatientID=f"NEW{n}") for n in range(10))]
    images.append(ct_image(seed=99, **{name: first[name].value for name in UIDS}))
    for image in images:
        store(large, image)
    wait_until(lambda: counted(large)["stored_object"][0] >= before["stored_object"][0] + 12, "the counts are there")
    after = counted(large)
    assert {name: after[name][1] - before[name][1] for name in GROWING} == dict.fromkeys(GROWING, 0)
