from __future__ import annotations

from archive.core import Archive
from archive.records import Level, Outcome, Query
from tests.factories import ct_image, store


def test_a_stored_object_is_found(archive: Archive) -> None:
    image = ct_image()
    assert store(archive, image).outcome is Outcome.STORED
    found = archive.search(Query(Level.STUDY, {0x00100010: "nguyen van duc"}))
    assert [match["0020000D"]["Value"] for match in found.matches] == [[image.StudyInstanceUID]]
    assert found.matches[0]["00100010"]["Value"] == [{"Alphabetic": "Nguyễn^Văn Đức"}]
    assert found.total == 1
    assert found.owners == ["86001"]
    (instance,) = archive.locate(image.StudyInstanceUID)
    assert instance.sop_instance_uid == image.SOPInstanceUID
