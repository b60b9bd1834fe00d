"""What somebody of facility B tries in order to learn of a study of facility A. Each must end as if there were none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from archive.core import Archive
from archive.people.caller import Caller
from archive.people.roles import Right, Role
from archive.records import Level, Query
from tests.factories import ct_image, store
from tests.integration.archive.support import assert_sound, sql
from tests.integration.archive.test_sharing import A, B, caller_of, seen
from tests.integration.viewer_api.test_sharing_api import as_

ROOT = "/dicom-web/studies"


@pytest.fixture
def doctors(archive: Archive) -> dict[str, Caller]:
    return {
        "a": caller_of(archive, "an", (Role.RADIOLOGIST, "86001")),
        "b": caller_of(archive, "binh", (Role.RADIOLOGIST, "86002")),
    }


@pytest.fixture
def webs(archive: Archive, doctors: dict[str, Caller]) -> Iterator[dict[str, httpx.Client]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(as_(archive, caller)) for name, caller in doctors.items()}


def _said(answer: httpx.Response) -> tuple[int, dict[str, Any], set[str]]:
    """All of an answer but what is of this one request alone."""
    body = answer.json()
    body.pop("correlation")
    return answer.status_code, body, set(answer.headers) - {"date"}


def test_guessed_uids_are_answered_as_unknown_ones_at_each_level_and_form(
    archive: Archive, webs: dict[str, httpx.Client]
) -> None:
    image, own = ct_image(), ct_image(PatientID="BN0002")
    store(archive, image, A)
    store(archive, own, B)
    theirs = [str(image.StudyInstanceUID), str(image.SeriesInstanceUID), str(image.SOPInstanceUID)]
    nobodys = ["1.2.3", "1.2.3.4", "1.2.3.4.5"]
    mixed = [str(own.StudyInstanceUID), *theirs[1:]]
    forms = ("{0}", "{0}/series/{1}", "{0}/series/{1}/instances/{2}")
    ends = ("", "/metadata", "/rendered", "/thumbnail")
    last = forms[-1] + "{end}"
    paths = [form + end for form in forms for end in ends]
    paths += [last.format(*("{0}", "{1}", "{2}"), end=end) for end in ("/frames/1", "/bulkdata/7FE00010")]
    uri = "/dicom-web/wado?requestType=WADO&studyUID={0}&seriesUID={1}&objectUID={2}"
    for path in [f"{ROOT}/{each}" for each in paths] + [uri, uri + "&contentType=application/dicom"]:
        unknown = webs["b"].get(path.format(*nobodys))
        assert unknown.status_code == 404, path
        assert _said(webs["b"].get(path.format(*theirs))) == _said(unknown), path
        if "{1}" in path:
            # Their series or instance, as if it were in a study of one's own.
            assert _said(webs["b"].get(path.format(*mixed))) == _said(unknown), path
        assert webs["a"].get(path.format(*theirs)).status_code == 200, path


def test_what_others_have_in_their_caches_is_of_no_use(archive: Archive, webs: dict[str, httpx.Client]) -> None:
    images = [ct_image() for _ in range(4)]
    for image in images[1:]:
        image.StudyInstanceUID, image.SeriesInstanceUID = images[0].StudyInstanceUID, images[0].SeriesInstanceUID
    for image in images:
        store(archive, image, A)
    for path in ("/metadata", f"/series/{images[0].SeriesInstanceUID}/instances/{images[0].SOPInstanceUID}/frames/1"):
        address = f"{ROOT}/{images[0].StudyInstanceUID}{path}"
        headers = {"accept": "application/dicom+json" if path == "/metadata" else "application/octet-stream"}
        made = webs["a"].get(address, headers=headers)
        assert made.status_code == 200
        tag = {"if-none-match": made.headers.get("etag", "*")}
        assert webs["b"].get(address, headers={**headers, **tag}).status_code == 404
        assert webs["b"].get(address, headers={**headers, "range": "bytes=0-1"}).status_code == 404
        assert "public" not in made.headers.get("cache-control", "")


def test_counts_tell_nothing_of_others(archive: Archive, webs: dict[str, httpx.Client]) -> None:
    """One patient, whom both treat: each counts their own."""
    mine = ct_image()
    store(archive, mine, B)
    for _ in range(3):
        store(archive, ct_image(), A)
    for query in (
        "",
        "?PatientName=*",
        "?fuzzymatching=true&PatientName=nguy",
        "?limit=1",
        "?StudyDate=20200101-20300101",
    ):
        answer = webs["b"].get(ROOT + query)
        assert [each["0020000D"]["Value"] for each in answer.json()] == [[mine.StudyInstanceUID]], query
        assert answer.headers.get("x-total-count", "1") == "1"
    assert len(webs["b"].get(f"{ROOT}?offset=1").content) in (0, 2)
    (patient,) = archive.search(
        Query(Level.PATIENT, include="all"), caller_of(archive, "binh", (Role.RADIOLOGIST, "86002")).scope()
    ).matches
    assert [patient[tag]["Value"] for tag in ("00201200", "00201202", "00201204")] == [[1], [1], [1]]


def test_an_object_sent_into_a_study_of_others_opens_nothing(archive: Archive, doctors: dict[str, Caller]) -> None:
    first = ct_image()
    store(archive, first, A)
    forged = ct_image(StudyInstanceUID=first.StudyInstanceUID)
    same_series = ct_image(StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID)
    same_object = ct_image(
        seed=9,
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=first.SeriesInstanceUID,
        SOPInstanceUID=first.SOPInstanceUID,
    )
    before = archive.locate(first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)[0].object.digest
    for image in (forged, same_series, same_object):
        store(archive, image, B)
    assert seen(archive, doctors["b"]) == set()
    assert seen(archive, doctors["b"], Right.COPY) == set()
    assert seen(archive, doctors["a"]) == {str(first.StudyInstanceUID)}
    # Other bytes under the same UID are kept, and the first stay shown.
    after = archive.locate(first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)[0]
    assert after.object.digest == before
    assert_sound(archive)


def test_orders_and_steps_that_name_studies_of_others_tell_nothing(
    archive: Archive, webs: dict[str, httpx.Client]
) -> None:
    theirs = ct_image()
    store(archive, theirs, A)
    order = {
        "Facility": "86002",
        "PatientID": "X1",
        "PatientName": "X",
        "PatientSex": "M",
        "PatientBirthDate": "19900101",
        "Modality": "CT",
        "AccessionNumber": "X1",
        "RequestedProcedureID": "R",
        "RequestedProcedureDescription": "CT",
        "ScheduledProcedureStepID": "S",
        "ScheduledProcedureStepDescription": "CT",
        "StudyInstanceUID": str(theirs.StudyInstanceUID),
    }
    made = webs["b"].post("/worklist/items", json=order)
    assert made.status_code == 201, made.text
    item = f"/worklist/items/{made.json()['Id']}"
    assert webs["b"].get(item).json()["NumberOfStudyRelatedInstances"] == 0
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert webs["a"].request(method, item, json={} if method[0] == "P" else None).status_code == 404, method
    assert webs["a"].get("/worklist/items").json()["Total"] == 0
    assert webs["b"].post("/worklist/items", json={**order, "Facility": "86001"}).status_code == 403
    assert sql(archive, "SELECT count(*) FROM worklist_item") == [1]


def test_workitems_and_changes_are_each_facilitys_own(archive: Archive) -> None:
    callers = [
        Caller(
            caller.kind, caller.name, {right: frozenset({code}) for right in (Right.WORKITEMS, Right.FEED, Right.VIEW)}
        )
        for code in ("86001", "86002")
        for caller in [caller_of(archive, code)]
    ]
    store(archive, ct_image(), A)
    workitem = {
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00404005": {"vr": "DT", "Value": ["20261122080000"]},
        "00741200": {"vr": "CS", "Value": ["MEDIUM"]},
        "00741204": {"vr": "LO", "Value": ["CAD"]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
    }
    headers = {"content-type": "application/dicom+json"}
    with as_(archive, callers[0]) as ours, as_(archive, callers[1]) as theirs:
        made = ours.post("/dicom-web/workitems?1.2.3.4", json=[workitem], headers=headers)
        assert made.status_code == 201, made.text
        path = "/dicom-web/workitems/1.2.3.4"
        assert ours.get(path).status_code == 200
        for method, end in (("GET", ""), ("POST", ""), ("PUT", "/state"), ("POST", "/cancelrequest")):
            answer = theirs.request(method, path + end, json=[{}] if method != "GET" else None, headers=headers)
            assert answer.status_code == 404, (method, end)
        assert len(ours.get("/dicom-web/workitems").json()) == 1
        assert not theirs.get("/dicom-web/workitems").content.strip(b"[]")
        everything = "1.2.840.10008.5.1.4.34.5"
        assert theirs.post(f"/dicom-web/workitems/{everything}/subscribers/US2").status_code == 403
        assert theirs.post(f"{path}/subscribers/US2").status_code == 404
        assert theirs.post(f"{path}/subscribers/CT1").status_code == 403
        assert [each["changes"] for each in (theirs.get("/dicom-web/changes").json(),)] == [[]]
