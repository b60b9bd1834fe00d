"""Delete and reject by the paths of studies, series and instances: a rejection note each, undoable, never a deletion."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from fastapi import FastAPI
from starlette.requests import HTTPConnection

from archive.core import Archive
from archive.people.caller import NOBODY, Caller, Kind
from archive.people.roles import Right
from archive.records import Level, Query, Scope
from archive.rejection.causes import View
from config.settings import Settings
from tests.factories import store as store_directly
from tests.integration.archive.support import sql
from tests.integration.archive.test_rejection import study_of
from tests.web_server import part10, serving, store
from viewer_api.app import create_app


@pytest.fixture
def opened(settings: Settings) -> Iterator[tuple[Archive, httpx.Client]]:
    """An archive whose web service takes deletions."""
    web = settings.web.model_copy(update={"rejects": True, "views": ("clinical", "everything")})
    with (
        Archive.open(settings.model_copy(update={"web": web})) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=f"{url}/dicom-web", timeout=60) as client,
    ):
        yield archive, client


def stored(archive: Archive, count: int = 3) -> tuple[list[Any], list[str]]:
    """Instances of one series, and the addresses of study, series and first instance."""
    images = study_of(count)
    for image in images:
        store_directly(archive, image)
    study = f"/studies/{images[0].StudyInstanceUID}"
    series = f"{study}/series/{images[0].SeriesInstanceUID}"
    return images, [study, series, f"{series}/instances/{images[0].SOPInstanceUID}"]


def shown(client: httpx.Client, images: list[Any], view: str = "clinical") -> int:
    return len(client.get(f"/studies/{images[0].StudyInstanceUID}/instances?view={view}").json())


METHODS = [("DELETE", ""), ("POST", "/reject/113001^DCM"), ("POST", "/reject/113037%5EDCM"), ("POST", "/reject/113038")]


@pytest.mark.parametrize(("method", "end"), METHODS)
@pytest.mark.parametrize(("at", "left"), [(0, 0), (1, 0), (2, 2)], ids=["study", "series", "instance"])
def test_what_is_named_is_hidden_by_a_note_and_can_be_shown_again(
    opened: tuple[Archive, httpx.Client], method: str, end: str, at: int, left: int
) -> None:
    archive, client = opened
    images, paths = stored(archive)
    keys = set(sql(archive, "SELECT key FROM stored_object"))
    answer = client.request(method, paths[at] + end)
    assert (answer.status_code, answer.content) == (204, b"")
    assert shown(client, images) == left
    assert client.get(paths[2]).status_code == 404
    # Nothing is gone, and the note says who, why and what.
    assert keys < set(sql(archive, "SELECT key FROM stored_object"))
    (note,) = archive.rejections.notes()
    assert answer.headers["location"].endswith(f"/rejections/{note.uid}")
    assert (note.code, note.active, note.hidden) == (end[8:14] or "113001", True, 3 - left)
    assert archive.rejections.show(note.uid).actions[-1]["who"] == "DICOMweb 127.0.0.1"
    assert shown(client, images, "everything") == 4
    archive.rejections.undo(note.uid, who="BS Lan", why="nhầm")
    assert shown(client, images) == 3
    assert client.get(paths[2]).status_code == 200


def test_the_note_is_undone_where_location_says(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images, paths = stored(archive)
    note = client.delete(paths[1]).headers["location"]
    assert httpx.get(note).json()["hidden"] == 3
    assert httpx.post(f"{note}/undo", json={"who": "BS Lan"}).status_code == 201
    assert shown(client, images) == 3


def test_deleting_twice_is_deleting_once(opened: tuple[Archive, httpx.Client]) -> None:
    """RFC 9110 9.2.2; and many clients reject first, then delete."""
    archive, client = opened
    _, paths = stored(archive)
    assert client.post(f"{paths[0]}/reject/113001^DCM").status_code == 204
    assert [client.delete(path).status_code for path in (*paths, paths[0])] == [204] * 4
    assert len(archive.rejections.notes()) == 1
    again = client.post(f"{paths[0]}/reject/113001^DCM")
    assert (again.status_code, again.json()["detail"]) == (404, "no such study")


@pytest.mark.parametrize("method", ["DELETE", "POST"])
@pytest.mark.parametrize("end", ["", "/series/1.2.4", "/series/1.2.4/instances/1.2.5"])
def test_what_is_not_there(opened: tuple[Archive, httpx.Client], method: str, end: str) -> None:
    archive, client = opened
    _, paths = stored(archive)
    reject = "/reject/113001^DCM" if method == "POST" else ""
    assert client.request(method, f"/studies/1.2.3{end}{reject}").status_code == 404
    if end:
        assert client.request(method, f"{paths[0]}{end}{reject}").status_code == 404
    assert archive.rejections.notes() == []


@pytest.mark.parametrize("code", ["113002^DCM", "113001^SCT", "x", "^DCM", "113001%5EDCM%5E1", "113001^^"])
def test_what_is_no_title_of_a_note_is_refused_with_those_that_are(
    opened: tuple[Archive, httpx.Client], code: str
) -> None:
    archive, client = opened
    _, paths = stored(archive)
    answer = client.post(f"{paths[0]}/reject/{code}")
    assert answer.status_code == 400
    assert "113001^DCM (Rejected for Quality Reasons), 113037^DCM" in answer.json()["detail"]
    assert archive.rejections.notes() == []


def test_a_code_that_was_encoded_twice(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images, paths = stored(archive)
    assert client.post(f"{paths[0]}/reject/113001%255EDCM").status_code == 204
    assert shown(client, images) == 0


def test_expiry_only_where_the_settings_allow_it(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images, paths = stored(archive)
    answer = client.post(f"{paths[0]}/reject/113039^DCM")
    assert (answer.status_code, shown(client, images)) == (403, 3)
    assert "ingest.expiry_notes" in answer.json()["detail"]


def test_it_is_closed_unless_the_settings_open_it(archive: Archive) -> None:
    images, paths = stored(archive)
    with serving(create_app(archive)) as url, httpx.Client(base_url=f"{url}/dicom-web") as client:
        for path in (*paths, "/studies/1.2.3"):
            for answer in (client.delete(path), client.post(f"{path}/reject/113001^DCM")):
                assert answer.status_code == 403
                assert "web.rejects" in answer.json()["detail"]
                assert answer.headers["content-type"] == "application/problem+json"
        assert shown(client, images) == 3


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_no_page_of_another_site_can_ask_for_it(opened: tuple[Archive, httpx.Client], headers: dict[str, str]) -> None:
    archive, client = opened
    images, paths = stored(archive)
    assert client.delete(paths[0], headers=headers).status_code == 403
    assert client.post(f"{paths[0]}/reject/113001^DCM", headers=headers).status_code == 403
    assert shown(client, images) == 3


@pytest.mark.parametrize("uid", ["1.2.x", "..%2F..", "1" * 65])
def test_what_is_no_uid(opened: tuple[Archive, httpx.Client], uid: str) -> None:
    assert opened[1].delete(f"/studies/{uid}").status_code in (400, 404, 405)


def test_what_is_sent_again_stays_hidden(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images, paths = stored(archive)
    assert client.delete(paths[0]).status_code == 204
    with httpx.Client(base_url=str(client.base_url).removesuffix("/dicom-web/")) as web:
        assert store(web, part10(images[0])).status_code in (200, 202)
    assert shown(client, images) == 0


def test_what_a_safety_note_hides_stays_hidden_when_the_deletion_is_undone(
    opened: tuple[Archive, httpx.Client],
) -> None:
    archive, client = opened
    images, paths = stored(archive)
    assert client.post(f"{paths[2]}/reject/113037^DCM").status_code == 204
    note = client.delete(paths[0]).headers["location"].rpartition("/")[2]
    archive.rejections.undo(note, who="BS Lan", why="")
    assert shown(client, images) == 2


def test_many_at_once_leave_the_counters_right(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images, paths = stored(archive, 12)
    names = [f"{paths[1]}/instances/{image.SOPInstanceUID}" for image in images]
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(lambda path: client.delete(path).status_code, [*names[:10], *names[:10]]))
    assert statuses == [204] * 20
    (match,) = client.get("/studies").json()
    assert match["00201208"]["Value"] == [2]
    everything = archive.search(Query(Level.IMAGE), Scope(view=View.EVERYTHING)).total
    assert everything - 12 == len(archive.rejections.notes()) >= 10


def as_caller(archive: Archive, caller: Caller) -> FastAPI:
    app = create_app(archive)
    app.state.sign_in = Always(caller)
    return app


class Always:
    """Everybody is this caller."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def caller(self, connection: HTTPConnection) -> Caller:
        del connection
        return self._caller


