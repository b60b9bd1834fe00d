"""Pages while data arrives."""

from __future__ import annotations

import httpx

from archive.core import Archive
from tests.integration.fhir.support import matches, pages
from tests.integration.fhir.test_search import keep
from tests.web_server import web  # noqa: F401  a fixture


def test_a_page_goes_on_where_the_last_one_ended_whatever_is_stored_meanwhile(
    web: httpx.Client,  # noqa: F811
    archive: Archive,
) -> None:
    for day in range(1, 8):
        keep(archive, f"1.2.{day}", PatientID=f"P{day}", StudyDate=f"2026100{day}" if day > 2 else None)
    following = pages(web, "ImagingStudy?_count=2")
    found = [each["id"] for each in matches(next(following))]
    keep(archive, "1.2.8", PatientID="P8", StudyDate="20261231")
    keep(archive, "1.2.9", PatientID="P9", StudyDate="20261003")
    rest = [each["id"] for page in following for each in matches(page)]
    # What came before the place is not told of, what came behind it is, and nothing comes twice.
    assert found + rest == ["1.2.7", "1.2.6", "1.2.5", "1.2.4", "1.2.9", "1.2.3", "1.2.2", "1.2.1"]