def rejecter(*facilities: str) -> Caller:
    return Caller(Kind.ACCOUNT, "bs.lan", {Right.REJECT: frozenset(facilities)})


REQUESTS = [("DELETE", ""), ("POST", "/reject/113001^DCM")]


@pytest.mark.parametrize(("method", "end"), REQUESTS)
def test_with_sign_in_the_right_decides_and_the_setting_does_not(archive: Archive, method: str, end: str) -> None:
    images, paths = stored(archive)
    for caller, status in (
        (NOBODY, 401),
        (Caller(Kind.ACCOUNT, "a", {Right.VIEW: None, Right.COPY: None}), 403),
        (rejecter("86002"), 404),
        (rejecter("86001"), 204),
    ):
        with serving(as_caller(archive, caller)) as url:
            assert httpx.request(method, f"{url}/dicom-web{paths[1]}{end}").status_code == status, caller
        assert len(archive.rejections.notes()) == (status == 204)
    (note,) = archive.rejections.notes()
    assert archive.rejections.show(note.uid).actions[-1]["who"] == "bs.lan"
    assert archive.search(Query(Level.IMAGE)).total == 0
    assert len(images) == note.hidden


@pytest.mark.parametrize(("method", "end"), REQUESTS)
def test_what_was_shared_is_not_theirs_to_hide(archive: Archive, method: str, end: str) -> None:
    images, paths = stored(archive)
    sql(archive, "INSERT INTO facility (code, name) VALUES ('86002', 'B') ON CONFLICT DO NOTHING")
    sql(
        archive,
        """INSERT INTO access_grant (study_id, facility_id, kind, may_copy, expires_at)
           SELECT study.id, facility.id, 'referral', true, now() + interval '1 day'
             FROM study, facility WHERE facility.code = '86002'""",
    )
    with serving(as_caller(archive, rejecter("86002"))) as url:
        answer = httpx.request(method, f"{url}/dicom-web{paths[0]}{end}")
    assert (answer.status_code, archive.rejections.notes()) == (403, [])
    assert archive.search(Query(Level.IMAGE)).total == len(images)


def test_an_independent_client_deletes(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images, _ = stored(archive)
    names = images[0].StudyInstanceUID, images[0].SeriesInstanceUID, images[0].SOPInstanceUID
    other = DICOMwebClient(url=str(client.base_url).rstrip("/"))
    other.delete_instance(*names)
    assert shown(client, images) == 2
    other.delete_series(*names[:2])
    other.delete_study(names[0])
    assert shown(client, images) == 0
